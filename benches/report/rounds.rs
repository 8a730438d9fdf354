//! What do figures say that were measured several times? Their median, with the lowest and the highest. What
//! is compared with a goal is never rounded in our favour.

use crate::plot::number;

/// The figures of all rounds, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// Each divided by that of the other in the same round.
    pub(crate) fn over(&self, other: &Self) -> Self {
        assert_eq!(self.0.len(), other.0.len());
        Self(self.0.iter().zip(&other.0).map(|(figure, other)| figure / other).collect())
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        }
    }

    /// The lowest and the highest.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let low = self.0.iter().copied().fold(f64::MAX, f64::min);
        (low, self.0.iter().copied().fold(f64::MIN, f64::max))
    }

    /// The median, with the lowest and the highest.
    pub(crate) fn cell(&self) -> String {
        let (low, high) = self.spread();
        format!("{} ({} to {})", number(self.median()), number(low), number(high))
    }
}

impl FromIterator<f64> for Rounds {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

/// A figure that is to be high, cut after two digits.
pub(crate) fn cut(figure: f64) -> String {
    format!("{:.2}", (figure * 100.0).floor() / 100.0)
}

/// A figure that is to be low, with its second digit raised where there are more.
pub(crate) fn raised(figure: f64) -> String {
    format!("{:.2}", (figure * 100.0).ceil() / 100.0)
}

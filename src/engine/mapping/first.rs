//! Which of many things are told? The first ones in the order of the text; the rest is counted.

use crate::engine::yaml::Position;

/// Things with a place in a text, of which no more than so many are kept.
#[derive(Debug)]
pub struct First<T> {
    most: usize,
    place: fn(&T) -> Position,
    /// Up to twice as many, so that they need to be sorted only now and then.
    kept: Vec<T>,
    count: usize,
    /// What stands further down is not kept any more.
    last: Option<Position>,
}

impl<T> First<T> {
    /// Nothing yet; `most` things are kept by their `place`.
    #[must_use]
    pub fn new(most: usize, place: fn(&T) -> Position) -> Self {
        Self { most, place, kept: Vec::new(), count: 0, last: None }
    }

    /// Takes one more thing, which is made only where it is kept.
    pub fn add(&mut self, at: Position, make: impl FnOnce() -> T) {
        self.count += 1;
        if self.last.is_some_and(|last| at >= last) {
            return;
        }
        self.kept.push(make());
        if self.kept.len() >= self.most.saturating_mul(2) {
            self.settle();
        }
    }

    /// How many there were, kept or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Those that are kept, in the order of the text.
    #[must_use]
    pub fn into_kept(mut self) -> Vec<T> {
        self.settle();
        self.kept
    }

    fn settle(&mut self) {
        self.kept.sort_by_key(self.place);
        if self.kept.len() >= self.most {
            self.kept.truncate(self.most);
            self.last = self.kept.last().map(self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_kept_whatever_the_order_they_come_in() {
        let mut first = First::new(3, |line: &u32| Position { line: *line, column: 1 });
        for line in [9, 4, 7, 1, 8, 2, 6, 3, 5] {
            first.add(Position { line, column: 1 }, || line);
        }
        assert_eq!(first.count(), 9);
        assert_eq!(first.into_kept(), [1, 2, 3]);
    }
}

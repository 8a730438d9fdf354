//! What do samples say: their quantiles, and how far chance alone could have moved a figure that is made of them?

/// How often a figure is made anew of samples that are drawn by chance.
const DRAWS: usize = 400;

/// A figure, and the interval that holds 95 % of those that chance would have made of the same samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Samples of one variant, a group for each round. All that is compared was measured in the same rounds.
pub(crate) type Samples = Vec<Vec<f64>>;

/// The sample below or at which this part of all lies (nearest rank).
pub(crate) fn quantile(samples: &mut [f64], part: f64) -> f64 {
    let rank = (samples.len() as f64 * part).ceil() as usize;
    let index = rank.clamp(1, samples.len()) - 1;
    *samples.select_nth_unstable_by(index, f64::total_cmp).1
}

/// Makes a figure of the samples of several variants, and then again and again of rounds that are drawn by chance,
/// the same for each variant (a bootstrap).
pub(crate) fn figure(variants: &[&Samples], of: impl Fn(&mut [Vec<f64>]) -> f64) -> Figure {
    let rounds = variants[0].len();
    let mut random = fastrand::Rng::with_seed(14);
    let made = |chosen: &[usize]| {
        let mut pooled: Vec<Vec<f64>> = variants
            .iter()
            .map(|variant| chosen.iter().flat_map(|round| variant[*round].iter().copied()).collect())
            .collect();
        of(&mut pooled)
    };
    let value = made(&(0..rounds).collect::<Vec<_>>());
    let mut drawn: Vec<f64> =
        (0..DRAWS).map(|_| made(&(0..rounds).map(|_| random.usize(0..rounds)).collect::<Vec<_>>())).collect();
    Figure { value, low: quantile(&mut drawn, 0.025), high: quantile(&mut drawn, 0.975) }
}

impl Figure {
    /// `1.23 (1.20 to 1.27)`
    pub(crate) fn words(&self) -> String {
        format!("{:.2} ({:.2} to {:.2})", self.value, self.low, self.high)
    }
}

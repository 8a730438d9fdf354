//! What is known of something in the cluster? That it was not seen yet is never that it is absent.

/// Something in the cluster, as a watch saw it last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Observed<T> {
    /// Nobody could say yet: it may be there.
    #[default]
    NotYet,
    /// The API server said that it is not there.
    Absent,
    /// It was there.
    Present(T),
}

impl<T> Observed<T> {
    /// What was seen, where it was there.
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(seen) => Some(seen),
            Self::NotYet | Self::Absent => None,
        }
    }
}

impl<T> From<Option<T>> for Observed<T> {
    /// What the API server answered: a definite "not found" is `None`.
    fn from(answer: Option<T>) -> Self {
        answer.map_or(Self::Absent, Self::Present)
    }
}

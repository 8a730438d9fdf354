//! What is known of an object in the cluster? That it was not seen yet is never taken for that it is absent.

/// An object in the cluster, as it was seen last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Observed<T> {
    /// Nobody could say yet: it may be there.
    #[default]
    NotYet,
    /// The API server said that it is not there.
    Absent,
    /// It was there, and this was seen of it.
    Present(T),
}

impl<T> Observed<T> {
    /// What was seen of the object, where it was there.
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(seen) => Some(seen),
            Self::NotYet | Self::Absent => None,
        }
    }

    /// The same, to change it after a write of our own.
    pub fn present_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Present(seen) => Some(seen),
            Self::NotYet | Self::Absent => None,
        }
    }

    /// Whether the API server has said anything of the object yet.
    pub const fn is_known(&self) -> bool {
        !matches!(self, Self::NotYet)
    }
}

impl<T> From<Option<T>> for Observed<T> {
    /// What the API server answered: a definite "not found" is `None`.
    fn from(answer: Option<T>) -> Self {
        answer.map_or(Self::Absent, Self::Present)
    }
}

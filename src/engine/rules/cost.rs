//! How are bytes on the heap and steps of work counted?

/// What so many bytes take on the heap, with what the allocator keeps for itself.
#[must_use]
pub fn allocated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { bytes.next_multiple_of(16) + 16 }
}

/// How many steps something may still take.
#[derive(Clone, Copy, Debug)]
pub struct Steps(usize);

impl Steps {
    /// So many.
    #[must_use]
    pub fn new(left: usize) -> Self {
        Self(left)
    }

    /// Takes so many; whether there were that many left. Without, nothing is left.
    pub fn take(&mut self, steps: usize) -> bool {
        let left = self.0.checked_sub(steps);
        self.0 = left.unwrap_or_default();
        left.is_some()
    }

    /// None is left.
    #[must_use]
    pub fn are_used_up(&self) -> bool {
        self.0 == 0
    }
}

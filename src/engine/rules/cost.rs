//! How are bytes on the heap and steps of work counted?

/// Returns what so many bytes take on the heap, with what the allocator keeps for itself.
#[must_use]
pub fn allocated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { bytes.next_multiple_of(16) + 16 }
}

/// A budget of steps, which bounds how long a piece of work may take.
#[derive(Clone, Copy, Debug)]
pub struct Steps(usize);

impl Steps {
    /// Makes a budget of `left` steps.
    #[must_use]
    pub fn new(left: usize) -> Self {
        Self(left)
    }

    /// Takes steps from the budget. Returns whether that many were left; where not, the budget is used up.
    pub fn take(&mut self, steps: usize) -> bool {
        let left = self.0.checked_sub(steps);
        self.0 = left.unwrap_or_default();
        left.is_some()
    }

    /// Whether no step is left.
    #[must_use]
    pub fn are_used_up(&self) -> bool {
        self.0 == 0
    }
}

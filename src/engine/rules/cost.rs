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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_takes_whole_pieces_of_16_bytes_and_one_for_itself() {
        for (bytes, want) in [(0, 0), (1, 32), (15, 32), (16, 32), (17, 48), (32, 48), (33, 64)] {
            assert_eq!(allocated(bytes), want, "{bytes}");
        }
    }

    #[test]
    fn steps_that_are_not_there_use_up_those_that_are() {
        let mut steps = Steps::new(3);
        assert!(steps.take(2) && !steps.are_used_up());
        assert!(steps.take(1) && steps.are_used_up());
        assert!(steps.take(0) && !steps.take(1));
        let mut steps = Steps::new(3);
        assert!(!steps.take(4) && steps.are_used_up());
    }
}

//! How are the first things of a text kept, and the rest only counted?

use crate::engine::yaml::Position;

/// A list that keeps the first things by their place in a text, up to a limit, whatever the order they come
/// in. The rest is counted.
#[derive(Debug)]
pub struct CappedList<T> {
    /// How many things are kept; `None` for all of them.
    limit: Option<usize>,
    place: fn(&T) -> Position,
    /// At most twice the limit, so that the list needs to be sorted only now and then.
    kept: Vec<T>,
    count: usize,
    /// The place of the last thing that is kept, once the limit is reached: what stands behind it is not
    /// kept.
    last: Option<Position>,
}

impl<T> CappedList<T> {
    /// Makes an empty list that keeps `limit` things, each of which stands at its `place` in the text.
    #[must_use]
    pub fn new(limit: Option<usize>, place: fn(&T) -> Position) -> Self {
        Self { limit, place, kept: Vec::new(), count: 0, last: None }
    }

    /// Counts one more thing, which is made only where it is kept.
    pub fn add(&mut self, at: Position, make: impl FnOnce() -> T) {
        self.count += 1;
        if self.last.is_some_and(|last| at >= last) {
            return;
        }
        self.kept.push(make());
        if self.limit.is_some_and(|limit| self.kept.len() >= limit.saturating_mul(2)) {
            self.truncate();
        }
    }

    /// How many there were, kept or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The things that are kept, in the order of the text.
    #[must_use]
    pub fn into_kept(mut self) -> Vec<T> {
        self.truncate();
        self.kept
    }

    fn truncate(&mut self) {
        self.kept.sort_by_key(self.place);
        if let Some(limit) = self.limit
            && self.kept.len() >= limit
        {
            self.kept.truncate(limit);
            self.last = self.kept.last().map(self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_kept_whatever_the_order_they_come_in() {
        let mut list = CappedList::new(Some(3), |line: &u32| Position { line: *line, column: 1 });
        for line in [9, 4, 7, 1, 8, 2, 6, 3, 5] {
            list.add(Position { line, column: 1 }, || line);
        }
        assert_eq!(list.count(), 9);
        assert_eq!(list.into_kept(), [1, 2, 3]);
    }

    #[test]
    fn what_stands_behind_the_last_that_is_kept_is_not_made() {
        let at = |line| Position { line, column: 1 };
        let mut list = CappedList::new(Some(2), |line: &u32| Position { line: *line, column: 1 });
        for line in [1, 2, 3, 4] {
            list.add(at(line), || line);
        }
        list.add(at(5), || panic!("it is behind"));
        list.add(at(2), || panic!("it is in the place of the last"));
        assert_eq!(list.count(), 6);
        assert_eq!(list.into_kept(), [1, 2]);
        let mut list = CappedList::new(Some(2), |line: &u32| Position { line: *line, column: 1 });
        for line in [4, 2, 3] {
            list.add(at(line), || line);
        }
        assert_eq!(list.into_kept(), [2, 3], "more than the limit may be held before they are sorted");
        let mut all = CappedList::new(None, |line: &u32| Position { line: *line, column: 1 });
        for line in (0..500).rev() {
            all.add(at(line), || line);
        }
        assert_eq!((all.count(), all.into_kept().len()), (500, 500));
    }
}

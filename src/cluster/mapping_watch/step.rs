//! What is the next step, by what was seen of the mapping and of the last good one?
//!
//! Everything here is pure: nothing is read or written.

use crate::cluster::observed::Observed;

/// Whether the text of a ConfigMap that is there can be used as a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// It is in force, or was until a newer one came.
    Good,
    /// There is none, or none that can be used.
    Unusable,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ready: there was a mapping that could be used, and it, or one after it, is in force.
    GoOn,
    /// Ready, and nothing is decided: there is no mapping.
    GoOnWithout,
    /// Ready and nothing is decided as well, and a mapping to start from is to be created.
    CreateStarter,
    /// Not ready until the mapping has been read.
    Wait,
    /// Not ready until the last good one has been read; then it is used where it can be.
    ReadLastGood,
    /// Not ready: there is a mapping, and until somebody mends it, it cannot be used.
    WaitForUsable,
}

/// What became of a text that the watch told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// It came into force.
    InForce,
    /// It is the text that was told before: a label changed, or the watch began anew. It may be a bad one.
    Unchanged,
    /// It cannot be used, or there is no text.
    Unusable,
}

/// What is known of the mapping and of the last good one, and what is still to be done for them.
#[derive(Debug)]
pub(super) struct State {
    mapping: Observed<Text>,
    last_good: Observed<Text>,
    /// A mapping to start from is to be created where there is none.
    starter: bool,
    /// The version of the last good one that was tried.
    tried: Option<String>,
    /// The version of a mapping that came into force, and is still to be kept as the last good one.
    unkept: Option<String>,
}

impl State {
    /// Nothing has been seen. `starter` says whether to create a mapping where there is none.
    pub(super) const fn new(starter: bool) -> Self {
        Self { mapping: Observed::NotYet, last_good: Observed::NotYet, starter, tried: None, unkept: None }
    }

    /// The next step. `in_force` says whether a mapping ever came into force in this process.
    pub(super) fn next(&self, in_force: bool) -> Step {
        use Observed::{Absent, NotYet, Present};
        match (self.mapping, self.last_good) {
            // Whatever is wrong by now, the last good one decides.
            _ if in_force => Step::GoOn,
            (Present(Text::Good), _) | (_, Present(Text::Good)) => Step::GoOn,
            (NotYet, _) => Step::Wait,
            (Absent | Present(Text::Unusable), NotYet) => Step::ReadLastGood,
            // A last good one says that there was a mapping, though it may have been deleted since.
            (Present(Text::Unusable), _) | (_, Present(Text::Unusable)) => Step::WaitForUsable,
            (Absent, Absent) if self.starter => Step::CreateStarter,
            (Absent, Absent) => Step::GoOnWithout,
        }
    }

    /// The watch told that there is no mapping.
    pub(super) fn mapping_absent(&mut self) {
        self.last_good = Observed::NotYet;
        self.mapping = Observed::Absent;
        self.unkept = None;
    }

    /// The watch told a mapping of this version.
    pub(super) fn mapping_offered(&mut self, version: String, offered: Offered) {
        self.last_good = Observed::NotYet;
        match offered {
            Offered::InForce => {
                self.mapping = Observed::Present(Text::Good);
                self.unkept = Some(version);
            }
            // A bad one must not be kept; a good one that is still to be kept has another version now.
            Offered::Unchanged => self.unkept = self.unkept.take().map(|_| version),
            Offered::Unusable => self.mapping_unusable(),
        }
    }

    /// The mapping is there, and can never be read.
    pub(super) fn mapping_unusable(&mut self) {
        self.mapping = Observed::Present(Text::Unusable);
        self.unkept = None;
    }

    /// The last good one was found in this version; there is none where that is `None`. Returns whether its
    /// text is to be tried: one that was tried before is still what it was.
    #[must_use]
    pub(super) fn last_good_found(&mut self, version: Option<&str>) -> bool {
        self.last_good = match version {
            None => Observed::Absent,
            Some(version) if self.tried.as_deref() == Some(version) => Observed::Present(Text::Unusable),
            Some(version) => {
                self.tried = Some(version.to_owned());
                return true;
            }
        };
        false
    }

    /// The text of the last good one was tried.
    pub(super) fn last_good_tried(&mut self, text: Text) {
        self.last_good = Observed::Present(text);
    }

    /// The version of the mapping that is to be kept as the last good one, where there is one.
    pub(super) fn to_keep(&self) -> Option<&str> {
        self.unkept.as_deref()
    }

    /// The mapping was kept.
    pub(super) fn kept(&mut self) {
        self.unkept = None;
    }

    /// The mapping to start from was created, or somebody else created one: none is created after it.
    pub(super) fn starter_done(&mut self) {
        self.starter = false;
    }

    /// Some time has passed: somebody may have mended the last good one, which no watch shows.
    pub(super) fn look_again(&mut self) {
        let unusable = Observed::Present(Text::Unusable);
        if self.last_good == unusable || self.mapping == unusable {
            self.last_good = Observed::NotYet;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Observed::{Absent, NotYet};

    const GOOD: Observed<Text> = Observed::Present(Text::Good);
    const UNUSABLE: Observed<Text> = Observed::Present(Text::Unusable);
    const ALL: [Observed<Text>; 4] = [NotYet, Absent, UNUSABLE, GOOD];

    fn state(mapping: Observed<Text>, last_good: Observed<Text>, starter: bool) -> State {
        State { mapping, last_good, ..State::new(starter) }
    }

    #[test]
    fn only_where_both_are_known_to_be_absent_a_starter_is_created() {
        for mapping in ALL {
            for last_good in ALL {
                let both = (mapping, last_good) == (Absent, Absent);
                let (with, without) = (state(mapping, last_good, true), state(mapping, last_good, false));
                assert_eq!(with.next(false) == Step::CreateStarter, both);
                assert_ne!(without.next(false), Step::CreateStarter);
                assert_eq!(with.next(true), Step::GoOn, "one is in force already");
            }
        }
        let mut once = state(Absent, Absent, true);
        once.starter_done();
        assert_eq!(once.next(false), Step::GoOnWithout);
    }

    #[test]
    fn a_replica_that_never_had_a_mapping_is_ready_only_where_there_is_none_or_one_came_into_force() {
        for (mapping, last_good, step) in [
            (NotYet, NotYet, Step::Wait),
            (NotYet, Absent, Step::Wait),
            (NotYet, UNUSABLE, Step::Wait),
            (Absent, NotYet, Step::ReadLastGood),
            (UNUSABLE, NotYet, Step::ReadLastGood),
            (Absent, Absent, Step::GoOnWithout),
            (Absent, UNUSABLE, Step::WaitForUsable),
            (UNUSABLE, Absent, Step::WaitForUsable),
            (UNUSABLE, UNUSABLE, Step::WaitForUsable),
            (UNUSABLE, GOOD, Step::GoOn),
            (Absent, GOOD, Step::GoOn),
            (GOOD, NotYet, Step::GoOn),
        ] {
            assert_eq!(state(mapping, last_good, false).next(false), step, "{mapping:?} {last_good:?}");
        }
    }

    #[test]
    fn only_what_came_into_force_is_kept_under_its_newest_version_and_until_it_is_kept_or_gone() {
        enum Then {
            Offered(&'static str, Offered),
            Absent,
            TooLong,
            Kept,
        }
        use Then::{Kept, TooLong};
        let told = Then::Offered;
        for (what, events, kept) in [
            ("nothing was told", vec![], None),
            ("it came into force", vec![told("4", Offered::InForce)], Some("4")),
            ("it cannot be used", vec![told("4", Offered::Unusable)], None),
            ("it was kept", vec![told("4", Offered::InForce), Kept], None),
            (
                "its label changed before it was kept",
                vec![told("4", Offered::InForce), told("5", Offered::Unchanged)],
                Some("5"),
            ),
            (
                "its label changed after it was kept",
                vec![told("4", Offered::InForce), Kept, told("5", Offered::Unchanged)],
                None,
            ),
            (
                "it broke before it was kept",
                vec![told("4", Offered::InForce), told("5", Offered::Unusable)],
                None,
            ),
            (
                "it broke, and its label changed",
                vec![told("4", Offered::Unusable), told("5", Offered::Unchanged)],
                None,
            ),
            ("it is gone", vec![told("4", Offered::InForce), Then::Absent], None),
            ("it grew too long", vec![told("4", Offered::InForce), TooLong], None),
            (
                "it was mended",
                vec![told("4", Offered::InForce), told("5", Offered::Unusable), told("6", Offered::InForce)],
                Some("6"),
            ),
        ] {
            let mut state = State::new(true);
            for event in events {
                match event {
                    Then::Offered(version, offered) => state.mapping_offered(version.to_owned(), offered),
                    Then::Absent => state.mapping_absent(),
                    TooLong => state.mapping_unusable(),
                    Kept => state.kept(),
                }
            }
            assert_eq!(state.to_keep(), kept, "{what}");
        }
    }

    #[test]
    fn a_last_good_one_is_tried_once_in_each_version_and_read_again_while_nothing_can_be_used() {
        let mut state = State::new(true);
        state.mapping_offered("4".to_owned(), Offered::Unusable);
        assert_eq!(state.next(false), Step::ReadLastGood);
        assert!(state.last_good_found(Some("3")));
        state.last_good_tried(Text::Unusable);
        assert_eq!(state.next(false), Step::WaitForUsable);
        state.look_again();
        assert_eq!(state.next(false), Step::ReadLastGood, "somebody may have mended it");
        assert!(!state.last_good_found(Some("3")), "nobody has");
        assert_eq!(state.next(false), Step::WaitForUsable);
        state.look_again();
        assert!(state.last_good_found(Some("5")), "it was mended");
        state.last_good_tried(Text::Good);
        assert_eq!(state.next(false), Step::GoOn);

        // It was deleted: there was a mapping, and there is one still that cannot be used.
        let mut state = State::new(true);
        state.mapping_offered("4".to_owned(), Offered::Unusable);
        assert!(!state.last_good_found(None));
        assert_eq!(state.next(false), Step::WaitForUsable);
        state.look_again();
        assert_eq!(state.next(false), Step::ReadLastGood);
        // The mapping goes as well: what was known of the last good one may be old.
        state.mapping_absent();
        assert_eq!(state.next(false), Step::ReadLastGood);
        assert!(!state.last_good_found(None));
        assert_eq!(state.next(false), Step::CreateStarter);
        state.look_again();
        assert_eq!(state.next(false), Step::CreateStarter, "both are known to be absent");
    }
}

//! What is to be done, by what is known of the mapping and of the last good one? Pure.

/// What is known of a ConfigMap that holds a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nobody could say yet. This is not [`Self::Absent`]: it may be there.
    NotYet,
    /// It is not there: the API server said so.
    Absent,
    /// It is there, and what it says cannot be used.
    Unusable,
    /// It is in force, or was until a newer one came.
    Good,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ready: there was a mapping that could be used, and it, or one after it, is in force.
    GoOn,
    /// Ready, and nothing is decided: there is no mapping.
    GoOnWithout,
    /// The same, and a mapping to start from is to be created.
    CreateStarter,
    /// Not ready until the mapping has been read.
    Wait,
    /// Not ready until the last good one has been read; then it is used where it can be.
    AskLastGood,
    /// Not ready: there is a mapping, and until somebody mends it, it cannot be used.
    WaitForUsable,
}

/// The next step. `in_force` says whether a mapping ever came into force in this process.
pub(super) fn next(mapping: Known, last_good: Known, in_force: bool, starter: bool) -> Step {
    match (mapping, last_good) {
        // Whatever is wrong by now, the last good one decides.
        _ if in_force => Step::GoOn,
        (Known::Good, _) | (_, Known::Good) => Step::GoOn,
        (Known::NotYet, _) => Step::Wait,
        (Known::Absent | Known::Unusable, Known::NotYet) => Step::AskLastGood,
        // A last good one says that there was a mapping, though it may have been deleted since.
        (Known::Unusable, _) | (_, Known::Unusable) => Step::WaitForUsable,
        (Known::Absent, Known::Absent) if starter => Step::CreateStarter,
        (Known::Absent, Known::Absent) => Step::GoOnWithout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Known::{Absent, Good, NotYet, Unusable};

    const ALL: [Known; 4] = [NotYet, Absent, Unusable, Good];

    #[test]
    fn only_where_both_are_known_to_be_absent_a_starter_is_created() {
        for mapping in ALL {
            for last_good in ALL {
                let both = (mapping, last_good) == (Absent, Absent);
                assert_eq!(next(mapping, last_good, false, true) == Step::CreateStarter, both);
                assert_ne!(next(mapping, last_good, false, false), Step::CreateStarter);
                assert_eq!(next(mapping, last_good, true, true), Step::GoOn, "one is in force already");
            }
        }
    }

    #[test]
    fn a_replica_that_never_had_a_mapping_is_ready_only_where_there_is_none_or_one_came_into_force() {
        for (mapping, last_good, step) in [
            (NotYet, NotYet, Step::Wait),
            (NotYet, Absent, Step::Wait),
            (NotYet, Unusable, Step::Wait),
            (Absent, NotYet, Step::AskLastGood),
            (Unusable, NotYet, Step::AskLastGood),
            (Absent, Absent, Step::GoOnWithout),
            (Absent, Unusable, Step::WaitForUsable),
            (Unusable, Absent, Step::WaitForUsable),
            (Unusable, Unusable, Step::WaitForUsable),
            (Unusable, Good, Step::GoOn),
            (Absent, Good, Step::GoOn),
            (Good, NotYet, Step::GoOn),
        ] {
            assert_eq!(next(mapping, last_good, false, false), step, "{mapping:?} {last_good:?}");
        }
    }
}

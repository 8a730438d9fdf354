//! What is a key of a mapping called, what may stand under it, and what does it do?
//!
//! The tables of keys stand beside the code that reads them. [`super::schema`] makes a JSON Schema of them.

/// One key that may stand in a block of a mapping.
#[derive(Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) takes: Takes,
    /// One sentence for whoever edits a mapping.
    pub(super) about: &'static str,
}

/// What may stand under a key.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    Account,
    Audience,
    Boolean,
    Components,
    Containers,
    ExternalId,
    Globs,
    Irsa,
    Labels,
    Match,
    Name,
    OnConflict,
    OnNoRule,
    Partition,
    Pod,
    Projects,
    Providers,
    Role,
    Rules,
    Runners,
    SessionName,
    TokenExpiration,
}

pub(super) const fn key(name: &'static str, takes: Takes, about: &'static str) -> Key {
    Key { name, takes, about }
}

/// Returns the names of keys, as a message lists them.
pub(super) fn names(keys: &[Key]) -> Vec<&'static str> {
    keys.iter().map(|key| key.name).collect()
}

//! Which version of a chart is meant, as far as it decides what a value does?

use std::fmt;
use std::str::FromStr;

/// A version with its first two numbers, as `9.10` of `9.10.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

/// It is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be the version of a chart, as 9.10 or 9.10.0")]
pub struct NoVersion;

/// Makes a version of its numbers.
pub(super) const fn version(major: u32, minor: u32) -> Version {
    Version { major, minor }
}

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, _) = text.split_once(['-', '+']).unwrap_or((text, ""));
        let mut numbers = text.split('.').map(|number| match number {
            "x" => Ok(u32::MAX),
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| NoVersion),
            _ => Err(NoVersion),
        });
        let major = numbers.next().ok_or(NoVersion)??;
        let minor = numbers.next().unwrap_or(Ok(u32::MAX))?;
        if numbers.by_ref().take(2).any(|number| number.is_err()) || numbers.next().is_some() {
            return Err(NoVersion);
        }
        Ok(Self { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minor {
            u32::MAX => write!(f, "{}.x", self.major),
            minor => write!(f, "{}.{minor}", self.major),
        }
    }
}

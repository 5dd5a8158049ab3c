//! Identifiers that cannot be mixed up: [`Id`] for runs and tasks, [`Key`] for rows of the fleet.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

pub use uuid::Uuid;

/// A 128-bit identifier of a `K`, printed as a hyphenated UUID. New ones are `UUIDv7`, drawn by
/// the `IdSource` port: they sort by the time of birth.
pub struct Id<K> {
    raw: Uuid,
    kind: PhantomData<fn() -> K>,
}

impl<K> Id<K> {
    /// The identifier with this value.
    #[must_use]
    pub const fn from_uuid(raw: Uuid) -> Self {
        Self {
            raw,
            kind: PhantomData,
        }
    }

    /// The bare value.
    #[must_use]
    pub const fn as_uuid(self) -> Uuid {
        self.raw
    }
}

/// A text that is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an identifier; expected a UUID such as 0190b3a4-7c00-7000-8000-000000000000"
)]
pub struct ParseIdError {
    text: String,
}

impl<K> FromStr for Id<K> {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Uuid::try_parse(text) {
            Ok(raw) if text.len() == 36 => Ok(Self::from_uuid(raw)),
            Ok(_) | Err(_) => Err(ParseIdError {
                text: text.chars().take(64).collect(),
            }),
        }
    }
}

impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}

/// The integer key of a stored `K`; given by the store, always positive.
pub struct Key<K> {
    raw: i64,
    kind: PhantomData<fn() -> K>,
}

impl<K> Key<K> {
    /// The key with this value.
    #[must_use]
    pub const fn new(raw: i64) -> Self {
        Self {
            raw,
            kind: PhantomData,
        }
    }

    /// The bare value.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.raw
    }
}

impl<K> fmt::Display for Key<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}

// By hand, because derives would ask the same of the marker `K`.
macro_rules! value_traits {
    ($name:ident) => {
        impl<K> Clone for $name<K> {
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<K> Copy for $name<K> {}
        impl<K> PartialEq for $name<K> {
            fn eq(&self, other: &Self) -> bool {
                self.raw == other.raw
            }
        }
        impl<K> Eq for $name<K> {}
        impl<K> PartialOrd for $name<K> {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
        impl<K> Ord for $name<K> {
            fn cmp(&self, other: &Self) -> Ordering {
                self.raw.cmp(&other.raw)
            }
        }
        impl<K> Hash for $name<K> {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.raw.hash(state);
            }
        }
        impl<K> fmt::Debug for $name<K> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.raw.fmt(f)
            }
        }
    };
}
value_traits!(Id);
value_traits!(Key);

#[cfg(test)]
mod tests {
    use super::*;

    struct Anything;

    #[test]
    fn an_identifier_reads_what_it_prints() {
        let id = Id::<Anything>::from_uuid(Uuid::from_u128(7));
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn other_spellings_of_a_uuid_are_refused() {
        for text in [
            "",
            "7",
            "00000000000000000000000000000007",
            "{00000000-0000-0000-0000-000000000007}",
        ] {
            assert!(text.parse::<Id<Anything>>().is_err(), "{text}");
        }
    }
}

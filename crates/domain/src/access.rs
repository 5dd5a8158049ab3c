//! Who may do what: roles and API keys.

use std::fmt;

use crate::Timestamp;

/// What a caller may do; each role includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Starts updates and syncs.
    Operator,
    /// Changes what Drover knows and who may use it.
    Admin,
}

impl Role {
    /// The word used in storage, configuration and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The SHA-256 of a key's secret. The secret is 256 random bits, so no slow hash is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// The digest with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are equal, in a time that does not depend on where they differ.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(other.0.iter())
            .fold(0_u8, |difference, (a, b)| difference | (a ^ b))
            == 0
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(…)")
    }
}

/// How a key came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyOrigin {
    /// An administrator issued it.
    Issued,
    /// Drover made it at its first start, because there was no key.
    First,
    /// It is the value of the setting `access.admin_key`.
    Configured,
}

impl KeyOrigin {
    /// The word used in storage and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::First => "first",
            Self::Configured => "configured",
        }
    }

    /// The origin with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Issued, Self::First, Self::Configured]
            .into_iter()
            .find(|origin| origin.as_str() == word)
    }
}

/// The most characters of a key's name.
pub const KEY_NAME_MAX: usize = 255;

/// The most keys there may be.
pub const KEYS_MAX: usize = 500;

/// An API key as it is stored: everything but the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The public half, 16 hexadecimal digits; unique.
    pub public_id: String,
    /// The digest of the secret half.
    pub digest: KeyDigest,
    /// What it allows.
    pub role: Role,
    /// The person or program it is for; shown as the actor.
    pub name: String,
    /// How it came to be.
    pub origin: KeyOrigin,
    /// The name of the key it was issued with.
    pub created_by: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused; never without it.
    pub expires_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it is refused at this moment.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Why it cannot be revoked when `others` are left; a sentence for the user.
    #[must_use]
    pub fn why_kept(&self, others: &[Self]) -> Option<String> {
        let name = &self.name;
        if self.origin == KeyOrigin::Configured {
            return Some(format!(
                "the API key `{name}` comes from the setting `access.admin_key`; change or remove the setting and \
                 restart Drover"
            ));
        }
        if self.is_lasting_admin() && !others.iter().any(Self::is_lasting_admin) {
            return Some(format!(
                "the API key `{name}` is the last one with the role admin that does not expire, and without it Drover \
                 could not be managed; add another one first"
            ));
        }
        None
    }

    /// Whether it lets an administrator in for as long as it exists.
    #[must_use]
    pub fn is_lasting_admin(&self) -> bool {
        self.role == Role::Admin && self.expires_at.is_none()
    }
}

/// A caller who proved who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The name shown in tasks, events and audit.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_include_the_ones_before() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        assert_eq!(Role::parse("operator"), Some(Role::Operator));
        assert_eq!(Role::parse("root"), None);
    }

    #[test]
    fn a_key_is_refused_from_its_end_on() {
        let end = Timestamp::from_micros(5);
        let key = ApiKey {
            public_id: "0123456789abcdef".to_owned(),
            digest: KeyDigest::from_bytes([7; 32]),
            role: Role::Admin,
            name: "deploy".to_owned(),
            origin: KeyOrigin::Issued,
            created_by: None,
            created_at: Timestamp::from_micros(1),
            expires_at: Some(end),
        };
        assert!(!key.is_expired(Timestamp::from_micros(4)));
        assert!(key.is_expired(end));
        assert!(!key.is_lasting_admin());
        let lasting = ApiKey {
            expires_at: None,
            ..key
        };
        assert!(!lasting.is_expired(Timestamp::from_micros(i64::MAX)));
        assert!(lasting.is_lasting_admin());
    }

    #[test]
    fn digests_match_only_when_equal() {
        let digest = KeyDigest::from_bytes([7; 32]);
        let mut other = [7; 32];
        assert!(digest.matches(&KeyDigest::from_bytes(other)));
        other[31] = 8;
        assert!(!digest.matches(&KeyDigest::from_bytes(other)));
        assert_eq!(format!("{digest:?}"), "KeyDigest(…)");
    }
}

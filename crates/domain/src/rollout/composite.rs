//! The names an orchestrator playbook knows instances by: `server::instance[::haproxy_server]`.

use std::collections::BTreeMap;
use std::fmt;

/// A composite name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompositeName {
    server: String,
    instance: String,
    haproxy_server: Option<String>,
}

/// A composite name that cannot be made; the message goes to the user unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompositeNameError {
    /// A part is empty or would break the list the playbook reads.
    #[error(
        "`{part}` cannot stand in a composite name: it is empty, or has a comma, `::` or a blank"
    )]
    BadPart {
        /// The part.
        part: String,
    },
    /// Two servers have the same short name, so their instances could not be distinguished.
    #[error(
        "the servers `{first}` and `{second}` have the same short name `{short}`, by which plays know them; rename one of them"
    )]
    SameShortName {
        /// One full name.
        first: String,
        /// The other.
        second: String,
        /// The short name of both.
        short: String,
    },
}

impl CompositeName {
    /// A name of these parts.
    ///
    /// # Errors
    ///
    /// [`CompositeNameError::BadPart`].
    pub fn new(
        server: &str,
        instance: &str,
        haproxy_server: Option<&str>,
    ) -> Result<Self, CompositeNameError> {
        for part in [Some(server), Some(instance), haproxy_server]
            .into_iter()
            .flatten()
        {
            let breaks = part.is_empty()
                || part.contains("::")
                || part.contains([',', ' ', '\t', '\n', '\r']);
            if breaks {
                return Err(CompositeNameError::BadPart {
                    part: crate::text::visible(part, 128),
                });
            }
        }
        Ok(Self {
            server: server.to_owned(),
            instance: instance.to_owned(),
            haproxy_server: haproxy_server.map(str::to_owned),
        })
    }
}

impl fmt::Display for CompositeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.server, self.instance)?;
        self.haproxy_server
            .as_ref()
            .map_or(Ok(()), |name| write!(f, "::{name}"))
    }
}

/// The name by which plays know a server: the part of its name before the first dot. A name that begins with a number,
/// as an IP address does, is kept whole.
#[must_use]
pub fn short_server_name(name: &str) -> &str {
    crate::fleet::short_name(name).unwrap_or(name)
}

/// Checks that no two different servers share a short name.
///
/// # Errors
///
/// [`CompositeNameError::SameShortName`], naming both.
pub fn check_short_names<'a>(
    servers: impl IntoIterator<Item = &'a str>,
) -> Result<(), CompositeNameError> {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for name in servers {
        let short = short_server_name(name).to_ascii_lowercase();
        match seen.insert(short, name) {
            Some(first) if first != name => {
                return Err(CompositeNameError::SameShortName {
                    first: first.to_owned(),
                    second: name.to_owned(),
                    short: short_server_name(name).to_owned(),
                });
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined() {
        let full =
            CompositeName::new("fdmz01", "jurws_1", Some("srv1")).map(|name| name.to_string());
        assert_eq!(full.as_deref(), Ok("fdmz01::jurws_1::srv1"));
        let simple = CompositeName::new("fdmz01", "jurws_1", None).map(|name| name.to_string());
        assert_eq!(simple.as_deref(), Ok("fdmz01::jurws_1"));
    }

    #[test]
    fn parts_that_break_the_list_are_refused() {
        for part in ["", "a,b", "a::b", "a b", "a\nb"] {
            assert!(CompositeName::new(part, "x", None).is_err(), "{part:?}");
            assert!(
                CompositeName::new("x", "y", Some(part)).is_err(),
                "{part:?}"
            );
        }
    }

    #[test]
    fn short_names_end_at_the_first_dot() {
        for (name, short) in [
            ("fdmz01.example.org", "fdmz01"),
            ("fdmz01", "fdmz01"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(short_server_name(name), short);
        }
    }

    #[test]
    fn equal_short_names_are_refused_naming_both() {
        let refusal = check_short_names(["a.x", "b.x", "a.x", "a.y"])
            .unwrap_err()
            .to_string();
        assert!(
            refusal.contains("`a.x`") && refusal.contains("`a.y`"),
            "{refusal}"
        );
        assert!(check_short_names(["web1.x", "WEB1.y"]).is_err());
        assert_eq!(check_short_names(["web1", "web01"]), Ok(()));
    }
}

//! Names of systemd's services, the only ones that reach the bus.

/// Most bytes of a unit's name; systemd takes no longer one.
const UNIT_NAME_BYTES_MAX: usize = 255;

/// What the name of a service ends with.
const SUFFIX: &str = ".service";

/// The name of a service or of an instance of a template, such as `jurws.service` or `jurws@1.service`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UnitName(String);

impl UnitName {
    /// Reads a name by systemd's own rules; a template without an instance cannot run and is none.
    pub(super) fn parse(text: &str) -> Result<Self, UnitNameError> {
        let stem = text
            .strip_suffix(SUFFIX)
            .filter(|stem| !stem.is_empty() && text.len() <= UNIT_NAME_BYTES_MAX)
            .filter(|stem| stem.bytes().all(is_of_alphabet))
            .ok_or(UnitNameError::Form)?;
        match stem.split_once('@') {
            Some(("", _)) => Err(UnitNameError::Form),
            Some((_, "")) => Err(UnitNameError::Template),
            Some(_) | None => Ok(Self(text.to_owned())),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_of_alphabet(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte)
}

/// A text that names no service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnitNameError {
    #[error(
        "`unit` must be the name of a service: at most {UNIT_NAME_BYTES_MAX} of A-Z a-z 0-9 : - _ . \\ @ with `{SUFFIX}` at the end"
    )]
    Form,
    #[error("`unit` names a template; write the instance between `@` and `{SUFFIX}`")]
    Template,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_instances_are_names() {
        for text in [
            "a.service",
            "jurws-1_a:b.c.service",
            "jurws@1.service",
            "jurws@a@b.service",
            "disk@dev-sda\\x2d1.service",
            ".service.service",
        ] {
            assert_eq!(UnitName::parse(text).unwrap().as_str(), text);
        }
        let longest = format!("{}.service", "x".repeat(UNIT_NAME_BYTES_MAX - SUFFIX.len()));
        assert!(UnitName::parse(&longest).is_ok());
        assert_eq!(
            UnitName::parse(&format!("x{longest}")),
            Err(UnitNameError::Form)
        );
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            ".service",
            "a",
            "a.socket",
            "a.SERVICE",
            "@1.service",
            "a b.service",
            "a/../b.service",
            "/org/freedesktop/systemd1.service",
            "a\n.service",
            "a.service\n",
            "a\0.service",
            "a*.service",
            "ä.service",
            "$(id).service",
        ] {
            assert_eq!(UnitName::parse(text), Err(UnitNameError::Form), "{text:?}");
        }
        assert_eq!(UnitName::parse("a@.service"), Err(UnitNameError::Template));
    }
}

//! Instance names and the base names behind them.

/// The most characters of an application's name.
pub const APPLICATION_NAME_MAX: usize = 128;

/// An instance name taken apart: `jurws_1` is instance 1 of `jurws`. Seed 001: `^(.+?)_(\d+)$`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationName {
    /// The base name: the group and the catalog entry are called so.
    pub base: String,
    /// The instance number; 0 when the name has none.
    pub number: u32,
}

impl ApplicationName {
    /// Takes any name apart; total. A number too large for 32 bits counts as part of the name.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        let parts = name.rsplit_once('_').filter(|(base, digits)| {
            !base.is_empty()
                && !digits.is_empty()
                && digits.bytes().all(|digit| digit.is_ascii_digit())
        });
        if let Some((base, digits)) = parts
            && let Ok(number) = digits.parse()
        {
            return Self {
                base: base.to_owned(),
                number,
            };
        }
        Self {
            base: name.to_owned(),
            number: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_seed_hold() {
        for (name, base, number) in [
            ("jurws_1", "jurws", 1),
            ("best-app_2", "best-app", 2),
            ("standalone", "standalone", 0),
            ("my-app_test", "my-app_test", 0),
            ("app_1_2", "app_1", 2),
            ("_1", "_1", 0),
            ("app_007", "app", 7),
            ("app_99999999999", "app_99999999999", 0),
        ] {
            assert_eq!(
                ApplicationName::parse(name),
                ApplicationName {
                    base: base.to_owned(),
                    number
                },
                "{name}"
            );
        }
    }

    proptest! {
        #[test]
        fn base_and_number_make_the_name_again(base in "[a-z_-]{1,20}", number in 0_u32..100_000) {
            let parsed = ApplicationName::parse(&format!("{base}_{number}"));
            prop_assert_eq!(parsed, ApplicationName { base, number });
        }

        #[test]
        fn parsing_is_total(name in "\\PC*") {
            let parsed = ApplicationName::parse(&name);
            prop_assert!(name.starts_with(&parsed.base));
        }
    }
}

//! A value that should be a text or a number, and may be anything.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A value of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Field {
    /// Left out, or null.
    #[default]
    Absent,
    /// A text, a number or a truth value, as text.
    Word(String),
    /// A list or an object.
    Strange,
}

impl Field {
    /// The text as it is; nothing when it is only blanks.
    pub(crate) fn text(&self) -> Option<&str> {
        self.word()?;
        match self {
            Self::Word(word) => Some(word),
            Self::Absent | Self::Strange => None,
        }
    }

    /// The text, without blanks around it; nothing when that leaves nothing.
    pub(crate) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word.trim()).filter(|word| !word.is_empty()),
            Self::Absent | Self::Strange => None,
        }
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;

        impl<'de> Visitor<'de> for Anything {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_unit<E>(self) -> Result<Field, E> {
                Ok(Field::Absent)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Field, E> {
                Ok(Field::Word(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Field, E> {
                Ok(Field::Word(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Field, E> {
                Ok(Field::Word(value.to_string()))
            }

            // Prints a whole number without a fraction: 8080.0 is the port 8080.
            fn visit_f64<E>(self, value: f64) -> Result<Field, E> {
                Ok(Field::Word(value.to_string()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Field, E> {
                Ok(Field::Word(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Field, E> {
                Ok(Field::Word(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Field, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Field::Strange)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Field, A::Error> {
                while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Field::Strange)
            }
        }

        deserializer.deserialize_any(Anything)
    }
}

//! A list with an end.

use std::fmt;
use std::marker::PhantomData;

use drover_domain::fleet::inventory::APPLICATIONS_PER_SERVER_MAX;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::entry::Entry;
use super::field::Field;
use super::named::Named;

/// A list of at most [`APPLICATIONS_PER_SERVER_MAX`] elements; a longer one is an error before it
/// is in memory. An element that cannot be read stands for itself alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

/// What may stand in a list.
pub(crate) trait Element: DeserializeOwned {
    /// In place of what cannot be read.
    const STRANGE: Self;
}

impl<T: DeserializeOwned> Element for Entry<T> {
    const STRANGE: Self = Self::Strange;
}

impl Element for Field {
    const STRANGE: Self = Self::Strange;
}

impl Element for Named {
    const STRANGE: Self = Self(Field::Strange);
}

impl<'de, T: Element> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded<T>(PhantomData<T>);

        impl<'de, T: Element> Visitor<'de> for Bounded<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element::<&RawValue>()? {
                    if elements.len() == APPLICATIONS_PER_SERVER_MAX {
                        return Err(A::Error::custom(format_args!(
                            "a list has more than {APPLICATIONS_PER_SERVER_MAX} elements"
                        )));
                    }
                    // A repeated member, a number beyond all numbers, a value too deep.
                    elements.push(serde_json::from_str(element.get()).unwrap_or(T::STRANGE));
                }
                Ok(List(elements))
            }
        }

        deserializer.deserialize_seq(Bounded(PhantomData))
    }
}

//! A list with an end.

use std::fmt;
use std::marker::PhantomData;

use drover_domain::fleet::inventory::APPLICATIONS_PER_SERVER_MAX;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// A list of at most [`APPLICATIONS_PER_SERVER_MAX`] elements; a longer one is an error before it
/// is in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    if elements.len() == APPLICATIONS_PER_SERVER_MAX {
                        return Err(A::Error::custom(format_args!(
                            "a list has more than {APPLICATIONS_PER_SERVER_MAX} elements"
                        )));
                    }
                    elements.push(element);
                }
                Ok(List(elements))
            }
        }

        deserializer.deserialize_seq(Bounded(PhantomData))
    }
}

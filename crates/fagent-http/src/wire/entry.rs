//! A value that should be an object, and may be anything.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A value where an object is agreed. Unlike a bare struct it does not take a list for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry<T> {
    /// An object.
    Object(T),
    /// Anything else.
    Strange,
}

impl<T> Entry<T> {
    /// The object, if it is one.
    pub(crate) fn object(self) -> Option<T> {
        match self {
            Self::Object(object) => Some(object),
            Self::Strange => None,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entry<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Anything<T> {
            type Value = Entry<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_unit<E>(self) -> Result<Entry<T>, E> {
                Ok(Entry::Strange)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Entry<T>, E> {
                Ok(Entry::Strange)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Entry<T>, E> {
                Ok(Entry::Strange)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Entry<T>, E> {
                Ok(Entry::Strange)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Entry<T>, E> {
                Ok(Entry::Strange)
            }

            fn visit_str<E>(self, _: &str) -> Result<Entry<T>, E> {
                Ok(Entry::Strange)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entry<T>, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Entry::Strange)
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Entry<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(object)).map(Entry::Object)
            }
        }

        deserializer.deserialize_any(Anything(PhantomData))
    }
}

//! A name in a list: a text, or an object with a `name`.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::field::Field;

/// The name; [`Field::Strange`] where there is something else in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named(pub(crate) Field);

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Object {
    name: Field,
}

impl<'de> Deserialize<'de> for Named {
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

            fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
                Ok(Field::Strange)
            }

            fn visit_i64<E>(self, value: i64) -> Result<Field, E> {
                Ok(Field::Word(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Field, E> {
                Ok(Field::Word(value.to_string()))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Field, E> {
                Ok(Field::Strange)
            }

            fn visit_str<E>(self, value: &str) -> Result<Field, E> {
                Ok(Field::Word(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Field, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Field::Strange)
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Field, A::Error> {
                Object::deserialize(MapAccessDeserializer::new(object)).map(|object| object.name)
            }
        }

        deserializer.deserialize_any(Anything).map(Self)
    }
}

//! JSON documents that Drover carries without looking into them.

use drover_domain::workflow::Json;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::openapi::schema::{Schema, SchemaType};
use utoipa::openapi::{ObjectBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// A payload, a result or an input, as it was given.
#[derive(Debug, Clone)]
pub(crate) struct Document(Json);

impl From<Json> for Document {
    fn from(document: Json) -> Self {
        Self(document)
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue =
            serde_json::from_str(self.0.as_str()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl PartialSchema for Document {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .description(Some("Any JSON; at most 256 KiB."))
            .into()
    }
}

impl ToSchema for Document {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_out_as_it_went_in() {
        let text = r#"{"b":[1.50,123456789012345678901234567890],"a":null}"#;
        let document = Document(Json::from_parsed("it", text).unwrap());
        assert_eq!(serde_json::to_string(&document).unwrap(), text);
    }
}

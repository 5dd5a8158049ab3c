//! Stored shapes and their way back into the domain.

pub(crate) mod action;
pub(crate) mod application;
pub(crate) mod catalog;
pub(crate) mod event;
pub(crate) mod group;
pub(crate) mod haproxy;
pub(crate) mod mapping;
pub(crate) mod orchestrator;
pub(crate) mod prepared;
pub(crate) mod rollout;
pub(crate) mod server;
pub(crate) mod summary;
pub(crate) mod webhook;

use std::fmt::Display;

use drover_domain::{Id, Timestamp};
use drover_ports::StoreError;

/// A stored thing that is being read; names itself when it cannot be.
pub(crate) struct Stored {
    what: &'static str,
    name: String,
}

impl Stored {
    /// The `what` called `name`.
    pub(crate) fn new(what: &'static str, name: impl Display) -> Self {
        Self {
            what,
            name: name.to_string(),
        }
    }

    /// What is wrong with it.
    pub(crate) fn corrupt(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Corrupt {
            what: self.what,
            name: self.name.clone(),
            reason: reason.into(),
        }
    }

    /// A word of an enum.
    pub(crate) fn word<T>(
        &self,
        column: &str,
        word: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        parse(word).ok_or_else(|| self.corrupt(format!("`{word}` is no {column}")))
    }

    /// A number that has a narrower range than its column.
    pub(crate) fn number<T: TryFrom<i64>>(
        &self,
        column: &str,
        number: i64,
    ) -> Result<T, StoreError> {
        T::try_from(number).map_err(|_| self.corrupt(format!("{number} is no {column}")))
    }

    /// Perhaps a number.
    pub(crate) fn optional<T: TryFrom<i64>>(
        &self,
        column: &str,
        number: Option<i64>,
    ) -> Result<Option<T>, StoreError> {
        number.map(|number| self.number(column, number)).transpose()
    }

    /// An identifier.
    pub(crate) fn id<K>(&self, column: &str, text: &str) -> Result<Id<K>, StoreError> {
        text.parse()
            .map_err(|_| self.corrupt(format!("`{text}` is no {column}")))
    }

    /// A JSON document.
    pub(crate) fn shape<T: serde::de::DeserializeOwned>(
        &self,
        column: &str,
        json: &str,
    ) -> Result<T, StoreError> {
        serde_json::from_str(json)
            .map_err(|error| self.corrupt(format!("its {column} is not readable: {error}")))
    }
}

/// Perhaps a time.
pub(crate) fn time(micros: Option<i64>) -> Option<Timestamp> {
    micros.map(Timestamp::from_micros)
}

/// A count as databases keep it; no count of ours comes near the end.
pub(crate) fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

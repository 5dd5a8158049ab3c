//! The port of API keys.

pub(crate) mod keys;

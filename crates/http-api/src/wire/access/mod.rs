//! API keys.

pub(crate) mod keys;

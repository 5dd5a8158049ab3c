//! Who may call: API keys.

mod keys;

pub use keys::{Access, AccessError, NewKey, Presented};

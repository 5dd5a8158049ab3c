//! The one place that builds an HTTP client: timeouts, TLS, caps, redaction.
//!
//! No system surprises: no redirects, no proxy from the environment unless asked, no hidden
//! retries, no compression, no endless waits, no endless bodies. It must not know who is called.
//!
//! Start reading at [`client`].

mod body;
mod client;
mod redacted;

pub use body::{BodyError, read_capped};
pub use client::{ClientError, Options, Proxy, USER_AGENT, client};
pub use redacted::Redacted;

//! The one place that builds an HTTP client: timeouts, TLS, caps, redaction, address policy.
//!
//! No system surprises: no redirects, no proxy from the environment unless asked, no hidden
//! retries, no compression, no endless waits, no endless bodies. It must not know who is called.
//!
//! Start reading at [`client`] (for configured addresses) and [`GuardedClient`] (for addresses from untrusted
//! input).

mod body;
mod cidr;
mod client;
mod guarded;
mod local;
mod policy;
mod range;
mod redacted;

pub use body::{BodyError, read_capped};
pub use cidr::{Cidr, CidrError};
pub use client::{ClientError, Options, Proxy, USER_AGENT, client};
pub use guarded::{GuardedClient, GuardedOptions, refusal};
pub use local::is_local;
pub use policy::{AddressPolicy, AddressRefused, Closed};
pub use redacted::Redacted;

//! HTTP requests to peers from untrusted input: the kind `http.request` of workflows, and messages to webhooks.
//!
//! An author says method, URL, headers and body; the address policy of `drover-egress` says whether the
//! address may be called. No redirects, no proxies, no answer without an end. It must not know what a
//! peer is for. Shapes and error codes: `docs/reference/kinds.md`.
//!
//! Start reading at [`PeerHttp`], then `payload` (what authors write) and `answer` (what tasks get).

mod answer;
mod failure;
mod handler;
mod headers;
mod members;
mod payload;
mod webhook;

pub use handler::{KIND, Options, PeerHttp};
pub use payload::{PayloadError, check};
pub use webhook::WebhookHttp;

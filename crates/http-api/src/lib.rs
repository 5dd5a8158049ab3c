//! Drover over HTTP: routes, wire shapes, problems, authentication, and their description.
//!
//! A handler parses wire into domain, calls one use case and maps the answer back; everything
//! else is the same for every route and stands in `router`. It must not know any adapter.
//!
//! Start reading at [`router`] (the tree and what surrounds it), then at the table in `role` (who
//! may do what) and `problem` (what every error looks like).

mod admin;
mod auth;
mod body;
mod code;
mod document;
mod edge;
mod etag;
mod extract;
mod follow;
mod guard;
mod health;
mod json;
mod mask;
mod options;
mod page;
mod problem;
mod query;
mod request_id;
mod role;
mod router;
mod routes;
mod state;
mod throttle;
mod trace;
mod wire;

pub use admin::admin_router;
pub use auth::{ApiKeyText, ApiKeyTextError, NoRandomness};
pub use document::openapi;
pub use edge::{EdgeLimits, serve_connections};
pub use options::Options;
pub use router::router;

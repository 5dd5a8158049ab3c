//! The FAgent contract over HTTP.
//!
//! Agents in the field have several versions, and their answers are not always correct: numbers come as texts,
//! fields are missing, names have any form. Every answer is bounded in size and time and read
//! leniently; what cannot be read is a complaint about that one item. This crate decides nothing and
//! repeats nothing. It must not know its callers.
//!
//! Start reading at [`FagentHttp`], then `wire` (the shapes) and `inventory`, `haproxy` (what they mean).

mod call;
mod gateway;
mod haproxy;
mod inventory;
mod reading;
mod wire;

pub use gateway::{FagentHttp, Options, TokenError};

//! The FAgent contract over HTTP.
//!
//! Agents in the field are of several ages and do not always tell the truth: numbers come as texts,
//! fields are missing, names are anything. Here every answer is bounded in size and time and read
//! leniently; what cannot be read is a complaint about that one thing. It decides nothing and
//! repeats nothing. It must not know who asks.
//!
//! Start reading at [`FagentHttp`], then `wire` (the shapes) and `inventory`, `haproxy` (what they mean).

mod call;
mod gateway;
mod haproxy;
mod inventory;
mod reading;
mod wire;

pub use gateway::{FagentHttp, Options, TokenError};

//! The FAgent contract over HTTP.

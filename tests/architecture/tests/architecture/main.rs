//! What the workspace promises about itself. The tables here are the architecture; prose repeats them.
//!
//! A failure names the crate or the file and the rule. Change a table only together with an ADR
//! that says why.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a file of our own that cannot be read should stop the test"
)]

mod arrows;
mod documents;
mod source;
mod sources;
mod words;
mod workspace;

//! The arrows, purity, lints and docs of the workspace as a test; see `tests/architecture`.

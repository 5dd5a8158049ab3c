//! Filled in by its writer.

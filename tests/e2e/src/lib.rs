//! Journeys through the real binary on real peers; they stand in `tests/journeys`.

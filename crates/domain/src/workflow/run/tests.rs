//! Steps of small runs, one rule each.

//! The order in which people expect names: `jurws_2` before `jurws_10`.

use std::cmp::Ordering;

/// Compares two names, numbers in them by their value.
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one, other);
    loop {
        let (a, rest_a) = piece(left);
        let (b, rest_b) = piece(right);
        if a.is_empty() || b.is_empty() {
            // Names that differ in leading zeros only are still two names.
            return a.len().cmp(&b.len()).then_with(|| one.cmp(other));
        }
        let order = match (is_number(a), is_number(b)) {
            (true, true) => {
                let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
                a.len().cmp(&b.len()).then_with(|| a.cmp(b))
            }
            _ => a.cmp(b),
        };
        if order != Ordering::Equal {
            return order;
        }
        (left, right) = (rest_a, rest_b);
    }
}

/// The digits, or what is none, at the beginning of a text, and the rest.
fn piece(text: &str) -> (&str, &str) {
    let is_digit = is_number(text);
    let end = text
        .find(|found: char| found.is_ascii_digit() != is_digit)
        .unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_their_value() {
        let sorted = [
            "",
            "1",
            "2a",
            "10",
            "a",
            "a01",
            "a1",
            "a2b3",
            "a2b20",
            "a10",
            "jurws_1",
            "jurws_2",
            "jurws_10",
            "jurws_99999999999999999999999",
            "jurws_x",
            "й2",
            "й10",
        ];
        let mut names = sorted;
        names.reverse();
        names.sort_by(|one, other| compare(one, other));
        assert_eq!(names, sorted);
    }
}

//! One page of a list.

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Only items after this position (the position of the last item already seen).
    pub after: Option<i64>,
    /// At most this many items; [`PageRequest::LIMIT_MAX`] at most.
    pub limit: u16,
}

impl PageRequest {
    /// The most items one page may have.
    pub const LIMIT_MAX: u16 = 200;
    /// How many items a page has when nobody says.
    pub const LIMIT_DEFAULT: u16 = 50;

    /// The first page of the default size.
    #[must_use]
    pub const fn first() -> Self {
        Self {
            after: None,
            limit: Self::LIMIT_DEFAULT,
        }
    }
}

/// Items in the order of the list, and where the next page starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// At most the asked number of items.
    pub items: Vec<T>,
    /// Pass it as [`PageRequest::after`] for the next page; `None` at the end of the list.
    pub next: Option<i64>,
}

impl<T> Page<T> {
    /// Makes a page from up to `limit + 1` items: one more than asked for tells that there is more.
    #[must_use]
    pub fn from_lookahead(mut items: Vec<T>, limit: u16, position: impl Fn(&T) -> i64) -> Self {
        let more = items.len() > usize::from(limit);
        items.truncate(usize::from(limit));
        let next = if more {
            items.last().map(position)
        } else {
            None
        };
        Self { items, next }
    }

    /// The same page with every item changed by `change`.
    #[must_use]
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(change).collect(),
            next: self.next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_knows_whether_there_is_more() {
        let page = Page::from_lookahead(vec![1_i64, 2, 3], 2, |item| *item);
        assert_eq!(
            page,
            Page {
                items: vec![1, 2],
                next: Some(2)
            }
        );
        assert_eq!(
            Page::from_lookahead(vec![1_i64, 2], 2, |item| *item).next,
            None
        );
    }
}

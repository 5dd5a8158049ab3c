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
    /// The default number of items of a page.
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
    /// Makes a page from up to `limit + 1` items: the surplus item shows that there are more.
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

/// What a list can go by.
pub trait SortColumn: Copy + Eq + Default + 'static {
    /// All of them, the default first.
    const ALL: &'static [Self];

    /// The word for it.
    fn as_str(self) -> &'static str;
}

/// In which order a list goes: by a column, and where that is the same by the key, both in one direction. What has no
/// value in the column comes before everything that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sort<C> {
    /// What the list goes by.
    pub by: C,
    /// From the greatest down.
    pub is_descending: bool,
}

impl<C: SortColumn> Sort<C> {
    /// The order with this word: that of the column, with `-` before it for the greatest first.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let (name, is_descending) = match word.strip_prefix('-') {
            Some(name) => (name, true),
            None => (word, false),
        };
        let mut columns = C::ALL.iter().copied();
        let by = columns.find(|column| column.as_str() == name)?;
        Some(Self { by, is_descending })
    }

    /// Every word that [`Sort::parse`] knows.
    #[must_use]
    pub fn words() -> Vec<String> {
        let columns = C::ALL.iter().map(|column| column.as_str());
        columns
            .flat_map(|name| [name.to_owned(), format!("-{name}")])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    enum Column {
        #[default]
        Key,
        Name,
    }

    impl SortColumn for Column {
        const ALL: &'static [Self] = &[Self::Key, Self::Name];

        fn as_str(self) -> &'static str {
            match self {
                Self::Key => "id",
                Self::Name => "name",
            }
        }
    }

    #[test]
    fn an_order_is_a_column_and_a_direction() {
        for word in Sort::<Column>::words() {
            let sort = Sort::<Column>::parse(&word).unwrap();
            assert_eq!(sort.is_descending, word.starts_with('-'));
            assert_eq!(sort.by.as_str(), word.trim_start_matches('-'));
        }
        for word in ["", "-", "--name", "Name", "name ", "+name", "port"] {
            assert_eq!(Sort::<Column>::parse(word), None, "{word}");
        }
    }

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

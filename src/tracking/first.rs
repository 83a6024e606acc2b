//! What comes first in an order. A search keeps no more than its page asks for: the keys of a hundred thousand runs take more room than
//! their ids, and searches run side by side.

use crate::search::{SortKey, page};

/// Room beside what is wanted, so that small pages are not cut after each thing.
const SLACK: usize = 1024;

/// The first things of those that were put.
pub struct First<T> {
    /// Where the page ends.
    end: usize,
    /// Once there were `more`, the last of the first `end` stands at their end, and what follows comes before it.
    kept: Vec<(SortKey, T)>,
    more: bool,
}

impl<T> First<T> {
    /// Enough for a page.
    pub fn until(end: usize) -> Self {
        Self { end: end.max(1), kept: Vec::new(), more: false }
    }

    /// Takes things in.
    pub fn of(end: usize, all: impl IntoIterator<Item = (SortKey, T)>) -> Self {
        let mut first = Self::until(end);
        all.into_iter().for_each(|(key, thing)| first.put(key, thing));
        first
    }

    /// Takes a thing in, unless enough come before it.
    pub fn put(&mut self, key: SortKey, thing: T) {
        if self.more && self.kept[self.end - 1].0 <= key {
            return;
        }
        self.kept.push((key, thing));
        if self.kept.len() >= self.end.saturating_add(self.end.max(SLACK)) {
            self.cut();
        }
    }

    /// Takes in what another kept for the same page.
    pub fn join(mut self, other: Self) -> Self {
        self.more |= other.more;
        self.kept.extend(other.kept);
        self.cut();
        self
    }

    fn cut(&mut self) {
        if self.kept.len() > self.end {
            self.kept.select_nth_unstable_by(self.end - 1, |a, b| a.0.cmp(&b.0));
            self.kept.truncate(self.end);
            self.more = true;
        }
    }

    /// The page that begins at this place, in order, and the token of the next.
    pub fn page(mut self, offset: usize) -> (Vec<T>, Option<String>) {
        self.cut();
        self.kept.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let next = self.more.then(|| page::token(self.end));
        (self.kept.into_iter().skip(offset).map(|(_, thing)| thing).collect(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{Attribute, Orders, Searched, Subject};
    use proptest::prelude::*;

    struct Started(i64);

    impl Searched for Started {
        fn attribute(&self, name: &str) -> Attribute<'_> {
            if name == "start_time" { Attribute::Integer(self.0) } else { Attribute::Missing }
        }
    }

    proptest! {
        #[test]
        fn a_page_is_what_sorting_all_gives(
            mut times in proptest::collection::vec(any::<i64>(), 0..5000),
            parts in 1usize..6,
            offset in 0usize..2000,
            most in 1usize..1500,
        ) {
            let orders = Orders::parse(Subject::Runs, &["start_time".to_owned()]).unwrap();
            let of_part =
                |part: &[i64]| First::of(offset + most, part.iter().map(|n| (orders.key(&Started(*n)), *n)));
            let first = times.chunks(times.len() / parts + 1).map(of_part).reduce(First::join);
            let (found, next) = first.map_or((vec![], None), |first| first.page(offset));
            times.sort_unstable();
            prop_assert_eq!(found, times.iter().skip(offset).take(most).copied().collect::<Vec<_>>());
            prop_assert_eq!(next, (times.len() > offset + most).then(|| page::token(offset + most)));
        }
    }
}

//! Which files depend on what.

/// Files by what they depend on.
#[derive(Debug, Clone, Default)]
pub(super) struct Relation(rpds::RedBlackTreeSetSync<(String, String)>);

impl Relation {
    pub(super) fn set(&mut self, pair: (String, String), present: bool) {
        if present {
            self.0.insert_mut(pair);
        } else {
            self.0.remove_mut(&pair);
        }
    }

    pub(super) fn of<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a String> + use<'a> {
        let wanted = key.to_owned();
        self.0.range((key.to_owned(), String::new())..).take_while(move |(k, _)| *k == wanted).map(|(_, file)| file)
    }
}

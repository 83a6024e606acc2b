//! Whose a thing is that stands where one of another server comes to, and how a copy follows its origin: field by field, but for what was
//! changed here since. What was made here, or came from elsewhere under the same name, keeps all that it has.

use super::Stage;
use crate::model::tracking::Lifecycle;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What stands where a thing of another server comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    Nothing,
    /// What an import made of that very thing.
    Copy,
    /// Another one, made here or brought from elsewhere. `lacks`: theirs says something that it does not.
    Other {
        lacks: bool,
    },
}

impl Here {
    /// By when both were made: a copy has its origin's time, and what was made here later under the same name has not.
    pub(super) fn of(marked: bool, here: Option<i64>, theirs: i64, lacks: impl FnOnce() -> bool) -> Self {
        match here {
            None => Self::Nothing,
            Some(created) if marked && created == theirs => Self::Copy,
            Some(_) => Self::Other { lacks: lacks() },
        }
    }
}

/// What people change of an experiment, a registered model or a version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub tags: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
}

impl Fields {
    /// Theirs, but for what was changed here since it came as it was `brought`.
    pub(super) fn followed(mut self, brought: &Self, theirs: &Self) -> Self {
        follow(&mut self.description, &brought.description, &theirs.description);
        follow(&mut self.lifecycle, &brought.lifecycle, &theirs.lifecycle);
        follow(&mut self.stage, &brought.stage, &theirs.stage);
        for key in brought.tags.keys().chain(theirs.tags.keys()) {
            if self.tags.get(key) != brought.tags.get(key) {
                continue;
            }
            match theirs.tags.get(key) {
                Some(value) => drop(self.tags.insert(key.clone(), value.clone())),
                None => drop(self.tags.remove(key)),
            }
        }
        self
    }

    /// Whether theirs says something that this does not.
    pub(super) fn lacks(&self, theirs: &Self) -> bool {
        let described = theirs.description.as_ref().is_some_and(|text| !text.is_empty());
        described && self.description != theirs.description
            || self.lifecycle != theirs.lifecycle
            || theirs.tags.iter().any(|(key, value)| self.tags.get(key) != Some(value))
    }
}

fn follow<T: PartialEq + Clone>(here: &mut T, brought: &T, theirs: &T) {
    if here == brought {
        here.clone_from(theirs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(description: &str, tags: &[(&str, &str)]) -> Fields {
        let tags = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Fields { description: Some(description.into()), tags, ..Fields::default() }
    }

    #[test]
    fn a_copy_follows_where_nobody_changed_it_here() {
        let brought = fields("a", &[("k", "1"), ("gone", "1"), ("both", "1"), ("taken away", "1")]);
        let here = fields("a", &[("k", "1"), ("gone", "1"), ("both", "MINE"), ("own", "MINE")]);
        let theirs = fields("b", &[("k", "2"), ("both", "2"), ("taken away", "2"), ("new", "2"), ("own", "2")]);
        let expected = fields("b", &[("k", "2"), ("both", "MINE"), ("own", "MINE"), ("new", "2")]);
        assert_eq!(here.followed(&brought, &theirs), expected);
        assert_eq!(fields("MINE", &[]).followed(&brought, &theirs).description.as_deref(), Some("MINE"));
        let moved = |stage| Fields { stage: Some(stage), ..Fields::default() };
        assert_eq!(moved(Stage::Staging).followed(&moved(Stage::None), &moved(Stage::Archived)), moved(Stage::Staging));
    }

    #[test]
    fn only_the_same_time_of_making_and_a_mark_make_a_copy() {
        let of = |marked, here| Here::of(marked, here, 5, || true);
        assert_eq!(of(true, Some(5)), Here::Copy);
        for (marked, here) in [(false, Some(5)), (true, Some(6))] {
            assert_eq!(of(marked, here), Here::Other { lacks: true }, "{marked} {here:?}");
        }
        assert_eq!(of(true, None), Here::Nothing);
    }

    #[test]
    fn what_theirs_says_more_is_told() {
        let here = fields("", &[("k", "1"), ("own", "1")]);
        assert!(!here.lacks(&fields("", &[("k", "1")])));
        assert!(here.lacks(&fields("", &[("k", "2")])) && here.lacks(&fields("text", &[])));
        assert!(!fields("own", &[]).lacks(&fields("", &[])));
    }
}

//! Which models the fleet shows: words, all of which must hold.
//!
//! A word is a part of the name, the health or the sync status, and of one field alone after `owner:`, `env:`, `by:`, `health:` or `sync:`. With
//! `!` before it, it must not hold; `team=risk` asks for a label, `team` before it alone for any value of it (`team=`). `is:marked` finds what the person marked. Where no name has a part that was typed, those with its letters in order are meant: `frd` finds `fraud`.

use crate::{api::types::ModelSummary, model::*};

const HEALTHS: [Health; 6] =
    [Health::Healthy, Health::Progressing, Health::Degraded, Health::Suspended, Health::Missing, Health::Unknown];

const SYNCS: [SyncStatus; 3] = [SyncStatus::Synced, SyncStatus::OutOfSync, SyncStatus::Unknown];

/// What a word is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Any,
    Owner,
    /// An environment where it serves.
    Environment,
    /// The author of its newest change.
    By,
    Health,
    Sync,
    /// `KEY=VALUE`, or `KEY=`: with any value.
    Label,
    /// What the person made of it.
    Is,
}

/// Before the colon.
const FIELDS: [(&str, Field); 6] = [
    ("owner", Field::Owner),
    ("env", Field::Environment),
    ("by", Field::By),
    ("health", Field::Health),
    ("sync", Field::Sync),
    ("is", Field::Is),
];

struct Word {
    not: bool,
    field: Field,
    /// In small letters.
    text: String,
    /// Asked of each word once, not of each of ten thousand models.
    healths: Vec<Health>,
    syncs: Vec<SyncStatus>,
}

/// How a name is compared with a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Part,
    /// All letters of the word, in their order.
    Letters,
}

/// A filter as typed.
pub(super) struct Filter(Vec<Word>);

impl Filter {
    /// Any text is a filter.
    pub fn new(text: &str) -> Self {
        Self(text.to_lowercase().split_whitespace().filter_map(word).collect())
    }

    /// Whether it shows the model, which is marked or not.
    pub fn lets(&self, m: &ModelSummary, names: Names, marked: bool) -> bool {
        self.0.iter().all(|w| w.holds(m, names, marked) != w.not)
    }
}

fn word(typed: &str) -> Option<Word> {
    let (not, rest) = typed.strip_prefix('!').map_or((false, typed), |rest| (true, rest));
    let named = rest.split_once(':').and_then(|(name, value)| {
        let field = FIELDS.iter().find(|(n, _)| *n == name)?.1;
        Some((field, value))
    });
    let of_rest = if rest.contains('=') { Field::Label } else { Field::Any };
    let (field, text) = named.unwrap_or((of_rest, rest));
    let of = |word: String| word.to_lowercase().contains(text);
    let healths = HEALTHS.into_iter().filter(|h| of(h.to_string())).collect();
    let syncs = SYNCS.into_iter().filter(|s| of(s.to_string())).collect();
    // What is still being typed asks for nothing.
    (!text.is_empty()).then(|| Word { not, field, text: text.to_owned(), healths, syncs })
}

impl Word {
    fn holds(&self, m: &ModelSummary, names: Names, marked: bool) -> bool {
        let part = |text: &str| text.to_lowercase().contains(&self.text);
        match self.field {
            Field::Any => {
                self.names(m.name.as_str(), names) || self.healths.contains(&m.health) || self.syncs.contains(&m.sync)
            }
            Field::Owner => m.owner.as_deref().is_some_and(part),
            Field::Environment => m.environments.iter().any(|e| e.version.is_some() && part(e.environment.as_str())),
            Field::By => m.changed_by.as_ref().is_some_and(|r| part(&r.author) || part(&r.email)),
            Field::Health => self.healths.contains(&m.health),
            Field::Sync => self.syncs.contains(&m.sync),
            Field::Label => self.text.split_once('=').is_some_and(|(key, value)| {
                let is = |(k, v): (&String, &String)| {
                    k.to_lowercase() == key && (value.is_empty() || v.to_lowercase() == value)
                };
                m.labels.iter().any(is)
            }),
            Field::Is => marked && "marked".starts_with(&self.text),
        }
    }

    fn names(&self, name: &str, names: Names) -> bool {
        // What must not hold is meant as it was typed.
        if names == Names::Part || self.not {
            return name.contains(&self.text);
        }
        let mut letters = name.chars();
        self.text.chars().all(|c| letters.any(|l| l == c))
    }
}

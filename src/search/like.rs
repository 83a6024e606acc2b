//! `LIKE` as SQLite matches it: `%` is any text, `_` one character, nothing escapes them.

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Like {
    /// What stands between the `%`.
    parts: Box<[Box<str>]>,
    /// `ILIKE`: SQLite lowers ASCII letters only.
    folds: bool,
}

impl Like {
    /// Compiles a pattern.
    pub fn new(pattern: &str, folds: bool) -> Self {
        Self { parts: pattern.split('%').map(Box::from).collect(), folds }
    }

    /// Whether a text fits, without allocating.
    pub fn matches(&self, text: &str) -> bool {
        let (Some(first), Some(last)) = (self.parts.first(), self.parts.last()) else { return false };
        let Some(after) = self.begins(text, first) else { return false };
        if self.parts.len() == 1 {
            return after.is_empty();
        }
        let mut rest = after;
        for part in &self.parts[1..self.parts.len() - 1] {
            match suffixes(rest).find_map(|s| self.begins(s, part)) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        // The last part is as many characters as it has, at the end.
        let length = last.chars().count();
        let start = match length {
            0 => return true,
            n => rest.char_indices().rev().nth(n - 1).map(|(i, _)| i),
        };
        start.and_then(|s| self.begins(&rest[s..], last)).is_some_and(str::is_empty)
    }

    /// What is left of a text that begins so.
    fn begins<'a>(&self, text: &'a str, part: &str) -> Option<&'a str> {
        let mut chars = text.chars();
        for wanted in part.chars() {
            let found = chars.next()?;
            let same = wanted == '_' || found == wanted || (self.folds && found.eq_ignore_ascii_case(&wanted));
            if !same {
                return None;
            }
        }
        Some(chars.as_str())
    }
}

fn suffixes(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().map(|(i, _)| &text[i..]).chain([""])
}

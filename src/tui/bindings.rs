//! Which keys ask for what: the table of `keymap`, as far as the person did not choose others. Pure.

use super::keymap::{Act, Entry, KEYS, RUN_KEYS};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::{fmt, str::FromStr};

/// A key that is pressed, alone or with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stroke {
    code: KeyCode,
    with: KeyModifiers,
}

/// Keys that are no characters: how they are written, and shown where that is not the same.
const NAMED: [(&str, &str, KeyCode); 15] = [
    ("enter", "enter", KeyCode::Enter),
    ("esc", "esc", KeyCode::Esc),
    ("space", "space", KeyCode::Char(' ')),
    ("tab", "tab", KeyCode::Tab),
    ("backspace", "backspace", KeyCode::Backspace),
    ("insert", "insert", KeyCode::Insert),
    ("delete", "delete", KeyCode::Delete),
    ("home", "home", KeyCode::Home),
    ("end", "end", KeyCode::End),
    ("pgup", "pgup", KeyCode::PageUp),
    ("pgdn", "pgdn", KeyCode::PageDown),
    ("up", "↑", KeyCode::Up),
    ("down", "↓", KeyCode::Down),
    ("left", "←", KeyCode::Left),
    ("right", "→", KeyCode::Right),
];

const HELD: [(&str, KeyModifiers); 2] = [("ctrl-", KeyModifiers::CONTROL), ("alt-", KeyModifiers::ALT)];

impl FromStr for Stroke {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut rest, mut with) = (text, KeyModifiers::NONE);
        for (name, held) in HELD {
            // A lone `-` is a key.
            if let Some(after) = rest.strip_prefix(name).filter(|a| !a.is_empty()) {
                (rest, with) = (after, with | held);
            }
        }
        let mut letters = rest.chars();
        let code = match (letters.next(), letters.next()) {
            (Some(c), None) if !c.is_control() && c != ' ' => Some(KeyCode::Char(c)),
            (Some('f'), _) => rest[1..].parse().ok().filter(|n| (1..=12).contains(n)).map(KeyCode::F),
            _ => None,
        };
        let code = code.or_else(|| NAMED.iter().find(|(name, ..)| *name == rest).map(|(_, _, code)| *code));
        let example = "write a character, ctrl-f, alt-x, f5, enter, esc, space, tab, up, pgdn or the like";
        let stroke = Self { code: code.ok_or(example)?, with };
        if stroke == (Self { code: KeyCode::Char('c'), with: KeyModifiers::CONTROL }) {
            return Err("ctrl-c leaves at once, whatever is open".into());
        }
        Ok(stroke)
    }
}

impl fmt::Display for Stroke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HELD.iter().filter(|(_, held)| self.with.contains(*held)).try_for_each(|(name, _)| f.write_str(name))?;
        let named = NAMED.iter().find(|(_, _, code)| *code == self.code);
        match (named, self.code) {
            (Some((_, shown, _)), _) => f.write_str(shown),
            (None, KeyCode::F(n)) => write!(f, "f{n}"),
            (None, KeyCode::Char(c)) => write!(f, "{c}"),
            // No other is made.
            (None, _) => Ok(()),
        }
    }
}

impl Stroke {
    fn is(self, key: KeyEvent) -> bool {
        // Whether a letter is large says whether shift was held.
        let held = key.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT);
        (key.code, held) == (self.code, self.with)
    }
}

/// An entry of the table with its keys.
#[derive(Clone)]
struct Bound {
    entry: &'static Entry,
    strokes: Vec<Stroke>,
}

/// The keys of every act.
#[derive(Clone)]
pub(super) struct Bindings {
    everywhere: Vec<Bound>,
    on_runs: Vec<Bound>,
}

impl Default for Bindings {
    fn default() -> Self {
        let bound =
            |entry: &'static Entry| Bound { entry, strokes: entry.keys().filter_map(|k| k.parse().ok()).collect() };
        let all = |table: &'static [Entry]| table.iter().map(bound).collect();
        Self { everywhere: all(KEYS), on_runs: all(RUN_KEYS) }
    }
}

impl fmt::Debug for Bindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.all().map(|b| (b.entry.name, &b.strokes))).finish()
    }
}

impl Bindings {
    fn all(&self) -> impl Iterator<Item = &Bound> {
        self.on_runs.iter().chain(&self.everywhere)
    }

    /// What can be pressed; on screens of tracked runs their own keys come first.
    fn here(&self, on_runs: bool) -> impl Iterator<Item = &Bound> {
        self.all().skip(if on_runs { 0 } else { self.on_runs.len() })
    }

    /// What a key asks for.
    pub fn act(&self, key: KeyEvent, on_runs: bool) -> Option<Act> {
        self.here(on_runs).find(|b| b.strokes.iter().any(|s| s.is(key))).map(|b| b.entry.act)
    }

    /// The keys that mean an act here, as they are shown: what tracked runs' own keys hide is none there.
    pub fn keys(&self, act: Act, on_runs: bool) -> impl Iterator<Item = String> {
        let first = move |s: &Stroke| self.here(on_runs).find(|b| b.strokes.contains(s)).map(|b| b.entry.act);
        let bound = self.here(on_runs).find(|b| b.entry.act == act);
        let strokes = bound.into_iter().flat_map(|b| &b.strokes);
        strokes.filter(move |s| first(s) == Some(act)).map(Stroke::to_string)
    }

    /// Gives what is called so other keys than it has by itself.
    pub fn bind(&mut self, name: &str, strokes: &[Stroke]) {
        for b in self.on_runs.iter_mut().chain(&mut self.everywhere).filter(|b| b.entry.name == name) {
            b.strokes = strokes.to_vec();
        }
    }

    /// A key of this act that means another one on the same screens. What tracked runs' own keys hide by themselves is meant so.
    pub fn conflict(&self, name: &str) -> Option<(Stroke, &'static str)> {
        let own = || self.all().filter(|b| b.entry.name == name);
        let by_itself = |b: &Bound, s: Stroke| b.entry.keys().any(|k| k.parse() == Ok(s));
        let others = self.all().filter(|b| b.entry.name != name);
        let shared = others.flat_map(|other| other.strokes.iter().map(move |s| (*s, other)));
        shared
            .filter(|(s, other)| own().any(|b| b.strokes.contains(s) && !(by_itself(b, *s) && by_itself(other, *s))))
            .map(|(s, other)| (s, other.entry.name))
            .next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        for (text, code, with, shown) in [
            ("j", KeyCode::Char('j'), KeyModifiers::NONE, "j"),
            ("G", KeyCode::Char('G'), KeyModifiers::NONE, "G"),
            ("f", KeyCode::Char('f'), KeyModifiers::NONE, "f"),
            ("-", KeyCode::Char('-'), KeyModifiers::NONE, "-"),
            ("ä", KeyCode::Char('ä'), KeyModifiers::NONE, "ä"),
            ("f5", KeyCode::F(5), KeyModifiers::NONE, "f5"),
            ("ctrl-f", KeyCode::Char('f'), KeyModifiers::CONTROL, "ctrl-f"),
            ("alt--", KeyCode::Char('-'), KeyModifiers::ALT, "alt--"),
            ("ctrl-alt-up", KeyCode::Up, KeyModifiers::CONTROL.union(KeyModifiers::ALT), "ctrl-alt-↑"),
            ("space", KeyCode::Char(' '), KeyModifiers::NONE, "space"),
            ("pgdn", KeyCode::PageDown, KeyModifiers::NONE, "pgdn"),
        ] {
            let stroke: Stroke = text.parse().unwrap();
            assert_eq!((stroke, stroke.to_string().as_str()), (Stroke { code, with }, shown), "{text}");
            // The terminal tells shift beside the large letter.
            assert!(stroke.is(KeyEvent::new(code, with | KeyModifiers::SHIFT)), "{text}");
        }
        for text in ["", " ", "ctrl-", "ctrl-c", "f13", "f1x", "return", "jj", "\n", "fü"] {
            assert!(text.parse::<Stroke>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_table_is_sound() {
        let bindings = Bindings::default();
        for b in bindings.all() {
            assert_eq!(b.strokes.len(), b.entry.keys().count(), "{}: a key is no key", b.entry.name);
            assert_eq!(bindings.conflict(b.entry.name), None, "{}", b.entry.name);
            let same = |other: &Bound| (other.entry.act == b.entry.act) == (other.entry.name == b.entry.name);
            assert!(bindings.all().all(same), "{}: one name, one act", b.entry.name);
        }
    }
}

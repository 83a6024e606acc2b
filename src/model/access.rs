//! Who may do what with experiments and registered models: `[tracking]` in `trimtab.toml`.

use serde::{Deserialize, Serialize};

/// What somebody may do with a thing, in MLflow's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is not there for them.
    None,
    Read,
    /// Log and register.
    Edit,
    /// Delete and restore, too.
    Manage,
}

impl Level {
    /// From a spec.
    pub fn of(word: &str) -> Result<Self, String> {
        match word {
            "none" => Ok(Self::None),
            "read" => Ok(Self::Read),
            "edit" => Ok(Self::Edit),
            "manage" => Ok(Self::Manage),
            _ => Err("a level is \"none\", \"read\", \"edit\" or \"manage\"".into()),
        }
    }
}

/// Somebody who calls the tracking server by a secret of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackingUser {
    pub name: String,
    /// The variable of the daemon's environment that holds their password or token.
    pub secret: String,
}

/// What a permission is about: a name, in which `*` stands for any text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    Experiment(String),
    Model(String),
}

/// One line of permissions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// `*` is everybody.
    pub user: String,
    pub on: On,
    pub level: Level,
}

/// Users and what they may. Who holds the daemon's own token may everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackingSettings {
    /// Where no permission says anything.
    pub default: Level,
    pub users: Vec<TrackingUser>,
    pub permissions: Vec<Permission>,
}

impl Default for TrackingSettings {
    fn default() -> Self {
        Self { default: Level::Read, users: vec![], permissions: vec![] }
    }
}

/// A thing that permissions are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing<'a> {
    Experiment(&'a str),
    Model(&'a str),
}

impl TrackingSettings {
    /// What a user may do with a thing: the last line that fits counts.
    pub fn level(&self, user: &str, thing: Thing<'_>) -> Level {
        let fits = |p: &&Permission| {
            let on = match (&p.on, thing) {
                (On::Experiment(pattern), Thing::Experiment(name)) | (On::Model(pattern), Thing::Model(name)) => {
                    matches(pattern, name)
                }
                _ => false,
            };
            on && (p.user == "*" || p.user == user)
        };
        self.permissions.iter().rfind(fits).map_or(self.default, |p| p.level)
    }
}

/// Whether a text is one that the pattern stands for; `*` is any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(head) else { return false };
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.into_iter().any(|at| matches(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_fits_counts() {
        let line = |user: &str, on: On, level| Permission { user: user.into(), on, level };
        let settings = TrackingSettings {
            permissions: vec![
                line("*", On::Experiment("secret-*".into()), Level::None),
                line("ada", On::Experiment("*".into()), Level::Edit),
                line("ada", On::Experiment("secret-b".into()), Level::Read),
                line("lin", On::Model("fraud".into()), Level::Manage),
            ],
            ..TrackingSettings::default()
        };
        for (user, thing, level) in [
            ("lin", Thing::Experiment("secret-a"), Level::None),
            ("ada", Thing::Experiment("secret-a"), Level::Edit),
            ("ada", Thing::Experiment("secret-b"), Level::Read),
            ("lin", Thing::Experiment("fraud"), Level::Read),
            ("lin", Thing::Model("fraud"), Level::Manage),
            ("ada", Thing::Model("fraud"), Level::Read),
        ] {
            assert_eq!(settings.level(user, thing), level, "{user} {thing:?}");
        }
    }

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text, fits) in
            [("*", "", true), ("a*", "abc", true), ("a*c", "abc", true), ("a*c", "ab", false), ("*é*", "caféx", true)]
        {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}

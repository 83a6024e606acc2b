//! The mirror: `[registry]` in `trimtab.toml`, and what is wrong with it.

use serde::{Deserialize, Serialize};

/// Where versions are mirrored to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorSettings {
    /// Of an MLflow server.
    pub mlflow: Option<String>,
    /// The variable of the daemon's environment that holds a token, or `user:password`.
    pub secret: Option<String>,
}

/// Why the mirror is behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorTrouble {
    pub url: String,
    pub error: String,
    /// Versions that are not there yet.
    pub behind: usize,
}

impl MirrorTrouble {
    /// For people.
    pub fn sentence(&self) -> String {
        let behind = match self.behind {
            0 => String::new(),
            1 => ", 1 version behind".into(),
            n => format!(", {n} versions behind"),
        };
        format!("at {}{behind}: {}", self.url, self.error)
    }
}

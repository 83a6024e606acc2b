//! What a clean-up of the state folder removes, or would.

use super::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of thing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GcKind {
    Version,
    Run,
    Snapshot,
    Environment,
    /// Pins in the store for content that nobody asks for any more.
    Pins,
    /// Folders and files that no record refers to.
    Leftovers,
}

/// One thing that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GcItem {
    pub kind: GcKind,
    /// The model (of a snapshot: the dataset) that it belongs to.
    pub of: Option<Name>,
    pub name: String,
    /// Bytes that it alone takes: what is shared with something that stays is not counted.
    pub bytes: u64,
    /// For people.
    pub why: String,
}

/// `POST /api/v1/gc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GcReport {
    /// Nothing was removed.
    pub dry_run: bool,
    pub items: Vec<GcItem>,
    /// Bytes of all items.
    pub bytes: u64,
    /// What has to wait for the next time, and why.
    pub postponed: Vec<String>,
}

impl GcReport {
    /// `3 versions, 4 runs: 1.2 MB`.
    pub fn summary(&self) -> String {
        let count = |kind: GcKind, one: &str| {
            let n = self.items.iter().filter(|i| i.kind == kind).count();
            (n > 0).then(|| format!("{n} {one}{}", if n == 1 { "" } else { "s" }))
        };
        let counted = [
            count(GcKind::Version, "version"),
            count(GcKind::Run, "run"),
            count(GcKind::Snapshot, "snapshot"),
            count(GcKind::Environment, "environment"),
        ];
        let mut parts: Vec<String> = counted.into_iter().flatten().collect();
        if self.items.iter().any(|i| matches!(i.kind, GcKind::Pins | GcKind::Leftovers)) {
            parts.push("leftovers".into());
        }
        format!("{}: {}", parts.join(", "), size(self.bytes))
    }
}

/// Bytes for people: `1.2 MB`.
pub fn size(bytes: u64) -> String {
    let mut amount = bytes as f64;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if amount < 1000.0 {
            return if unit == "bytes" { format!("{bytes} bytes") } else { format!("{amount:.1} {unit}") };
        }
        amount /= 1000.0;
    }
    format!("{amount:.1} TB")
}

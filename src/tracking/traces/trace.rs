//! What is known of a trace but its spans, which are a file among its artifacts.

use crate::search::{Attribute, Searched};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The tag that names a trace.
pub const NAME: &str = "mlflow.traceName";
/// The tag that says where a trace's files are.
pub const LOCATION: &str = "mlflow.artifactLocation";
/// The entry that names the run in which it was made.
pub const RUN: &str = "mlflow.sourceRun";

/// The entry that names the conversation that it is part of.
pub const SESSION: &str = "mlflow.trace.session";
/// The entry that says, as JSON, how many tokens it used.
pub const TOKENS: &str = "mlflow.trace.tokenUsage";

/// How a trace went, as MLflow's words have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TraceState {
    #[default]
    StateUnspecified,
    Ok,
    Error,
    InProgress,
}

impl TraceState {
    /// As on the wire.
    pub const WORDS: &[&str] = &["OK", "ERROR", "IN_PROGRESS"];

    pub fn name(self) -> &'static str {
        match self {
            Self::StateUnspecified => "STATE_UNSPECIFIED",
            Self::Ok => "OK",
            Self::Error => "ERROR",
            Self::InProgress => "IN_PROGRESS",
        }
    }

    /// From the wire; a word that is none is passed over.
    pub fn of(word: &str) -> Self {
        [Self::Ok, Self::Error, Self::InProgress].into_iter().find(|s| s.name() == word).unwrap_or_default()
    }
}

/// A trace. Times are milliseconds, since the Unix epoch or long.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Trace {
    pub id: String,
    pub experiment: u64,
    pub started: i64,
    pub duration: Option<i64>,
    pub state: TraceState,
    pub request_preview: Option<String>,
    pub response_preview: Option<String>,
    pub client_request_id: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    /// As the client wrote them.
    pub assessments: Vec<serde_json::Value>,
    /// Runs that it was linked to later.
    pub runs: Vec<String>,
}

impl Searched for Trace {
    fn attribute(&self, name: &str) -> Attribute<'_> {
        let ended = || self.duration.map(|d| self.started.saturating_add(d));
        match name {
            "request_id" => Attribute::Text(self.id.as_str().into()),
            "experiment_id" => Attribute::Integer(i64::try_from(self.experiment).unwrap_or(i64::MAX)),
            "timestamp_ms" => Attribute::Integer(self.started),
            "execution_time_ms" => self.duration.map_or(Attribute::Missing, Attribute::Integer),
            "end_time_ms" => ended().map_or(Attribute::Missing, Attribute::Integer),
            "status" => Attribute::Text(self.state.name().into()),
            "client_request_id" => {
                self.client_request_id.as_deref().map_or(Attribute::Missing, |id| Attribute::Text(id.into()))
            }
            _ => Attribute::Missing,
        }
    }

    fn tag(&self, key: &str) -> Option<&str> {
        self.tags.get(key).map(String::as_str)
    }

    /// A run that it was linked to is as good as the one in which it was made.
    fn metadata(&self, key: &str) -> Option<&str> {
        let linked = || if key == RUN { self.runs.first() } else { None };
        self.metadata.get(key).or_else(linked).map(String::as_str)
    }
}

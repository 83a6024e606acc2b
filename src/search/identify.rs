//! What the left side of a clause names: `entity.key`, or an attribute without an entity.

use super::Subject;
use crate::model::tracking::TrackingError;

/// A kind of thing that a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entity {
    Attribute,
    Metric,
    Param,
    Tag,
    Dataset,
    Metadata,
    /// Of traces: spans, feedback, expectations, issues. Not searched here.
    Unsearched,
}

impl Entity {
    /// As refusals call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attribute => "attribute",
            Self::Metric => "metric",
            Self::Param => "parameter",
            Self::Tag => "tag",
            Self::Dataset => "dataset",
            Self::Metadata => "request_metadata",
            Self::Unsearched => "span",
        }
    }
}

/// An entity's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identifier {
    pub entity: Entity,
    pub key: String,
}

impl Identifier {
    /// By the name under which things know it.
    pub fn canonical(self, subject: Subject) -> Self {
        if self.entity != Entity::Attribute {
            return self;
        }
        let (entity, key) = match (subject, self.key.as_str()) {
            (Subject::Runs, "created" | "Created") => (Entity::Attribute, "start_time"),
            (Subject::Runs, "run name" | "Run name" | "Run Name") => (Entity::Attribute, "run_name"),
            (Subject::RegisteredModels, "timestamp") => (Entity::Attribute, "last_updated_timestamp"),
            (Subject::LoggedModels, "creation_timestamp_ms") => (Entity::Attribute, "creation_timestamp"),
            (Subject::LoggedModels, "last_updated_timestamp_ms") => (Entity::Attribute, "last_updated_timestamp"),
            (Subject::Traces, "timestamp") => (Entity::Attribute, "timestamp_ms"),
            (Subject::Traces, "execution_time") => (Entity::Attribute, "execution_time_ms"),
            (Subject::Traces, "end_time") => (Entity::Attribute, "end_time_ms"),
            (Subject::Traces, "name") => (Entity::Tag, "mlflow.traceName"),
            (Subject::Traces, "run_id") => (Entity::Metadata, "mlflow.sourceRun"),
            _ => return self,
        };
        Self { entity, key: key.to_owned() }
    }
}

/// Attributes that may be searched, or sorted by.
pub struct Keys {
    pub search: &'static [&'static str],
    pub order: &'static [&'static str],
    pub numeric: &'static [&'static str],
    /// Which may stand before `IN`.
    pub listed: &'static [&'static str],
}

const RUNS: Keys = Keys {
    search: &[
        "artifact_uri",
        "end_time",
        "run_id",
        "run_name",
        "start_time",
        "status",
        "user_id",
        "created",
        "Created",
        "run name",
        "Run name",
        "Run Name",
    ],
    order: &["artifact_uri", "end_time", "run_id", "run_name", "start_time", "status", "user_id", "created", "Created"],
    numeric: &["start_time", "end_time", "created", "Created"],
    listed: &["run_id"],
};
const EXPERIMENTS: Keys = Keys {
    search: &["name", "experiment_id", "creation_time", "last_update_time"],
    order: &["name", "experiment_id", "creation_time", "last_update_time"],
    numeric: &["creation_time", "last_update_time"],
    listed: &["experiment_id"],
};
const REGISTERED_MODELS: Keys = Keys {
    search: &["name"],
    order: &["name", "timestamp", "last_updated_timestamp"],
    numeric: &[],
    listed: &["name"],
};
const MODEL_VERSIONS: Keys = Keys {
    search: &["name", "version_number", "run_id", "source_path"],
    order: &["name", "version_number", "creation_timestamp", "last_updated_timestamp"],
    numeric: &["version_number", "creation_timestamp", "last_updated_timestamp"],
    listed: &["name", "run_id"],
};
/// What logged models are searched and ordered by.
const OF_LOGGED_MODELS: &[&str] = &[
    "name",
    "model_id",
    "model_type",
    "status",
    "source_run_id",
    "creation_timestamp_ms",
    "last_updated_timestamp_ms",
    "experiment_id",
    "artifact_location",
    "lifecycle_stage",
    "status_message",
];
const LOGGED_MODELS: Keys = Keys {
    search: OF_LOGGED_MODELS,
    order: OF_LOGGED_MODELS,
    numeric: &["creation_timestamp_ms", "last_updated_timestamp_ms"],
    listed: &[],
};
const TRACES: Keys = Keys {
    search: &[
        "request_id",
        "timestamp",
        "timestamp_ms",
        "execution_time",
        "execution_time_ms",
        "end_time",
        "end_time_ms",
        "status",
        "client_request_id",
        "name",
        "run_id",
        "prompt",
        "text",
    ],
    order: &[
        "experiment_id",
        "timestamp",
        "timestamp_ms",
        "execution_time",
        "execution_time_ms",
        "end_time",
        "end_time_ms",
        "status",
        "request_id",
        "name",
        "run_id",
    ],
    numeric: &["timestamp_ms", "timestamp", "execution_time_ms", "execution_time", "end_time_ms", "end_time"],
    listed: &["name", "status", "request_id", "run_id", "client_request_id"],
};

impl Subject {
    pub(super) fn keys(self) -> &'static Keys {
        match self {
            Self::Runs => &RUNS,
            Self::Experiments => &EXPERIMENTS,
            Self::RegisteredModels => &REGISTERED_MODELS,
            Self::ModelVersions => &MODEL_VERSIONS,
            Self::LoggedModels => &LOGGED_MODELS,
            Self::Traces => &TRACES,
        }
    }
}

/// A list as Python shows it.
pub fn listed(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|w| shown(w)).collect();
    words.join(", ")
}

/// A text as Python shows it.
pub fn shown(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c == quote || c == '\\' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

fn between(text: &str, quote: char) -> Option<&str> {
    text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote))
}

/// Without the quotes of a value or a key, if it has them.
pub fn unquoted(text: &str) -> Option<&str> {
    between(text, '\'').or_else(|| between(text, '"'))
}

fn bare(key: &str) -> &str {
    let key = unquoted(key).unwrap_or(key);
    between(key, '`').unwrap_or(key)
}

fn entity(subject: Subject, word: &str) -> Result<Entity, TrackingError> {
    let invalid = |valid: &str| Err(TrackingError::invalid(format!("Invalid entity type '{word}'. {valid}")));
    match subject {
        Subject::Runs => Ok(match between(word, '`').unwrap_or(word) {
            "metric" | "metrics" => Entity::Metric,
            "parameter" | "parameters" | "param" | "params" => Entity::Param,
            "tag" | "tags" => Entity::Tag,
            "attribute" | "attributes" | "attr" | "run" => Entity::Attribute,
            "dataset" | "datasets" => Entity::Dataset,
            _ => return invalid("Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']"),
        }),
        Subject::Traces => Ok(match between(word, '`').unwrap_or(word) {
            "tag" | "tags" => Entity::Tag,
            "attribute" | "attributes" | "trace" => Entity::Attribute,
            "request_metadata" | "metadata" => Entity::Metadata,
            "span" | "feedback" | "expectation" | "issue" => Entity::Unsearched,
            _ => {
                return invalid(
                    "Valid values are tag, request_metadata, attribute, span, feedback, expectation, issue",
                );
            }
        }),
        _ => Ok(match word {
            "attribute" => Entity::Attribute,
            "tag" | "tags" => Entity::Tag,
            _ => return invalid("Valid entity types are ('attribute', 'tag', 'tags')"),
        }),
    }
}

pub fn invalid_key(kind: &str, key: &str, valid: &[&str]) -> TrackingError {
    TrackingError::invalid(format!("Invalid {kind} key '{key}' specified. Valid keys are '{{{}}}'", listed(valid)))
}

/// Reads what a clause or an order names. Logged models have rules of their own: see [`of_logged_model`].
pub fn identify(subject: Subject, text: &str, valid: &[&str]) -> Result<Identifier, TrackingError> {
    let (entity, key) = match text.split_once('.') {
        None => (Entity::Attribute, text),
        Some((word, key)) => (entity(subject, word)?, key),
    };
    let key = bare(key);
    if entity == Entity::Attribute && !valid.contains(&key) {
        return Err(invalid_key("attribute", key, valid));
    }
    if entity == Entity::Dataset && !["name", "digest", "context"].contains(&key) {
        return Err(invalid_key("dataset", key, &["name", "digest", "context"]));
    }
    Ok(Identifier { entity, key: key.to_owned() })
}

/// The same for the registry's filters, which do not take quoted attributes.
pub fn of_registry(subject: Subject, text: &str, valid: &[&str]) -> Result<Identifier, TrackingError> {
    match text.split_once('.') {
        None | Some(("attribute", _)) => {
            let key = text.strip_prefix("attribute.").unwrap_or(text);
            if !valid.contains(&key) {
                return Err(invalid_key("attribute", key, valid));
            }
            Ok(Identifier { entity: Entity::Attribute, key: key.to_owned() })
        }
        _ => identify(subject, text, valid),
    }
}

/// The same for logged models: plural entities alone, and whatever follows them is the key.
pub fn of_logged_model(text: &str) -> Result<Identifier, TrackingError> {
    let word = text.split_once('.').filter(|(e, k)| {
        !e.is_empty() && e.bytes().all(|b| b.is_ascii_lowercase()) && !k.is_empty() && !k.contains('\n')
    });
    let Some((word, key)) = word else {
        let key = match text {
            "creation_time" | "creation_timestamp" => "creation_timestamp_ms",
            "last_updated_timestamp" => "last_updated_timestamp_ms",
            other => other.trim_matches('`'),
        };
        return Ok(Identifier { entity: Entity::Attribute, key: key.to_owned() });
    };
    let entity = match word {
        "attributes" => Entity::Attribute,
        "metrics" => Entity::Metric,
        "params" => Entity::Param,
        "tags" => Entity::Tag,
        _ => {
            return Err(TrackingError::invalid(format!(
                "Invalid entity type: '{word}'. Expected one of ['attributes', 'metrics', 'params', 'tags']."
            )));
        }
    };
    Ok(Identifier { entity, key: key.trim_matches('`').to_owned() })
}

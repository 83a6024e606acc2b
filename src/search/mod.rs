//! MLflow's filters, orders and page tokens: text to clauses, clauses to verdicts. Pure.
//!
//! Sources: `mlflow` 3.17.2 (`utils/search_utils.py`, `utils/search_logged_model_utils.py`, `store/*/sqlalchemy_store.py`) and the grammar of
//! `sqlparse` 0.6.1, by which MLflow reads filters. What the SQL store answers is pinned in `tests/fixtures/mlflow-filters.json`.

mod filter;
mod group;
mod identify;
mod lex;
mod like;
mod list;
mod order;
pub mod page;
mod shell;
mod test;
mod value;

pub use filter::Filter;
pub use identify::shown as python_text;
pub use order::{OrderBy, Orders, SortKey};

use std::borrow::Cow;

/// What is searched; each kind has its own attributes and refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Runs,
    Experiments,
    RegisteredModels,
    ModelVersions,
    LoggedModels,
    Traces,
}

/// An attribute of a thing.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute<'a> {
    Missing,
    Text(Cow<'a, str>),
    Number(f64),
    Integer(i64),
}

/// A dataset that a run used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dataset<'a> {
    pub name: &'a str,
    pub digest: &'a str,
    pub context: Option<&'a str>,
}

/// One metric value of a logged model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point<'a> {
    pub key: &'a str,
    pub value: f64,
    pub timestamp: i64,
    pub step: i64,
    pub run_id: &'a str,
    pub dataset_name: Option<&'a str>,
    pub dataset_digest: Option<&'a str>,
}

/// The tag that makes a registered model a prompt.
pub const IS_PROMPT: &str = "mlflow.prompt.is_prompt";

/// What a filter or an order asks of a thing.
pub trait Searched {
    /// By the names that filters use: `run_id`, `start_time`, `version_number`, `creation_timestamp`, `timestamp_ms`, ….
    fn attribute(&self, name: &str) -> Attribute<'_>;
    /// The newest value of a run's metric.
    fn metric(&self, _key: &str) -> Option<f64> {
        None
    }
    fn param(&self, _key: &str) -> Option<&str> {
        None
    }
    fn tag(&self, _key: &str) -> Option<&str> {
        None
    }
    /// A trace's request metadata.
    fn metadata(&self, _key: &str) -> Option<&str> {
        None
    }
    /// Whether any dataset input fulfils it.
    fn any_dataset(&self, _holds: &mut dyn FnMut(&Dataset<'_>) -> bool) -> bool {
        false
    }
    /// Every metric value of a logged model.
    fn each_point(&self, _visit: &mut dyn FnMut(&Point<'_>)) {}
    /// Whether it is a prompt (a version: of a model with a version that is one). Searches leave prompts out unless they ask for them.
    fn is_prompt(&self) -> bool {
        self.tag(IS_PROMPT) == Some("true")
    }
}

/// A dataset that a search of logged models is limited to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDataset {
    pub name: String,
    pub digest: Option<String>,
}

impl OnDataset {
    fn holds(&self, point: &Point<'_>) -> bool {
        point.dataset_name == Some(&self.name)
            && self.digest.as_ref().is_none_or(|d| point.dataset_digest == Some(d.as_str()))
    }
}

#[cfg(test)]
mod tests;

//! What is read from another server, page by page.

use super::{
    Remote, RemoteError, Trouble,
    call::{FILES, encoded},
    wire::*,
};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use std::io::Read as _;

/// One page of a list, and where the next one begins.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

impl<T> Page<T> {
    fn new(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, next: next.filter(|token| !token.is_empty()) }
    }
}

type Read<T> = Result<T, RemoteError>;
type Token<'a> = Option<&'a str>;

/// Every item of all pages.
fn all<T>(mut page: impl FnMut(Token<'_>) -> Read<Page<T>>) -> Read<Vec<T>> {
    let (mut items, mut token) = (vec![], None);
    loop {
        let Page { items: more, next } = page(token.as_deref())?;
        items.extend(more);
        if next.is_none() {
            return Ok(items);
        }
        token = next;
    }
}

/// The tag that makes a model a prompt: searches leave prompts out unless they ask for it.
pub(super) const PROMPTS: &str = "tags.`mlflow.prompt.is_prompt` = 'true'";

/// A text in a filter.
pub(super) fn quoted(text: &str) -> String {
    if text.contains('\'') { format!("\"{text}\"") } else { format!("'{text}'") }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Found {
    experiments: Vec<Experiment>,
    runs: Vec<Run>,
    metrics: Vec<Metric>,
    models: Vec<LoggedModel>,
    registered_models: Vec<RegisteredModel>,
    model_versions: Vec<ModelVersion>,
    files: Vec<FileInfo>,
    next_page_token: Option<String>,
}

impl Remote {
    /// All experiments, deleted ones among them, oldest first.
    pub fn experiments(&self) -> Read<Vec<Experiment>> {
        all(|token| {
            let body = json!({"view_type": "ALL", "max_results": 1000, "page_token": token,
                "order_by": ["creation_time ASC"]});
            let found: Found = self.ask("experiments/search", &body)?;
            Ok(Page::new(found.experiments, found.next_page_token))
        })
    }

    /// A page of an experiment's runs, deleted ones among them, oldest first: what begins meanwhile comes last.
    pub fn runs(&self, experiment: &str, token: Token<'_>) -> Read<Page<Run>> {
        let body = json!({"experiment_ids": [experiment], "run_view_type": "ALL", "max_results": 500,
            "order_by": ["attributes.start_time ASC"], "page_token": token});
        let found: Found = self.ask("runs/search", &body)?;
        Ok(Page::new(found.runs, found.next_page_token))
    }

    /// One run.
    pub fn run(&self, id: &str) -> Read<Run> {
        #[derive(Deserialize)]
        struct One {
            run: Run,
        }
        Ok(self.get::<One>("runs/get", &[("run_id", id)])?.run)
    }

    /// A page of all values of a metric.
    pub fn history(&self, run: &str, key: &str, token: Token<'_>) -> Read<Page<Metric>> {
        let query = [("run_id", run), ("metric_key", key), ("max_results", "2000")];
        let paged: Vec<_> = query.into_iter().chain(token.map(|token| ("page_token", token))).collect();
        let found: Found = self.get("metrics/get-history", &paged)?;
        Ok(Page::new(found.metrics, found.next_page_token))
    }

    /// A page of an experiment's logged models.
    pub fn logged_models(&self, experiment: &str, token: Token<'_>) -> Read<Page<LoggedModel>> {
        let body = json!({"experiment_ids": [experiment], "max_results": 50, "page_token": token,
            "order_by": [{"field_name": "creation_timestamp", "ascending": true}]});
        let found: Found = self.ask("logged-models/search", &body)?;
        Ok(Page::new(found.models, found.next_page_token))
    }

    /// One logged model.
    pub fn logged_model(&self, id: &str) -> Read<LoggedModel> {
        #[derive(Deserialize)]
        struct One {
            model: LoggedModel,
        }
        Ok(self.get::<One>(&format!("logged-models/{}", encoded(id)), &[])?.model)
    }

    /// All registered models and prompts.
    pub fn registered_models(&self) -> Read<Vec<RegisteredModel>> {
        let kind = |filter: &str| {
            all(|token| {
                let query = [("filter", filter), ("max_results", "1000")];
                let query: Vec<_> = query.into_iter().chain(token.map(|token| ("page_token", token))).collect();
                let found: Found = self.get("registered-models/search", &query)?;
                Ok(Page::new(found.registered_models, found.next_page_token))
            })
        };
        let mut found = kind("")?;
        let prompts = kind(PROMPTS)?;
        // A server that does not tell them apart has listed them already.
        found.extend(prompts);
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.dedup_by(|a, b| a.name == b.name);
        Ok(found)
    }

    /// All versions of a model, oldest first.
    pub fn versions(&self, name: &str, prompt: bool) -> Read<Vec<ModelVersion>> {
        let mut filter = format!("name = {}", quoted(name));
        if prompt {
            filter = format!("{filter} AND {PROMPTS}");
        }
        let mut found = self.versions_by(&filter)?;
        found.sort_by_key(|v| v.version.parse::<u64>().unwrap_or(u64::MAX));
        Ok(found)
    }

    /// Versions that a filter finds.
    pub fn versions_by(&self, filter: &str) -> Read<Vec<ModelVersion>> {
        all(|token| {
            let query = [("filter", filter), ("max_results", "1000")];
            let query: Vec<_> = query.into_iter().chain(token.map(|token| ("page_token", token))).collect();
            let found: Found = self.get("model-versions/search", &query)?;
            Ok(Page::new(found.model_versions, found.next_page_token))
        })
    }

    /// What stands in a folder below the proxy's root.
    pub fn files(&self, folder: &str) -> Read<Vec<FileInfo>> {
        self.patiently(|| {
            let request = self.request(Method::GET, FILES).query(&[("path", folder)]);
            let answer = self.send("mlflow-artifacts", request)?;
            answer.json::<Found>().map(|found| found.files).map_err(|e| RemoteError::of(self.url(), &e))
        })
    }

    /// A file below the proxy's root, piece by piece as it comes.
    pub fn file<E: From<RemoteError>>(
        &self,
        path: &str,
        mut taken: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let request = self.request(Method::GET, &format!("{FILES}/{}", encoded(path)));
        let mut answer = self.send(&format!("mlflow-artifacts/artifacts/{path}"), request)?;
        let mut piece = vec![0; 512 * 1024];
        loop {
            let read = answer.read(&mut piece).map_err(|e| {
                RemoteError::new(Trouble::Unreachable, format!("{} broke off the file {path}: {e}", self.url()))
            })?;
            if read == 0 {
                return Ok(());
            }
            taken(&piece[..read])?;
        }
    }
}

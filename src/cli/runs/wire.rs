//! What the tracking server is asked, and its documents as far as they are shown.

use crate::{
    api::client::{Client, ClientError},
    cli::fail::Failure,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use std::collections::BTreeMap;

const BASE: &str = "/api/2.0/mlflow";
/// Experiments, models or versions of one page.
const PAGE: usize = 1000;

#[derive(Deserialize, Serialize)]
pub struct Pair {
    pub key: String,
    #[serde(default)]
    pub value: String,
}

#[derive(Deserialize)]
struct Metric {
    key: String,
    value: serde_json::Value,
}

#[derive(Deserialize)]
struct Info {
    run_id: String,
    experiment_id: String,
    run_name: String,
    #[serde(default)]
    user_id: String,
    status: String,
    start_time: i64,
    end_time: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Data {
    metrics: Vec<Metric>,
    params: Vec<Pair>,
    tags: Vec<Pair>,
}

#[derive(Deserialize)]
pub struct RunDoc {
    info: Info,
    data: Data,
}

#[derive(Deserialize)]
pub struct ExperimentDoc {
    pub experiment_id: String,
    pub name: String,
    pub last_update_time: i64,
}

/// A page of whatever was searched for.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Found {
    pub runs: Vec<RunDoc>,
    experiments: Vec<ExperimentDoc>,
    registered_models: Vec<ModelDoc>,
    model_versions: Vec<VersionDoc>,
    pub next_page_token: Option<String>,
}

#[derive(Deserialize)]
pub struct AliasDoc {
    pub alias: String,
    pub version: String,
}

/// A registered model.
#[derive(Deserialize)]
pub struct ModelDoc {
    pub name: String,
    #[serde(default)]
    pub aliases: Vec<AliasDoc>,
}

/// A version of a registered model; `--json` prints it where the loop has none of it.
#[derive(Deserialize, Serialize)]
pub struct VersionDoc {
    pub name: String,
    pub version: String,
    pub creation_timestamp: i64,
    pub current_stage: String,
    #[serde(default)]
    pub description: String,
    pub source: String,
    #[serde(default)]
    pub run_id: String,
    #[serde(default)]
    pub tags: Vec<Pair>,
    #[serde(default)]
    pub aliases: Vec<String>,
}

/// A run as `--json` prints it. Times are milliseconds since the Unix epoch.
#[derive(Serialize)]
pub struct Shown {
    pub run_id: String,
    pub experiment_id: String,
    pub name: String,
    pub user: String,
    pub status: String,
    pub started: i64,
    pub ended: Option<i64>,
    /// A number, or `NaN` as a word.
    pub metrics: BTreeMap<String, serde_json::Value>,
    pub params: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
}

impl From<RunDoc> for Shown {
    fn from(run: RunDoc) -> Self {
        let pairs = |all: Vec<Pair>| all.into_iter().map(|p| (p.key, p.value)).collect();
        Self {
            run_id: run.info.run_id,
            experiment_id: run.info.experiment_id,
            name: run.info.run_name,
            user: run.info.user_id,
            status: run.info.status,
            started: run.info.start_time,
            ended: run.info.end_time,
            metrics: run.data.metrics.into_iter().map(|m| (m.key, m.value)).collect(),
            params: pairs(run.data.params),
            tags: pairs(run.data.tags),
        }
    }
}

/// `None` for what is not there, and for what can be no name of it.
fn there<T>(answer: Result<T, ClientError>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(ClientError::NotFound(_) | ClientError::Refused(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The daemon's tracking server.
pub struct Tracking(pub Client);

impl Tracking {
    async fn get<T: DeserializeOwned>(&self, call: &str, query: &[(&str, &str)]) -> Result<Option<T>, Failure> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        there(self.0.get(&format!("{BASE}/{call}?{query}")).await)
    }

    pub async fn experiment_named(&self, name: &str) -> Result<Option<ExperimentDoc>, Failure> {
        self.experiment_by("experiments/get-by-name", ("experiment_name", name)).await
    }

    pub async fn experiment(&self, id: &str) -> Result<Option<ExperimentDoc>, Failure> {
        self.experiment_by("experiments/get", ("experiment_id", id)).await
    }

    async fn experiment_by(&self, call: &str, by: (&str, &str)) -> Result<Option<ExperimentDoc>, Failure> {
        #[derive(Deserialize)]
        struct One {
            experiment: ExperimentDoc,
        }
        Ok(self.get::<One>(call, &[by]).await?.map(|one| one.experiment))
    }

    /// All experiments, what changed last first.
    pub async fn experiments(&self) -> Result<Vec<ExperimentDoc>, Failure> {
        let (mut all, mut token) = (vec![], String::new());
        loop {
            let search = json!({"max_results": PAGE, "order_by": ["last_update_time DESC"], "page_token": token});
            let found: Found = self.0.post(&format!("{BASE}/experiments/search"), &search).await?;
            all.extend(found.experiments);
            match found.next_page_token.filter(|t| !t.is_empty()) {
                Some(next) => token = next,
                None => return Ok(all),
            }
        }
    }

    /// Runs of these experiments; the daemon's refusal of the filter or the order is the failure.
    pub async fn runs(&self, experiments: &[String], filter: &str, by: &[String], most: u32) -> Result<Found, Failure> {
        let search = json!({"experiment_ids": experiments, "filter": filter, "order_by": by, "max_results": most});
        Ok(self.0.post(&format!("{BASE}/runs/search"), &search).await?)
    }

    /// Runs of all experiments.
    pub async fn runs_of_all(&self, filter: &str, by: &[String], most: u32) -> Result<Found, Failure> {
        let ids: Vec<String> = self.experiments().await?.into_iter().map(|e| e.experiment_id).collect();
        self.runs(&ids, filter, by, most).await
    }

    pub async fn run(&self, id: &str) -> Result<Option<Shown>, Failure> {
        #[derive(Deserialize)]
        struct One {
            run: RunDoc,
        }
        Ok(self.get::<One>("runs/get", &[("run_id", id)]).await?.map(|one| one.run.into()))
    }

    pub async fn model(&self, name: &str) -> Result<Option<ModelDoc>, Failure> {
        #[derive(Deserialize)]
        struct One {
            registered_model: ModelDoc,
        }
        Ok(self.get::<One>("registered-models/get", &[("name", name)]).await?.map(|one| one.registered_model))
    }

    /// Names of registered models.
    pub async fn models(&self) -> Result<Vec<String>, Failure> {
        let most = PAGE.to_string();
        let found: Option<Found> = self.get("registered-models/search", &[("max_results", &most)]).await?;
        Ok(found.unwrap_or_default().registered_models.into_iter().map(|m| m.name).collect())
    }

    /// Versions of a model, the newest first.
    pub async fn versions(&self, model: &str) -> Result<Vec<VersionDoc>, Failure> {
        // The grammar has no escapes: a name with both quotes cannot be asked for.
        let quote = if model.contains('\'') { '"' } else { '\'' };
        let filter = format!("name={quote}{model}{quote}");
        let query = [("filter", &*filter), ("order_by", "version_number DESC"), ("max_results", &PAGE.to_string())];
        let found: Option<Found> = self.get("model-versions/search", &query).await?;
        Ok(found.unwrap_or_default().model_versions)
    }

    /// The version of a number, or the one that an alias points to.
    pub async fn version(&self, model: &str, word: &str) -> Result<Option<VersionDoc>, Failure> {
        #[derive(Deserialize)]
        struct One {
            model_version: VersionDoc,
        }
        let one: Option<One> = match super::find::number(word) {
            Some(number) => self.get("model-versions/get", &[("name", model), ("version", number)]).await?,
            None => self.get("registered-models/alias", &[("name", model), ("alias", word)]).await?,
        };
        Ok(one.map(|one| one.model_version))
    }
}

//! What is written to another server. A call whose answer is lost may have gone through: callers look by a tag before they make anything.

use super::{
    Remote, RemoteError, Trouble,
    call::{API, FILES, encoded},
    read::quoted,
    wire::*,
};
use reqwest::{Method, blocking::Body};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs::File;

type Written<T> = Result<T, RemoteError>;

/// Of one call (`utils/validation.py`).
const METRICS: usize = 1000;
const PAIRS: usize = 100;

/// A run to be made.
#[derive(Debug, Serialize)]
pub struct NewRun {
    pub experiment_id: String,
    pub run_name: String,
    pub user_id: String,
    pub start_time: i64,
    pub tags: Vec<Pair>,
}

/// A version to be made.
#[derive(Debug, Serialize)]
pub struct NewVersion {
    pub name: String,
    pub source: String,
    pub run_id: String,
    pub description: String,
    pub tags: Vec<Pair>,
}

/// `None` for what is not there.
fn there<T>(answer: Written<T>) -> Written<Option<T>> {
    match answer {
        Err(e) if e.trouble == Trouble::Missing => Ok(None),
        answer => answer.map(Some),
    }
}

impl Remote {
    fn change(&self, method: Method, path: &str, body: &impl Serialize) -> Written<()> {
        self.send(path, self.request(method, &format!("{API}{path}")).json(body)).map(drop)
    }

    fn make<T: for<'de> Deserialize<'de>>(&self, path: &str, body: &impl Serialize) -> Written<T> {
        let answer = self.send(path, self.request(Method::POST, &format!("{API}{path}")).json(body))?;
        self.read(path, answer)
    }

    /// The id of the experiment of this name, made or restored.
    pub fn have_experiment(&self, name: &str) -> Written<String> {
        #[derive(Deserialize)]
        struct One {
            experiment: Experiment,
        }
        #[derive(Deserialize)]
        struct Made {
            experiment_id: String,
        }
        match there(self.get::<One>("experiments/get-by-name", &[("experiment_name", name)]))? {
            None => Ok(self.make::<Made>("experiments/create", &json!({ "name": name }))?.experiment_id),
            Some(One { experiment }) => {
                let id = experiment.experiment_id;
                if experiment.lifecycle_stage == "deleted" {
                    self.change(Method::POST, "experiments/restore", &json!({ "experiment_id": id }))?;
                }
                Ok(id)
            }
        }
    }

    /// The run of an experiment that has this tag.
    pub fn tagged_run(&self, experiment: &str, key: &str, value: &str) -> Written<Option<Run>> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Found {
            runs: Vec<Run>,
        }
        let body = json!({"experiment_ids": [experiment], "max_results": 1, "run_view_type": "ALL",
            "filter": format!("tags.`{key}` = {}", quoted(value)), "order_by": ["attributes.start_time ASC"]});
        Ok(self.ask::<Found>("runs/search", &body)?.runs.into_iter().next())
    }

    /// Makes a run.
    pub fn make_run(&self, new: &NewRun) -> Written<Run> {
        #[derive(Deserialize)]
        struct One {
            run: Run,
        }
        Ok(self.make::<One>("runs/create", new)?.run)
    }

    /// Logs to a run, in as many calls as it takes. The same again changes nothing.
    pub fn log(&self, run: &str, metrics: &[Metric], params: &[Pair], tags: &[Pair]) -> Written<()> {
        let log = |body: serde_json::Value| self.change(Method::POST, "runs/log-batch", &body);
        params.chunks(PAIRS).try_for_each(|some| log(json!({"run_id": run, "params": some})))?;
        tags.chunks(PAIRS).try_for_each(|some| log(json!({"run_id": run, "tags": some})))?;
        metrics.chunks(METRICS).try_for_each(|some| log(json!({"run_id": run, "metrics": some})))
    }

    /// Says how a run ended.
    pub fn end_run(&self, run: &str, status: &str, ended: Option<i64>) -> Written<()> {
        self.change(Method::POST, "runs/update", &json!({"run_id": run, "status": status, "end_time": ended}))
    }

    /// Puts a file below the proxy's root.
    pub fn put_file(&self, path: &str, file: File, size: u64) -> Written<()> {
        let request = self.request(Method::PUT, &format!("{FILES}/{}", encoded(path)));
        self.send(&format!("mlflow-artifacts/artifacts/{path}"), request.body(Body::sized(file, size))).map(drop)
    }

    /// Has a registered model of this name be there.
    pub fn have_model(&self, name: &str) -> Written<()> {
        match self.change(Method::POST, "registered-models/create", &json!({ "name": name })) {
            Err(e) if e.trouble == Trouble::Exists => Ok(()),
            done => done,
        }
    }

    /// Versions of a model that have this tag.
    pub fn tagged_versions(&self, name: &str, key: &str, value: &str) -> Written<Vec<ModelVersion>> {
        self.versions_by(&format!("name = {} AND tags.`{key}` = {}", quoted(name), quoted(value)))
    }

    /// Makes a version.
    pub fn make_version(&self, new: &NewVersion) -> Written<ModelVersion> {
        #[derive(Deserialize)]
        struct One {
            model_version: ModelVersion,
        }
        Ok(self.make::<One>("model-versions/create", new)?.model_version)
    }

    /// Points an alias to a version.
    pub fn set_alias(&self, name: &str, alias: &str, version: &str) -> Written<()> {
        let body = json!({"name": name, "alias": alias, "version": version});
        self.change(Method::POST, "registered-models/alias", &body)
    }

    /// Takes an alias away, if it is there.
    pub fn drop_alias(&self, name: &str, alias: &str) -> Written<()> {
        there(self.change(Method::DELETE, "registered-models/alias", &json!({"name": name, "alias": alias}))).map(drop)
    }
}

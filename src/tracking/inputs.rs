//! What runs read and made: datasets and models. A dataset's schema and profile can be long; they stay in the store.

use super::{
    Tracked, Tracker, check,
    row::{Row, UsedDataset},
    run::Changed,
    state::{State, must_be_active},
};
use crate::{
    model::{
        Digest,
        tracking::{ErrorCode, TrackingError},
    },
    store::{Batch, Table},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The tag that tells what a dataset was used for.
pub(super) const CONTEXT: &str = "mlflow.data.context";

/// A dataset as a client describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenDataset {
    pub name: String,
    pub digest: String,
    pub source_type: String,
    pub source: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub schema: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub profile: String,
}

/// A dataset and the tags of its use.
#[derive(Debug, Clone)]
pub struct UsedData {
    pub dataset: GivenDataset,
    pub tags: Vec<(String, String)>,
}

/// A dataset that runs of an experiment used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DatasetSummary {
    pub experiment_id: String,
    pub name: String,
    pub digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
}

/// Summaries of one answer, at most.
const SUMMARIES: usize = 1000;

pub(super) fn key(experiment: u64, name: &str, digest: &str) -> Vec<u8> {
    let named = Digest::of(format!("{name}\0{digest}").as_bytes());
    format!("{experiment}/{}", named.hex()).into_bytes()
}

fn checked(used: &UsedData) -> Tracked<()> {
    let d = &used.dataset;
    for (what, most, value) in [
        ("name", 500, &d.name),
        ("digest", 36, &d.digest),
        ("source", 65_535, &d.source),
        ("schema", 1_048_575, &d.schema),
        ("profile", 16_777_215, &d.profile),
    ] {
        check::length(what, most, value)?;
    }
    for (tag, value) in &used.tags {
        check::length("key", 255, tag)?;
        check::length("value", 500, value)?;
    }
    Ok(())
}

impl Tracker {
    /// Datasets and models that a run read. What is there already stays as it is.
    pub async fn log_inputs(&self, id: &str, datasets: Vec<UsedData>, models: Vec<String>) -> Tracked<()> {
        check::run_id(id)?;
        datasets.iter().try_for_each(checked)?;
        let change = |_: &State, row: &Row| {
            must_be_active(row)?;
            let mut parts = row.parts()?;
            let mut batch = Batch::new();
            for UsedData { dataset, tags } in &datasets {
                let (name, digest) = (dataset.name.as_str(), dataset.digest.as_str());
                let key = key(parts.facts.experiment, name, digest);
                if self.0.store.tracked_bytes(Table::Dataset, &key)?.is_none() {
                    batch = batch.put_tracked(Table::Dataset, &key, dataset);
                }
                if !parts.inputs.datasets.iter().any(|d| (d.name, d.digest) == (name, digest)) {
                    let tags = tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                    parts.inputs.datasets.push(UsedDataset { name, digest, tags });
                }
            }
            for model in &models {
                if !parts.inputs.models.contains(&model.as_str()) {
                    parts.inputs.models.push(model);
                }
            }
            Ok(Changed { batch, ..Changed::row(parts.pack()) })
        };
        self.change_run(id, change).await
    }

    /// Models that a run made, with their steps.
    pub async fn log_outputs(&self, id: &str, models: Vec<(String, i64)>) -> Tracked<()> {
        let change = |_: &State, row: &Row| {
            must_be_active(row)?;
            let mut parts = row.parts()?;
            for (n, (model, step)) in models.iter().enumerate() {
                if model.is_empty() || models[..n].iter().any(|(before, _)| before == model) {
                    return Err(TrackingError::new(
                        ErrorCode::BadRequest,
                        format!("An output needs a model_id that is given once, not '{model}'"),
                    ));
                }
                // A client that tries again changes nothing.
                if !parts.outputs.iter().any(|(known, _)| known == model) {
                    parts.outputs.push((model, *step));
                }
            }
            Ok(Changed::row(parts.pack()))
        };
        self.change_run(id, change).await
    }

    /// A dataset as it was described first.
    pub fn dataset(&self, experiment: u64, name: &str, digest: &str) -> Tracked<Option<GivenDataset>> {
        Ok(self.0.store.tracked(Table::Dataset, key(experiment, name, digest))?)
    }

    /// Datasets that runs of these experiments used.
    pub fn datasets_of(&self, experiments: &[String]) -> Tracked<Vec<DatasetSummary>> {
        let ids = check::experiment_ids(experiments)?;
        let state = self.read();
        let mut found = BTreeSet::new();
        for id in ids {
            for slot in state.runs.of_experiment(id) {
                for used in state.runs.row(*slot).inputs().datasets {
                    let context = used.tags.iter().find(|(k, _)| *k == CONTEXT).map(|(_, v)| (*v).to_owned());
                    let (name, digest) = (used.name.to_owned(), used.digest.to_owned());
                    found.insert(DatasetSummary { experiment_id: id.to_string(), name, digest, context });
                }
            }
        }
        Ok(found.into_iter().take(SUMMARIES).collect())
    }
}

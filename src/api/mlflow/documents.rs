//! Experiments, runs and metrics as documents of the wire: protobuf's JSON, with integers as numbers, and what is unset left out.

use crate::{
    model::tracking::{Experiment, TrackingError},
    tracking::{
        Tracker,
        row::{Facts, Latest, Row},
    },
};
use serde::{Serialize, Serializer};

/// A double: what JSON cannot write is a word.
pub fn double<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        v if v.is_nan() => serializer.serialize_str("NaN"),
        v if v.is_infinite() => serializer.serialize_str(if *v > 0.0 { "Infinity" } else { "-Infinity" }),
        v => serializer.serialize_f64(*v),
    }
}

#[derive(Serialize)]
pub struct Pair<'a> {
    pub key: &'a str,
    pub value: &'a str,
}

pub fn pairs<'a>(all: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Pair<'a>> {
    all.into_iter().map(|(key, value)| Pair { key, value }).collect()
}

#[derive(Serialize)]
pub struct ExperimentDoc<'a> {
    experiment_id: String,
    name: &'a str,
    artifact_location: &'a str,
    lifecycle_stage: &'static str,
    last_update_time: i64,
    creation_time: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Pair<'a>>,
    workspace: &'static str,
}

impl<'a> From<&'a Experiment> for ExperimentDoc<'a> {
    fn from(e: &'a Experiment) -> Self {
        Self {
            experiment_id: e.id.to_string(),
            name: &e.name,
            artifact_location: &e.artifact_location,
            lifecycle_stage: e.lifecycle.name(),
            last_update_time: e.updated,
            creation_time: e.created,
            tags: pairs(e.tags.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
            workspace: "default",
        }
    }
}

#[derive(Serialize)]
pub struct Info<'a> {
    run_uuid: &'a str,
    experiment_id: String,
    run_name: &'a str,
    user_id: &'a str,
    status: &'static str,
    start_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<i64>,
    artifact_uri: &'a str,
    lifecycle_stage: &'static str,
    run_id: &'a str,
}

impl<'a> From<Facts<'a>> for Info<'a> {
    fn from(f: Facts<'a>) -> Self {
        Self {
            run_uuid: f.id,
            experiment_id: f.experiment.to_string(),
            run_name: f.name,
            user_id: f.user,
            status: f.status.name(),
            start_time: f.started,
            end_time: f.ended.filter(|e| *e != 0),
            artifact_uri: f.artifact_uri,
            lifecycle_stage: f.lifecycle.name(),
            run_id: f.id,
        }
    }
}

#[derive(Serialize)]
pub struct MetricDoc<'a> {
    pub key: &'a str,
    #[serde(serialize_with = "double")]
    pub value: f64,
    pub timestamp: i64,
    pub step: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<&'a str>,
}

impl<'a> From<Latest<'a>> for MetricDoc<'a> {
    fn from(m: Latest<'a>) -> Self {
        Self { key: m.key, value: m.value, timestamp: m.timestamp, step: m.step, run_id: None }
    }
}

#[derive(Serialize)]
struct Data<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<MetricDoc<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    params: Vec<Pair<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Pair<'a>>,
}

#[derive(Serialize)]
struct DatasetDoc {
    name: String,
    digest: String,
    source_type: String,
    source: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    schema: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    profile: String,
}

#[derive(Serialize)]
struct DatasetInput<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Pair<'a>>,
    dataset: DatasetDoc,
}

#[derive(Serialize)]
struct ModelInput<'a> {
    model_id: &'a str,
}

#[derive(Serialize)]
struct ModelOutput<'a> {
    model_id: &'a str,
    step: i64,
}

#[derive(Serialize)]
struct InputsDoc<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dataset_inputs: Vec<DatasetInput<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    model_inputs: Vec<ModelInput<'a>>,
}

#[derive(Serialize)]
struct OutputsDoc<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    model_outputs: Vec<ModelOutput<'a>>,
}

#[derive(Serialize)]
pub struct RunDoc<'a> {
    info: Info<'a>,
    data: Data<'a>,
    inputs: InputsDoc<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<OutputsDoc<'a>>,
}

/// A run whole, with what its datasets were described as.
pub fn run<'a>(tracker: &Tracker, row: &'a Row) -> Result<RunDoc<'a>, TrackingError> {
    let facts = row.facts()?;
    let inputs = row.inputs();
    let mut dataset_inputs = vec![];
    for used in inputs.datasets {
        let Some(d) = tracker.dataset(facts.experiment, used.name, used.digest)? else { continue };
        let dataset = DatasetDoc {
            name: d.name,
            digest: d.digest,
            source_type: d.source_type,
            source: d.source,
            schema: d.schema,
            profile: d.profile,
        };
        dataset_inputs.push(DatasetInput { tags: pairs(used.tags), dataset });
    }
    let model_inputs = inputs.models.into_iter().map(|model_id| ModelInput { model_id }).collect();
    let model_outputs = row.outputs().map(|(model_id, step)| ModelOutput { model_id, step }).collect();
    Ok(RunDoc {
        info: facts.into(),
        data: Data {
            metrics: row.metrics().map(MetricDoc::from).collect(),
            params: pairs(row.params()),
            tags: pairs(row.tags()),
        },
        inputs: InputsDoc { dataset_inputs, model_inputs },
        outputs: Some(OutputsDoc { model_outputs }),
    })
}

/// A run that was made just now: it has no outputs yet, and MLflow does not say so.
pub fn created(row: &Row) -> Result<RunDoc<'_>, TrackingError> {
    Ok(RunDoc {
        info: row.facts()?.into(),
        data: Data { metrics: vec![], params: vec![], tags: pairs(row.tags()) },
        inputs: InputsDoc { dataset_inputs: vec![], model_inputs: vec![] },
        outputs: None,
    })
}

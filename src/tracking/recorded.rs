//! Models that clients before MLflow 3 record on a run: a list in one of its tags.

use super::{
    Tracked, Tracker, check, json,
    row::{self, Row},
    run::Changed,
    state::{State, must_be_active},
};
use crate::model::tracking::TrackingError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The tag that holds the list.
const HISTORY: &str = "mlflow.log-model.history";
const MANDATORY: [&str; 4] = ["artifact_path", "flavors", "utc_time_created", "run_id"];

/// What is kept of an `MLmodel` (`Model.get_tags_dict` of MLflow).
#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    artifact_path: Value,
    run_id: Value,
    utc_time_created: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model_uuid: Option<Value>,
    flavors: BTreeMap<String, Value>,
}

fn read(text: &str) -> Tracked<Recorded> {
    let malformed = || TrackingError::invalid(format!("Malformed model info. \n {text} \n is not a valid JSON."));
    let model: Value = serde_json::from_str(text).map_err(|_| malformed())?;
    let missing: Vec<String> =
        MANDATORY.iter().filter(|f| model.get(**f).is_none()).map(|f| format!("'{f}'")).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(TrackingError::invalid(format!("Model json is missing mandatory fields: {{{missing}}}")));
    }
    let mut model: Recorded = serde_json::from_value(model).map_err(|_| malformed())?;
    // The settings of a flavor are files of the model.
    model.flavors.values_mut().filter_map(Value::as_object_mut).for_each(|flavor| drop(flavor.remove("config")));
    Ok(model)
}

impl Tracker {
    /// Adds a model, an `MLmodel` as JSON, to those that the run recorded.
    pub async fn record_model(&self, id: &str, model: &str) -> Tracked<()> {
        check::run_id(id)?;
        let model = read(model)?;
        let change = |_: &State, row: &Row| {
            must_be_active(row)?;
            let mut parts = row.parts()?;
            let before = row::get(&parts.tags, HISTORY).unwrap_or("[]");
            let refused =
                |e| TrackingError::invalid(format!("The tag {HISTORY} of run {id} holds no list of models: {e}"));
            let mut models: Vec<Recorded> = serde_json::from_str(before).map_err(refused)?;
            models.push(model);
            let text = json::python(&models).map_err(refused)?;
            row::put(&mut parts.tags, HISTORY, &text);
            Ok(Changed::row(parts.pack()))
        };
        self.change_run(id, change).await
    }
}

//! Logged models: made, finished, tagged, deleted.

use super::{
    ModelPoint, Tracked, Tracker,
    points::Points,
    state::{Kept, LoggedModel, LoggedModels, ModelStatus, missing},
};
use crate::{
    model::tracking::{ErrorCode, Lifecycle, TrackingError},
    search::python_text,
    store::{Batch, Table},
    tracking::{check, json, names, run},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The tag that lists the versions that a model became.
const VERSIONS: &str = "mlflow.modelVersions";

/// A logged model to be made.
#[derive(Debug, Default)]
pub struct NewLoggedModel {
    pub experiment: String,
    /// Invented when empty.
    pub name: String,
    pub model_type: String,
    pub source_run_id: String,
    pub params: Vec<(String, String)>,
    pub tags: Vec<(String, String)>,
}

fn check_name(name: &str) -> Tracked<()> {
    if name.contains(['/', ':', '.', '%', '"', '\'']) {
        return Err(TrackingError::invalid(format!(
            "Invalid model name ({}) provided. Model name must be a non-empty string and cannot contain the following characters: \
             ('/', ':', '.', '%', '\"', \"'\")",
            python_text(name)
        )));
    }
    Ok(())
}

/// Params, none of which may be there already, whatever its value.
fn put_params(params: &mut BTreeMap<String, String>, new: Vec<(String, String)>) -> Tracked<()> {
    for (key, value) in new {
        if params.contains_key(&key) {
            let words = format!("The param '{key}' of the logged model was set already");
            return Err(TrackingError::new(ErrorCode::BadRequest, words));
        }
        params.insert(key, value);
    }
    Ok(())
}

fn put(batch: Batch, model: &LoggedModel) -> Batch {
    batch.put_tracked(Table::LoggedModel, &model.id, model)
}

impl Tracker {
    /// Makes a logged model.
    pub async fn create_logged_model(&self, new: NewLoggedModel) -> Tracked<LoggedModel> {
        check_name(&new.name)?;
        check::tags_once(&new.tags)?;
        self.experiment_is_active(&new.experiment)?;
        let home = self.experiment(&new.experiment)?;
        let id = format!("m-{}", run::new_id()?);
        let now = self.now();
        let mut model = LoggedModel {
            artifact_uri: format!("{}/models/{id}/artifacts", home.artifact_location),
            id,
            experiment: home.id,
            name: if new.name.is_empty() { names::invent(run::random()?) } else { new.name },
            created: now,
            updated: now,
            status: ModelStatus::Pending,
            model_type: new.model_type,
            source_run_id: Some(new.source_run_id),
            lifecycle: Lifecycle::Active,
            params: BTreeMap::new(),
            tags: new.tags.into_iter().collect(),
        };
        put_params(&mut model.params, new.params)?;
        let waiting = {
            let mut models = self.logged_mut();
            let waiting = self.0.store.submit(put(Batch::new(), &model));
            models.by_id.insert(model.id.clone(), Kept { model: model.clone(), points: Points::default() });
            waiting
        };
        if let Err(e) = waiting.await {
            self.read_logged_model_again(&model.id)?;
            return Err(e.into());
        }
        Ok(model)
    }

    /// A logged model that was not deleted.
    pub fn logged_model(&self, id: &str) -> Tracked<LoggedModel> {
        self.logged_model_with_metrics(id, false).map(|(model, _)| model)
    }

    /// A logged model with its metrics; a deleted one if the caller takes that.
    pub fn logged_model_with_metrics(&self, id: &str, deleted: bool) -> Tracked<(LoggedModel, Vec<ModelPoint>)> {
        let models = self.logged();
        let kept = models.get(id)?;
        if kept.model.lifecycle == Lifecycle::Deleted && !deleted {
            return Err(missing(id));
        }
        Ok(kept.view())
    }

    /// Changes a model's record; ends once that is durable.
    async fn change_logged_model(
        &self,
        id: &str,
        change: impl FnOnce(&mut LoggedModel) -> Tracked<()>,
    ) -> Tracked<(LoggedModel, Vec<ModelPoint>)> {
        let (view, waiting) = {
            let mut models = self.logged_mut();
            let kept = models.get_mut(id)?;
            let mut model = kept.model.clone();
            change(&mut model)?;
            kept.model = model;
            (kept.view(), self.0.store.submit(put(Batch::new(), &kept.model)))
        };
        if let Err(e) = waiting.await {
            self.read_logged_model_again(id)?;
            return Err(e.into());
        }
        Ok(view)
    }

    /// Says that a model's files are there, or will not come.
    pub async fn finalize_logged_model(
        &self,
        id: &str,
        status: ModelStatus,
    ) -> Tracked<(LoggedModel, Vec<ModelPoint>)> {
        let now = self.now();
        let change = |model: &mut LoggedModel| {
            (model.status, model.updated) = (status, now);
            Ok(())
        };
        self.change_logged_model(id, change).await
    }

    /// Deletes a model; its record stays.
    pub async fn delete_logged_model(&self, id: &str) -> Tracked<()> {
        let now = self.now();
        let change = |model: &mut LoggedModel| {
            (model.lifecycle, model.updated) = (Lifecycle::Deleted, now);
            Ok(())
        };
        self.change_logged_model(id, change).await.map(drop)
    }

    /// Adds params.
    pub async fn log_model_params(&self, id: &str, params: Vec<(String, String)>) -> Tracked<()> {
        self.change_logged_model(id, |model| put_params(&mut model.params, params)).await.map(drop)
    }

    /// Sets tags.
    pub async fn tag_logged_model(&self, id: &str, tags: Vec<(String, String)>) -> Tracked<()> {
        let change = |model: &mut LoggedModel| {
            model.tags.extend(tags);
            Ok(())
        };
        self.change_logged_model(id, change).await.map(drop)
    }

    /// Takes a tag away.
    pub async fn untag_logged_model(&self, id: &str, key: &str) -> Tracked<()> {
        let change = |model: &mut LoggedModel| {
            let gone = model.tags.remove(key).map(drop);
            let words = || format!("No tag with key {} found for model with ID '{id}'.", python_text(key));
            gone.ok_or_else(|| TrackingError::missing(words()))
        };
        self.change_logged_model(id, change).await.map(drop)
    }

    /// Notes at a model which version it became, in the batch that makes the version.
    pub(in crate::tracking) fn note_version(&self, id: &str, name: &str, number: u64, batch: Batch) -> Tracked<Batch> {
        #[derive(Serialize, Deserialize)]
        struct Became {
            name: String,
            /// Clients write it as a text.
            version: serde_json::Value,
        }
        let mut models: std::sync::RwLockWriteGuard<'_, LoggedModels> = self.logged_mut();
        let model = &mut models.get_mut(id)?.model;
        let listed = model.tags.get(VERSIONS).and_then(|list| serde_json::from_str(list).ok());
        let mut all: Vec<Became> = listed.unwrap_or_default();
        all.push(Became { name: name.to_owned(), version: number.into() });
        let list = json::python(&all)
            .map_err(|e| TrackingError::new(ErrorCode::InternalError, format!("versions cannot be listed: {e}")))?;
        model.tags.insert(VERSIONS.to_owned(), list);
        Ok(put(batch, model))
    }
}

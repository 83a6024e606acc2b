//! What is kept of logged models.

use super::{ModelPoint, Tracked, points::Points};
use crate::{
    model::tracking::{Lifecycle, TrackingError},
    search::{Attribute, Point, Searched},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// How far a model's files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelStatus {
    Unspecified,
    Pending,
    Ready,
    Failed,
}

impl ModelStatus {
    /// As on the wire, in the order of the protocol's numbers from 1 on.
    pub const WORDS: &[&str] = &["LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"];

    /// As on the wire.
    pub fn wire(self) -> &'static str {
        match self {
            Self::Unspecified => "LOGGED_MODEL_STATUS_UNSPECIFIED",
            Self::Pending => "LOGGED_MODEL_PENDING",
            Self::Ready => "LOGGED_MODEL_READY",
            Self::Failed => "LOGGED_MODEL_UPLOAD_FAILED",
        }
    }

    /// From the wire.
    pub fn of(word: Option<&str>) -> Self {
        let all = [Self::Pending, Self::Ready, Self::Failed];
        all.into_iter().find(|s| Some(s.wire()) == word).unwrap_or(Self::Unspecified)
    }

    /// As filters name it.
    fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "UNSPECIFIED",
            Self::Pending => "PENDING",
            Self::Ready => "READY",
            Self::Failed => "FAILED",
        }
    }
}

/// A logged model's record. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoggedModel {
    pub id: String,
    pub experiment: u64,
    pub name: String,
    pub created: i64,
    pub updated: i64,
    /// Where its files go.
    pub artifact_uri: String,
    pub status: ModelStatus,
    pub model_type: String,
    pub source_run_id: Option<String>,
    pub lifecycle: Lifecycle,
    pub params: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
}

/// A model in memory.
#[derive(Debug)]
pub struct Kept {
    pub model: LoggedModel,
    pub points: Points,
}

impl Kept {
    /// The model with its metrics, as callers see it.
    pub fn view(&self) -> (LoggedModel, Vec<ModelPoint>) {
        (self.model.clone(), self.points.iter().map(ModelPoint::from).collect())
    }
}

impl Searched for Kept {
    fn attribute(&self, name: &str) -> Attribute<'_> {
        let m = &self.model;
        match name {
            "model_id" => Attribute::Text(m.id.as_str().into()),
            "name" => Attribute::Text(m.name.as_str().into()),
            "model_type" => Attribute::Text(m.model_type.as_str().into()),
            "status" => Attribute::Text(m.status.name().into()),
            "source_run_id" => m.source_run_id.as_deref().map_or(Attribute::Missing, |id| Attribute::Text(id.into())),
            "creation_timestamp" => Attribute::Integer(m.created),
            "last_updated_timestamp" => Attribute::Integer(m.updated),
            "experiment_id" => Attribute::Integer(i64::try_from(m.experiment).unwrap_or(i64::MAX)),
            "artifact_location" => Attribute::Text(m.artifact_uri.as_str().into()),
            "lifecycle_stage" => Attribute::Text(m.lifecycle.name().into()),
            _ => Attribute::Missing,
        }
    }
    fn param(&self, key: &str) -> Option<&str> {
        self.model.params.get(key).map(String::as_str)
    }
    fn tag(&self, key: &str) -> Option<&str> {
        self.model.tags.get(key).map(String::as_str)
    }
    fn each_point(&self, visit: &mut dyn FnMut(&Point<'_>)) {
        self.points.iter().for_each(|p| visit(&p));
    }
}

/// Every logged model.
#[derive(Debug, Default)]
pub struct LoggedModels {
    pub by_id: HashMap<String, Kept>,
    /// Number of the next record of points.
    pub next_page: u64,
}

impl LoggedModels {
    /// The model of this id, deleted or not.
    pub fn get(&self, id: &str) -> Tracked<&Kept> {
        self.by_id.get(id).ok_or_else(|| missing(id))
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: &str) -> Tracked<&mut Kept> {
        self.by_id.get_mut(id).ok_or_else(|| missing(id))
    }
}

pub fn missing(id: &str) -> TrackingError {
    TrackingError::missing(format!("Logged model with ID '{id}' not found."))
}

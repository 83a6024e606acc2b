//! What is kept of models and versions.

use super::{ModelView, Tracked, VersionView};
use crate::model::{as_map, tracking::TrackingError};
use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Where a version stands on its way; MLflow's older word for aliases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub enum Stage {
    #[default]
    None,
    Staging,
    Production,
    Archived,
}

impl Stage {
    pub const ALL: [Self; 4] = [Self::None, Self::Staging, Self::Production, Self::Archived];

    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Staging => "Staging",
            Self::Production => "Production",
            Self::Archived => "Archived",
        }
    }

    /// From the wire, in any case.
    pub fn of(word: &str) -> Tracked<Self> {
        Self::ALL.into_iter().find(|s| s.name().eq_ignore_ascii_case(word)).ok_or_else(|| {
            TrackingError::invalid(format!(
                "Invalid Model Version stage: {word}. Value must be one of None, Staging, Production, Archived."
            ))
        })
    }
}

/// A model's own record. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegisteredModel {
    pub name: String,
    pub created: i64,
    pub updated: i64,
    pub description: String,
    pub tags: BTreeMap<String, String>,
    pub aliases: BTreeMap<String, u64>,
    /// Those of the aliases that trimtab holds: environments with the versions that they serve.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub served: BTreeMap<String, u64>,
    /// The newest number that was given out: a deleted one is not given again.
    pub last: u64,
}

/// A version's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelVersion {
    pub number: u64,
    pub created: i64,
    pub updated: i64,
    /// Absent after an update without one.
    pub description: Option<String>,
    pub stage: Stage,
    pub source: String,
    /// Where the files are, when the source only refers to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    pub run_id: Option<String>,
    pub run_link: String,
    #[serde(serialize_with = "as_map")]
    pub tags: LiteMap<String, String>,
}

impl ModelVersion {
    /// Where the files are.
    pub fn location(&self) -> &str {
        self.storage.as_deref().filter(|s| !s.is_empty()).unwrap_or(&self.source)
    }
}

/// A model with its versions.
#[derive(Debug)]
pub struct Model {
    pub record: RegisteredModel,
    /// Shared, and so out of the map: a map has room for eleven, and most models have one or two.
    versions: BTreeMap<u64, Arc<ModelVersion>>,
    /// Numbers by stage, so that the newest of each is at hand.
    stages: [BTreeSet<u64>; 4],
}

impl Model {
    /// A model without versions.
    pub fn new(record: RegisteredModel) -> Self {
        Self { record, versions: BTreeMap::new(), stages: Default::default() }
    }

    /// Puts a version, new or in the place of what has its number.
    pub fn put(&mut self, version: Arc<ModelVersion>) {
        self.remove(version.number);
        self.stages[version.stage as usize].insert(version.number);
        self.versions.insert(version.number, version);
    }

    /// Puts a version that the store holds; oldest first. Making one does not write the model's record anew: what is above its `last` was made
    /// since it was written.
    pub fn put_stored(&mut self, version: ModelVersion) {
        if version.number > self.record.last {
            (self.record.last, self.record.updated) = (version.number, version.created);
        }
        self.put(Arc::new(version));
    }

    /// Forgets aliases of versions that are not there: a backup that was taken meanwhile may have one without the other.
    pub fn drop_stray_aliases(&mut self) {
        self.record.aliases.retain(|_, number| self.versions.contains_key(number));
    }

    /// Takes a version out.
    pub fn remove(&mut self, number: u64) {
        if let Some(old) = self.versions.remove(&number) {
            self.stages[old.stage as usize].remove(&number);
        }
    }

    /// A version of a number as the caller gave it.
    pub fn version(&self, number: i128) -> Tracked<&Arc<ModelVersion>> {
        let found = u64::try_from(number).ok().and_then(|n| self.versions.get(&n));
        let name = &self.record.name;
        found.ok_or_else(|| TrackingError::missing(format!("Model Version (name={name}, version={number}) not found")))
    }

    pub fn versions(&self) -> impl Iterator<Item = &Arc<ModelVersion>> {
        self.versions.values()
    }

    /// Versions in a stage, oldest first.
    pub fn in_stage(&self, stage: Stage) -> impl DoubleEndedIterator<Item = &Arc<ModelVersion>> {
        self.stages[stage as usize].iter().filter_map(|n| self.versions.get(n))
    }

    /// The newest version of each stage; stages in the order of their oldest.
    pub fn latest(&self) -> Vec<&Arc<ModelVersion>> {
        let mut stages: Vec<_> = Stage::ALL.into_iter().filter(|s| !self.stages[*s as usize].is_empty()).collect();
        stages.sort_by_key(|s| self.stages[*s as usize].first().copied());
        stages.into_iter().filter_map(|s| self.in_stage(s).next_back()).collect()
    }

    /// As a caller sees it.
    pub fn view(&self) -> ModelView {
        ModelView { model: self.record.clone(), latest: self.latest().into_iter().cloned().collect() }
    }

    /// A version as a caller sees it.
    pub fn view_of(&self, version: &Arc<ModelVersion>) -> VersionView {
        let aliases = self.record.aliases.iter().filter(|(_, n)| **n == version.number);
        VersionView {
            name: self.record.name.clone(),
            version: version.clone(),
            aliases: aliases.map(|(alias, _)| alias.clone()).collect(),
        }
    }
}

/// Every model.
#[derive(Debug, Default)]
pub struct Registry {
    models: BTreeMap<String, Box<Model>>,
}

impl Registry {
    fn missing(name: &str) -> TrackingError {
        TrackingError::missing(format!("Registered Model with name={name} not found"))
    }

    /// The model of this name.
    pub fn get(&self, name: &str) -> Tracked<&Model> {
        self.models.get(name).map(AsRef::as_ref).ok_or_else(|| Self::missing(name))
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Tracked<&mut Model> {
        self.models.get_mut(name).map(AsMut::as_mut).ok_or_else(|| Self::missing(name))
    }

    /// Puts a model under its name.
    pub fn insert(&mut self, model: Model) {
        self.models.insert(model.record.name.clone(), Box::new(model));
    }

    pub fn remove(&mut self, name: &str) {
        self.models.remove(name);
    }

    pub fn models_mut(&mut self) -> impl Iterator<Item = &mut Model> {
        self.models.values_mut().map(AsMut::as_mut)
    }

    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.models.values().map(AsRef::as_ref)
    }
}

//! Versions: made, described, moved between stages, deleted, tagged.

use super::{
    Tracked, VersionView, check,
    published::{of_client, refuse_of_the_loop, refuse_own_tag},
    put_model, put_version,
    state::{Model, ModelVersion, Registry, Stage},
    version_key,
};
use crate::{
    model::tracking::{ErrorCode, TrackingError},
    store::{Batch, Table},
    tracking::{LoggedModel, Tracker},
};
use std::sync::Arc;

/// A version to be made; see [`Tracker::given_source`] for what a stranger gives as its source.
#[derive(Debug, Default)]
pub struct NewVersion {
    pub name: String,
    pub source: String,
    pub run_id: Option<String>,
    pub run_link: String,
    pub description: String,
    pub tags: Vec<(String, String)>,
    /// The logged model that becomes a version; it is told of it.
    pub model_id: Option<String>,
}

/// What changes about a version; `None` takes the description away, as in MLflow.
pub type VersionUpdate = Option<String>;

fn missing(name: &str, number: i128) -> TrackingError {
    TrackingError::missing(format!("Model Version (name={name}, version={number}) not found"))
}

impl Tracker {
    /// Makes the next version of a model. Costs the same however many there are.
    pub async fn create_version(&self, new: NewVersion) -> Tracked<VersionView> {
        check::model_name(&new.name)?;
        new.tags.iter().try_for_each(|(k, v)| check::version_tag(k, v).and_then(|()| refuse_own_tag(None, k)))?;
        let (storage, made_by) = self.storage_of(&new.source)?;
        let logged = new.model_id.as_deref().filter(|id| !id.is_empty()).map(|id| self.logged_model(id)).transpose()?;
        let filled = |id: Option<String>| id.filter(|id| !id.is_empty());
        let run_id = filled(new.run_id.clone()).or(made_by).or_else(|| logged.as_ref()?.source_run_id.clone());
        let run_id = run_id.or(new.run_id);
        let (name, now) = (new.name, self.now());
        let files = self.files_at(storage.as_deref().filter(|s| !s.is_empty()).unwrap_or(&new.source))?;
        let run = run_id.as_deref().unwrap_or_default();
        let (metrics, user) = (self.metrics_of(run), self.user_of(run));
        let change = |registry: &mut Registry| {
            let model = registry.get_mut(&name)?;
            let number = model.record.last + 1;
            let batch = match &logged {
                Some(logged) => self.note_version(&logged.id, &name, number, Batch::new())?,
                None => Batch::new(),
            };
            let version = ModelVersion {
                number,
                created: now,
                updated: now,
                description: Some(new.description),
                stage: Stage::None,
                source: new.source,
                storage,
                run_id: Some(run_id.unwrap_or_default()),
                run_link: new.run_link,
                tags: new.tags.into_iter().collect(),
            };
            (model.record.last, model.record.updated) = (number, now);
            // The model's record is not written: what changed of it is read from the version.
            let batch = put_version(batch, &name, &version);
            // It is one of the loop's, too; where both give out a number at once, the store refuses the second.
            let batch = match of_client(&name, &version, files, &user, metrics) {
                Some(version) => batch.put_version(&version),
                None => batch,
            };
            let version = Arc::new(version);
            let view = model.view_of(&version);
            model.put(version);
            Ok((view, batch))
        };
        let made = self.change_registry(&[&name], change).await;
        if let (Err(_), Some(LoggedModel { id, .. })) = (&made, &logged) {
            self.read_logged_model_again(id)?;
        }
        made
    }

    /// A version.
    pub fn model_version(&self, name: &str, version: &str) -> Tracked<VersionView> {
        check::model_name(name)?;
        let number = check::version(version)?;
        let registry = self.registry();
        let model = registry.get(name).map_err(|_| missing(name, number))?;
        Ok(model.view_of(model.version(number)?))
    }

    /// Where a version's files are.
    pub fn download_uri(&self, name: &str, version: &str) -> Tracked<String> {
        Ok(self.model_version(name, version)?.version.location().to_owned())
    }

    /// Changes a version, and its model's record with it when that is `updated` too.
    async fn change_version(
        &self,
        name: &str,
        version: &str,
        touch: bool,
        change: impl FnOnce(&mut Model, &mut ModelVersion) -> Tracked<Batch>,
    ) -> Tracked<VersionView> {
        check::model_name(name)?;
        let number = check::version(version)?;
        let now = self.now();
        let change = |registry: &mut Registry| {
            let model = registry.get_mut(name).map_err(|_| missing(name, number))?;
            let mut version = model.version(number)?.clone();
            let mut batch = change(model, Arc::make_mut(&mut version))?;
            if touch {
                model.record.updated = now;
                batch = put_model(batch, &model.record);
            }
            let batch = put_version(batch, name, &version);
            let view = model.view_of(&version);
            model.put(version);
            Ok((view, batch))
        };
        self.change_registry(&[name], change).await
    }

    /// Gives a version another description, or none.
    pub async fn describe_version(
        &self,
        name: &str,
        version: &str,
        description: VersionUpdate,
    ) -> Tracked<VersionView> {
        let now = self.now();
        let change = |_: &mut Model, version: &mut ModelVersion| {
            (version.description, version.updated) = (description, now);
            Ok(Batch::new())
        };
        self.change_version(name, version, false, change).await
    }

    /// Moves a version to a stage; with `archive` all others of that stage to the archive.
    pub async fn move_version(&self, name: &str, version: &str, stage: &str, archive: bool) -> Tracked<VersionView> {
        let to = Stage::of(stage)?;
        if archive && !matches!(to, Stage::Staging | Stage::Production) {
            // MLflow says so with a 500, on which clients would try again.
            return Err(TrackingError::invalid(format!(
                "Model version transition cannot archive existing model versions because '{stage}' is not an Active stage. Valid stages \
                 are ['Staging', 'Production']"
            )));
        }
        let now = self.now();
        let change = |model: &mut Model, version: &mut ModelVersion| {
            let others = model.in_stage(to).filter(|v| archive && v.number != version.number);
            let others: Vec<Arc<ModelVersion>> = others.cloned().collect();
            let mut batch = Batch::new();
            for mut other in others {
                let changed = Arc::make_mut(&mut other);
                (changed.stage, changed.updated) = (Stage::Archived, now);
                batch = put_version(batch, name, &other);
                model.put(other);
            }
            (version.stage, version.updated) = (to, now);
            Ok(batch)
        };
        self.change_version(name, version, true, change).await
    }

    /// Sets a tag of a version.
    pub async fn tag_version(&self, name: &str, version: &str, key: &str, value: &str) -> Tracked<()> {
        check::model_name(name)?;
        check::version(version)?;
        check::version_tag(key, value)?;
        let change = |_: &mut Model, version: &mut ModelVersion| {
            refuse_own_tag(Some(version), key)?;
            version.tags.insert(key.to_owned(), value.to_owned());
            Ok(Batch::new())
        };
        self.change_version(name, version, false, change).await.map(drop)
    }

    /// Takes a tag of a version away, if it is there.
    pub async fn untag_version(&self, name: &str, version: &str, key: &str) -> Tracked<()> {
        check::model_name(name)?;
        check::version(version)?;
        crate::tracking::check::key_name(key, "key")?;
        let change = |_: &mut Model, version: &mut ModelVersion| {
            refuse_own_tag(Some(version), key)?;
            version.tags.remove(key);
            Ok(Batch::new())
        };
        self.change_version(name, version, false, change).await.map(drop)
    }

    /// Deletes a version with the aliases that point to it. Its number is not given out again.
    pub async fn delete_version(&self, name: &str, version: &str) -> Tracked<()> {
        let number = check::version(version)?;
        check::model_name(name)?;
        let now = self.now();
        let change = |registry: &mut Registry| {
            let model = registry.get_mut(name).map_err(|_| missing(name, number))?;
            let number = model.version(number)?.number;
            refuse_of_the_loop(model.version(i128::from(number))?, name)?;
            let batch = Batch::new().delete_tracked(Table::ModelVersion, version_key(name, number));
            let batch = self.forget_of_client(name, number, batch)?;
            model.record.aliases.retain(|_, n| *n != number);
            model.record.updated = now;
            model.remove(number);
            Ok(((), put_model(batch, &model.record)))
        };
        self.change_registry(&[name], change).await
    }

    /// The newest version of each of these stages; of all, when none is given.
    pub fn latest_versions(&self, name: &str, stages: &[String]) -> Tracked<Vec<VersionView>> {
        check::model_name(name)?;
        let registry = self.registry();
        let model = registry.get(name)?;
        let asked = stages.iter().map(|s| Stage::of(s)).collect::<Tracked<Vec<_>>>()?;
        let latest = model.latest().into_iter().filter(|v| asked.is_empty() || asked.contains(&v.stage));
        Ok(latest.map(|v| model.view_of(v)).collect())
    }

    /// The version of a number, of a stage, or the newest, as a `models:/` address names it.
    pub(super) fn newest_in(&self, name: &str, stage: Option<&str>) -> Tracked<VersionView> {
        let stages: Vec<String> = stage.iter().map(|s| (*s).to_owned()).collect();
        let newest = self.latest_versions(name, &stages)?.into_iter().max_by_key(|v| v.version.number);
        let of_stage = stage.map(|s| format!(" and stage '{s}'")).unwrap_or_default();
        newest.ok_or_else(|| {
            TrackingError::new(
                ErrorCode::ResourceDoesNotExist,
                format!("No versions of model with name '{name}'{of_stage} found"),
            )
        })
    }
}

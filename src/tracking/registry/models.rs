//! Models: made, described, renamed, deleted, tagged; aliases.

use super::{
    ModelView, Tracked, VersionView, check,
    published::refuse_of_the_loop,
    put_model, put_version,
    state::{Model, RegisteredModel, Registry},
    version_key,
};
use crate::{
    model::tracking::TrackingError,
    search::IS_PROMPT,
    store::{Batch, Table},
    tracking::Tracker,
};
use std::{collections::BTreeMap, sync::Arc};

/// A model to be made.
#[derive(Debug, Default)]
pub struct NewModel {
    pub name: String,
    pub tags: Vec<(String, String)>,
    pub description: String,
}

/// Whether tags make a prompt, as whoever makes and registers it is asked.
pub(super) fn is_prompt(tags: &BTreeMap<String, String>) -> bool {
    tags.get(IS_PROMPT).is_some_and(|v| v.eq_ignore_ascii_case("true"))
}

/// Models and prompts share their names.
fn taken(old: &RegisteredModel, tags: &BTreeMap<String, String>) -> TrackingError {
    let what = |prompt| if prompt { "Prompt" } else { "Registered Model" };
    let (old_kind, new_kind, name) = (what(is_prompt(&old.tags)), what(is_prompt(tags)), &old.name);
    TrackingError::exists(if old_kind == new_kind {
        format!("{new_kind} (name={name}) already exists.")
    } else {
        format!(
            "Tried to create a {} with name '{name}', but the name is already taken by a {}. MLflow does not allow creating a model \
             and a prompt with the same name.",
            new_kind.to_lowercase(),
            old_kind.to_lowercase()
        )
    })
}

/// What an environment serves is not moved by an alias.
fn not_held(model: &RegisteredModel, alias: &str) -> Tracked<()> {
    if !model.served.contains_key(alias) {
        return Ok(());
    }
    Err(TrackingError::invalid(format!(
        "The alias `{alias}` of {} is held by trimtab: it is what the environment `{alias}` serves, and moves with a commit that deploys \
         another version",
        model.name
    )))
}

impl Tracker {
    /// Makes a model.
    pub async fn create_model(&self, new: NewModel) -> Tracked<ModelView> {
        check::model_name(&new.name)?;
        new.tags.iter().try_for_each(|(k, v)| check::tag(k, v))?;
        let (name, tags, now) = (new.name, new.tags.into_iter().collect(), self.now());
        let change = |registry: &mut Registry| {
            if let Ok(old) = registry.get(&name) {
                return Err(taken(&old.record, &tags));
            }
            let model = Model::new(RegisteredModel {
                name: name.clone(),
                created: now,
                updated: now,
                description: new.description,
                tags,
                aliases: BTreeMap::new(),
                served: BTreeMap::new(),
                last: 0,
            });
            let made = (model.view(), put_model(Batch::new(), &model.record));
            registry.insert(model);
            Ok(made)
        };
        self.change_registry(&[&name], change).await
    }

    /// A model.
    pub fn registered_model(&self, name: &str) -> Tracked<ModelView> {
        check::model_name(name)?;
        Ok(self.registry().get(name)?.view())
    }

    /// Changes a model's own record.
    async fn change_model(&self, name: &str, change: impl FnOnce(&mut RegisteredModel)) -> Tracked<ModelView> {
        check::model_name(name)?;
        let change = |registry: &mut Registry| {
            let model = registry.get_mut(name)?;
            change(&mut model.record);
            Ok((model.view(), put_model(Batch::new(), &model.record)))
        };
        self.change_registry(&[name], change).await
    }

    /// Gives a model another description.
    pub async fn describe_model(&self, name: &str, description: &str) -> Tracked<ModelView> {
        let now = self.now();
        let change = |model: &mut RegisteredModel| {
            (model.description, model.updated) = (description.to_owned(), now);
        };
        self.change_model(name, change).await
    }

    /// Sets a tag of a model.
    pub async fn tag_model(&self, name: &str, key: &str, value: &str) -> Tracked<()> {
        check::model_name(name)?;
        check::tag(key, value)?;
        let change = |model: &mut RegisteredModel| drop(model.tags.insert(key.to_owned(), value.to_owned()));
        self.change_model(name, change).await.map(drop)
    }

    /// Takes a tag of a model away, if it is there.
    pub async fn untag_model(&self, name: &str, key: &str) -> Tracked<()> {
        check::model_name(name)?;
        crate::tracking::check::key_name(key, "key")?;
        self.change_model(name, |model| drop(model.tags.remove(key))).await.map(drop)
    }

    /// Gives a model, and with it all versions, another name.
    pub async fn rename_model(&self, name: &str, new_name: &str) -> Tracked<ModelView> {
        check::new_name(new_name)?;
        check::model_name(name)?;
        let now = self.now();
        let change = |registry: &mut Registry| {
            registry.get(name)?;
            if name != new_name && registry.get(new_name).is_ok() {
                let words = format!("Registered Model (name={new_name}) already exists. Error: the name is taken");
                return Err(TrackingError::exists(words));
            }
            let old = registry.get(name)?;
            old.versions().try_for_each(|v| refuse_of_the_loop(v, name))?;
            let record = RegisteredModel { name: new_name.to_owned(), updated: now, ..old.record.clone() };
            let mut batch = Batch::new().delete_tracked(Table::RegisteredModel, name);
            let mut model = Model::new(record);
            for version in old.versions() {
                let mut version = version.clone();
                Arc::make_mut(&mut version).updated = now;
                batch = batch.delete_tracked(Table::ModelVersion, version_key(name, version.number));
                batch = put_version(batch, new_name, &version);
                if name != new_name {
                    batch = self.rename_of_client((name, new_name), version.number, batch)?;
                }
                model.put(version);
            }
            let renamed = (model.view(), put_model(batch, &model.record));
            // Nothing can fail any more.
            registry.remove(name);
            registry.insert(model);
            Ok(renamed)
        };
        self.change_registry(&[name, new_name], change).await
    }

    /// Deletes a model with all versions.
    pub async fn delete_model(&self, name: &str) -> Tracked<()> {
        check::model_name(name)?;
        let change = |registry: &mut Registry| {
            let old = registry.get(name)?;
            old.versions().try_for_each(|v| refuse_of_the_loop(v, name))?;
            let batch = Batch::new().delete_tracked(Table::RegisteredModel, name);
            let batch = old.versions().try_fold(batch, |batch, version| {
                let batch = batch.delete_tracked(Table::ModelVersion, version_key(name, version.number));
                self.forget_of_client(name, version.number, batch)
            })?;
            registry.remove(name);
            Ok(((), batch))
        };
        self.change_registry(&[name], change).await
    }

    /// Points an alias to a version, wherever it pointed before.
    pub async fn set_alias(&self, name: &str, alias: &str, version: &str) -> Tracked<()> {
        check::model_name(name)?;
        check::new_alias(alias)?;
        let number = check::version(version)?;
        let change = |registry: &mut Registry| {
            let missing = || format!("Model Version (name={name}, version={number}) not found");
            let model = registry.get_mut(name).map_err(|_| TrackingError::missing(missing()))?;
            let number = model.version(number)?.number;
            not_held(&model.record, alias)?;
            model.record.aliases.insert(alias.to_owned(), number);
            Ok(((), put_model(Batch::new(), &model.record)))
        };
        self.change_registry(&[name], change).await?;
        self.0.watcher.get().iter().for_each(|told| told(name));
        Ok(())
    }

    /// Takes an alias away, if it is there.
    pub async fn delete_alias(&self, name: &str, alias: &str) -> Tracked<()> {
        check::model_name(name)?;
        check::alias(alias)?;
        not_held(&self.registered_model(name)?.model, alias)?;
        self.change_model(name, |model| {
            model.aliases.remove(alias);
        })
        .await
        .map(drop)
    }

    /// The version that an alias points to; `latest` is the newest.
    pub fn version_by_alias(&self, name: &str, alias: &str) -> Tracked<VersionView> {
        check::model_name(name)?;
        check::alias(alias)?;
        let registry = self.registry();
        let model = registry.get(name)?;
        if alias.eq_ignore_ascii_case("latest") {
            let newest = model.latest().into_iter().max_by_key(|v| v.number).map(|v| model.view_of(v));
            return newest.ok_or_else(|| TrackingError::missing(format!("Latest version not found for model {name}.")));
        }
        let number = model.record.aliases.get(alias);
        let number =
            number.ok_or_else(|| TrackingError::invalid(format!("Registered model alias {alias} not found.")))?;
        Ok(model.view_of(model.version(i128::from(*number))?))
    }
}

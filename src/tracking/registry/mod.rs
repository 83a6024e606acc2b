//! The model registry: models by name, their numbered versions, aliases, stages, tags.
//!
//! All of it is in memory; a change writes the records that it touched: the model's own, which is small, and those of the versions that
//! changed. Sources: `mlflow` 3.17.2, `store/model_registry/sqlalchemy_store.py` and `server/handlers.py`.

mod check;
mod import;
mod mirrored;
mod models;
mod published;
mod search;
mod source;
mod state;
pub(super) mod uri;
mod versions;

pub use import::Aliases;
pub use models::NewModel;
pub(super) use published::figures;
pub use source::GivenSource;
pub use state::{ModelVersion, RegisteredModel, Stage};
pub use versions::{NewVersion, VersionUpdate};

use super::{Tracked, Tracker};
use crate::store::{Batch, Store, Table};
use state::Model;
pub(super) use state::Registry;
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};

/// A model with the newest version of each stage.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelView {
    pub model: RegisteredModel,
    pub latest: Vec<Arc<ModelVersion>>,
}

/// A version with the aliases that point to it.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionView {
    pub name: String,
    pub version: Arc<ModelVersion>,
    pub aliases: Vec<String>,
}

/// A version's key: names have no colon.
fn version_key(name: &str, number: u64) -> Vec<u8> {
    [name.as_bytes(), b":", &number.to_be_bytes()].concat()
}

fn put_model(batch: Batch, model: &RegisteredModel) -> Batch {
    batch.put_tracked(Table::RegisteredModel, &model.name, model)
}

fn put_version(batch: Batch, name: &str, version: &ModelVersion) -> Batch {
    batch.put_tracked(Table::ModelVersion, version_key(name, version.number), version)
}

/// Reads what the store holds.
pub(super) fn read(store: &Store) -> Tracked<Registry> {
    let mut registry = Registry::default();
    store.each_tracked(Table::RegisteredModel, "", |_, model: RegisteredModel| {
        registry.insert(Model::new(model));
        Ok(())
    })?;
    store.each_tracked(Table::ModelVersion, "", |key, version: ModelVersion| {
        let name = key.split(|b| *b == b':').next().unwrap_or_default();
        if let Ok(model) = registry.get_mut(&String::from_utf8_lossy(name)) {
            model.put_stored(version);
        }
        Ok(())
    })?;
    registry.models_mut().for_each(Model::drop_stray_aliases);
    Ok(registry)
}

impl Tracker {
    fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.0.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn registry_mut(&self) -> RwLockWriteGuard<'_, Registry> {
        self.0.registry.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what `names` name; ends once that is durable. `change` decides before it changes anything.
    async fn change_registry<T>(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut Registry) -> Tracked<(T, Batch)>,
    ) -> Tracked<T> {
        let (answer, waiting) = {
            let mut registry = self.registry_mut();
            let (answer, batch) = change(&mut registry)?;
            (answer, self.0.store.submit(batch))
        };
        if let Err(e) = waiting.await {
            names.iter().try_for_each(|name| self.read_model_again(name))?;
            return Err(e.into());
        }
        Ok(answer)
    }

    /// Takes back what the store did not keep.
    fn read_model_again(&self, name: &str) -> Tracked<()> {
        let mut registry = self.registry_mut();
        let last = registry.get(name).map_or(0, |model| model.record.last);
        registry.remove(name);
        if let Some(record) = self.0.store.tracked::<RegisteredModel>(Table::RegisteredModel, name)? {
            let mut model = Model::new(record);
            let prefix = [name.as_bytes(), b":"].concat();
            self.0.store.each_tracked(Table::ModelVersion, prefix, |_, version: ModelVersion| {
                model.put_stored(version);
                Ok(())
            })?;
            // A version may have been deleted between the two: its number is not given again.
            model.record.last = model.record.last.max(last);
            registry.insert(model);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

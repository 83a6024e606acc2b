//! Models and versions that come from another server, with their numbers.

use super::{
    ModelVersion, RegisteredModel, Tracked, check,
    published::{of_client, tag},
    put_model, put_version,
    state::{Model, Registry},
};
use crate::{
    model::{ImportKind, Name, VersionNumber},
    store::Batch,
    tracking::{
        ArtifactPath, Mark, Tracker,
        import::{marked, of_here},
    },
};
use futures::executor::block_on;
use std::collections::BTreeMap;

/// The name under which a version's mark is.
fn version_id(name: &str, number: u64) -> String {
    format!("{name}:{number}")
}

impl Tracker {
    /// A registered model: new, or with what is said of it now. Aliases come by [`Tracker::bring_aliases`], once their versions are here.
    pub async fn bring_model(&self, given: RegisteredModel, mark: &Mark) -> Tracked<()> {
        check::model_name(&given.name)?;
        let name = given.name.clone();
        let brought = self.mark(ImportKind::Model, &name)?;
        let mark = Mark { aliases: brought.iter().flat_map(|m| m.aliases.clone()).collect(), ..mark.clone() };
        let change = |registry: &mut Registry| {
            if registry.get(&name).is_err() {
                registry.insert(Model::new(given));
            } else {
                let record = &mut registry.get_mut(&name)?.record;
                record.tags.extend(given.tags);
                if brought.is_some() || record.description.is_empty() {
                    record.description = given.description;
                }
                record.updated = record.updated.max(given.updated);
            }
            let batch = marked(Batch::new(), ImportKind::Model, &name, &mark);
            Ok(((), put_model(batch, &registry.get(&name)?.record)))
        };
        self.change_registry(&[&name], change).await
    }

    /// A version under its number, new or as it is now. In the loop it is one of a client's.
    pub async fn bring_version(&self, name: &str, given: ModelVersion, mark: &Mark) -> Tracked<()> {
        let (number, id) = (given.number, version_id(name, given.number));
        let brought = self.mark(ImportKind::Version, &id)?.is_some();
        let files = self.files_at(given.location())?;
        let run = given.run_id.as_deref().unwrap_or_default();
        let (metrics, user) = (self.metrics_of(run), self.user_of(run));
        let mut given = given;
        // What another server's pipeline made is a client's here: `trimtab gc` knows nothing of it.
        given.tags.remove(tag::ORIGIN);
        let in_the_loop = self.loop_has(name, number)?;
        let change = |registry: &mut Registry| {
            let model = registry.get_mut(name)?;
            if !brought && (in_the_loop || model.version(i128::from(number)).is_ok()) {
                return Err(of_here(ImportKind::Version, &id));
            }
            model.record.last = model.record.last.max(number);
            let batch = put_version(put_model(Batch::new(), &model.record), name, &given);
            let batch = match of_client(name, &given, files, &user, metrics).filter(|_| !in_the_loop) {
                Some(version) => batch.put_version(&version),
                None => batch,
            };
            model.put(given);
            Ok(((), marked(batch, ImportKind::Version, &id, mark)))
        };
        self.change_registry(&[name], change).await
    }

    /// As what a version was brought, if it was.
    pub fn version_mark(&self, name: &str, number: u64) -> Tracked<Option<Mark>> {
        self.mark(ImportKind::Version, &version_id(name, number))
    }

    fn loop_has(&self, name: &str, number: u64) -> Tracked<bool> {
        let (Ok(model), Ok(number)) = (Name::new(name), u32::try_from(number)) else { return Ok(false) };
        Ok(self.0.store.version(&model, VersionNumber(number))?.is_some())
    }

    /// Has aliases follow those of the other server where they moved there since the last time; those that trimtab holds, or whose versions
    /// are not here, are given back.
    pub async fn bring_aliases(&self, name: &str, given: BTreeMap<String, u64>) -> Tracked<Vec<String>> {
        let Some(mut mark) = self.mark(ImportKind::Model, name)? else { return Ok(vec![]) };
        let moved = |(alias, number): &(&String, &u64)| mark.aliases.get(*alias) != Some(*number);
        let moved: BTreeMap<String, u64> = given.iter().filter(moved).map(|(a, n)| (a.clone(), *n)).collect();
        let gone: Vec<String> = mark.aliases.keys().filter(|a| !given.contains_key(*a)).cloned().collect();
        if moved.is_empty() && gone.is_empty() {
            return Ok(vec![]);
        }
        moved.keys().try_for_each(|alias| check::alias(alias))?;
        let change = |registry: &mut Registry| {
            let model = registry.get_mut(name)?;
            let mut left = vec![];
            for (alias, number) in &moved {
                let theirs = self.version_mark(name, *number)?.is_some() && model.version(i128::from(*number)).is_ok();
                if model.record.served.contains_key(alias) || !theirs {
                    left.push(alias.clone());
                    continue;
                }
                model.record.aliases.insert(alias.clone(), *number);
                mark.aliases.insert(alias.clone(), *number);
            }
            for alias in gone {
                // Where it was moved here since, it stays.
                let was = mark.aliases.remove(&alias);
                if model.record.aliases.get(&alias) == was.as_ref() && !model.record.served.contains_key(&alias) {
                    model.record.aliases.remove(&alias);
                }
            }
            let batch = marked(Batch::new(), ImportKind::Model, name, &mark);
            Ok((left, put_model(batch, &model.record)))
        };
        let left = self.change_registry(&[name], change).await?;
        self.0.watcher.get().iter().for_each(|told| told(name));
        Ok(left)
    }

    /// Where the files of a version go that belong to no run and no logged model: beside those of the loop's own.
    pub fn version_folder(&self, name: &str, number: u64) -> Tracked<ArtifactPath> {
        let experiment = match self.experiment_named(name) {
            Ok(there) => there.id,
            Err(_) => block_on(self.create_experiment(name, "", vec![]))?,
        };
        ArtifactPath::new(&format!("{experiment}/versions/{number}/artifacts"))
    }

    /// Where the files are that a source refers to by `models:/`.
    pub fn location_of(&self, source: &str) -> Option<String> {
        self.storage_of(source).ok().and_then(|(place, _)| place).filter(|place| !place.is_empty())
    }
}

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
        ArtifactPath, Fields, Here, Mark, Tracker,
        import::{marked, of_here},
    },
};
use futures::executor::block_on;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The name under which a version's mark is.
fn version_id(name: &str, number: u64) -> String {
    format!("{name}:{number}")
}

/// What became, or would become, of aliases.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Aliases {
    /// Whether any moved here.
    pub moved: bool,
    /// Those that moved there and not here.
    pub left: Vec<String>,
}

/// What is to be done with the aliases of a copy.
#[derive(Debug, Default)]
struct Moves {
    set: BTreeMap<String, u64>,
    /// Gone there.
    gone: Vec<String>,
    /// Those of them that nobody moved here.
    dropped: Vec<String>,
    left: Vec<String>,
}

impl Moves {
    /// `brought`: as they were the last time. `copy` knows the numbers under which theirs are here.
    fn new(
        here: &RegisteredModel,
        brought: &BTreeMap<String, u64>,
        given: &BTreeMap<String, u64>,
        copy: impl Fn(u64) -> bool,
    ) -> Self {
        let mut moves = Self::default();
        for (alias, number) in given.iter().filter(|(alias, number)| brought.get(*alias) != Some(*number)) {
            let (was, now) = (brought.get(alias), here.aliases.get(alias));
            if here.served.contains_key(alias) || !copy(*number) || now != was && now != Some(number) {
                moves.left.push(alias.clone());
            } else {
                moves.set.insert(alias.clone(), *number);
            }
        }
        for (alias, number) in brought.iter().filter(|(alias, _)| !given.contains_key(*alias)) {
            moves.gone.push(alias.clone());
            if here.aliases.get(alias) == Some(number) && !here.served.contains_key(alias) {
                moves.dropped.push(alias.clone());
            }
        }
        moves
    }

    fn told(self) -> Aliases {
        Aliases { moved: !self.set.is_empty() || !self.dropped.is_empty(), left: self.left }
    }
}

fn fields(model: &RegisteredModel) -> Fields {
    Fields { description: Some(model.description.clone()), tags: model.tags.clone(), ..Fields::default() }
}

fn fields_of(version: &ModelVersion) -> Fields {
    let (description, tags) = (version.description.clone(), version.tags.clone().into_iter().collect());
    Fields { description, tags, stage: Some(version.stage), ..Fields::default() }
}

fn here(there: Option<&RegisteredModel>, marked: bool, given: &RegisteredModel) -> Here {
    let lacks = |here: &RegisteredModel| {
        fields(here).lacks(&fields(given)) || given.aliases.iter().any(|(a, n)| here.aliases.get(a) != Some(n))
    };
    Here::of(marked, there.map(|m| m.created), given.created, || there.is_some_and(lacks))
}

impl Tracker {
    /// What is here of a registered model that comes with these aliases, and as what it was brought, if it was.
    pub fn model_here(&self, given: &RegisteredModel) -> Tracked<(Here, Option<Mark>)> {
        check::model_name(&given.name)?;
        let known = self.mark(ImportKind::Model, &given.name)?;
        let registry = self.registry();
        let there = registry.get(&given.name).ok().map(|m| &m.record);
        Ok((here(there, known.is_some(), given), known))
    }

    /// A registered model: new, or a copy with what is said of it now. Any other one of its name is an error. Aliases come by
    /// [`Tracker::bring_aliases`], once their versions are here.
    pub async fn bring_model(&self, given: RegisteredModel, mark: &Mark) -> Tracked<()> {
        check::model_name(&given.name)?;
        let name = given.name.clone();
        let known = self.mark(ImportKind::Model, &name)?;
        let change = |registry: &mut Registry| {
            let there = registry.get(&name).ok().map(|m| m.record.clone());
            let mut mark = Mark { fields: Some(fields(&given)), ..mark.clone() };
            let record = match (here(there.as_ref(), known.is_some(), &given), there, known) {
                (Here::Copy, Some(there), Some(known)) => {
                    let followed = known.followed(fields(&there), &fields(&given));
                    mark.aliases = known.aliases;
                    let description = followed.description.unwrap_or_default();
                    let updated = there.updated.max(given.updated);
                    let record = RegisteredModel { description, tags: followed.tags, updated, ..there };
                    registry.get_mut(&name)?.record = record.clone();
                    record
                }
                (Here::Nothing, ..) => {
                    let record = RegisteredModel { aliases: BTreeMap::new(), ..given };
                    registry.insert(Model::new(record.clone()));
                    record
                }
                _ => return Err(of_here(ImportKind::Model, &name)),
            };
            Ok(((), put_model(marked(Batch::new(), ImportKind::Model, &name, &mark), &record)))
        };
        self.change_registry(&[&name], change).await
    }

    /// A version under its number: new, or a copy as it is now. Any other one of its number is an error. In the loop it is one of a client's.
    pub async fn bring_version(&self, name: &str, given: ModelVersion, mark: &Mark) -> Tracked<()> {
        let (number, id) = (given.number, version_id(name, given.number));
        let files = self.files_at(given.location())?;
        let run = given.run_id.as_deref().unwrap_or_default();
        let (metrics, user) = (self.metrics_of(run), self.user_of(run));
        let mut given = given;
        // What another server's pipeline made is a client's here: `trimtab gc` knows nothing of it.
        given.tags.remove(tag::ORIGIN);
        let in_the_loop = self.loop_has(name, number)?;
        let change = |registry: &mut Registry| {
            let model = registry.get_mut(name)?;
            let known = self.known_version(Some(&*model), name, number, given.created)?;
            let mark = Mark { fields: Some(fields_of(&given)), ..mark.clone() };
            if let (Some(known), Ok(there)) = (known, model.version(i128::from(number))) {
                let followed = known.followed(fields_of(there), &fields_of(&given));
                (given.description, given.tags) = (followed.description, followed.tags.into_iter().collect());
                given.stage = followed.stage.unwrap_or(given.stage);
            }
            model.record.last = model.record.last.max(number);
            let batch = put_version(put_model(Batch::new(), &model.record), name, &given);
            let batch = match of_client(name, &given, files, &user, metrics).filter(|_| !in_the_loop) {
                Some(version) => batch.put_version(&version),
                None => batch,
            };
            model.put(Arc::new(given));
            Ok(((), marked(batch, ImportKind::Version, &id, &mark)))
        };
        self.change_registry(&[name], change).await
    }

    /// As what a version that was made at this time was brought, if it was; an error where another one has its number.
    pub fn version_mark(&self, name: &str, number: u64, created: i64) -> Tracked<Option<Mark>> {
        self.known_version(self.registry().get(name).ok(), name, number, created)
    }

    fn known_version(&self, model: Option<&Model>, name: &str, number: u64, created: i64) -> Tracked<Option<Mark>> {
        let id = version_id(name, number);
        let known = self.mark(ImportKind::Version, &id)?;
        let there = model.and_then(|m| m.version(i128::from(number)).ok()).map(|v| v.created);
        match Here::of(known.is_some(), there, created, || true) {
            Here::Copy => Ok(known),
            // A pipeline's may not be published yet.
            Here::Nothing if !self.loop_has(name, number)? => Ok(known),
            _ => Err(of_here(ImportKind::Version, &id)),
        }
    }

    fn loop_has(&self, name: &str, number: u64) -> Tracked<bool> {
        let (Ok(model), Ok(number)) = (Name::new(name), u32::try_from(number)) else { return Ok(false) };
        Ok(self.0.store.version(&model, VersionNumber(number))?.is_some())
    }

    /// Has the aliases of a copy follow those of the other server that moved there since the last time, but for those that were moved here
    /// since, that trimtab holds, or whose versions are not among `copies`.
    pub async fn bring_aliases(
        &self,
        name: &str,
        given: &BTreeMap<String, u64>,
        copies: &BTreeSet<u64>,
    ) -> Tracked<Aliases> {
        given.keys().try_for_each(|alias| check::alias(alias))?;
        let Some(mut mark) = self.mark(ImportKind::Model, name)? else { return Ok(Aliases::default()) };
        let moves = |model: &Model, brought: &BTreeMap<String, u64>| {
            let copy = |number| copies.contains(&number) && model.version(i128::from(number)).is_ok();
            Moves::new(&model.record, brought, given, copy)
        };
        let now = moves(self.registry().get(name)?, &mark.aliases);
        if now.set.is_empty() && now.gone.is_empty() {
            return Ok(now.told());
        }
        let change = |registry: &mut Registry| {
            let model = registry.get_mut(name)?;
            let moves = moves(model, &mark.aliases);
            mark.aliases.retain(|alias, _| !moves.gone.contains(alias));
            mark.aliases.extend(moves.set.clone());
            model.record.aliases.retain(|alias, _| !moves.dropped.contains(alias));
            model.record.aliases.extend(moves.set.clone());
            let batch = marked(Batch::new(), ImportKind::Model, name, &mark);
            Ok((moves.told(), put_model(batch, &model.record)))
        };
        let aliases = self.change_registry(&[name], change).await?;
        if aliases.moved {
            self.0.watcher.get().iter().for_each(|told| told(name));
        }
        Ok(aliases)
    }

    /// What [`Tracker::bring_aliases`] would do once `copies` are here.
    pub fn foresee_aliases(
        &self,
        name: &str,
        given: &BTreeMap<String, u64>,
        copies: &BTreeSet<u64>,
    ) -> Tracked<Aliases> {
        let Some(mark) = self.mark(ImportKind::Model, name)? else { return Ok(Aliases::default()) };
        let registry = self.registry();
        Ok(Moves::new(&registry.get(name)?.record, &mark.aliases, given, |n| copies.contains(&n)).told())
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

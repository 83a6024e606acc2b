//! Versions of the loop in the registry, and of clients in the loop: one row of numbers for both.
//!
//! A version that a pipeline made is published with its files under `EXPERIMENT/versions/NUMBER/artifacts`, and the environments that serve
//! it are aliases, which clients can read but not set. A version that a client makes is a version of the loop too, with origin `client`.

use super::{
    Model, Tracked, put_model, put_version,
    state::{ModelVersion, RegisteredModel, Registry, Stage},
    uri::{self, ModelUri},
    version_key,
};
use crate::{
    model::{
        tracking::{ArtifactFile, ErrorCode, TrackingError},
        *,
    },
    ports::{self, PortError, PortResult, RegisteredFiles},
    store::{Batch, Table},
    tracking::{ArtifactPath, Tracker, row::Row, run::OWN_TAGS},
};
use futures::executor::block_on;
use std::{collections::BTreeMap, sync::Arc};

fn failed(e: TrackingError) -> PortError {
    match e.code {
        ErrorCode::TemporarilyUnavailable | ErrorCode::ResourceDoesNotExist => PortError::retryable(e.message),
        _ => PortError::permanent(e.message),
    }
}

/// What the tags of a published version say.
pub(super) mod tag {
    pub const ORIGIN: &str = "trimtab.origin";
    pub const FINGERPRINT: &str = "trimtab.fingerprint";
    pub const COMMIT: &str = "trimtab.commit";
    pub const AUTHOR: &str = "trimtab.author";
}

/// Clients may not say what is trimtab's to say: who made a version, and all that its own tags tell of one that a pipeline made.
pub(super) fn refuse_own_tag(version: Option<&ModelVersion>, key: &str) -> Tracked<()> {
    let made_here = version.is_some_and(of_the_loop);
    if key != tag::ORIGIN && !(made_here && key.starts_with(OWN_TAGS)) {
        return Ok(());
    }
    Err(TrackingError::new(
        ErrorCode::PermissionDenied,
        format!("The tag '{key}' is trimtab's own: clients do not change it"),
    ))
}

/// Whether a pipeline made the version.
pub(super) fn of_the_loop(version: &ModelVersion) -> bool {
    version.tags.get(tag::ORIGIN).is_some_and(|origin| origin == "pipeline")
}

/// The folder that `mlflow.pyfunc.load_model` can read: that of the file `MLmodel`, when there is one.
fn loadable(manifest: &Manifest) -> Option<&str> {
    let mut found = manifest.files.iter().filter_map(|f| f.path.strip_suffix("MLmodel"));
    found.find(|folder| folder.is_empty() || folder.ends_with('/')).map(|folder| folder.trim_end_matches('/'))
}

fn below(folder: &str, path: &str) -> String {
    if path.is_empty() { folder.to_owned() } else { format!("{folder}/{path}") }
}

/// The newest metrics as records keep them: a NaN is no figure, and JSON has no word for it.
pub(in crate::tracking) fn figures(row: &Row) -> BTreeMap<String, f64> {
    row.metrics().filter(|m| m.value.is_finite()).map(|m| (m.key.to_owned(), m.value)).collect()
}

impl Tracker {
    /// A version of the loop as one of the registry, with its files; nothing when it is there.
    fn publish_version(&self, version: &Version) -> Tracked<()> {
        let (name, number) = (version.model.as_str(), u64::from(version.number.0));
        let experiment = self.have_experiment(&version.model)?;
        let folder = format!("{}/versions/{number}/artifacts", experiment.id);
        let train = version.stages.iter().find(|s| s.name.as_str() == "train");
        let now = self.now();
        let change = |registry: &mut Registry| {
            if registry.get(name).is_err() {
                registry.insert(Model::new(RegisteredModel {
                    name: name.to_owned(),
                    created: version.created.0,
                    updated: now,
                    description: String::new(),
                    tags: BTreeMap::new(),
                    aliases: BTreeMap::new(),
                    served: BTreeMap::new(),
                    last: 0,
                }));
            }
            let model = registry.get_mut(name)?;
            if model.version(i128::from(number)).is_ok() {
                return Ok(((), Batch::new()));
            }
            let tags = [
                (tag::ORIGIN, "pipeline".to_owned()),
                (tag::FINGERPRINT, version.fingerprint.to_string()),
                (tag::COMMIT, version.revision.commit.to_string()),
                (tag::AUTHOR, version.revision.author.clone()),
            ];
            let record = ModelVersion {
                number,
                created: version.created.0,
                updated: version.created.0,
                description: Some(version.revision.summary.clone()),
                stage: Stage::None,
                source: format!(
                    "mlflow-artifacts:/{}",
                    below(&folder, loadable(&version.artifact).unwrap_or_default())
                ),
                storage: None,
                run_id: Some(train.map(|s| s.run.0.clone()).unwrap_or_default()),
                run_link: String::new(),
                tags: tags.map(|(k, v)| (k.to_owned(), v)).into_iter().collect(),
            };
            (model.record.last, model.record.updated) = (model.record.last.max(number), now);
            let batch = put_version(put_model(Batch::new(), &model.record), name, &record);
            let batch = version.artifact.files.iter().fold(batch, |batch, file| {
                let stored = ArtifactFile { digest: file.digest, size: file.size, upload: None };
                batch.put_tracked(Table::Artifact, format!("{folder}/{}", file.path), &stored)
            });
            model.put(Arc::new(record));
            Ok(((), batch))
        };
        block_on(self.change_registry(&[name], change))
    }

    /// Has the aliases that trimtab holds be these.
    fn hold_aliases(&self, model: &Name, served: BTreeMap<String, u64>) -> Tracked<()> {
        let name = model.as_str();
        {
            let registry = self.registry();
            let Ok(model) = registry.get(name) else { return Ok(()) };
            let points = |(alias, number): (&String, &u64)| model.record.aliases.get(alias) == Some(number);
            if model.record.served == served && served.iter().all(points) {
                return Ok(());
            }
        }
        let now = self.now();
        let change = |registry: &mut Registry| {
            let record = &mut registry.get_mut(name)?.record;
            for alias in record.served.keys().filter(|alias| !served.contains_key(*alias)) {
                record.aliases.remove(alias);
            }
            record.aliases.extend(served.iter().map(|(alias, number)| (alias.clone(), *number)));
            (record.served, record.updated) = (served, now);
            Ok(((), put_model(Batch::new(), record)))
        };
        block_on(self.change_registry(&[name], change))
    }

    /// Takes a version of the loop out of the registry, with its files.
    fn withdraw_version(&self, model: &Name, number: u64) -> Tracked<()> {
        let name = model.as_str();
        let Ok(experiment) = self.experiment_named(name) else { return Ok(()) };
        let folder = ArtifactPath::new(&format!("{}/versions/{number}", experiment.id))?;
        let change = |registry: &mut Registry| {
            let Ok(model) = registry.get_mut(name) else { return Ok(((), Batch::new())) };
            model.record.aliases.retain(|_, n| *n != number);
            model.record.served.retain(|_, n| *n != number);
            model.remove(number);
            let batch = put_model(Batch::new(), &model.record);
            Ok(((), batch.delete_tracked(Table::ModelVersion, version_key(name, number))))
        };
        block_on(self.change_registry(&[name], change))?;
        block_on(self.delete_artifacts(&folder)?)
    }

    /// The files of a registered version, by their paths below it; none when they lie elsewhere.
    pub fn files_at(&self, location: &str) -> Tracked<Manifest> {
        let Some(folder) = ArtifactPath::of_uri(location) else { return Ok(Manifest::default()) };
        let prefix = format!("{}/", folder.as_str());
        let mut files = vec![];
        self.0.store.each_tracked(Table::Artifact, &prefix, |key, file: ArtifactFile| {
            let path = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
            files.push(FileEntry { path, size: file.size, digest: file.digest, executable: false });
            Ok(())
        })?;
        Ok(Manifest { files })
    }

    /// Who made a run.
    pub(super) fn user_of(&self, run: &str) -> String {
        let row = self.run(run);
        let user = row.as_ref().ok().and_then(|r| r.facts().ok().map(|f| f.user.to_owned()));
        user.filter(|u| !u.is_empty()).unwrap_or_else(|| "client".into())
    }

    /// The version of the loop that a client's is.
    fn in_the_loop(&self, name: &str, number: u64) -> Tracked<Option<Version>> {
        let (Ok(model), Ok(number)) = (Name::new(name), u32::try_from(number)) else { return Ok(None) };
        let known = self.0.store.version(&model, VersionNumber(number))?;
        Ok(known.filter(|v| v.origin == Origin::Client))
    }

    /// Also takes what a client registered out of the loop.
    pub(super) fn forget_of_client(&self, name: &str, number: u64, batch: Batch) -> Tracked<Batch> {
        let theirs = self.in_the_loop(name, number)?;
        Ok(theirs.iter().fold(batch, |batch, v| batch.delete_version(v)))
    }

    /// Also gives what a client registered its new name in the loop.
    pub(super) fn rename_of_client(&self, names: (&str, &str), number: u64, batch: Batch) -> Tracked<Batch> {
        let Some(theirs) = self.in_the_loop(names.0, number)? else { return Ok(batch) };
        let batch = batch.delete_version(&theirs);
        Ok(match Name::new(names.1) {
            Ok(model) => batch.put_version(&Version { model, ..theirs }),
            Err(_) => batch,
        })
    }

    /// The newest metrics of a run, as versions keep them.
    pub(super) fn metrics_of(&self, run: &str) -> BTreeMap<String, f64> {
        self.run(run).map(|row| figures(&row)).unwrap_or_default()
    }

    fn referred(&self, reference: &str) -> Tracked<RegisteredFiles> {
        let address = format!("models:/{reference}");
        let view = match uri::model(&address)? {
            ModelUri::Alias(name, alias) => self.version_by_alias(name, alias)?,
            ModelUri::Version(name, number) => self.model_version(name, number)?,
            _ => return Err(TrackingError::invalid(format!("{reference} names no version"))),
        };
        let location = view.version.location();
        let files = self.files_at(location)?;
        if files.files.is_empty() {
            return Err(TrackingError::invalid(format!(
                "registry:{reference} is version {} of {}, whose files lie at `{location}`: trimtab serves what was uploaded to its own \
                 tracking server",
                view.version.number, view.name
            )));
        }
        let run = view.version.run_id.as_deref().unwrap_or_default();
        Ok(RegisteredFiles { files, metrics: self.metrics_of(run) })
    }
}

impl ports::Registry for Tracker {
    fn find(&self, reference: &str) -> PortResult<RegisteredFiles> {
        self.referred(reference).map_err(failed)
    }

    fn knows(&self, model: &Name, number: VersionNumber) -> bool {
        let registry = self.registry();
        registry.get(model.as_str()).is_ok_and(|m| m.version(i128::from(number.0)).is_ok())
    }

    fn publish(&self, version: &Version) -> PortResult<()> {
        self.publish_version(version).map_err(failed)
    }

    fn serves(&self, model: &Name, environments: &BTreeMap<Name, VersionNumber>) -> PortResult<()> {
        let served = environments.iter().map(|(e, n)| (e.to_string(), u64::from(n.0))).collect();
        self.hold_aliases(model, served).map_err(failed)
    }

    fn withdraw(&self, model: &Name, number: VersionNumber) -> PortResult<()> {
        self.withdraw_version(model, u64::from(number.0)).map_err(failed)
    }
}

/// What a pipeline made is removed by trimtab's own clean-up, when nothing needs it any more.
pub(super) fn refuse_of_the_loop(version: &ModelVersion, name: &str) -> Tracked<()> {
    if !of_the_loop(version) {
        return Ok(());
    }
    Err(TrackingError::invalid(format!(
        "Version {} of {name} was made by a pipeline: `trimtab gc` removes it when nothing needs it any more",
        version.number
    )))
}

/// A client's version as one of the loop. `None` where its model's name is none that the loop can have.
pub(super) fn of_client(
    name: &str,
    version: &ModelVersion,
    files: Manifest,
    user: &str,
    metrics: BTreeMap<String, f64>,
) -> Option<Version> {
    let model = Name::new(name).ok()?;
    let number = VersionNumber(u32::try_from(version.number).ok()?);
    let run = version.run_id.as_deref().unwrap_or_default();
    let content = format!("client {name} {} {}", version.number, version.source);
    Some(Version {
        model,
        number,
        origin: Origin::Client,
        fingerprint: Digest::of(content.as_bytes()),
        revision: Revision {
            commit: ObjectId("".into()),
            tree: ObjectId("".into()),
            author: user.to_owned(),
            email: String::new(),
            summary: if run.is_empty() {
                "registered by a client".into()
            } else {
                format!("registered by a client from run {run}")
            },
            time: WallMs(version.created),
        },
        code_path: String::new(),
        code: Digest::of(b""),
        code_files: Manifest::default(),
        params: Params::default(),
        snapshots: BTreeMap::new(),
        python: None,
        packages: vec![],
        host: String::new(),
        metrics,
        stages: vec![],
        artifact: files,
        gates: vec![],
        opponent: None,
        created: WallMs(version.created),
        duration: Millis(0),
    })
}

//! One version: looked for by its tags, and made where it is not.

use super::{Done, Failed, Mirror, There};
use crate::{
    exchange::each_file,
    mlflow::{
        NewRun, NewVersion, Remote,
        wire::{Double, Metric, Pair, Run},
    },
    tracking::{ArtifactPath, ModelVersion, row::Row},
};
use std::{collections::BTreeMap, fs::File};

/// By which a run is recognised.
const RUN: &str = "trimtab.run";
/// By which a version is recognised, with its fingerprint.
const VERSION: &str = "trimtab.version";
const FINGERPRINT: &str = "trimtab.fingerprint";

fn pair(key: &str, value: &str) -> Pair {
    Pair { key: key.to_owned(), value: value.to_owned() }
}

fn with_slash(path: &str) -> String {
    format!("{path}/")
}

impl Mirror {
    /// Has a version be at the other server.
    pub(super) fn push(&self, remote: &Remote, name: &str, version: &ModelVersion) -> Done<There> {
        let number = version.number.to_string();
        let fingerprint = version.tags.get(FINGERPRINT).map_or("", String::as_str);
        let is_it = |v: &crate::mlflow::wire::ModelVersion| {
            v.tags.iter().any(|t| t.key == FINGERPRINT && t.value == fingerprint)
        };
        if let Some(there) = remote.tagged_versions(name, VERSION, &number)?.into_iter().find(is_it) {
            return Ok(There { version: there.version });
        }
        let experiment = remote.have_experiment(name)?;
        let run = self.run_of(remote, &experiment, version)?;
        let root = self.run_folder(remote, &run)?;
        let folder = format!("v{number}");
        let inside = self.files_of(remote, version.location(), &root.join(&ArtifactPath::new(&folder)?))?;
        let mut tags: Vec<Pair> = version.tags.iter().map(|(k, v)| pair(k, v)).collect();
        tags.push(pair(VERSION, &number));
        let below = if inside.is_empty() { folder } else { format!("{folder}/{inside}") };
        let new = NewVersion {
            name: name.to_owned(),
            source: format!("{}/{below}", run.info.artifact_uri.trim_end_matches('/')),
            run_id: run.info.run_id,
            description: version.description.clone().unwrap_or_default(),
            tags,
        };
        remote.have_model(name)?;
        Ok(There { version: remote.make_version(&new)?.version })
    }

    /// The train run there, with all that was logged to it here.
    fn run_of(&self, remote: &Remote, experiment: &str, version: &ModelVersion) -> Done<Run> {
        let id = version.run_id.as_deref().unwrap_or_default();
        let row = self.tracker.run(id)?;
        let facts = row.facts()?;
        let run = match remote.tagged_run(experiment, RUN, id)? {
            Some(there) => there,
            None => remote.make_run(&NewRun {
                experiment_id: experiment.to_owned(),
                run_name: facts.name.to_owned(),
                user_id: facts.user.to_owned(),
                start_time: facts.started,
                tags: vec![pair(RUN, id), pair("mlflow.user", facts.user)],
            })?,
        };
        // Ended last: what is over there is whole.
        if run.info.status != facts.status.name() {
            self.log(remote, &run.info.run_id, &row)?;
            let root = self.run_folder(remote, &run)?;
            self.files_of(remote, facts.artifact_uri, &root)?;
            remote.end_run(&run.info.run_id, facts.status.name(), facts.ended)?;
        }
        Ok(run)
    }

    fn log(&self, remote: &Remote, to: &str, row: &Row) -> Done<()> {
        let params: Vec<Pair> = row.params().map(|(k, v)| pair(k, v)).collect();
        let tags: Vec<Pair> = row.tags().map(|(k, v)| pair(k, v)).collect();
        remote.log(to, &[], &params, &tags)?;
        for latest in row.metrics() {
            let values = self.tracker.history(row.id(), latest.key)?;
            let metric = |v: &crate::tracking::Value| Metric {
                key: latest.key.to_owned(),
                value: Double(v.value),
                timestamp: v.timestamp,
                step: v.step,
                ..Metric::default()
            };
            let metrics: Vec<Metric> = values.iter().map(metric).collect();
            remote.log(to, &metrics, &[], &[])?;
        }
        Ok(())
    }

    /// Where the files of a run there go.
    fn run_folder(&self, remote: &Remote, run: &Run) -> Done<ArtifactPath> {
        let uri = &run.info.artifact_uri;
        ArtifactPath::of_uri(uri).ok_or_else(|| {
            Failed::One(format!(
                "{} keeps files at {uri}, where only its clients put them: a mirror needs a server with --artifacts-destination",
                remote.url()
            ))
        })
    }

    /// Puts the files at an address here into a folder there, but for those that are there; what follows the folder of files in the address.
    fn files_of(&self, remote: &Remote, uri: &str, to: &ArtifactPath) -> Done<String> {
        let whole = with_slash(uri);
        let (root, inside) = whole.split_once("/artifacts/").unwrap_or((uri, ""));
        let files = self.tracker.files_at(&format!("{root}/artifacts"))?.files;
        if files.is_empty() {
            return Ok(String::new());
        }
        let mut there = BTreeMap::new();
        each_file(remote, to, &mut |path, entry| {
            there.insert(path.as_str().to_owned(), entry.file_size);
            Ok::<(), Failed>(())
        })?;
        for file in files {
            if there.get(&file.path).is_some_and(|size| *size == Some(file.size)) {
                continue;
            }
            let gone = || Failed::One(format!("the file {} is not in the store any more", file.path));
            let open = self.artifacts.open(&file.digest)?.ok_or_else(gone)?;
            let path = with_slash(to.as_str()) + &file.path;
            remote.put_file(&path, File::from(open), file.size)?;
        }
        Ok(inside.trim_end_matches('/').to_owned())
    }
}

//! What uploaded files belong to.

use super::{ArtifactPath, path};
use crate::{
    model::tracking::Experiment,
    tracking::{Tracked, Tracker, traces::LOCATION},
};

impl Tracker {
    /// The experiment whose run, logged model or trace has its files at the path or above it.
    pub fn artifact_owner(&self, path: &ArtifactPath) -> Option<Experiment> {
        let own = |folder: &str| {
            let (above, _) = folder.rsplit_once('/')?;
            let (kind, id) = above.rsplit_once('/')?;
            self.owner(kind, id, folder)
        };
        let folders = path::folders(path.as_str()).chain([path.as_str()]);
        folders.filter(|folder| folder.ends_with("/artifacts")).find_map(own)
    }

    /// The experiment of what has this id, when its files are in the folder.
    fn owner(&self, above: &str, id: &str, folder: &str) -> Option<Experiment> {
        let is_here = |uri: &str| ArtifactPath::of_uri(uri).is_some_and(|p| p.as_str() == folder);
        let (experiment, uri) = match above.rsplit('/').next()? {
            "traces" => self.trace(id).ok().map(|mut t| (t.experiment, t.tags.remove(LOCATION).unwrap_or_default())),
            "models" => self.logged_model(id).ok().map(|model| (model.experiment, model.artifact_uri)),
            _ => None,
        }
        .or_else(|| {
            let run = self.run(id).ok()?;
            run.facts().ok().map(|f| (f.experiment, f.artifact_uri.to_owned()))
        })?;
        if is_here(&uri) { self.experiment(&experiment.to_string()).ok() } else { None }
    }

    /// Where the artifacts of a logged model are.
    pub fn model_artifact_root(&self, model_id: &str) -> Tracked<String> {
        Ok(self.logged_model(model_id)?.artifact_uri)
    }
}

//! Registered models with their versions and aliases.

use super::{Done, Import, Plan, digest, pairs};
use crate::{
    mlflow::wire,
    model::{Brought, ImportKind, tracking::TrackingError},
    tracking::{ArtifactPath, Mark, ModelVersion, RegisteredModel, Stage, Stand},
};
use futures::executor::block_on;
use std::collections::{BTreeMap, BTreeSet};

/// The tag that makes a model a prompt.
const IS_PROMPT: &str = "mlflow.prompt.is_prompt";

impl Import<'_> {
    pub(super) fn registered_models(&self, experiments: &[wire::Experiment]) -> Done<()> {
        let wish = self.wish;
        if wish.models.is_empty() && !wish.experiments.is_empty() {
            return Ok(());
        }
        let mut models = self.remote.registered_models()?;
        if !wish.models.is_empty() {
            let names: BTreeSet<&str> = models.iter().map(|m| m.name.as_str()).collect();
            self.must_know("registered model", &wish.models, &names)?;
            models.retain(|m| wish.models.contains(&m.name));
        }
        self.found(ImportKind::Model, models.len())?;
        for model in &models {
            let brought = self.tolerant(ImportKind::Model, &model.name, || self.model(model, experiments).map(Some))?;
            self.done(ImportKind::Model, &model.name, brought.unwrap_or(Brought::Left))?;
        }
        Ok(())
    }

    fn model(&self, model: &wire::RegisteredModel, experiments: &[wire::Experiment]) -> Done<Brought> {
        // Of aliases only the moves count, and a version alone changes the time.
        let said = wire::RegisteredModel { aliases: vec![], last_updated_timestamp: 0, ..model.clone() };
        let mark = Mark::new(digest(&said), Stand::Whole);
        let known = self.tracker.mark(ImportKind::Model, &model.name)?;
        let aliases: BTreeMap<String, u64> =
            model.aliases.iter().filter_map(|a| Some((a.alias.clone(), a.version.parse().ok()?))).collect();
        let brought = match &known {
            None => Brought::New,
            Some(known) if known.content == mark.content && known.aliases == aliases => Brought::Same,
            Some(_) => Brought::Changed,
        };
        if brought != Brought::Same && !self.wish.dry_run {
            block_on(self.tracker.bring_model(brought_model(model), &mark))?;
        }
        let prompt = model.tags.iter().any(|t| t.key == IS_PROMPT && t.value.eq_ignore_ascii_case("true"));
        let versions = self.remote.versions(&model.name, prompt)?;
        self.found(ImportKind::Version, versions.len())?;
        for version in &versions {
            let name = format!("{} version {}", version.name, version.version);
            let work = || self.version(version, experiments).map(Some);
            let brought = self.tolerant(ImportKind::Version, &name, work)?;
            self.done(ImportKind::Version, &name, brought.unwrap_or(Brought::Left))?;
        }
        if !self.wish.dry_run {
            for alias in block_on(self.tracker.bring_aliases(&model.name, aliases))? {
                let why = "what it points at there is not here, or an environment of this name holds it here";
                self.note(ImportKind::Model, &format!("{}@{alias}", model.name), why)?;
            }
        }
        Ok(brought)
    }

    fn version(&self, version: &wire::ModelVersion, experiments: &[wire::Experiment]) -> Done<Brought> {
        let number: u64 = version
            .version
            .parse()
            .map_err(|_| TrackingError::invalid(format!("`{}` is no number of a version", version.version)))?;
        // Some servers tell it in lists, some do not.
        let known = self.tracker.version_mark(&version.name, number)?;
        let changed = known.as_ref().is_none_or(|mark| mark.content != digest(version));
        let plan = Plan::new(known, digest(version), true);
        if plan.same || self.wish.dry_run {
            return Ok(plan.brought(changed));
        }
        if !self.wish.models.is_empty() {
            self.lineage(version, experiments)?;
        }
        let (source, storage) = self.place(version, number, plan.again())?;
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let given = ModelVersion {
            number,
            created: version.creation_timestamp,
            updated: version.last_updated_timestamp,
            description: filled(&version.description),
            stage: Stage::of(&version.current_stage).unwrap_or_default(),
            source,
            storage,
            run_id: Some(version.run_id.clone()),
            run_link: version.run_link.clone(),
            tags: pairs(&version.tags).collect(),
        };
        block_on(self.tracker.bring_version(&version.name, given, &plan.whole()))?;
        Ok(plan.brought(changed))
    }

    /// The run and the logged model that a version came from.
    fn lineage(&self, version: &wire::ModelVersion, experiments: &[wire::Experiment]) -> Done<()> {
        let home = |id: &str| match experiments.iter().find(|e| e.experiment_id == id) {
            Some(experiment) => self.experiment(experiment),
            None => Ok(None),
        };
        let id = &version.run_id;
        if !id.is_empty() {
            let run = self.tolerant(ImportKind::Run, id, || Ok(Some(self.remote.run(id)?)))?;
            if let Some(run) = run
                && let Some(home) = home(&run.info.experiment_id)?
            {
                self.found(ImportKind::Run, 1)?;
                self.run_of(&run, home)?;
            }
        }
        let Some(id) = version.source.strip_prefix("models:/").filter(|id| id.starts_with("m-")) else { return Ok(()) };
        let model = self.tolerant(ImportKind::LoggedModel, id, || Ok(Some(self.remote.logged_model(id)?)))?;
        if let Some(model) = model
            && let Some(home) = home(&model.info.experiment_id)?
        {
            self.found(ImportKind::LoggedModel, 1)?;
            self.logged_model_of(&model, home)?;
        }
        Ok(())
    }

    /// The source of a version here, and where its files are when the source only refers to them.
    fn place(&self, version: &wire::ModelVersion, number: u64, again: bool) -> Done<(String, Option<String>)> {
        let source = &version.source;
        let Some(path) = ArtifactPath::of_uri(source) else {
            let refers = source.starts_with("models:/") || source.starts_with("runs:/");
            if !refers && source.contains(":/") {
                let name = format!("{} version {number}", version.name);
                self.note(ImportKind::Version, &name, &format!("its files lie at {source}, and stay there"))?;
            }
            return Ok((source.clone(), self.tracker.location_of(source)));
        };
        // EXPERIMENT/RUN/artifacts/…, EXPERIMENT/models/MODEL/artifacts/…, or a folder of its own.
        let whole = format!("{}/", path.as_str());
        let (root, inside) = whole.split_once("/artifacts/").unwrap_or_default();
        let inside = inside.trim_end_matches('/');
        let owner = root.rsplit('/').next().unwrap_or_default();
        let run = self.tracker.artifact_root(owner);
        if let Ok(uri) = run.or_else(|_| self.tracker.model_artifact_root(owner)) {
            return Ok((below(&uri, inside), None));
        }
        let to = self.tracker.version_folder(&version.name, number)?;
        let from = if root.is_empty() { source.clone() } else { format!("mlflow-artifacts:/{root}/artifacts") };
        let name = format!("{} version {number}", version.name);
        self.files_of(ImportKind::Version, &name, &from, &to, again)?;
        Ok((below(&format!("mlflow-artifacts:/{}", to.as_str()), inside), None))
    }
}

fn below(uri: &str, inside: &str) -> String {
    if inside.is_empty() { uri.to_owned() } else { format!("{uri}/{inside}") }
}

fn brought_model(model: &wire::RegisteredModel) -> RegisteredModel {
    RegisteredModel {
        name: model.name.clone(),
        created: model.creation_timestamp,
        updated: model.last_updated_timestamp,
        description: model.description.clone(),
        tags: pairs(&model.tags).collect(),
        aliases: BTreeMap::new(),
        served: BTreeMap::new(),
        last: 0,
    }
}

//! Registered models with their versions and aliases.

use super::{Done, Import, Plan, digest, lineage::Lineage, pairs, standing};
use crate::{
    mlflow::wire,
    model::{Brought, ImportKind, tracking::TrackingError},
    tracking::{ArtifactPath, Here, Mark, ModelVersion, RegisteredModel, Stage, Stand},
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
        let lineage = Lineage::new(self, experiments);
        for model in &models {
            let brought = self.tolerant(ImportKind::Model, &model.name, || self.model(model, &lineage).map(Some))?;
            self.done(ImportKind::Model, &model.name, brought.unwrap_or(Brought::Left))?;
        }
        Ok(())
    }

    fn model(&self, model: &wire::RegisteredModel, lineage: &Lineage<'_>) -> Done<Brought> {
        // Of aliases only the moves count, and a version alone changes the time.
        let said = wire::RegisteredModel { aliases: vec![], last_updated_timestamp: 0, ..model.clone() };
        let mark = Mark::new(digest(&said), Stand::Whole);
        let given = brought_model(model);
        let aliases = given.aliases.clone();
        let (here, known) = self.tracker.model_here(&given)?;
        if here == Here::Nothing && known.is_some() {
            let why = "it was brought before, and deleted or given another name here since: it is not brought again";
            self.note(ImportKind::Model, &model.name, why)?;
            return Ok(Brought::Left);
        }
        let brought = standing(here, known.is_some_and(|known| known.content == mark.content));
        match brought {
            Brought::New | Brought::Changed if !self.wish.dry_run => {
                block_on(self.tracker.bring_model(given, &mark))?;
            }
            Brought::Left => {
                let why = "one that was not imported from there is here already: it takes versions in, and keeps its own description, tags and aliases";
                self.note(ImportKind::Model, &model.name, why)?;
            }
            _ => {}
        }
        let copies = self.versions(model, lineage)?;
        // There is nothing to compare with yet, or they are not to move.
        let fixed = matches!(here, Here::Other { .. }) || here == Here::Nothing && self.wish.dry_run;
        Ok(if !fixed && self.aliases(&model.name, &aliases, &copies)? && brought == Brought::Same {
            Brought::Changed
        } else {
            brought
        })
    }

    /// Has aliases follow; whether any moved.
    fn aliases(&self, model: &str, given: &BTreeMap<String, u64>, copies: &BTreeSet<u64>) -> Done<bool> {
        let aliases = if self.wish.dry_run {
            self.tracker.foresee_aliases(model, given, copies)?
        } else {
            block_on(self.tracker.bring_aliases(model, given, copies))?
        };
        for alias in aliases.left {
            let why = "what it points at there is not here, it was moved here, or an environment of this name holds it";
            self.note(ImportKind::Model, &format!("{model}@{alias}"), why)?;
        }
        Ok(aliases.moved)
    }

    /// The versions of a model; the numbers of those that are not left.
    fn versions(&self, model: &wire::RegisteredModel, lineage: &Lineage<'_>) -> Done<BTreeSet<u64>> {
        let prompt = model.tags.iter().any(|t| t.key == IS_PROMPT && t.value.eq_ignore_ascii_case("true"));
        let versions = self.remote.versions(&model.name, prompt)?;
        self.found(ImportKind::Version, versions.len())?;
        let mut copies = BTreeSet::new();
        for version in &versions {
            let name = format!("{} version {}", version.name, version.version);
            let work = || self.version(version, lineage).map(Some);
            let brought = self.tolerant(ImportKind::Version, &name, work)?;
            if brought.is_some() {
                copies.extend(version.version.parse::<u64>());
            }
            self.done(ImportKind::Version, &name, brought.unwrap_or(Brought::Left))?;
        }
        Ok(copies)
    }

    fn version(&self, version: &wire::ModelVersion, lineage: &Lineage<'_>) -> Done<Brought> {
        let number: u64 = version
            .version
            .parse()
            .map_err(|_| TrackingError::invalid(format!("`{}` is no number of a version", version.version)))?;
        let known = self.tracker.version_mark(&version.name, number, version.creation_timestamp)?;
        // Some servers tell it in lists, some do not.
        let changed = known.as_ref().is_none_or(|mark| mark.content != digest(version));
        let plan = Plan::new(known, digest(version), true);
        if plan.same {
            return Ok(plan.brought(changed));
        }
        if !self.wish.models.is_empty() {
            lineage.bring(version)?;
        }
        if self.wish.dry_run {
            return Ok(plan.brought(changed));
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
        aliases: model.aliases.iter().filter_map(|a| Some((a.alias.clone(), a.version.parse().ok()?))).collect(),
        served: BTreeMap::new(),
        last: 0,
    }
}

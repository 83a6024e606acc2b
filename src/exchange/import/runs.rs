//! Runs with their histories, and logged models.

use super::{Done, Import, Plan, digest, is_elsewhere, lifecycle, pairs};
use crate::{
    mlflow::wire,
    model::{Brought, ImportKind},
    tracking::{
        ArtifactPath, BroughtRun, GivenDataset, LoggedModel, ModelPoint, ModelStatus, UsedData, Value, row::Status,
    },
};
use futures::executor::block_on;

/// The experiment here; `None` where it would be made.
type Home = Option<u64>;

impl Import<'_> {
    pub(super) fn runs(&self, experiment: &wire::Experiment, home: Home) -> Done<()> {
        let mut token = None;
        loop {
            let page = self.remote.runs(&experiment.experiment_id, token.as_deref())?;
            self.found(ImportKind::Run, page.items.len())?;
            self.each(&page.items, |run| self.run_of(run, home))?;
            token = page.next;
            if token.is_none() {
                return Ok(());
            }
        }
    }

    pub(super) fn run_of(&self, run: &wire::Run, home: Home) -> Done<()> {
        let id = &run.info.run_id;
        let brought = self.tolerant(ImportKind::Run, id, || self.bring_run(run, home).map(Some))?;
        self.done(ImportKind::Run, id, brought.unwrap_or(Brought::Left))
    }

    fn bring_run(&self, run: &wire::Run, home: Home) -> Done<Brought> {
        let id = &run.info.run_id;
        let given = brought_run(run, home.unwrap_or_default());
        let known = self.tracker.mark(ImportKind::Run, id)?;
        let changed = known.as_ref().is_none_or(|mark| mark.content != digest(run));
        if known.is_none() && self.tracker.run(id).is_ok() {
            self.note(ImportKind::Run, id, "a run of this id that was not imported is here already")?;
            return Ok(Brought::Left);
        }
        let plan = Plan::new(known, digest(run), given.status.ended());
        if self.wish.dry_run {
            return Ok(plan.brought(changed));
        }
        let mut points = 0;
        if !plan.same {
            block_on(self.tracker.bring_run(&given, &plan.mark))?;
            for metric in &run.data.metrics {
                points += self.history(id, &metric.key)?;
            }
        }
        let root = self.tracker.artifact_root(id)?;
        let to = ArtifactPath::of_uri(&root).unwrap_or(ArtifactPath::new("")?);
        let files = self.files_of(ImportKind::Run, id, &run.info.artifact_uri, &to, plan.again())?;
        if !plan.same {
            block_on(self.tracker.put_mark(ImportKind::Run, id, &plan.whole()))?;
        }
        Ok(plan.brought(changed || points > 0 || files))
    }

    /// All values of a metric; how many were not here.
    fn history(&self, run: &str, key: &str) -> Done<usize> {
        let (mut values, mut token) = (vec![], None);
        loop {
            let page = self.remote.history(run, key, token.as_deref())?;
            let value = |m: &wire::Metric| Value { value: m.value.0, timestamp: m.timestamp, step: m.step };
            values.extend(page.items.iter().map(value));
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        let new = block_on(self.tracker.bring_history(run, key, values))?;
        self.report().points += new as u64;
        Ok(new)
    }

    pub(super) fn logged_models(&self, experiment: &wire::Experiment, home: Home) -> Done<()> {
        let mut token = None;
        loop {
            let page = match self.remote.logged_models(&experiment.experiment_id, token.as_deref()) {
                // Servers before MLflow 3 have none.
                Err(e) if e.trouble == crate::mlflow::Trouble::Foreign => return Ok(()),
                page => page?,
            };
            self.found(ImportKind::LoggedModel, page.items.len())?;
            self.each(&page.items, |model| self.logged_model_of(model, home))?;
            token = page.next;
            if token.is_none() {
                return Ok(());
            }
        }
    }

    pub(super) fn logged_model_of(&self, model: &wire::LoggedModel, home: Home) -> Done<()> {
        let id = &model.info.model_id;
        let brought = self.tolerant(ImportKind::LoggedModel, id, || self.bring_logged_model(model, home).map(Some))?;
        self.done(ImportKind::LoggedModel, id, brought.unwrap_or(Brought::Left))
    }

    fn bring_logged_model(&self, model: &wire::LoggedModel, home: Home) -> Done<Brought> {
        let id = &model.info.model_id;
        let (given, points) = brought_model(model, home.unwrap_or_default());
        let known = self.tracker.mark(ImportKind::LoggedModel, id)?;
        let changed = known.as_ref().is_none_or(|mark| mark.content != digest(model));
        if known.is_none() && self.tracker.logged_model(id).is_ok() {
            self.note(ImportKind::LoggedModel, id, "a logged model of this id that was not imported is here already")?;
            return Ok(Brought::Left);
        }
        let over = matches!(given.status, ModelStatus::Ready | ModelStatus::Failed);
        let plan = Plan::new(known, digest(model), over);
        if self.wish.dry_run {
            return Ok(plan.brought(changed));
        }
        let to = ArtifactPath::of_uri(&given.artifact_uri).unwrap_or(ArtifactPath::new("")?);
        if !plan.same {
            block_on(self.tracker.bring_logged_model(given, &points, &plan.mark))?;
        }
        let files = self.files_of(ImportKind::LoggedModel, id, &model.info.artifact_uri, &to, plan.again())?;
        if !plan.same {
            block_on(self.tracker.put_mark(ImportKind::LoggedModel, id, &plan.whole()))?;
        }
        Ok(plan.brought(changed || files))
    }
}

fn elsewhere(uri: &str) -> Option<String> {
    is_elsewhere(uri).then(|| uri.to_owned())
}

fn brought_run(run: &wire::Run, experiment: u64) -> BroughtRun {
    let wire::Run { info, data, inputs, outputs } = run;
    let used = |input: &wire::DatasetInput| {
        let d = input.dataset.clone();
        let wire::Dataset { name, digest, source_type, source, schema, profile } = d;
        let dataset = GivenDataset { name, digest, source_type, source, schema, profile };
        UsedData { dataset, tags: pairs(&input.tags).collect() }
    };
    BroughtRun {
        id: info.run_id.clone(),
        experiment,
        name: info.run_name.clone(),
        user: info.user_id.clone(),
        status: Status::of(&info.status).unwrap_or(Status::Running),
        lifecycle: lifecycle(&info.lifecycle_stage),
        started: info.start_time,
        ended: info.end_time,
        elsewhere: elsewhere(&info.artifact_uri),
        params: pairs(&data.params).collect(),
        tags: pairs(&data.tags).collect(),
        datasets: inputs.dataset_inputs.iter().map(used).collect(),
        models: inputs.model_inputs.iter().map(|m| m.model_id.clone()).collect(),
        outputs: outputs.model_outputs.iter().map(|m| (m.model_id.clone(), m.step)).collect(),
    }
}

fn brought_model(model: &wire::LoggedModel, experiment: u64) -> (LoggedModel, Vec<ModelPoint>) {
    let wire::LoggedModel { info, data } = model;
    let point = |m: &wire::Metric| ModelPoint {
        key: m.key.clone(),
        value: m.value.0,
        timestamp: m.timestamp,
        step: m.step,
        run_id: m.run_id.clone(),
        dataset_name: m.dataset_name.clone(),
        dataset_digest: m.dataset_digest.clone(),
    };
    let own = || format!("mlflow-artifacts:/{experiment}/models/{}/artifacts", info.model_id);
    let model = LoggedModel {
        id: info.model_id.clone(),
        experiment,
        name: info.name.clone(),
        created: info.creation_timestamp_ms,
        updated: info.last_updated_timestamp_ms,
        artifact_uri: elsewhere(&info.artifact_uri).unwrap_or_else(own),
        status: ModelStatus::of(Some(&info.status)),
        model_type: info.model_type.clone(),
        source_run_id: info.source_run_id.clone(),
        lifecycle: lifecycle(""),
        params: pairs(&data.params).collect(),
        tags: pairs(&info.tags).collect(),
    };
    (model, data.metrics.iter().map(point).collect())
}

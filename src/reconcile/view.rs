//! What others may see of the loop's state: copies, taken under the lock and free of it.

use super::{Reconciler, lock};
use crate::model::*;

/// A model as the loop sees it.
#[derive(Debug, Clone)]
pub struct ModelView {
    pub observed: ObservedModel,
    /// The plan of the newest look.
    pub plan: Option<ModelPlan>,
}

/// The source as the loop sees it.
#[derive(Debug, Clone)]
pub struct SourceView {
    pub status: SourceStatus,
    /// Number of spec files and their diagnostics.
    pub files: usize,
    pub diagnostics: Vec<Diagnostic>,
}

impl Reconciler {
    /// One model.
    pub fn view(&self, model: &Name) -> Option<ModelView> {
        let cell = self.cell(model)?;
        let cell = lock(&cell);
        Some(ModelView { observed: cell.observed.clone(), plan: cell.plan.clone() })
    }

    /// Every model that Git has or had and that is not retired, in the order of names.
    pub fn views(&self) -> Vec<ModelView> {
        self.known_models().iter().filter_map(|m| self.view(m)).filter(|v| !v.observed.retired).collect()
    }

    /// The same, each told as `tell` has it, under its lock: that asks nobody and is quick. No model is copied for it.
    pub fn each<T>(&self, mut tell: impl FnMut(&ObservedModel, Option<&ModelPlan>) -> T) -> Vec<T> {
        let mut told = |name: &Name| {
            let cell = self.cell(name)?;
            let cell = lock(&cell);
            (!cell.observed.retired).then(|| tell(&cell.observed, cell.plan.as_ref()))
        };
        self.known_models().iter().filter_map(&mut told).collect()
    }

    /// Whether a revision is loaded and every known model was looked at since the start.
    pub fn looked_at_all(&self) -> bool {
        self.loaded().state().revision.is_some()
            && self.known_models().iter().all(|m| self.cell(m).is_none_or(|c| lock(&c).plan.is_some()))
    }

    /// Every (environment, model) that should exist.
    pub fn deployed(&self) -> Vec<(Name, Name)> {
        let of = |v: ModelView| {
            v.observed.deployments.keys().map(|e| (e.clone(), v.observed.name.clone())).collect::<Vec<_>>()
        };
        self.known_models().iter().filter_map(|m| self.view(m)).flat_map(of).collect()
    }

    /// The source.
    pub fn source_view(&self) -> SourceView {
        let loaded = self.loaded();
        let diagnostics = self.diagnostics(&loaded);
        SourceView { status: self.source_status(), files: loaded.state().files, diagnostics }
    }

    /// The plan of one model from the facts of now, executed by nobody.
    pub fn fresh_plan(&self, model: &Name, desired: Option<&DesiredModel>) -> ModelPlan {
        let (observed, past, asked) = match self.cell(model) {
            Some(cell) => {
                let cell = lock(&cell);
                (cell.observed.clone(), cell.past, cell.asked.clone())
            }
            None => (ObservedModel::new(model.clone()), None, std::collections::BTreeMap::new()),
        };
        self.plan_with(&observed, desired, past, &asked)
    }

    /// What the loop counted since the daemon's start.
    pub fn metrics(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.0.meters.gather(self.0.queue.depth(self.now().steady))
    }

    /// Tells subscribers that a model's state moved, without an event worth keeping.
    pub(super) fn announce(&self, model: &Name) {
        let _ = self.0.events.send(self.moved(Some(model)));
    }

    /// Says that a model's state, or without one the traffic, moved: an event that is told and not kept.
    pub fn moved(&self, model: Option<&Name>) -> Event {
        Event {
            seq: 0,
            at: self.now().wall,
            kind: EventKind::ModelChanged,
            model: model.cloned(),
            environment: None,
            commit: None,
            author: None,
            message: String::new(),
        }
    }
}

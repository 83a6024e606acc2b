//! One look at one model: observe, plan, write the intention, act.

use super::{Cell, Reconciler, execute::Change, lock, meters::Looked, queue::backoff, source::PushState};
use crate::{
    model::*,
    plan::{self, Input, Push},
    store::Batch,
};
use std::{collections::BTreeMap, sync::Arc};

impl Reconciler {
    /// A worker: looks at models until the queue is closed.
    pub(super) fn work(&self) {
        while let Some(model) = self.0.queue.next(|| self.now().steady) {
            self.look(&model);
            self.0.queue.done(&model);
        }
    }

    /// What Git asks of a model; a broken spec leaves the last good state, and so does a held deletion.
    fn desired_of(&self, observed: &ObservedModel) -> (Option<Arc<DesiredModel>>, Vec<Diagnostic>) {
        let loaded = self.loaded();
        let state = loaded.state();
        if state.revision.is_none() {
            // Git was not read yet: what was known last stands.
            return (observed.desired.clone(), observed.broken.clone());
        }
        if let Some(model) = state.models.get(&observed.name) {
            // The first load after a start knows only the newest commit; the store knows the one that changed this model.
            let same = observed.desired.as_ref().filter(|before| before.asks_the_same(model));
            return (Some(same.map_or_else(|| model.clone(), |before| before.sharing(model))), vec![]);
        }
        if let Some(broken) = state.broken.get(&observed.name) {
            return (observed.desired.clone(), broken.clone());
        }
        let keep = self.0.source.holds(&observed.name);
        (observed.desired.clone().filter(|_| keep), vec![])
    }

    fn look(&self, model: &Name) {
        let begun = std::time::Instant::now();
        let cell = self.cell_or_new(model);
        let mut cell = lock(&cell);
        let (desired, broken) = self.desired_of(&cell.observed);
        if desired.is_none() && self.loaded().state().revision.is_none() {
            // Whether Git has it is not known yet; the first load looks at every model.
            return;
        }
        let mut change = Change::new(self, &cell.observed, desired.clone(), broken);
        let environments: Vec<Name> = cell.observed.deployments.keys().cloned().collect();
        for environment in &environments {
            let replicas = self.0.ports.target.replicas(environment, model);
            change.hear(environment, cell.told.news(environment, &replicas, self.now().steady));
        }
        let mut plan = self.plan_with(&change.observed, desired.as_deref(), cell.past, &cell.asked);
        for planned in &plan.actions {
            change.apply(planned);
        }
        change.settle(&mut plan);
        if let Err(e) = self.save(&mut cell, change, &plan) {
            tracing::error!(model = %model, "the store refused a change: {e}");
            let retry = self.now().steady.plus(backoff(2));
            self.0.meters.looked(begun, Looked::Failed);
            return self.0.queue.add(model.clone(), retry);
        }
        self.0.meters.looked(begun, if plan.actions.is_empty() { Looked::Unchanged } else { Looked::Changed });
        let beside =
            |a: &Action| matches!(a, Action::WriteLock { .. } | Action::ResolveData { .. } | Action::Revert { .. });
        let acted = plan.actions.iter().any(|p| !beside(&p.action));
        let again = if acted { Some(SteadyMs(0)) } else { plan.look_again };
        let shown = |p: &ModelPlan| (p.sync, p.health, p.waiting.clone(), p.version);
        let moved = cell.plan.as_ref().map(shown) != Some(shown(&plan));
        cell.plan = Some(plan);
        if moved {
            self.announce(model);
        }
        if let Some(at) = again {
            self.0.queue.add(model.clone(), at);
        }
    }

    /// The plan of a model from the facts of now.
    pub(super) fn plan_with(
        &self,
        observed: &ObservedModel,
        desired: Option<&DesiredModel>,
        past: Option<Millis>,
        asked: &BTreeMap<Name, Vec<Asked>>,
    ) -> ModelPlan {
        let target = &self.0.ports.target;
        let mut replicas = BTreeMap::new();
        let (mut traffic, mut served) = (BTreeMap::new(), BTreeMap::new());
        for (environment, deployment) in &observed.deployments {
            replicas.insert(environment.clone(), target.replicas(environment, &observed.name));
            if let Some(rollout) = &deployment.rollout {
                traffic.insert(environment.clone(), target.traffic(environment, &observed.name, rollout));
            }
            let watched = deployment.watch.filter(|w| self.now().steady < w.until);
            // All that are watched are asked for at once; one by one only those of which anything was asked.
            let key = || (environment.clone(), observed.name.clone());
            let asked = || target.recent().get(&key()).is_some_and(|r| r.requests_per_s > 0.0 || r.in_flight > 0);
            if let Some((_, release)) = watched.zip(deployment.stable).filter(|_| asked()) {
                served.insert(environment.clone(), target.served(environment, &observed.name, release));
            }
        }
        let version = |fingerprint: &Digest| {
            let found = self.0.store.version_by_fingerprint(&observed.name, fingerprint);
            found.unwrap_or_else(|e| {
                tracing::error!("cannot read a version: {e}");
                None
            })
        };
        let live = self.live_version(observed, desired);
        let loaded = self.loaded();
        let (push, push_error) = self.push_state(&observed.name);
        plan::plan(&Input {
            now: self.now(),
            desired,
            observed,
            version: &|f| version(f).map(Arc::new),
            live: live.as_ref(),
            replicas: &replicas,
            traffic: &traffic,
            served: &served,
            asked,
            push: match push {
                PushState::Allowed => Push::Allowed,
                PushState::Never => Push::Never,
                PushState::RestsUntil(at) => Push::RestsUntil(at, &push_error),
            },
            approval: &|environment, fingerprint| self.approval(&loaded, &observed.name, environment, fingerprint),
            groups: &loaded.state().settings.groups,
            past,
            deleted_by: loaded.blamed(&observed.name).or(loaded.state().revision.as_deref()),
        })
    }

    /// The version that serves in the last environment of the chain.
    pub(super) fn live_version(&self, observed: &ObservedModel, desired: Option<&DesiredModel>) -> Option<Version> {
        let environment = desired.or(observed.desired.as_deref())?.spec.live_environment()?;
        let stable = observed.deployments.get(environment)?.stable?;
        self.0.store.version(&observed.name, stable.version).ok().flatten()
    }

    /// Intention on disk first; then target and tasks are told.
    fn save(&self, cell: &mut Cell, change: Change, plan: &ModelPlan) -> Result<(), crate::store::StoreError> {
        let Change { observed, events, versions, .. } = change;
        if observed != cell.observed || !events.is_empty() || !versions.is_empty() {
            let mut batch = Batch::new().put_model(&observed);
            for version in &versions {
                batch = batch.replace_gates(version);
            }
            for event in events {
                batch = batch.event(event);
            }
            self.commit(batch)?;
            cell.observed = observed;
        }
        self.tell_target(cell);
        self.tell_registry(&cell.observed);
        self.begin_tasks(cell, plan);
        self.ask(cell, plan);
        Ok(())
    }
}

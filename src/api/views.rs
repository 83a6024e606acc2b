//! From the loop's state to wire types: a model's page, plans, differences.

use super::{kept::objectives, summaries::summary, types::*};
use crate::{
    model::*,
    plan::changes,
    reconcile::{ModelView, Reconciler},
    store::StoreError,
};
use std::{collections::BTreeSet, sync::Arc};

/// A model's page.
pub fn detail(r: &Reconciler, name: &Name) -> Result<Option<ModelDetail>, StoreError> {
    const SHOWN: usize = 50;
    let Some(view) = r.view(name) else { return Ok(None) };
    let mut versions = briefs(r, &view.observed)?;
    versions.reverse();
    versions.truncate(SHOWN);
    let target = &r.ports().target;
    let replicas = view.observed.deployments.keys();
    let replicas =
        replicas.map(|e| EnvironmentReplicas { environment: e.clone(), replicas: target.replicas(e, name) }).collect();
    let mut summary = summary(r, &view);
    exact_objectives(r, &view.observed, &mut summary);
    Ok(Some(ModelDetail {
        summary,
        conditions: view.observed.conditions.clone(),
        pipeline: view.observed.pipeline.as_deref().cloned(),
        versions,
        replicas,
        diagnostics: view.observed.broken.clone(),
        events: r.store().events_of_model(name, SHOWN)?,
        runs: r.store().runs(name, SHOWN)?,
        plan: view.plan,
        now: r.ports().clock.now(),
    }))
}

/// Of one model the router tells how long each request took.
fn exact_objectives(r: &Reconciler, observed: &ObservedModel, summary: &mut ModelSummary) {
    let slo = observed.desired.as_ref().and_then(|d| d.spec.slo.as_deref());
    for e in summary.environments.iter_mut().filter(|e| !e.objectives.is_empty()) {
        if let Some(stable) = observed.deployments.get(&e.environment).and_then(|d| d.stable) {
            e.objectives = objectives(slo, &r.ports().target.served(&e.environment, &observed.name, stable).since);
        }
    }
}

/// A model's versions, oldest first.
pub fn briefs(r: &Reconciler, observed: &ObservedModel) -> Result<Vec<VersionBrief>, StoreError> {
    let serves = |n: VersionNumber| {
        let here = observed.deployments.iter().filter(|(_, d)| d.stable.is_some_and(|s| s.version == n));
        here.map(|(e, _)| e.clone()).collect()
    };
    let brief = |v: Version| VersionBrief {
        origin: v.origin,
        number: v.number,
        fingerprint: v.fingerprint,
        created: v.created,
        duration: v.duration,
        commit: v.revision.commit.clone(),
        author: v.revision.author.clone(),
        summary: v.revision.summary.clone(),
        metrics: v.metrics.clone(),
        serves: serves(v.number),
        size: v.artifact.size(),
        gates: v.gates,
    };
    Ok(r.store().versions(&observed.name)?.into_iter().map(brief).collect())
}

/// The plans of all models for the loaded revision, or for one desired state that was loaded beside it.
pub fn fleet_plan(r: &Reconciler, state: &DesiredState) -> FleetPlan {
    let mut names: BTreeSet<Name> = state.models.keys().cloned().collect();
    names.extend(r.each(|observed, _| observed.name.clone()));
    let held = r.held_deletions();
    let mut plan = FleetPlan {
        revision: state.revision.as_deref().cloned(),
        models: vec![],
        unchanged: 0,
        diagnostics: state.diagnostics.clone(),
        held: held.iter().cloned().collect(),
        at: r.ports().clock.now().wall,
    };
    for found in plan.diagnostics.iter_mut().filter(|d| d.severity == Severity::Error) {
        let same = |d: &Diagnostic| d.location == found.location && d.message == found.message;
        let of = state.broken.iter().find(|(_, all)| all.iter().any(same));
        let serves = of.and_then(|(name, _)| keeps_serving(r, name));
        found.help = [found.help.take(), serves].into_iter().flatten().reduce(|a, b| format!("{a}; {b}"));
    }
    for name in names.iter().filter(|n| !held.contains(*n)) {
        // Before Git was read, and while a spec is broken, the last good state stands.
        let stands = state.broken.contains_key(name) || state.revision.is_none();
        let last_good = || r.view(name).and_then(|v| v.observed.desired).filter(|_| stands);
        let desired = state.models.get(name).cloned().or_else(last_good);
        let model = r.fresh_plan(name, desired.as_deref());
        if model.actions.is_empty() && model.waiting.is_empty() {
            plan.unchanged += 1;
        } else {
            plan.models.push(model);
        }
    }
    plan
}

/// What goes on while a model's spec is broken.
fn keeps_serving(r: &Reconciler, name: &Name) -> Option<String> {
    let observed = r.view(name)?.observed;
    let desired = observed.desired.as_ref()?;
    let stable = observed.deployments.get(desired.spec.live_environment()?)?.stable?;
    let commit = desired.changed_by.commit.short();
    Some(format!("{name} keeps serving {} from revision {commit} until this is fixed", stable.version))
}

/// Desired against live, field by field: what the newest spec says against what made the version that serves.
pub fn diff(r: &Reconciler, name: &Name) -> Option<Vec<FieldDiff>> {
    let view = r.view(name)?;
    let loaded = r.loaded();
    let state = loaded.state();
    let mut out = Vec::new();
    let mut differs = |field: String, live: Option<String>, desired: Option<String>| {
        out.push(FieldDiff { field, live, desired });
    };
    let before = &view.observed.desired;
    if let Some(found) = state.broken.get(name).and_then(|all| Diagnostic::first(all)) {
        let good = before.as_ref().map(|d| format!("as of {}", d.changed_by.commit.short()));
        differs("spec".into(), good, Some(format!("broken: {}", found.sentence())));
    }
    let desired = state.models.get(name).cloned();
    if desired.is_none() && !state.broken.contains_key(name) && !view.observed.retired {
        differs("spec".into(), before.as_ref().map(|d| d.file.clone()), None);
    }
    let plan = r.fresh_plan(name, desired.as_deref().or(before.as_deref()));
    if let Some(desired) = &desired {
        let live = live_spec(r, &view, desired, plan.version).or_else(|| before.clone());
        for c in live.iter().flat_map(|live| changes(Some(live), desired)) {
            differs(c.reason.field, c.reason.old, c.reason.new);
        }
    }
    let wanted = plan.version.map_or("a version to be trained".to_owned(), |v| v.to_string());
    for deploy in desired.iter().flat_map(|d| &d.spec.deploy) {
        let stable = view.observed.deployments.get(&deploy.environment).and_then(|d| d.stable);
        let live = stable.map(|s| s.version.to_string());
        if live.as_deref() != Some(&wanted) {
            differs(format!("{}.version", deploy.environment), live, Some(wanted.clone()));
        }
    }
    Some(out)
}

/// The spec of the commit that made the version which serves, where that is not the one that Git asks for.
fn live_spec(
    r: &Reconciler,
    view: &ModelView,
    desired: &DesiredModel,
    wanted: Option<VersionNumber>,
) -> Option<Arc<DesiredModel>> {
    let environment = desired.spec.live_environment()?;
    let stable = view.observed.deployments.get(environment)?.stable?;
    if wanted == Some(stable.version) {
        return None;
    }
    let version = r.store().version(&view.observed.name, stable.version).ok().flatten()?;
    let loaded = r.load_revision(&version.revision.commit.0).ok()?;
    loaded.state().models.get(&view.observed.name).cloned()
}

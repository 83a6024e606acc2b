//! From the loop's state to wire types.

use super::{
    kept::{objectives, promised},
    types::*,
};
use crate::{
    model::*,
    plan::{changes, render},
    reconcile::{ModelView, Reconciler},
    store::StoreError,
};

/// The whole fleet.
pub fn fleet(r: &Reconciler) -> Fleet {
    let source = r.source_view();
    let models: Vec<ModelSummary> = r.views().iter().map(|v| summary(r, v)).collect();
    let mut counts = Counts { models: models.len(), ..Counts::default() };
    for m in &models {
        match m.health {
            Health::Healthy => counts.healthy += 1,
            Health::Progressing => counts.progressing += 1,
            Health::Degraded | Health::Missing => counts.degraded += 1,
            Health::Suspended => counts.suspended += 1,
            Health::Unknown => {}
        }
        counts.out_of_sync += usize::from(m.sync == SyncStatus::OutOfSync);
        counts.burning += usize::from(m.environments.iter().any(EnvironmentSummary::burns));
        counts.off_promise += usize::from(m.environments.iter().any(EnvironmentSummary::differs_from_promised));
    }
    Fleet {
        source: source.status,
        models,
        counts,
        files: source.files,
        diagnostics: source.diagnostics,
        held: r.held_deletions().into_iter().collect(),
        router: r.ports().target.address(),
        store_error: r.store().trouble(),
        mirror_error: mirror_error(r),
        now: r.ports().clock.now(),
    }
}

/// What the mirror noted, while the settings still name that server.
fn mirror_error(r: &Reconciler) -> Option<String> {
    let noted: Option<MirrorTrouble> = r.store().fact(crate::exchange::mirror::TROUBLE).ok().flatten().flatten();
    let loaded = r.loaded();
    noted.filter(|t| loaded.state().settings.registry.mlflow.as_ref() == Some(&t.url)).map(|t| t.sentence())
}

/// One line.
pub fn summary(r: &Reconciler, view: &ModelView) -> ModelSummary {
    let (observed, plan) = (&view.observed, view.plan.as_ref());
    let desired = observed.desired.as_ref();
    let chain =
        desired.map(|d| d.spec.deploy.iter().map(|d| d.environment.clone()).collect::<Vec<_>>()).unwrap_or_default();
    let others = observed.deployments.keys().filter(|k| !chain.contains(k)).cloned();
    let environments = others.chain(chain.iter().cloned()).map(|e| environment(r, observed, &e)).collect();
    let training = observed.pipeline.as_ref().filter(|p| p.state == PipelineState::Running).map(|p| p.fingerprint);
    ModelSummary {
        name: observed.name.clone(),
        sync: plan.map_or(SyncStatus::Unknown, |p| p.sync),
        health: plan.map_or(Health::Unknown, |p| p.health),
        spec_broken: !observed.broken.is_empty(),
        message: message(observed, plan),
        environments,
        training,
        changed_by: desired.map(|d| d.changed_by.clone()),
        observed_revision: observed.observed_revision.as_ref().map(|r| r.commit.clone()),
        owner: desired.and_then(|d| d.spec.owner.clone()),
        file: desired.map(|d| d.file.clone()),
        labels: desired.iter().flat_map(|d| &d.spec.labels).map(|(k, v)| (k.clone(), v.clone())).collect(),
    }
}

/// What a person needs to know first.
fn message(observed: &ObservedModel, plan: Option<&ModelPlan>) -> String {
    if let Some(d) = Diagnostic::first(&observed.broken) {
        let until = match observed.desired {
            Some(_) => "the last good spec stays in force",
            None => "nothing is trained until it is fixed",
        };
        return format!("{}; {until}", d.sentence());
    }
    let untrained = plan.is_none_or(|p| p.version.is_none());
    if let Some(PipelineState::Failed { reason, .. }) =
        observed.pipeline.as_ref().map(|p| &p.state).filter(|_| untrained)
    {
        return reason.clone();
    }
    let Some(plan) = plan else { return String::new() };
    let rank = |w: &Waiting| match w {
        Waiting::Gates { .. } | Waiting::Rejected { .. } | Waiting::DataRetry { .. } => 0,
        Waiting::Promotion { .. } | Waiting::Soak { .. } => 2,
        _ => 1,
    };
    plan.waiting.iter().min_by_key(|w| rank(w)).map(render::waiting).unwrap_or_default()
}

fn environment(r: &Reconciler, observed: &ObservedModel, name: &Name) -> EnvironmentSummary {
    let none = Deployment::default();
    let d = observed.deployments.get(name).unwrap_or(&none);
    let serves = d.stable.is_some() || d.rollout.is_some();
    let recent = if serves { r.ports().target.recent(name, &observed.name) } else { Recent::default() };
    let served = recent.since.iter().find(|(release, _)| Some(*release) == d.stable).map(|(_, s)| s);
    let none = TrafficStats::default();
    // A rollout says what there is to say of both.
    let spec = observed.desired.as_ref().map(|d| &d.spec).filter(|_| d.stable.is_some() && d.rollout.is_none());
    let live = spec.filter(|s| s.live_environment() == Some(name));
    let analyses = spec.and_then(|s| s.deploy.iter().find(|d| d.environment == *name)).map(|d| d.analysis.as_slice());
    EnvironmentSummary {
        environment: name.clone(),
        version: d.stable.map(|s| s.version),
        routed: r.ports().target.routed(name, &observed.name).map(|x| x.version),
        rollout: d.rollout.as_ref().map(|x| rollout(r, observed, name, x)),
        rejected: d.rejected.as_ref().map(|x| x.reason.clone()),
        objectives: objectives(live.and_then(|s| s.slo.as_deref()), served.unwrap_or(&none)),
        promised: promised(analyses.unwrap_or_default(), &d.promised, served.unwrap_or(&none)),
        requests_per_s: recent.requests_per_s,
        p99_ms: recent.p99_ms,
        error_share: recent.error_share,
        history: recent.history,
    }
}

fn rollout(r: &Reconciler, observed: &ObservedModel, environment: &Name, x: &Rollout) -> RolloutSummary {
    let (step, phase, until) = match &x.phase {
        Phase::Starting => (0, "starting".to_owned(), None),
        Phase::Step { index, since } => {
            let hold = x.steps.get(*index).map_or(0, |s| s.hold.0);
            (index + 1, "step".to_owned(), Some(since.plus(hold)))
        }
        Phase::Paused { index, reason, .. } => (index + 1, reason.clone(), None),
    };
    RolloutSummary {
        to: x.to.version,
        step,
        steps: x.steps.clone(),
        strategy: x.strategy,
        weight: x.weight(),
        phase,
        held: matches!(x.phase, Phase::Paused { .. }),
        gate: matches!(x.phase, Phase::Paused { gate: true, .. }),
        until,
        started: x.started_wall,
        analysis: x.analysis.clone(),
        traffic: r.ports().target.traffic(environment, &observed.name, x),
    }
}

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
        pipeline: view.observed.pipeline.clone(),
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
    let mut names: std::collections::BTreeSet<Name> = state.models.keys().cloned().collect();
    names.extend(r.views().into_iter().map(|v| v.observed.name));
    let held = r.held_deletions();
    let mut plan = FleetPlan {
        revision: state.revision.clone(),
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
) -> Option<std::sync::Arc<DesiredModel>> {
    let environment = desired.spec.live_environment()?;
    let stable = view.observed.deployments.get(environment)?.stable?;
    if wanted == Some(stable.version) {
        return None;
    }
    let version = r.store().version(&view.observed.name, stable.version).ok().flatten()?;
    let loaded = r.load_revision(&version.revision.commit.0).ok()?;
    loaded.state().models.get(&view.observed.name).cloned()
}

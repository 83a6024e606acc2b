//! The fleet, a line for each model.

use super::{
    kept::{objectives, promised},
    types::*,
};
use crate::{
    model::*,
    plan::render,
    reconcile::{ModelView, Reconciler},
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// What is told of how models stand now, asked for once for all of them.
struct Facts<'a> {
    r: &'a Reconciler,
    recent: Arc<HashMap<(Name, Name), Recent>>,
}

/// The fleet: all of it, or the models that a query asks for, beside what is said of all.
pub fn fleet(r: &Reconciler, query: &FleetQuery) -> Fleet {
    let source = r.source_view();
    let facts = Facts { r, recent: r.ports().target.recent() };
    let mut asked = Asked::new(&facts, query);
    let mut counts = Counts::default();
    let told = r.each(|observed, plan| {
        facts.count(observed, plan, &mut counts);
        let rolling = observed.deployments.values().any(|d| d.rollout.is_some());
        match (asked.takes(&observed.name), rolling) {
            (false, _) => Told::No,
            (true, false) => Told::Whole(facts.summary(observed, plan)),
            // The router is asked for what it measures of a rollout, which takes its time.
            (true, true) => Told::Later(Box::new(ModelView { observed: observed.clone(), plan: plan.cloned() })),
        }
    });
    let whole = |told| match told {
        Told::No => None,
        Told::Whole(summary) => Some(summary),
        Told::Later(view) => Some(facts.summary(&view.observed, view.plan.as_ref())),
    };
    Fleet {
        source: source.status,
        models: told.into_iter().filter_map(whole).collect(),
        after: asked.page.after,
        next: asked.page.last.filter(|_| asked.page.more),
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

/// Which models a query asks for: those that are among the names, where there are any, and in the page.
struct Asked {
    names: Option<BTreeSet<Name>>,
    page: Page,
}

/// Part of the models in the order of their names.
#[derive(Default)]
struct Page {
    after: Option<Name>,
    room: Option<usize>,
    /// The last that it has.
    last: Option<Name>,
    /// Whether others come after it.
    more: bool,
}

impl Asked {
    fn new(facts: &Facts, query: &FleetQuery) -> Self {
        /// Models that need a person first, when it is not said how many.
        const URGENT: usize = 100;
        if query.urgent {
            let names = facts.most_urgent(query.limit.unwrap_or(URGENT));
            return Self { names: Some(names), page: Page::default() };
        }
        let named = query.models.iter().flat_map(|all| all.split(',')).filter_map(|name| Name::new(name).ok());
        let busy = facts.recent.keys().map(|(_, model)| model.clone()).filter(|_| query.busy);
        let some = query.models.is_some() || query.busy;
        let page = Page { after: query.after.clone(), room: query.limit.map(|n| n.max(1)), ..Page::default() };
        Self { names: some.then(|| named.chain(busy).collect()), page }
    }

    /// Asked of one model after the other, in the order of their names.
    fn takes(&mut self, name: &Name) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(name)) && self.page.takes(name)
    }
}

impl Page {
    fn takes(&mut self, name: &Name) -> bool {
        let Some(room) = &mut self.room else { return self.after.as_ref().is_none_or(|after| name > after) };
        if self.after.as_ref().is_some_and(|after| name <= after) {
            return false;
        }
        self.more = *room == 0;
        if !self.more {
            *room -= 1;
            self.last = Some(name.clone());
        }
        !self.more
    }
}

#[expect(clippy::large_enum_variant, reason = "most of a fleet is told whole")]
enum Told {
    No,
    Whole(ModelSummary),
    Later(Box<ModelView>),
}

/// What the mirror noted, while the settings still name that server.
fn mirror_error(r: &Reconciler) -> Option<String> {
    let noted: Option<MirrorTrouble> = r.store().fact(crate::exchange::mirror::TROUBLE).ok().flatten().flatten();
    let loaded = r.loaded();
    noted.filter(|t| loaded.state().settings.registry.mlflow.as_ref() == Some(&t.url)).map(|t| t.sentence())
}

/// How many models are how.
pub fn counts(r: &Reconciler) -> Counts {
    let facts = Facts { r, recent: r.ports().target.recent() };
    let mut counts = Counts::default();
    r.each(|observed, plan| facts.count(observed, plan, &mut counts));
    counts
}

/// One line.
pub fn summary(r: &Reconciler, view: &ModelView) -> ModelSummary {
    Facts { r, recent: r.ports().target.recent() }.summary(&view.observed, view.plan.as_ref())
}

impl Facts<'_> {
    fn count(&self, observed: &ObservedModel, plan: Option<&ModelPlan>, counts: &mut Counts) {
        counts.models += 1;
        match plan.map_or(Health::Unknown, |p| p.health) {
            Health::Healthy => counts.healthy += 1,
            Health::Progressing => counts.progressing += 1,
            Health::Degraded | Health::Missing => counts.degraded += 1,
            Health::Suspended => counts.suspended += 1,
            Health::Unknown => {}
        }
        counts.out_of_sync += usize::from(plan.is_some_and(|p| p.sync == SyncStatus::OutOfSync));
        let (burning, off_promise) = self.kept_badly(observed);
        counts.burning += usize::from(burning);
        counts.off_promise += usize::from(off_promise);
    }

    /// Whether a release that serves does not keep an objective; and whether one does not keep what it was promoted by.
    fn kept_badly(&self, observed: &ObservedModel) -> (bool, bool) {
        // Where nothing was asked, all is kept.
        let asked = observed.deployments.iter().filter(|(name, _)| self.recent_of(observed, name).is_some());
        let kept = asked.map(|(name, d)| self.kept(observed, name, d));
        kept.fold((false, false), |(burning, off), (objectives, promised)| {
            (burning || objectives.iter().any(|o| !o.kept), off || promised.iter().any(|p| !p.holds))
        })
    }

    /// The models that need a person first, at most so many.
    fn most_urgent(&self, limit: usize) -> BTreeSet<Name> {
        let mut all = self.r.each(|observed, plan| {
            let (burning, off_promise) = self.kept_badly(observed);
            let (health, sync) = plan.map_or((Health::Unknown, SyncStatus::Unknown), |p| (p.health, p.sync));
            let urgency = Urgency::new(health, sync, !observed.broken.is_empty(), burning || off_promise);
            (urgency, observed.name.clone())
        });
        all.sort_unstable();
        all.into_iter().take(limit).map(|(_, name)| name).collect()
    }

    fn summary(&self, observed: &ObservedModel, plan: Option<&ModelPlan>) -> ModelSummary {
        let desired = observed.desired.as_ref();
        let chain = desired.iter().flat_map(|d| &d.spec.deploy).map(|d| &d.environment);
        let others = observed.deployments.keys().filter(|k| !chain.clone().any(|e| e == *k));
        let environments = others.chain(chain.clone()).map(|e| self.environment(observed, e)).collect();
        let training = observed.pipeline.as_ref().filter(|p| p.state == PipelineState::Running).map(|p| p.fingerprint);
        ModelSummary {
            name: observed.name.clone(),
            sync: plan.map_or(SyncStatus::Unknown, |p| p.sync),
            health: plan.map_or(Health::Unknown, |p| p.health),
            spec_broken: !observed.broken.is_empty(),
            message: message(observed, plan),
            environments,
            unapproved: plan.and_then(unapproved),
            training,
            changed_by: desired.map(|d| Revision::clone(&d.changed_by)),
            observed_revision: observed.observed_revision.as_ref().map(|r| r.commit.clone()),
            owner: desired.and_then(|d| d.spec.owner.clone()),
            file: desired.map(|d| d.file.clone()),
            labels: desired.iter().flat_map(|d| &d.spec.labels).map(|(k, v)| (k.clone(), v.clone())).collect(),
        }
    }

    fn environment(&self, observed: &ObservedModel, name: &Name) -> EnvironmentSummary {
        let (r, none) = (self.r, Deployment::default());
        let d = observed.deployments.get(name).unwrap_or(&none);
        let serves = d.stable.is_some() || d.rollout.is_some();
        let recent = self.recent_of(observed, name).filter(|_| serves).cloned().unwrap_or_default();
        let (objectives, promised) = self.kept(observed, name, d);
        EnvironmentSummary {
            environment: name.clone(),
            version: d.stable.map(|s| s.version),
            routed: r.ports().target.routed(name, &observed.name).map(|x| x.version),
            rollout: d.rollout.as_ref().map(|x| rollout(r, observed, name, x)),
            rejected: rejected(d),
            objectives,
            promised,
            requests_per_s: recent.requests_per_s,
            p99_ms: recent.p99_ms,
            error_share: recent.error_share,
            stood_in: recent.stood_in,
            history: recent.history,
        }
    }

    fn recent_of(&self, observed: &ObservedModel, environment: &Name) -> Option<&Recent> {
        // Most of a fleet is asked for nothing: no key is made for it.
        let any = (!self.recent.is_empty()).then(|| (environment.clone(), observed.name.clone()))?;
        self.recent.get(&any)
    }

    /// How what serves keeps its objectives, and what it was promoted by. A rollout says itself what there is to say.
    fn kept(
        &self,
        observed: &ObservedModel,
        name: &Name,
        d: &Deployment,
    ) -> (Vec<ObjectiveStatus>, Vec<PromiseStatus>) {
        let at_rest = d.stable.is_some() && d.rollout.is_none();
        let Some(spec) = observed.desired.as_ref().map(|d| &d.spec).filter(|_| at_rest) else {
            return Default::default();
        };
        let slo = spec.slo.as_deref().filter(|_| spec.live_environment() == Some(name));
        let analyses = spec.deploy.iter().find(|d| d.environment == *name).map_or(&[][..], |d| &d.analysis);
        if slo.is_none() && analyses.is_empty() {
            return Default::default();
        }
        let served = self.recent_of(observed, name).and_then(|r| r.since.iter().find(|(s, _)| Some(*s) == d.stable));
        let none = TrafficStats::default();
        let served = served.map_or(&none, |(_, stats)| stats);
        (objectives(slo, served), promised(analyses, &d.promised, served))
    }
}

/// Why what was given up was: with the versions where it is more than the one that Git asks for.
fn rejected(d: &Deployment) -> Option<String> {
    match &d.rejected[..] {
        [] => None,
        [one] => Some(one.reason.clone()),
        all => Some(all.iter().map(|r| format!("{}: {}", r.release.version, r.reason)).collect::<Vec<_>>().join("; ")),
    }
}

fn unapproved(plan: &ModelPlan) -> Option<Name> {
    plan.waiting.iter().find_map(|w| match w {
        Waiting::Approval { environment, .. } => Some(environment.clone()),
        _ => None,
    })
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

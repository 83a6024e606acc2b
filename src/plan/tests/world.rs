//! A small world of one model, in which plans are executed.

use super::super::*;
use litemap::LiteMap;
use std::sync::Arc;

/// A small world for one model: `train` → staging (at once) → production (canary).
#[derive(Clone)]
pub struct World {
    pub desired: DesiredModel,
    pub observed: ObservedModel,
    pub versions: Vec<Version>,
    pub replicas: BTreeMap<Name, Vec<ReplicaStatus>>,
    pub traffic: BTreeMap<Name, Traffic>,
    pub served: BTreeMap<Name, Served>,
    pub now: Now,
    pub may_push: bool,
    pub approvals: BTreeMap<(Name, Digest), Revision>,
    pub groups: Groups,
}

pub fn name(s: &str) -> Name {
    Name::new(s).unwrap()
}

pub fn revision(commit: &str) -> Revision {
    Revision {
        commit: ObjectId(commit.into()),
        tree: ObjectId("7ree".into()),
        author: "Ada".into(),
        email: "ada@example.com".into(),
        summary: "fraud: deeper trees".into(),
        time: WallMs(0),
    }
}

pub fn stage(stage_name: &str) -> StageSpec {
    StageSpec {
        name: name(stage_name),
        run: Command::Argv(vec!["python".into(), "train.py".into()]),
        inputs: vec!["train".into()],
        outputs: vec![],
        python: Some("requirements.txt".into()),
        params: Params::from([("depth".into(), 6.into())]),
        timeout: None,
        retries: 0,
        memory: None,
        secrets: vec![],
    }
}

fn environment(n: &str) -> (Name, Arc<EnvironmentSpec>) {
    let spec = EnvironmentSpec {
        name: name(n),
        description: None,
        target: name("local"),
        rollback_at_once: true,
        keep_warm: Millis(600_000),
        freeze: vec![],
    };
    (name(n), spec.into())
}

pub fn spec(desired: &mut DesiredModel) -> &mut ModelSpec {
    Arc::make_mut(&mut desired.spec)
}

pub fn world() -> World {
    let dataset = DatasetSpec {
        name: name("transactions"),
        owner: None,
        description: None,
        source: DataSource::Path("data/t.csv".into()),
    };
    let steps = vec![StepSpec::new(10.0, Millis(1000)), StepSpec::new(50.0, Millis(1000))];
    let spec = ModelSpec {
        name: name("fraud"),
        owner: None,
        description: None,
        labels: Default::default(),
        data: LiteMap::from_iter([(name("train"), name("transactions"))]),
        registered: None,
        stages: vec![stage("train")],
        code: ".".into(),
        executor: name("local"),
        finish_superseded: false,
        gates: vec![GateSpec {
            metric: "recall".into(),
            min: Some(0.9),
            max: None,
            no_worse_than_live: false,
            tolerance: 0.0,
            higher_is_better: true,
        }],
        serve: Some(ServeSpec {
            run: Serving::Command(Command::Argv(vec!["python".into(), "serve.py".into()])),
            replicas: 1,
            ready: "/".into(),
            ready_timeout: Millis(60_000),
            drain: Millis(1000),
            memory: None,
            secrets: vec![],
        }),
        deploy: vec![
            DeploySpec::at_once(name("staging")),
            DeploySpec {
                after: Some(name("staging")),
                strategy: crate::model::Strategy::Canary { steps },
                ..DeploySpec::at_once(name("production"))
            },
        ],
        slo: None,
    };
    let desired = DesiredModel {
        spec: spec.into(),
        file: "specs/models/fraud/model.toml".into(),
        content: Digest::of(b"content"),
        code_path: "specs/models/fraud".into(),
        code: Digest::of(b"code"),
        python: LiteMap::from_iter([("requirements.txt".into(), Digest::of(b"lock"))]),
        datasets: LiteMap::from_iter([(name("transactions"), dataset.into())]),
        environments: LiteMap::from_iter([environment("staging"), environment("production")]),
        analyses: BTreeMap::new(),
        lock: BTreeMap::new(),
        lines: Lines::from(BTreeMap::from([("train.params.depth".into(), 14)])).into(),
        changed_by: revision("4f1c2ab0").into(),
    };
    World {
        desired,
        observed: ObservedModel::new(name("fraud")),
        versions: vec![],
        replicas: BTreeMap::new(),
        traffic: BTreeMap::new(),
        served: BTreeMap::new(),
        now: Now { wall: WallMs(1_000_000), steady: SteadyMs(1_000_000) },
        may_push: false,
        approvals: BTreeMap::new(),
        groups: Groups::new(),
    }
}

impl World {
    pub fn plan(&self, desired: Option<&DesiredModel>) -> ModelPlan {
        let live = self.observed.deployments.get("production").and_then(|d| d.stable);
        plan(&Input {
            now: self.now,
            desired,
            observed: &self.observed,
            version: &|f| self.versions.iter().find(|v| v.fingerprint == *f).cloned().map(Arc::new),
            live: self.versions.iter().find(|v| Some(v.number) == live.map(|l| l.version)),
            replicas: &self.replicas,
            traffic: &self.traffic,
            served: &self.served,
            asked: &BTreeMap::new(),
            approval: &|environment, fingerprint| self.approvals.get(&(environment.clone(), *fingerprint)).cloned(),
            groups: &self.groups,
            push: if self.may_push { Push::Allowed } else { Push::Never },
            past: Some(Millis(250_000)),
            deleted_by: None,
        })
    }

    /// Executes a plan's actions in the simplest possible way, as the reconciler would with effects that succeed at once.
    pub fn execute(&mut self, plan: &ModelPlan) {
        for planned in &plan.actions {
            match &planned.action {
                Action::ResolveData { inputs } => {
                    for (input, dataset) in inputs {
                        let pin = Pin { dataset: dataset.clone().into(), snapshot: Digest::of(b"data") };
                        self.observed.pins.insert(input.clone(), pin);
                    }
                }
                Action::WriteLock { snapshots } => self.desired.lock = self.desired.lock_for(snapshots),
                Action::Train { fingerprint, snapshots, .. } => {
                    self.observed.last_version += 1;
                    let metrics = BTreeMap::from([("recall".to_owned(), 0.95)]);
                    let v = version(self.observed.last_version, *fingerprint, snapshots, metrics, &self.desired);
                    self.versions.push(v);
                }
                Action::CancelTraining { .. } => self.observed.pipeline = None,
                Action::JudgeGates { version, results } => {
                    let v = self.versions.iter_mut().find(|v| v.number == *version).unwrap();
                    v.gates = results.clone();
                }
                Action::SetRollout { environment, rollout } => {
                    let d = self.observed.deployments.entry(environment.clone()).or_default();
                    d.rollout.clone_from(rollout);
                    rollout.iter().for_each(|r| d.rolls_out(r.to));
                    if let Some(r) = rollout {
                        self.make_ready(environment, r.to);
                    }
                }
                Action::Measure { environment, analysis } => {
                    let d = self.observed.deployments.get_mut(environment).unwrap();
                    d.rollout.as_mut().unwrap().analysis.clone_from(analysis);
                }
                Action::FinishRollout { environment, release } => {
                    let d = self.observed.deployments.entry(environment.clone()).or_default();
                    d.takes_over(*release);
                    d.stable = Some(*release);
                    d.rollout = None;
                    d.served.push(*release);
                    d.healthy_since = Some(self.now.steady);
                    d.overridden = None;
                }
                Action::Reject { environment, release, reason } => {
                    let d = self.observed.deployments.entry(environment.clone()).or_default();
                    d.rollout = None;
                    d.reject(Rejection {
                        release: *release,
                        reason: reason.clone(),
                        at: self.now.wall,
                        evidence: vec![],
                        revert: None,
                    });
                }
                Action::Cool { environment, .. } => {
                    self.observed.deployments.entry(environment.clone()).or_default().warm = None;
                }
                // The desired state is taken up by `settle`.
                Action::Scale { .. } | Action::TakeUp | Action::Revert { .. } => {}
                Action::Undeploy { environment } => drop(self.observed.deployments.remove(environment)),
                Action::Retire => {
                    self.observed.retired = true;
                    self.observed.desired = None;
                }
            }
        }
    }

    fn make_ready(&mut self, environment: &Name, release: Release) {
        let replica = ReplicaStatus {
            release,
            index: 0,
            address: None,
            ready: true,
            restarts: 0,
            message: None,
            death: None,
            drift: None,
        };
        let all = self.replicas.entry(environment.clone()).or_default();
        if !all.iter().any(|r| r.release == release) {
            all.push(replica);
        }
    }

    /// Plans and executes until a plan has no actions, with time passing; returns all actions.
    pub fn settle(&mut self) -> Vec<Action> {
        let mut all = Vec::new();
        for _ in 0..40 {
            let desired = self.desired.clone();
            let plan = self.plan(Some(&desired));
            check_invariants(&self.observed);
            check_reasons(&plan);
            if plan.actions.is_empty() && plan.look_again.is_none_or(|at| at <= self.now.steady) {
                return all;
            }
            self.execute(&plan);
            self.observed.desired = Some(Arc::new(desired));
            all.extend(plan.actions.into_iter().map(|p| p.action));
            self.now.steady = self.now.steady.plus(700);
        }
        panic!("no fixpoint: {:?}", self.plan(Some(&self.desired)));
    }
}

/// Every action says why: a field, and whose commit.
fn check_reasons(plan: &ModelPlan) {
    for planned in &plan.actions {
        assert!(!planned.reasons.is_empty(), "{:?}", planned.action);
        for r in &planned.reasons {
            assert!(!r.field.is_empty() && r.commit.is_some() && r.author.is_some(), "{:?}: {r:?}", planned.action);
        }
    }
}

fn check_invariants(observed: &ObservedModel) {
    for d in observed.deployments.values() {
        let shares = d.shares();
        let total: f64 = shares.iter().map(|s| s.1).sum();
        assert!(
            shares.is_empty() || (total - 100.0).abs() < 1e-9 || (d.stable.is_none() && d.rollout.is_none()),
            "{shares:?}"
        );
    }
}

fn version(
    number: u32,
    fingerprint: Digest,
    snapshots: &BTreeMap<Name, Digest>,
    metrics: BTreeMap<String, f64>,
    desired: &DesiredModel,
) -> Version {
    Version {
        model: name("fraud"),
        number: VersionNumber(number),
        origin: Origin::Pipeline,
        fingerprint,
        revision: revision("4f1c2ab0"),
        code_path: desired.code_path.clone(),
        code: desired.code,
        code_files: Manifest::default(),
        params: Params::new(),
        snapshots: snapshots.clone(),
        python: None,
        packages: vec![],
        host: String::new(),
        gates: gates::judge(&desired.spec.gates, &metrics, None),
        opponent: None,
        metrics,
        stages: vec![],
        artifact: Manifest::default(),
        created: WallMs(0),
        duration: Millis(0),
    }
}

pub fn trains(actions: &[Action]) -> usize {
    actions.iter().filter(|a| matches!(a, Action::Train { .. })).count()
}

pub fn stable(w: &World, environment: &str) -> Option<VersionNumber> {
    w.observed.deployments.get(environment).and_then(|d| d.stable).map(|r| r.version)
}

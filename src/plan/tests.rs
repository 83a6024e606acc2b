mod world;

use super::*;
use proptest::prelude::*;
use std::sync::Arc;
pub use world::{World, name, revision, spec, stable, stage, trains, world};

#[test]
fn a_new_model_is_trained_once_and_reaches_production_through_staging() {
    let mut w = world();
    let actions = w.settle();
    assert_eq!(trains(&actions), 1);
    assert_eq!(stable(&w, "staging"), Some(VersionNumber(1)));
    assert_eq!(stable(&w, "production"), Some(VersionNumber(1)));
    let plan = w.plan(Some(&w.desired));
    assert_eq!((plan.sync, plan.health), (SyncStatus::Synced, Health::Healthy));
}

#[test]
fn a_change_goes_through_every_canary_step_and_its_revert_trains_nothing() {
    let mut w = world();
    w.settle();
    let before = w.desired.clone();
    spec(&mut w.desired).stages[0].params.insert("depth".into(), 8.into());
    let actions = w.settle();
    assert_eq!(trains(&actions), 1);
    let weights: Vec<f64> = actions
        .iter()
        .filter_map(|a| match a {
            Action::SetRollout { rollout: Some(r), .. } if !r.steps.is_empty() => Some(r.weight()),
            _ => None,
        })
        .collect();
    assert_eq!(weights, [0.0, 10.0, 50.0]);
    assert_eq!(stable(&w, "production"), Some(VersionNumber(2)));

    w.desired = before;
    let actions = w.settle();
    assert_eq!(trains(&actions), 0);
    assert_eq!(stable(&w, "production"), Some(VersionNumber(1)));
    let at_once = actions.iter().all(|a| matches!(a, Action::FinishRollout { .. }));
    assert!(at_once, "a warm release takes over in the first plan: {actions:?}");
}

#[test]
fn a_failed_gate_keeps_the_version_out_with_its_figure() {
    let mut w = world();
    spec(&mut w.desired).gates[0].min = Some(0.99);
    w.settle();
    let plan = w.plan(Some(&w.desired));
    assert_eq!(stable(&w, "staging"), None);
    assert_eq!(plan.health, Health::Degraded);
    let failed = vec!["recall ≥ 0.99: 0.95".to_owned()];
    assert!(plan.waiting.contains(&Waiting::Gates { version: VersionNumber(1), failed }), "{:?}", plan.waiting);

    // Loosening the gate judges the recorded metrics anew and trains nothing.
    spec(&mut w.desired).gates[0].min = Some(0.9);
    assert_eq!(trains(&w.settle()), 0);
    assert_eq!(stable(&w, "production"), Some(VersionNumber(1)));
}

#[test]
fn a_comparison_stays_with_the_version_that_was_live_whatever_becomes_of_the_gate() {
    let mut w = world();
    w.settle();
    spec(&mut w.desired).stages[0].params.insert("depth".into(), 8.into());
    let bounds = w.desired.spec.gates.clone();
    let comparison = |tolerance| GateSpec { no_worse_than_live: true, min: None, tolerance, ..bounds[0].clone() };
    spec(&mut w.desired).gates = vec![comparison(0.01)];
    w.settle();
    // It was made when one of 0.97 was live, which serves on.
    let metrics = BTreeMap::from([("recall".to_owned(), 0.97)]);
    w.versions[1].opponent = Some(Opponent { version: VersionNumber(1), metrics });
    let failed = vec!["recall no worse than live v1 (0.97) by more than 0.01: 0.95".to_owned()];
    let waits = Waiting::Gates { version: VersionNumber(2), failed };
    w.settle();
    assert!(w.plan(Some(&w.desired)).waiting.contains(&waits), "{:?}", w.plan(Some(&w.desired)).waiting);

    // A gate that went and came back, while the version itself was live, does not compare it with itself.
    spec(&mut w.desired).gates = vec![];
    w.settle();
    assert_eq!(stable(&w, "production"), Some(VersionNumber(2)));
    spec(&mut w.desired).gates = vec![comparison(0.01)];
    w.settle();
    assert!(w.plan(Some(&w.desired)).waiting.contains(&waits));

    // Another tolerance is another verdict on the same figures.
    spec(&mut w.desired).gates = vec![comparison(0.02)];
    assert_eq!(trains(&w.settle()), 0);
    assert_eq!(stable(&w, "production"), Some(VersionNumber(2)));
    assert!(w.versions[1].gates[0].passed);
}

#[test]
fn deleting_the_spec_undeploys_everything_then_retires() {
    let mut w = world();
    w.settle();
    let plan = w.plan(None);
    let kinds: Vec<&Action> = plan.actions.iter().map(|p| &p.action).collect();
    assert!(matches!(kinds[..], [Action::Undeploy { .. }, Action::Undeploy { .. }, Action::Retire]), "{kinds:?}");
    w.execute(&plan);
    assert!(w.plan(None).actions.is_empty());
}

#[test]
fn a_suspended_model_is_left_alone() {
    let mut w = world();
    w.observed.suspended = true;
    let plan = w.plan(Some(&w.desired));
    assert!(plan.actions.is_empty());
    assert_eq!((plan.sync, plan.health), (SyncStatus::OutOfSync, Health::Suspended));
    assert!(w.plan(None).actions.is_empty(), "a deletion waits too");

    let mut w = world();
    w.settle();
    w.observed.suspended = true;
    let plan = w.plan(Some(&w.desired));
    assert_eq!((plan.sync, plan.health), (SyncStatus::Synced, Health::Suspended));
}

#[test]
fn what_was_never_valid_is_retired_when_its_file_goes_and_is_blamed_on_who_deleted_it() {
    let mut w = world();
    w.settle();
    let by = revision("54b9afa0");
    let input = |observed: &ObservedModel| {
        let live = w.plan(Some(&w.desired));
        assert!(live.actions.is_empty());
        plan(&Input {
            now: w.now,
            desired: None,
            observed,
            version: &|_| None,
            live: None,
            replicas: &w.replicas,
            traffic: &w.traffic,
            served: &w.served,
            asked: &BTreeMap::new(),
            approval: &|_, _| None,
            groups: &w.groups,
            push: Push::Never,
            past: None,
            deleted_by: Some(&by),
        })
    };
    for observed in [&w.observed, &ObservedModel::new(name("ghost"))] {
        let plan = input(observed);
        let last = plan.actions.last().unwrap();
        assert!(matches!(last.action, Action::Retire));
        assert_eq!(last.reasons[0].commit.as_ref(), Some(&by.commit));
    }
}

#[test]
fn what_neither_trains_nor_moves_is_taken_up_with_its_reason() {
    let mut w = world();
    w.settle();
    let serve = spec(&mut w.desired).serve.as_mut().unwrap();
    serve.replicas = 3;
    spec(&mut w.desired).owner = Some("risk@example.com".into());
    spec(&mut w.desired).description = Some("Flags transactions".into());
    let crate::model::Strategy::Canary { steps } = &mut spec(&mut w.desired).deploy[1].strategy else { panic!() };
    steps[0].hold = Millis(60_000);
    Arc::make_mut(w.desired.environments.get_mut("production").unwrap()).keep_warm = Millis(120_000);
    let plan = w.plan(Some(&w.desired));
    insta::assert_snapshot!(render::one(&plan), @r"
    ~ fraud            scale        production: 1 → 3 replicas · staging: 1 → 3 replicas · taken up, nothing trained
        because      serve.replicas 1 → 3 (specs/models/fraud/model.toml, 4f1c2ab by Ada)
        because      deploy.1.steps.0.hold 1s → 1m (specs/models/fraud/model.toml, 4f1c2ab by Ada)
        because      description set to Flags transactions (specs/models/fraud/model.toml, 4f1c2ab by Ada)
        because      environment.production.keep_warm 10m → 2m (specs/environments/production.toml, 4f1c2ab by Ada)
        because      owner set to risk@example.com (specs/models/fraud/model.toml, 4f1c2ab by Ada)
        waiting      staging: replicas of v1 to be ready
        waiting      production: replicas of v1 to be ready
    ");
    w.execute(&plan);
    w.observed.desired = Some(Arc::new(w.desired.clone()));
    let actions = w.plan(Some(&w.desired)).actions;
    assert!(actions.is_empty(), "{actions:?}");
}

#[test]
fn a_lock_that_could_not_be_pushed_is_waited_for_and_said() {
    let mut w = world();
    w.settle();
    let at = w.now.steady.plus(8_000);
    let plan = plan(&Input {
        now: w.now,
        desired: Some(&w.desired),
        observed: &w.observed,
        version: &|f| w.versions.iter().find(|v| v.fingerprint == *f).cloned().map(Arc::new),
        live: None,
        replicas: &w.replicas,
        traffic: &w.traffic,
        served: &w.served,
        asked: &BTreeMap::new(),
        approval: &|_, _| None,
        groups: &w.groups,
        push: Push::RestsUntil(at, "the hook declined"),
        past: None,
        deleted_by: None,
    });
    assert!(plan.actions.is_empty());
    assert_eq!(plan.waiting, [Waiting::LockPush { at, reason: "the hook declined".into() }]);
    assert_eq!(plan.look_again, Some(at));
    let condition = plan.conditions.iter().find(|c| c.kind == "LockPushed").unwrap();
    assert_eq!((condition.status, condition.message.as_str()), (false, "the hook declined"));
}

#[test]
fn a_rejected_release_is_not_tried_again() {
    let mut w = world();
    w.settle();
    spec(&mut w.desired).stages[0].params.insert("depth".into(), 8.into());
    spec(&mut w.desired).deploy[1].analysis =
        vec![AnalysisSpec { max: Some(0.01), min_requests: 10, ..AnalysisSpec::new(AnalysisMetric::ErrorRate) }];
    let new = TrafficStats { requests: 100, errors: 50, ..TrafficStats::default() };
    w.traffic.insert(name("production"), Traffic { new, ..Traffic::default() });
    let actions = w.settle();
    assert!(actions.iter().any(|a| matches!(a, Action::Reject { .. })), "{actions:?}");
    assert_eq!(stable(&w, "production"), Some(VersionNumber(1)));
    let plan = w.plan(Some(&w.desired));
    assert_eq!((plan.sync, plan.health), (SyncStatus::OutOfSync, Health::Degraded));
}

#[test]
fn a_running_training_of_other_content_is_cancelled_unless_the_spec_wants_it_finished() {
    let mut w = world();
    w.observed.pins.insert(
        name("train"),
        Pin { dataset: w.desired.datasets[&name("transactions")].clone(), snapshot: Digest::of(b"data") },
    );
    let pipeline = Pipeline {
        fingerprint: Digest::of(b"other"),
        revision: revision("91ab3cd0"),
        attempt: 1,
        state: PipelineState::Running,
        started: WallMs(0),
        since: SteadyMs(0),
        content: None,
        stages: vec![],
    };
    w.observed.pipeline = Some(Box::new(pipeline));
    let actions = w.plan(Some(&w.desired)).actions;
    assert!(matches!(actions[0].action, Action::CancelTraining { .. }));
    assert!(matches!(actions[1].action, Action::Train { attempt: 1, .. }));
    spec(&mut w.desired).finish_superseded = true;
    assert!(w.plan(Some(&w.desired)).actions.is_empty());
}

#[test]
fn reasons_name_field_values_line_commit_and_author() {
    let mut w = world();
    w.settle();
    spec(&mut w.desired).stages[0].params.insert("depth".into(), 8.into());
    let plan = w.plan(Some(&w.desired));
    insta::assert_snapshot!(render::one(&plan), @r"
    ~ fraud            retrain      new version b3:31a1d185   ~ 4m 10s
        because      train.params.depth 6 → 8 (specs/models/fraud/model.toml:14, 4f1c2ab by Ada)
        gates        recall ≥ 0.9
        staging      v1 → new, at once
        production   v1 → new, canary 10 % → 50 % → 100 %, after staging   ~ 2s
    ");
}

#[test]
fn a_lock_is_written_when_trimtab_may_push_and_changes_nothing_else() {
    let mut w = world();
    w.may_push = true;
    let actions = w.settle();
    assert_eq!(actions.iter().filter(|a| matches!(a, Action::WriteLock { .. })).count(), 1);
    assert_eq!(trains(&actions), 1);
}

/// A pin is of the data that it was taken of: neither another dataset nor another source under the same input comes under it.
#[test]
fn a_lock_holds_for_the_data_that_it_names_and_for_no_other() {
    let mut w = world();
    w.may_push = true;
    w.settle();
    let dataset = |w: &mut World, edit: fn(&mut DatasetSpec)| {
        edit(Arc::make_mut(w.desired.datasets.get_mut("transactions").unwrap()));
    };
    let resolves =
        |w: &World| w.plan(Some(&w.desired)).actions.iter().any(|p| matches!(p.action, Action::ResolveData { .. }));
    // Words about it are not data.
    w.desired.content = Digest::of(b"another");
    dataset(&mut w, |d| d.description = Some("of last year".into()));
    assert!(!resolves(&w));
    dataset(&mut w, |d| d.source = DataSource::Path("data/other.csv".into()));
    assert!(resolves(&w));
    let before = w.desired.lock.clone();
    let actions = w.settle();
    assert_eq!(actions.iter().filter(|a| matches!(a, Action::WriteLock { .. })).count(), 1);
    assert_ne!(w.desired.lock, before);
}

/// Edits that must change the fingerprint, and edits that must not.
#[test]
fn the_fingerprint_changes_with_what_trains_and_with_nothing_else() {
    let w = world();
    let pins = BTreeMap::from([(name("train"), Digest::of(b"data"))]);
    let base = fingerprint(&w.desired, &pins);
    let same: [fn(&mut DesiredModel); 8] = [
        |d| spec(d).owner = Some("x".into()),
        |d| spec(d).description = Some("x".into()),
        |d| spec(d).gates.clear(),
        |d| spec(d).deploy.clear(),
        |d| spec(d).stages[0].timeout = Some(Millis(1)),
        |d| spec(d).stages[0].retries = 9,
        |d| spec(d).serve = None,
        |d| d.lines = Arc::default(),
    ];
    for (i, edit) in same.iter().enumerate() {
        let mut d = w.desired.clone();
        edit(&mut d);
        assert_eq!(fingerprint(&d, &pins), base, "harmless edit {i}");
    }
    let other: [fn(&mut DesiredModel); 6] = [
        |d| d.code = Digest::of(b"other"),
        |d| spec(d).stages[0].run = Command::Shell("python train.py".into()),
        |d| drop(spec(d).stages[0].params.insert("depth".into(), 6.5.into())),
        |d| d.python.iter_mut().for_each(|(_, lock)| *lock = Digest::of(b"other")),
        |d| spec(d).stages[0].inputs.clear(),
        |d| spec(d).stages.push(stage("evaluate")),
    ];
    for (i, edit) in other.iter().enumerate() {
        let mut d = w.desired.clone();
        edit(&mut d);
        assert_ne!(fingerprint(&d, &pins), base, "training-relevant edit {i}");
    }
    assert_ne!(fingerprint(&w.desired, &BTreeMap::from([(name("train"), Digest::of(b"new data"))])), base);
}

proptest! {
    /// Any sequence of edits settles, never trains one content twice, and ends in production with what Git asks for.
    #[test]
    fn any_history_converges(depths in proptest::collection::vec(0i64..4, 1..8), push in any::<bool>()) {
        let mut w = world();
        w.may_push = push;
        let mut trained = 0;
        let mut distinct = std::collections::BTreeSet::new();
        for depth in depths {
            spec(&mut w.desired).stages[0].params.insert("depth".into(), depth.into());
            distinct.insert(depth);
            trained += trains(&w.settle());
            let plan = w.plan(Some(&w.desired));
            prop_assert_eq!((plan.sync, plan.health), (SyncStatus::Synced, Health::Healthy));
            prop_assert_eq!(stable(&w, "production"), plan.version);
        }
        prop_assert_eq!(trained, distinct.len());
    }
}

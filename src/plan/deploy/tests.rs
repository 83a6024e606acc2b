use super::*;
use crate::plan::tests::{World, name, spec, world};

fn production() -> Name {
    Name::new("production").unwrap()
}

/// A world with v2 in production after v1, and a desired state that asks for v1 again.
fn turned_back(settings: impl Fn(&mut EnvironmentSpec)) -> World {
    let mut w = world();
    let changed = w.desired.environments.get_mut(&production()).unwrap();
    settings(std::sync::Arc::make_mut(changed));
    w.settle();
    let before = w.desired.clone();
    std::sync::Arc::make_mut(&mut w.desired.spec).stages[0].params.insert("depth".into(), 8.into());
    w.settle();
    w.desired = before;
    w
}

/// Weights that production goes through.
fn weights(actions: &[Action]) -> Vec<f64> {
    let of = |a: &Action| match a {
        Action::SetRollout { environment, rollout: Some(r) } if *environment == production() => Some(r.weight()),
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}

#[test]
fn the_way_back_is_at_once_or_by_the_steps_as_the_environment_says() {
    assert_eq!(weights(&turned_back(|_| ()).settle()), [0.0; 0]);
    let actions = turned_back(|e| e.rollback_at_once = false).settle();
    assert_eq!(weights(&actions), [0.0, 10.0, 50.0]);
    assert!(!actions.iter().any(|a| matches!(a, Action::Train { .. })), "{actions:?}");
}

#[test]
fn a_warm_release_is_let_go_in_its_time() {
    let mut w = turned_back(|_| ());
    w.settle();
    let release = w.observed.deployments[&production()].served[1];
    let until = w.now.steady.plus(5_000);
    w.observed.deployments.get_mut(&production()).unwrap().warm = Some(Warm { release, until });
    let plan = w.plan(Some(&w.desired));
    assert_eq!((plan.actions.len(), plan.look_again), (0, Some(until)));
    w.now.steady = until;
    let plan = w.plan(Some(&w.desired));
    let environment = production();
    assert_eq!(plan.actions[0].action, Action::Cool { environment, release });
}

#[test]
fn a_new_release_that_does_not_stay_up_is_taken_back_though_nothing_of_it_is_measured() {
    let (mut w, _, second) = watched();
    let dies = |w: &mut World, in_a_row| {
        let all = w.replicas.get_mut(&production()).unwrap().iter_mut();
        for replica in all.filter(|r| r.release == second) {
            replica.ready = false;
            replica.death = Some(Death { reason: "exit 3".into(), in_a_row, was_ready: true });
        }
    };
    // A few deaths may be an outage that passes.
    dies(&mut w, 7);
    assert!(w.plan(Some(&w.desired)).actions.is_empty());
    dies(&mut w, 8);
    let plan = w.plan(Some(&w.desired));
    let [Planned { action: Action::Reject { release, reason, .. }, .. }] = &plan.actions[..] else {
        panic!("{plan:?}")
    };
    assert_eq!((*release, &**reason), (second, "its replica died 8 times in a row after it was ready: exit 3"));
    w.execute(&plan);
    assert!(w.plan(Some(&w.desired)).actions.iter().any(|p| matches!(p.action, Action::FinishRollout { .. })));
}

/// Production moved from v1 to v2 a moment ago, and an objective is watched.
fn watched() -> (World, Release, Release) {
    let mut w = world();
    w.settle();
    let slo = SloSpec { objectives: vec![Objective::Availability(0.999)], burn_rate: 14.4, watch: Millis(60_000) };
    spec(&mut w.desired).slo = Some(Box::new(slo));
    let first = w.observed.deployments["production"].stable.unwrap();
    spec(&mut w.desired).stages[0].params.insert("depth".into(), 8.into());
    w.settle();
    let second = w.observed.deployments["production"].stable.unwrap();
    assert_ne!(first, second);
    let until = w.now.steady.plus(60_000);
    w.observed.deployments.get_mut("production").unwrap().watch = Some(Watch { back: first, until });
    (w, first, second)
}

#[test]
fn a_new_release_that_burns_an_objective_is_taken_back_and_then_git_is_told() {
    let (mut w, first, second) = watched();
    let plan = w.plan(Some(&w.desired));
    assert_eq!((plan.actions.len(), plan.look_again), (0, Some(w.now.steady.plus(1_000))));
    let bad = TrafficStats { requests: 100, errors: 50, ..TrafficStats::default() };
    w.served.insert(name("production"), Served { since: bad.clone(), recent: bad });
    let plan = w.plan(Some(&w.desired));
    let [Planned { action: Action::Reject { release, reason, .. }, .. }] = &plan.actions[..] else {
        panic!("{plan:?}")
    };
    assert_eq!(
        (*release, reason.as_str()),
        (second, "availability 0.999 is broken: 50.00 % of 100 requests, 500 × its budget")
    );
    w.execute(&plan);
    // Its warm replica takes over in the very next plan, and no commit is made before.
    spec(&mut w.desired).deploy[1].on_failure = OnFailure::Revert;
    w.may_push = true;
    let plan = w.plan(Some(&w.desired));
    let moves: Vec<&Action> =
        plan.actions.iter().map(|p| &p.action).filter(|a| !matches!(a, Action::WriteLock { .. })).collect();
    assert!(matches!(moves[..], [Action::FinishRollout { release, .. }] if *release == first), "{moves:?}");
    w.execute(&plan);
    let plan = w.plan(Some(&w.desired));
    let reverts = |a: &Action| matches!(a, Action::Revert { rejected, .. } if *rejected == second);
    assert!(plan.actions.iter().any(|p| reverts(&p.action)), "{plan:?}");
    assert_eq!(plan.health, Health::Degraded);
}

#[test]
fn a_watch_of_an_hour_looks_each_second_at_first_and_then_each_five() {
    let (mut w, first, _) = watched();
    let slo = SloSpec { objectives: vec![Objective::Availability(0.999)], burn_rate: 14.4, watch: Millis(3_600_000) };
    spec(&mut w.desired).slo = Some(Box::new(slo));
    let (begun, until) = (w.now.steady, w.now.steady.plus(3_600_000));
    w.observed.deployments.get_mut("production").unwrap().watch = Some(Watch { back: first, until });
    w.observed.desired = Some(std::sync::Arc::new(w.desired.clone()));
    let mut looks = vec![];
    while let Some(at) = w.plan(Some(&w.desired)).look_again {
        assert!(at > w.now.steady, "it comes to rest between two looks");
        looks.push(at.since(w.now.steady));
        w.now.steady = at;
    }
    assert_eq!((looks.len(), w.now.steady.since(begun)), (60 + 708, 3_600_000), "calls in an hour");
    assert!(looks[..60].iter().all(|ms| *ms == 1_000) && looks[60..].iter().all(|ms| *ms == 5_000), "{looks:?}");
}

/// Production serves v2, which burnt; v1 is what it goes back to. Git asks for v3 by now, which is rejected, too.
fn burnt_and_rejected(watch: bool) -> (World, Release, Release) {
    let (mut w, first, second) = watched();
    spec(&mut w.desired).deploy[1].on_failure = OnFailure::Revert;
    w.may_push = true;
    let bad = TrafficStats { requests: 100, errors: 50, ..TrafficStats::default() };
    w.served.insert(production(), Served { since: bad.clone(), recent: bad.clone() });
    w.execute(&w.plan(Some(&w.desired)));
    w.replicas.get_mut("production").unwrap().retain(|r| r.release == second);
    if !watch {
        w.observed.deployments.get_mut("production").unwrap().watch = None;
    }
    spec(&mut w.desired).stages[0].params.insert("depth".into(), 9.into());
    spec(&mut w.desired).deploy[1].analysis =
        vec![AnalysisSpec { max: Some(0.01), min_requests: 10, ..AnalysisSpec::new(AnalysisMetric::ErrorRate) }];
    w.traffic.insert(production(), Traffic { new: bad, ..Traffic::default() });
    for _ in 0..40 {
        let plan = w.plan(Some(&w.desired));
        w.execute(&plan);
        w.observed.desired = Some(std::sync::Arc::new(w.desired.clone()));
        w.now.steady = w.now.steady.plus(700);
        if w.observed.deployments["production"].rejected.len() == 2 {
            return (w, first, second);
        }
    }
    panic!("v3 is not rejected: {:?}", w.plan(Some(&w.desired)));
}

#[test]
fn a_burnt_release_stays_given_up_when_a_newer_one_is_rejected_and_the_way_back_is_taken_up_again() {
    let (mut w, first, second) = burnt_and_rejected(true);
    let third = w.observed.deployments["production"].rejected[1].release;
    assert!(![first, second].contains(&third));
    let plan = w.plan(Some(&w.desired));
    let goes = |a: &Action| matches!(a, Action::SetRollout { rollout: Some(r), .. } if r.to == first);
    assert!(plan.actions.iter().any(|p| goes(&p.action)), "{plan:?}");
    let reverts = |plan: &ModelPlan| plan.actions.iter().any(|p| matches!(p.action, Action::Revert { .. }));
    assert!(!reverts(&plan), "Git cannot say yet what serves: {plan:?}");
    w.execute(&plan);
    let plan = w.plan(Some(&w.desired));
    let takes = |a: &Action| matches!(a, Action::FinishRollout { release, .. } if *release == first);
    assert!(plan.actions.iter().any(|p| takes(&p.action)), "{plan:?}");
    w.execute(&plan);
    let d = &w.observed.deployments["production"];
    assert_eq!((d.stable, d.burnt(), d.rejected.len()), (Some(first), None, 2));
    let plan = w.plan(Some(&w.desired));
    assert!(reverts(&plan) && plan.health == Health::Degraded, "{plan:?}");
}

#[test]
fn git_is_not_told_to_ask_for_a_burnt_release_when_a_newer_one_is_rejected() {
    let (mut w, _, second) = burnt_and_rejected(false);
    let plan = w.plan(Some(&w.desired));
    assert!(!plan.actions.iter().any(|p| matches!(p.action, Action::Revert { .. })), "{plan:?}");
    assert_eq!((plan.health, w.observed.deployments["production"].burnt()), (Health::Degraded, Some(second)));
    // A person who asks for it again is told that it was given up.
    spec(&mut w.desired).stages[0].params.insert("depth".into(), 8.into());
    let plan = w.plan(Some(&w.desired));
    let said = |w: &Waiting| matches!(w, Waiting::Rejected { reason, .. } if reason.starts_with("availability 0.999 is broken"));
    assert!(plan.waiting.iter().any(said) && plan.health == Health::Degraded, "{plan:?}");
}

#[test]
fn what_goes_back_to_a_release_that_is_not_warm_waits_for_it_and_nothing_burns_once_the_watch_is_over() {
    let (mut w, first, second) = watched();
    let bad = TrafficStats { requests: 100, errors: 50, ..TrafficStats::default() };
    w.served.insert(name("production"), Served { since: bad.clone(), recent: bad });
    let mut later = w.clone();
    w.execute(&w.plan(Some(&w.desired)));
    w.replicas.get_mut("production").unwrap().retain(|r| r.release == second);
    let plan = w.plan(Some(&w.desired));
    let goes =
        |a: &Action| matches!(a, Action::SetRollout { rollout: Some(r), .. } if (r.to, r.steps.len()) == (first, 0));
    assert!(plan.actions.iter().any(|p| goes(&p.action)), "{plan:?}");

    later.now.steady = later.now.steady.plus(60_000);
    let plan = later.plan(Some(&later.desired));
    assert!(plan.actions.is_empty() && plan.look_again.is_none(), "{plan:?}");
}

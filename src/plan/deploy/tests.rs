use super::*;
use crate::plan::tests::{World, watched, world};

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

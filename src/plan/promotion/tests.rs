use super::*;
use crate::plan::tests::{World, revision, world};
use proptest::prelude::*;
use std::sync::Arc;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn by(email: &str) -> Revision {
    Revision { email: email.into(), ..revision("a11") }
}

const DAY: u64 = 86_400_000;

/// The wall clock of this instant.
fn wall(text: &str) -> WallMs {
    WallMs(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

/// A world whose production asks for what `edit` says.
fn asking(edit: impl Fn(&mut DeploySpec)) -> World {
    let mut w = world();
    edit(&mut Arc::make_mut(&mut w.desired.spec).deploy[1]);
    w
}

fn stable(w: &World, environment: &str) -> Option<VersionNumber> {
    w.observed.deployments.get(environment).and_then(|d| d.stable).map(|r| r.version)
}

/// Plans and executes until nothing is left to do now, whatever is waited for.
fn run(w: &mut World) -> ModelPlan {
    for _ in 0..60 {
        let desired = w.desired.clone();
        let plan = w.plan(Some(&desired));
        if plan.actions.is_empty() {
            return plan;
        }
        w.execute(&plan);
        w.observed.desired = Some(Arc::new(desired));
    }
    panic!("no end: {:?}", w.plan(Some(&w.desired)));
}

fn pass(w: &mut World, ms: u64) {
    w.now.steady = w.now.steady.plus(ms);
    w.now.wall.0 += ms as i64;
}

fn change(w: &mut World, depth: i64) {
    Arc::make_mut(&mut w.desired.spec).stages[0].params.insert("depth".into(), depth.into());
}

fn waits(plan: &ModelPlan, of: impl Fn(&Waiting) -> bool) -> Option<&Waiting> {
    plan.waiting.iter().find(|w| of(w))
}

fn is_soak(w: &Waiting) -> bool {
    matches!(w, Waiting::Soak { .. })
}

fn is_approval(w: &Waiting) -> bool {
    matches!(w, Waiting::Approval { .. })
}

fn is_frozen(w: &Waiting) -> bool {
    matches!(w, Waiting::Frozen { .. })
}

#[test]
fn a_release_soaks_before_it_goes_on_and_anew_after_a_death() {
    let mut w = asking(|d| d.soak = Some(Millis(60_000)));
    let plan = run(&mut w);
    assert_eq!((stable(&w, "staging"), stable(&w, "production")), (Some(VersionNumber(1)), None));
    let until = w.now.steady.plus(60_000);
    let waiting =
        Waiting::Soak { environment: name("production"), after: name("staging"), soak: Millis(60_000), until };
    assert_eq!((plan.waiting.as_slice(), plan.look_again), ([waiting].as_slice(), Some(until)));

    pass(&mut w, 59_000);
    w.observed.deployments.get_mut("staging").unwrap().healthy_since = Some(w.now.steady);
    pass(&mut w, 59_999);
    assert!(waits(&run(&mut w), is_soak).is_some());
    pass(&mut w, 1);
    w.settle();
    assert_eq!(stable(&w, "production"), Some(VersionNumber(1)));
}

#[test]
fn a_restart_of_the_daemon_keeps_what_was_soaked_and_the_wall_clock_has_no_say() {
    let mut w = asking(|d| d.soak = Some(Millis(60_000)));
    run(&mut w);
    pass(&mut w, 59_999);
    let kept = serde_json::to_vec(&w.observed).unwrap();
    w.observed = serde_json::from_slice(&kept).unwrap();
    w.now.wall.0 += 100 * DAY as i64;
    assert!(waits(&run(&mut w), is_soak).is_some());
    w.now.wall = WallMs(0);
    w.now.steady = w.now.steady.plus(1);
    assert!(waits(&run(&mut w), is_soak).is_none());
}

#[test]
fn a_record_of_an_older_daemon_is_read_and_soaks_from_when_it_is_seen() {
    let old = r#"{"stable":null,"rollout":null,"rejected":null,"served":[],"since":5,"warm":null}"#;
    let read: Deployment = serde_json::from_str(old).unwrap();
    assert_eq!((read.healthy_since, read.overridden), (None, None));
}

#[test]
fn one_approval_by_any_of_those_who_may_is_enough_and_only_for_that_content() {
    let mut w = asking(|d| d.approve = vec!["@risk".into(), "lin@example.com".into()]);
    w.groups.insert(name("risk"), vec!["ada@example.com".into()]);
    let refused = |plan: &ModelPlan| match waits(plan, is_approval) {
        Some(Waiting::Approval { version, refused, .. }) => (version.0, refused.clone()),
        _ => panic!("{:?}", plan.waiting),
    };
    assert_eq!(refused(&run(&mut w)), (1, None));
    let key = |w: &World| (name("production"), w.versions.last().unwrap().fingerprint);
    let first = key(&w);
    w.approvals.insert(first.clone(), by("bob@example.com"));
    let plan = run(&mut w);
    assert_eq!(refused(&plan), (1, Some("Ada <bob@example.com>".into())));
    assert!(crate::plan::render::one(&plan).contains("bob@example.com> approved it, who may not"));
    // For another environment, or for another content, it says nothing.
    w.approvals.insert((name("staging"), first.1), by("ada@example.com"));
    assert_eq!(refused(&run(&mut w)).0, 1);
    w.approvals.insert(first, by("ADA@example.com"));
    w.settle();
    assert_eq!(stable(&w, "production"), Some(VersionNumber(1)));
    change(&mut w, 8);
    assert_eq!(refused(&run(&mut w)), (2, None));
    // What served before needs nobody's word.
    change(&mut w, 6);
    w.settle();
    assert_eq!((stable(&w, "staging"), stable(&w, "production")), (Some(VersionNumber(1)), Some(VersionNumber(1))));
    change(&mut w, 8);
    run(&mut w);
    let second = (name("production"), w.versions.last().unwrap().fingerprint);
    w.approvals.insert(second, by("lin@example.com"));
    w.settle();
    assert_eq!(stable(&w, "production"), Some(VersionNumber(2)));
}

/// Fridays 16:00 to Mondays 08:00.
fn weekend() -> FreezeSpec {
    let (start, zone) = ("0 16 * * FRI".into(), "Europe/Berlin".into());
    FreezeSpec { start, duration: Millis(64 * 3_600_000), zone, why: Some("weekend".into()) }
}

#[test]
fn nothing_begins_in_a_window_and_everything_that_waits_is_told_at_once() {
    let mut w = asking(|d| {
        d.freeze = vec![weekend()];
        d.soak = Some(Millis(7_200_000));
        d.approve = vec!["ada@example.com".into()];
    });
    w.now.wall = wall("2026-11-28T12:00:00Z");
    let plan = run(&mut w);
    assert_eq!(plan.waiting.len(), 3, "{:?}", plan.waiting);
    let text = crate::plan::render::one(&plan);
    assert!(text.contains("production: frozen until Mon 2026-11-30 08:00 Europe/Berlin (weekend)"), "{text}");
    assert_eq!(plan.look_again, Some(w.now.steady.plus(CLOCK_MS)), "the wall clock may be set meanwhile");
    w.approvals.insert((name("production"), w.versions[0].fingerprint), by("ada@example.com"));
    pass(&mut w, 7_200_000);
    assert!(matches!(run(&mut w).waiting.as_slice(), [Waiting::Frozen { .. }]));
    w.now.wall = wall("2026-11-30T07:00:00Z");
    w.settle();
    assert_eq!(stable(&w, "production"), Some(VersionNumber(1)));
}

#[test]
fn windows_of_the_environment_hold_too_and_those_in_a_row_are_told_as_one() {
    let mut w = asking(|d| d.freeze = vec![weekend()]);
    let monday = FreezeSpec { start: "0 8 * * MON".into(), duration: Millis(14_400_000), why: None, ..weekend() };
    Arc::make_mut(w.desired.environments.get_mut("production").unwrap()).freeze = vec![monday];
    w.now.wall = wall("2026-11-28T12:00:00Z");
    let plan = run(&mut w);
    let Some(Waiting::Frozen { until, why, .. }) = waits(&plan, is_frozen) else { panic!("{:?}", plan.waiting) };
    assert_eq!((*until, why.as_str()), (wall("2026-11-30T11:00:00Z"), "weekend"));
    // Nothing is held in staging, for which nobody asked.
    assert_eq!(stable(&w, "staging"), Some(VersionNumber(1)));
}

#[test]
fn a_rollout_under_way_holds_its_step_in_a_window_and_is_given_up_all_the_same() {
    let mut w = asking(|d| d.freeze = vec![weekend()]);
    w.now.wall = wall("2026-11-27T10:00:00Z");
    w.settle();
    change(&mut w, 8);
    run(&mut w);
    let weight = |w: &World| w.observed.deployments["production"].rollout.as_ref().map(Rollout::weight);
    assert_eq!(weight(&w), Some(10.0));
    w.now.wall = wall("2026-11-27T15:00:00Z");
    w.now.steady = w.now.steady.plus(DAY);
    let plan = run(&mut w);
    assert!(waits(&plan, is_frozen).is_some());
    assert_eq!((weight(&w), plan.health), (Some(10.0), Health::Progressing));

    // A commit that goes back is followed in the middle of the night.
    let mut back = w.clone();
    change(&mut back, 6);
    back.settle();
    assert_eq!((weight(&back), stable(&back, "production")), (None, Some(VersionNumber(1))));

    // And so is what dies.
    let mut dies = w.clone();
    for replica in dies.replicas.get_mut("production").unwrap().iter_mut().filter(|r| r.release.version.0 == 2) {
        replica.ready = false;
        replica.death = Some(Death { reason: "exit 1".into(), in_a_row: 99, was_ready: true });
    }
    run(&mut dies);
    assert!(!dies.observed.deployments["production"].rejected.is_empty());

    w.now.wall = wall("2026-11-30T07:00:00Z");
    w.settle();
    assert_eq!(stable(&w, "production"), Some(VersionNumber(2)));
}

#[test]
fn an_approval_that_is_taken_back_holds_the_rollout() {
    let mut w = asking(|d| d.approve = vec!["ada@example.com".into()]);
    run(&mut w);
    w.approvals.insert((name("production"), w.versions[0].fingerprint), by("ada@example.com"));
    w.settle();
    change(&mut w, 8);
    run(&mut w);
    let second = (name("production"), w.versions[1].fingerprint);
    w.approvals.insert(second.clone(), by("ada@example.com"));
    run(&mut w);
    w.approvals.remove(&second);
    pass(&mut w, DAY);
    assert!(waits(&run(&mut w), is_approval).is_some());
    assert_eq!(w.observed.deployments["production"].rollout.as_ref().map(Rollout::weight), Some(10.0));
}

#[test]
fn a_word_of_a_person_lets_that_release_through_and_no_other() {
    let mut w = asking(|d| {
        (d.soak, d.approve, d.freeze) = (Some(Millis(DAY)), vec!["ada@example.com".into()], vec![weekend()]);
    });
    w.now.wall = wall("2026-11-28T12:00:00Z");
    run(&mut w);
    let release = w.observed.deployments["staging"].stable.unwrap();
    let word = |release| Some(Override { release, reason: "r".into(), by: "root".into(), at: WallMs(0) });
    let production = |w: &mut World, release| {
        w.observed.deployments.entry(name("production")).or_default().overridden = word(release);
    };
    production(&mut w, Release { version: VersionNumber(9), ..release });
    assert_eq!(run(&mut w).waiting.len(), 3);
    production(&mut w, release);
    run(&mut w);
    assert_eq!(stable(&w, "production"), Some(VersionNumber(1)));
    change(&mut w, 8);
    assert_eq!(run(&mut w).waiting.len(), 3, "it was for once");
}

proptest! {
    /// Whatever the hour: traffic of production moves to a release that never served there only when it soaked, was approved, and no
    /// window was open; and once all of this is so, it moves.
    #[test]
    fn nothing_moves_before_its_time_and_everything_moves_in_the_end(
        soak in 0u64..200_000, approves_after in 0u64..40, begin in 0i64..14, passes in 1u64..20_000_000,
    ) {
        let mut w = asking(|d| {
            (d.soak, d.approve, d.freeze) = (Some(Millis(soak)), vec!["ada@example.com".into()], vec![weekend()]);
        });
        w.now.wall = WallMs(wall("2026-03-25T00:00:00Z").0 + begin * DAY as i64);
        let begun = |w: &World| w.observed.deployments.get("production").is_some_and(|d| d.rollout.is_some() || d.stable.is_some());
        for round in 0..4_000u64 {
            let (desired, was) = (w.desired.clone(), begun(&w));
            let plan = w.plan(Some(&desired));
            w.execute(&plan);
            w.observed.desired = Some(Arc::new(desired));
            if begun(&w) && !was {
                let since = w.observed.deployments["staging"].healthy_since.unwrap();
                prop_assert!(w.now.steady.since(since) >= soak);
                prop_assert!(!w.approvals.is_empty());
                prop_assert_eq!(weekend().until(w.now.wall), None);
            }
            if stable(&w, "production").is_some() {
                return Ok(());
            }
            if round == approves_after + 5 {
                w.approvals.insert((name("production"), w.versions[0].fingerprint), by("ada@example.com"));
            }
            pass(&mut w, passes.max(DAY / 1000));
        }
        prop_assert!(false, "it never came to production: {:?}", w.plan(Some(&w.desired)).waiting);
    }
}

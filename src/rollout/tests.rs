use super::*;
use proptest::prelude::*;

fn release(v: u32) -> Release {
    Release { version: VersionNumber(v), serve: Digest::of(b"serve") }
}

fn rollout(steps: &[f64]) -> Rollout {
    Rollout {
        from: Some(release(1)),
        to: release(2),
        steps: steps.iter().map(|w| StepSpec { weight: *w, hold: Millis(1000) }).collect(),
        analysis: vec![
            AnalysisSpec { metric: AnalysisMetric::ErrorRate, min: None, max: Some(0.01), min_requests: 20 },
            AnalysisSpec { metric: AnalysisMetric::LatencyP99, min: None, max: Some(50.0), min_requests: 20 },
        ],
        phase: Phase::Starting,
        started: SteadyMs(0),
        started_wall: WallMs(0),
        revision: Revision {
            commit: ObjectId("4f1c2ab0".into()),
            tree: ObjectId("7ree".into()),
            author: "Ada".into(),
            email: "a@example.com".into(),
            summary: String::new(),
            time: WallMs(0),
        },
    }
}

fn facts(now: u64) -> Facts<'static> {
    Facts {
        now: SteadyMs(now),
        ready: 1,
        wanted: 1,
        death: None,
        unready: None,
        traffic: TrafficStats { requests: 100, errors: 0, p50_ms: 5.0, p90_ms: 5.0, p99_ms: 10.0 },
        ready_timeout: Millis(60_000),
    }
}

fn env() -> Name {
    Name::new("production").unwrap()
}

fn at(r: Rollout, phase: Phase) -> Rollout {
    Rollout { phase, ..r }
}

#[test]
fn steps_are_held_then_taken_one_by_one() {
    let r = rollout(&[10.0, 50.0]);
    let Next::Change(r) = next(&r, &env(), &facts(5)) else { panic!() };
    assert_eq!((r.weight(), &r.phase), (10.0, &Phase::Step { index: 0, since: SteadyMs(5) }));
    assert!(matches!(next(&r, &env(), &facts(1004)), Next::Stay(Waiting::Hold { .. }, Some(_))));
    let Next::Change(r) = next(&r, &env(), &facts(1005)) else { panic!() };
    assert_eq!(r.weight(), 50.0);
    assert_eq!(next(&r, &env(), &facts(2005)), Next::Finish);
}

#[test]
fn bounds_abort_at_any_time_and_name_the_figure() {
    let r = at(rollout(&[10.0]), Phase::Step { index: 0, since: SteadyMs(0) });
    let bad = TrafficStats { requests: 100, errors: 7, p50_ms: 1.0, p90_ms: 1.0, p99_ms: 10.0 };
    let verdict = next(&r, &env(), &Facts { traffic: bad, ..facts(1) });
    assert_eq!(verdict, Next::Reject("error_rate 0.0700 > 0.01 over 100 requests".into()));
    let slow = TrafficStats { requests: 100, errors: 0, p50_ms: 1.0, p90_ms: 1.0, p99_ms: 80.0 };
    let verdict = next(&r, &env(), &Facts { traffic: slow, ..facts(1) });
    assert_eq!(verdict, Next::Reject("latency_p99 80.0000 ms > 50 ms over 100 requests".into()));
}

#[test]
fn too_few_requests_are_neither_success_nor_failure() {
    let r = at(rollout(&[10.0]), Phase::Step { index: 0, since: SteadyMs(0) });
    let few = TrafficStats { requests: 5, errors: 5, p50_ms: 900.0, p90_ms: 900.0, p99_ms: 900.0 };
    let verdict = next(&r, &env(), &Facts { traffic: few, ..facts(9_999) });
    assert!(matches!(verdict, Next::Stay(Waiting::Requests { seen: 5, needed: 20, .. }, Some(_))), "{verdict:?}");
}

fn death(in_a_row: u32, was_ready: bool) -> Death {
    Death { reason: "exit 1; last output: bad magic".into(), in_a_row, was_ready }
}

#[test]
fn deaths_reject_only_with_time_and_with_their_reason() {
    let r = rollout(&[10.0]);
    let many = death(9, false);
    let looping = Facts { ready: 0, death: Some(&many), ..facts(2_000) };
    let verdict = next(&r, &env(), &looping);
    assert!(matches!(verdict, Next::Stay(Waiting::Ready { .. }, Some(SteadyMs(20_000)))), "{verdict:?}");
    let said = "its replica died 9 times in a row before becoming ready: exit 1; last output: bad magic";
    assert_eq!(next(&r, &env(), &Facts { now: SteadyMs(20_000), ..looping }), Next::Reject(said.into()));
    let short = Facts { ready_timeout: Millis(15_000), now: SteadyMs(15_000), ..looping };
    assert_eq!(next(&r, &env(), &short), Next::Reject(said.into()));
    assert!(matches!(next(&r, &env(), &Facts { now: SteadyMs(14_999), ..short }), Next::Stay(..)));

    // In the middle of a canary a few deaths are an outage that may pass.
    let r = at(r, Phase::Step { index: 0, since: SteadyMs(0) });
    let few = death(5, true);
    assert!(matches!(next(&r, &env(), &Facts { ready: 0, death: Some(&few), ..facts(900) }), Next::Stay(..)));
    let many = death(8, true);
    let said = "its replica died 8 times in a row after it was ready: exit 1; last output: bad magic";
    assert_eq!(next(&r, &env(), &Facts { ready: 0, death: Some(&many), ..facts(900) }), Next::Reject(said.into()));
    assert!(matches!(next(&r, &env(), &Facts { ready: 1, death: Some(&many), ..facts(900) }), Next::Stay(..)));
}

#[test]
fn a_release_that_is_late_says_what_its_readiness_answers() {
    let r = rollout(&[10.0]);
    let late = Facts { ready: 0, unready: Some("starting: / answers 503"), ..facts(60_000) };
    assert_eq!(next(&r, &env(), &late), Next::Reject("no replica was ready within 1m: starting: / answers 503".into()));
    let half = Facts { ready: 1, wanted: 2, ..late };
    let said = "only 1 of 2 replicas were ready within 1m: starting: / answers 503";
    assert_eq!(next(&r, &env(), &half), Next::Reject(said.into()));
}

#[test]
fn promoting_before_anything_is_ready_says_so() {
    let refused = steer(&rollout(&[10.0]), Steer::Promote, SteadyMs(1)).unwrap_err();
    assert_eq!(refused, "no replica of the new release is ready yet");
}

#[test]
fn a_release_that_never_gets_ready_is_rejected() {
    let r = rollout(&[10.0]);
    let unready = Facts { ready: 0, ..facts(10) };
    assert!(matches!(next(&r, &env(), &unready), Next::Stay(Waiting::Ready { .. }, Some(SteadyMs(60_000)))));
    assert!(matches!(next(&r, &env(), &Facts { now: SteadyMs(60_000), ..unready }), Next::Reject(_)));
}

#[test]
fn a_pause_keeps_what_was_served_of_the_hold() {
    let r = at(rollout(&[10.0, 50.0]), Phase::Step { index: 0, since: SteadyMs(0) });
    let Ok(Next::Change(paused)) = steer(&r, Steer::Pause, SteadyMs(600)) else { panic!() };
    assert!(matches!(next(&paused, &env(), &facts(99_999)), Next::Stay(Waiting::Person { .. }, None)));
    let Ok(Next::Change(resumed)) = steer(&paused, Steer::Resume, SteadyMs(10_000)) else { panic!() };
    assert!(matches!(next(&resumed, &env(), &facts(10_399)), Next::Stay(..)));
    assert!(matches!(next(&resumed, &env(), &facts(10_400)), Next::Change(_)));
    assert!(steer(&paused, Steer::Pause, SteadyMs(1)).is_err());
    assert!(steer(&r, Steer::Resume, SteadyMs(1)).is_err());
}

fn word() -> impl proptest::strategy::Strategy<Value = Steer> {
    prop_oneof![Just(Steer::Pause), Just(Steer::Resume), Just(Steer::Promote), Just(Steer::Abort)]
}

proptest! {
    /// Whatever is measured and asked: the weight stays within bounds, never falls while it goes on, and it ends.
    #[test]
    fn any_course_ends(moves in proptest::collection::vec((0u64..3_000, 0u64..200, 0u64..5, proptest::option::weighted(0.2, word())), 1..60)) {
        let mut r = rollout(&[5.0, 25.0, 50.0]);
        let (mut now, mut ended) = (0, false);
        for (passed, requests, errors, asked) in moves {
            now += passed;
            let before = r.weight();
            let traffic = TrafficStats { requests, errors: errors.min(requests), p50_ms: 1.0, p90_ms: 1.0, p99_ms: 2.0 };
            let asked = asked.and_then(|w| steer(&r, w, SteadyMs(now)).ok());
            match asked.unwrap_or_else(|| next(&r, &env(), &Facts { traffic, ..facts(now) })) {
                Next::Stay(..) => {}
                Next::Change(changed) => r = changed,
                Next::Finish | Next::Reject(_) => { ended = true; break }
            }
            prop_assert!(r.weight() >= before && r.weight() <= 100.0);
        }
        for _ in 0..20 {
            if ended { break }
            now += 2_000;
            if let Ok(Next::Change(resumed)) = steer(&r, Steer::Resume, SteadyMs(now)) { r = resumed; }
            match next(&r, &env(), &facts(now)) {
                Next::Change(changed) => r = changed,
                Next::Finish | Next::Reject(_) => ended = true,
                Next::Stay(..) => {}
            }
        }
        prop_assert!(ended);
    }
}

use super::*;
use proptest::{prelude::*, strategy::Strategy};

fn release(v: u32) -> Release {
    Release { version: VersionNumber(v), serve: Digest::of(b"serve") }
}

fn rollout(steps: &[f64]) -> Rollout {
    Rollout {
        from: Some(release(1)),
        to: release(2),
        strategy: StrategyKind::Canary,
        deadline: Millis(600_000),
        baseline: None,
        tolerance: 0.0,
        steps: steps.iter().map(|w| StepSpec::new(*w, Millis(1000))).collect(),
        analysis: vec![
            AnalysisRun::new(AnalysisSpec { max: Some(0.01), ..AnalysisSpec::new(AnalysisMetric::ErrorRate) }),
            AnalysisRun::new(AnalysisSpec { max: Some(50.0), ..AnalysisSpec::new(AnalysisMetric::LatencyP99) }),
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

fn stats(requests: u64, errors: u64, p99_ms: f64) -> TrafficStats {
    let latency = vec![LatencyBucket { up_to: p99_ms, requests }];
    TrafficStats { requests, errors, p50_ms: p99_ms / 2.0, p90_ms: p99_ms * 0.9, p99_ms, latency, open: vec![] }
}

fn traffic(requests: u64, errors: u64, p99_ms: f64) -> Traffic {
    Traffic { new: stats(requests, errors, p99_ms), stable: stats(10_000, 10, 10.0), agreement: None }
}

fn facts(now: u64, traffic: &Traffic) -> Facts<'_> {
    Facts {
        now: SteadyMs(now),
        ready: 1,
        wanted: 1,
        death: None,
        unready: None,
        traffic,
        asked: &[],
        ready_timeout: Millis(60_000),
    }
}

/// What comes of a rollout at one instant: all that was to be measured is measured.
fn settle(rollout: &Rollout, facts: &Facts<'_>) -> (Rollout, Next) {
    let mut r = rollout.clone();
    for _ in 0..10 {
        match next(&r, &env(), facts) {
            Next::Measured(analysis) => r.analysis = analysis,
            other => return (r, other),
        }
    }
    panic!("measured over and over at one instant: {r:?}");
}

/// The same, of which only the next move matters.
fn then(rollout: &Rollout, facts: &Facts<'_>) -> Next {
    settle(rollout, facts).1
}

fn env() -> Name {
    Name::new("production").unwrap()
}

fn at(r: Rollout, phase: Phase) -> Rollout {
    Rollout { phase, ..r }
}

#[test]
fn steps_are_held_then_taken_one_by_one() {
    let (r, good) = (rollout(&[10.0, 50.0]), traffic(100, 0, 10.0));
    let Next::Change(r) = then(&r, &facts(5, &good)) else { panic!() };
    assert_eq!((r.weight(), &r.phase), (10.0, &Phase::Step { index: 0, since: SteadyMs(5) }));
    assert!(matches!(then(&r, &facts(1004, &good)), Next::Stay(Waiting::Hold { .. }, Some(_))));
    let (_, Next::Change(r)) = settle(&r, &facts(1005, &good)) else { panic!() };
    assert_eq!(r.weight(), 50.0);
    assert_eq!(then(&r, &facts(2005, &good)), Next::Finish);
}

#[test]
fn bounds_abort_at_any_time_and_name_the_figure() {
    let r = at(rollout(&[10.0]), Phase::Step { index: 0, since: SteadyMs(0) });
    let verdict = then(&r, &facts(1, &traffic(100, 7, 10.0)));
    assert_eq!(verdict, Next::Reject("error_rate 0.0700 > 0.01 over 100 requests".into()));
    let verdict = then(&r, &facts(1, &traffic(100, 0, 80.0)));
    assert_eq!(verdict, Next::Reject("latency_p99 80.0000 ms > 50 ms over 100 requests".into()));
}

#[test]
fn too_few_requests_are_neither_success_nor_failure_and_pause_in_the_end() {
    let r = at(rollout(&[10.0]), Phase::Step { index: 0, since: SteadyMs(0) });
    let few = traffic(5, 5, 900.0);
    let verdict = then(&r, &facts(9_999, &few));
    assert!(matches!(verdict, Next::Stay(Waiting::Requests { seen: 5, needed: 20, .. }, Some(_))), "{verdict:?}");
    let Next::Change(paused) = then(&r, &facts(601_000, &few)) else { panic!() };
    let said = "nothing was shown within 10m: error_rate has 5 of 20 requests";
    assert!(matches!(&paused.phase, Phase::Paused { reason, gate: false, .. } if reason == said), "{paused:?}");
}

fn measured_by(spec: AnalysisSpec) -> Rollout {
    let r = Rollout { analysis: vec![AnalysisRun::new(spec)], ..rollout(&[10.0]) };
    at(r, Phase::Step { index: 0, since: SteadyMs(0) })
}

#[test]
fn a_limit_is_how_many_bad_measurements_are_borne() {
    let bad = traffic(100, 50, 10.0);
    let usual = AnalysisSpec { max: Some(0.01), ..AnalysisSpec::new(AnalysisMetric::ErrorRate) };
    let mut r = measured_by(AnalysisSpec { failure_limit: 2, ..usual.clone() });
    for now in [0, 1_000] {
        let (next, verdict) = settle(&r, &facts(now, &bad));
        assert!(matches!(verdict, Next::Stay(..)), "{verdict:?}");
        r = next;
    }
    let said = "error_rate 0.5000 > 0.01 over 100 requests (3 times)";
    assert_eq!(then(&r, &facts(2_000, &bad)), Next::Reject(said.into()));
    // One that is watched only is never obeyed.
    let r = measured_by(AnalysisSpec { dry_run: true, ..usual });
    assert_eq!(then(&r, &facts(5_000, &bad)), Next::Finish);
}

#[test]
fn a_step_needs_its_number_of_good_measurements() {
    let good = traffic(100, 0, 10.0);
    let usual = AnalysisSpec { max: Some(0.01), ..AnalysisSpec::new(AnalysisMetric::ErrorRate) };
    let mut r = measured_by(AnalysisSpec { count: 3, interval: Millis(2_000), ..usual });
    for now in [1_500, 2_000, 3_500] {
        let (next, verdict) = settle(&r, &facts(now, &good));
        assert!(matches!(verdict, Next::Stay(Waiting::Analysis { needed: 3, .. }, _)), "{now}: {verdict:?}");
        r = next;
    }
    assert_eq!(r.analysis[0].good, 2);
    assert_eq!(then(&r, &facts(5_500, &good)), Next::Finish);
}

#[test]
fn beside_stable_noise_is_unclear_and_evidence_is_not() {
    let spec =
        AnalysisSpec { no_worse_than_stable: true, tolerance: 0.005, ..AnalysisSpec::new(AnalysisMetric::ErrorRate) };
    let r = measured_by(spec.clone());
    let verdict = then(&r, &facts(5_000, &traffic(40, 1, 10.0)));
    let Next::Stay(Waiting::Analysis { said: Some(said), .. }, _) = verdict else { panic!("{verdict:?}") };
    assert_eq!(said, "error_rate 0.0250 perhaps worse than stable's 0.0010 over 40 requests");
    let verdict = then(&r, &facts(5_000, &traffic(400, 40, 10.0)));
    assert_eq!(verdict, Next::Reject("error_rate 0.1000 worse than stable's 0.0010 over 400 requests".into()));
    assert_eq!(then(&r, &facts(5_000, &traffic(400, 1, 10.0))), Next::Finish);
    let limited = measured_by(AnalysisSpec { inconclusive_limit: Some(0), ..spec });
    let (_, Next::Change(paused)) = settle(&limited, &facts(5_000, &traffic(40, 1, 10.0))) else { panic!() };
    assert!(matches!(paused.phase, Phase::Paused { gate: false, .. }));
}

#[test]
fn a_quantile_is_worse_when_more_requests_lie_beyond_stables() {
    let spec =
        AnalysisSpec { no_worse_than_stable: true, tolerance: 0.1, ..AnalysisSpec::new(AnalysisMetric::LatencyP99) };
    let r = measured_by(spec);
    let slower = |slow: u64, of: u64| {
        let mut t = traffic(of, 0, 10.0);
        t.new.latency =
            [(10.0, of - slow), (30.0, slow)].map(|(up_to, requests)| LatencyBucket { up_to, requests }).into();
        t
    };
    assert_eq!(then(&r, &facts(5_000, &slower(0, 500))), Next::Finish);
    assert!(matches!(then(&r, &facts(5_000, &slower(2, 100))), Next::Stay(..)));
    assert!(matches!(then(&r, &facts(5_000, &slower(60, 500))), Next::Reject(_)));
}

#[test]
fn figures_from_outside_are_asked_for_when_due_and_their_absence_blames_nobody() {
    let metric = AnalysisMetric::Prometheus { address: "http://p".into(), query: "q".into() };
    let r = measured_by(AnalysisSpec { max: Some(1.0), interval: Millis(10_000), ..AnalysisSpec::new(metric) });
    let quiet = traffic(0, 0, 0.0);
    assert_eq!(questions(&r, &facts(5_000, &quiet)), ["prometheus"]);
    let asked = |at, answer| [Asked { analysis: "prometheus".into(), at: SteadyMs(at), answer }];
    let with = |r: &Rollout, now, all: &[Asked]| settle(r, &Facts { asked: all, ..facts(now, &quiet) });
    let figures = |new| Answer::Figures { new, stable: None };
    assert_eq!(with(&r, 5_000, &asked(4_000, figures(0.5))).1, Next::Finish);
    assert_eq!(with(&r, 5_000, &asked(4_000, figures(2.0))).1, Next::Reject("prometheus 2.0000 > 1".into()));
    // What has no figure yet is asked again and again.
    let none = asked(4_000, Answer::NoData);
    let waits = Next::Stay(
        Waiting::Analysis { environment: env(), analysis: "prometheus".into(), good: 0, needed: 1, said: None },
        Some(SteadyMs(15_000)),
    );
    assert_eq!(with(&r, 5_000, &none).1, waits);
    for (now, again) in [(5_000, 0), (13_999, 0), (14_000, 1)] {
        assert_eq!(questions(&r, &Facts { asked: &none, ..facts(now, &quiet) }).len(), again, "at {now}");
    }
    assert!(matches!(
        with(&r, 5_000, &asked(4_000, figures(f64::INFINITY))).1,
        Next::Stay(Waiting::Analysis { .. }, _)
    ));
    // An answer counts once, and a server that is away pauses the rollout rather than ending it.
    let mut r = r;
    for n in 0..5 {
        let now = 5_000 + n * 10_000;
        assert_eq!(questions(&r, &facts(now, &quiet)).len(), 1, "at {now}");
        r = with(&r, now, &asked(now, Answer::Failed("connection refused".into()))).0;
    }
    let Next::Change(paused) = next(&r, &env(), &facts(45_001, &quiet)) else { panic!("{r:?}") };
    let said = "cannot be measured (5 times): prometheus: connection refused";
    assert!(matches!(&paused.phase, Phase::Paused { reason, .. } if reason == said), "{paused:?}");
}

#[test]
fn an_analysis_that_a_step_names_counts_there_alone() {
    let mut r = rollout(&[10.0, 50.0]);
    r.analysis[0].spec.name = "smoke".into();
    r.steps[1].analysis = vec!["smoke".into()];
    let r = at(r, Phase::Step { index: 0, since: SteadyMs(0) });
    let bad = traffic(100, 50, 10.0);
    let Next::Change(r) = then(&r, &facts(1_000, &bad)) else { panic!() };
    assert!(matches!(then(&r, &facts(1_500, &bad)), Next::Reject(_)));
}

#[test]
fn a_gate_waits_for_a_person_and_their_word_is_the_next_step() {
    let mut r = rollout(&[10.0, 50.0]);
    r.steps[0].gate = true;
    let r = at(r, Phase::Step { index: 0, since: SteadyMs(0) });
    let good = traffic(100, 0, 10.0);
    let (_, Next::Change(held)) = settle(&r, &facts(1_000, &good)) else { panic!() };
    assert_eq!(held.weight(), 10.0);
    assert!(matches!(then(&held, &facts(99_999, &good)), Next::Stay(Waiting::Person { .. }, _)));
    assert!(matches!(then(&held, &facts(99_999, &traffic(100, 9, 10.0))), Next::Reject(_)));
    let Ok(Next::Change(on)) = steer(&held, Steer::Resume, SteadyMs(100_000)) else { panic!() };
    assert_eq!((on.weight(), &on.phase), (50.0, &Phase::Step { index: 1, since: SteadyMs(100_000) }));
}

fn deployed(strategy: crate::model::Strategy) -> Deployment {
    let deploy = DeploySpec { strategy, ..DeploySpec::at_once(env()) };
    let revision = rollout(&[]).revision;
    let now = Now { wall: WallMs(0), steady: SteadyMs(0) };
    let made = start(Start {
        from: Some(release(1)),
        to: release(2),
        deploy: &deploy,
        analysis: vec![],
        at_once: false,
        revision: &revision,
        now,
    });
    Deployment { stable: Some(release(1)), rollout: Some(made), ..Deployment::default() }
}

/// The shares of the first step.
fn stepped(strategy: crate::model::Strategy) -> Vec<(Release, f64)> {
    let mut d = deployed(strategy);
    d.rollout = d.rollout.map(|r| at(r, Phase::Step { index: 0, since: SteadyMs(0) }));
    d.shares()
}

#[test]
fn each_strategy_shares_the_traffic_in_its_way() {
    use crate::model::Strategy::{BlueGreen, Canary, Experiment, Recreate, Shadow};
    let (hold, gate) = (Millis(1_000), false);
    let (old, new) = (release(1), release(2));
    assert_eq!(stepped(Canary { steps: vec![StepSpec::new(0.1, hold)] }), [(new, 0.1), (old, 99.9)]);
    assert_eq!(stepped(BlueGreen { hold, gate }), [(new, 0.0), (old, 100.0)]);
    let shadow = Shadow { share: 50.0, hold, gate, tolerance: 0.0, steps: vec![StepSpec::new(25.0, hold)] };
    assert_eq!(stepped(shadow), [(new, 0.0), (old, 100.0)]);
    let experiment = stepped(Experiment { weight: 5.0, hold, gate });
    assert_eq!(experiment, [(new, 5.0), (baseline(old), 5.0), (old, 90.0)]);
    assert_ne!(baseline(old), old);
    // The second set starts with the first, or it would be compared before it is warm.
    assert_eq!(deployed(Experiment { weight: 5.0, hold, gate }).shares().len(), 3);
    assert_eq!(deployed(Recreate).shares(), [(new, 100.0)]);
    assert_eq!(deployed(BlueGreen { hold, gate }).shares(), [(new, 0.0), (old, 100.0)]);
}

fn death(in_a_row: u32, was_ready: bool) -> Death {
    Death { reason: "exit 1; last output: bad magic".into(), in_a_row, was_ready }
}

#[test]
fn deaths_reject_only_with_time_and_with_their_reason() {
    let quiet = traffic(100, 0, 10.0);
    let r = rollout(&[10.0]);
    let many = death(9, false);
    let looping = Facts { ready: 0, death: Some(&many), ..facts(2_000, &quiet) };
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
    assert!(matches!(then(&r, &Facts { ready: 0, death: Some(&few), ..facts(900, &quiet) }), Next::Stay(..)));
    let many = death(8, true);
    let said = "its replica died 8 times in a row after it was ready: exit 1; last output: bad magic";
    assert_eq!(
        next(&r, &env(), &Facts { ready: 0, death: Some(&many), ..facts(900, &quiet) }),
        Next::Reject(said.into())
    );
    assert!(matches!(then(&r, &Facts { ready: 1, death: Some(&many), ..facts(900, &quiet) }), Next::Stay(..)));
}

#[test]
fn a_release_that_is_late_says_what_its_readiness_answers() {
    let quiet = traffic(100, 0, 10.0);
    let r = rollout(&[10.0]);
    let late = Facts { ready: 0, unready: Some("starting: / answers 503"), ..facts(60_000, &quiet) };
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
fn calls_that_wait_longer_than_a_bound_are_evidence_before_they_are_answered() {
    let open =
        |up_to, requests| TrafficStats { open: vec![LatencyBucket { up_to, requests }], ..TrafficStats::default() };
    let bounded = AnalysisSpec { max: Some(100.0), ..AnalysisSpec::new(AnalysisMetric::LatencyP50) };
    let compared = AnalysisSpec { no_worse_than_stable: true, ..AnalysisSpec::new(AnalysisMetric::LatencyP50) };
    let errors = AnalysisSpec { max: Some(0.01), ..AnalysisSpec::new(AnalysisMetric::ErrorRate) };
    let rows = [
        (&bounded, open(90.0, 50), None),
        (&bounded, open(400.0, 19), None),
        (&bounded, open(400.0, 50), Some("latency_p50 400.0000 ms > 100 ms over 50 requests")),
        (&compared, open(400.0, 50), Some("latency_p50 400.0000 ms worse than stable's 5.0000 ms over 50 requests")),
        // That they fail is not known before their time is over.
        (&errors, open(400.0, 50), None),
    ];
    for (spec, new, expected) in rows {
        let r = Rollout { analysis: vec![AnalysisRun::new(spec.clone())], ..rollout(&[50.0]) };
        let r = Rollout { phase: Phase::Step { index: 0, since: SteadyMs(0) }, ..r };
        let traffic = Traffic { new: new.clone(), ..traffic(0, 0, 0.0) };
        let (_, next) = settle(&r, &facts(2_000, &traffic));
        let reason = if let Next::Reject(reason) = next { Some(reason) } else { None };
        assert_eq!(reason.as_deref(), expected, "{} {new:?}", spec.name);
    }
}

#[test]
fn what_stalls_both_releases_counts_against_neither() {
    let compared = AnalysisSpec { no_worse_than_stable: true, ..AnalysisSpec::new(AnalysisMetric::LatencyP50) };
    let r = Rollout { analysis: vec![AnalysisRun::new(compared)], ..rollout(&[50.0]) };
    let r = Rollout { phase: Phase::Step { index: 0, since: SteadyMs(0) }, ..r };
    let waiting = |requests| vec![LatencyBucket { up_to: 400.0, requests }];
    let new = TrafficStats { open: waiting(50), ..TrafficStats::default() };
    for (stalled, rejected) in [(450, false), (0, true)] {
        let stable = TrafficStats { open: waiting(stalled), ..stats(100, 0, 10.0) };
        let traffic = Traffic { new: new.clone(), stable, agreement: None };
        let (_, next) = settle(&r, &facts(2_000, &traffic));
        assert_eq!(matches!(next, Next::Reject(_)), rejected, "{stalled}: {next:?}");
    }
}

#[test]
fn a_release_that_never_gets_ready_is_rejected() {
    let quiet = traffic(100, 0, 10.0);
    let r = rollout(&[10.0]);
    let unready = Facts { ready: 0, ..facts(10, &quiet) };
    assert!(matches!(next(&r, &env(), &unready), Next::Stay(Waiting::Ready { .. }, Some(SteadyMs(60_000)))));
    assert!(matches!(next(&r, &env(), &Facts { now: SteadyMs(60_000), ..unready }), Next::Reject(_)));
}

#[test]
fn a_pause_keeps_what_was_served_of_the_hold() {
    let quiet = traffic(100, 0, 10.0);
    let r = at(rollout(&[10.0, 50.0]), Phase::Step { index: 0, since: SteadyMs(0) });
    let Ok(Next::Change(paused)) = steer(&r, Steer::Pause, SteadyMs(600)) else { panic!() };
    assert!(matches!(then(&paused, &facts(99_999, &quiet)), Next::Stay(Waiting::Person { .. }, _)));
    let Ok(Next::Change(resumed)) = steer(&paused, Steer::Resume, SteadyMs(10_000)) else { panic!() };
    assert!(matches!(then(&resumed, &facts(10_399, &quiet)), Next::Stay(..)));
    assert!(matches!(then(&resumed, &facts(10_400, &quiet)), Next::Change(_)));
    assert!(steer(&paused, Steer::Pause, SteadyMs(1)).is_err());
    assert!(steer(&r, Steer::Resume, SteadyMs(1)).is_err());
}

fn word() -> impl Strategy<Value = Steer> {
    prop_oneof![Just(Steer::Pause), Just(Steer::Resume), Just(Steer::Promote), Just(Steer::Abort)]
}

/// What may happen between two looks at a rollout.
#[derive(Debug, Clone)]
enum Move {
    /// Time passes; the clock may be set back, which steady time is not.
    Wait(u64),
    /// Requests and failures since the step began.
    Traffic(u64, u64),
    Asked(Answer),
    Ready(u32),
    Died(u32),
    Word(Steer),
    /// The daemon dies and finds what it wrote: answers that were not measured are lost.
    Crash,
    /// A commit asks for another release.
    Commit,
}

fn course() -> impl Strategy<Value = Vec<Move>> {
    let answer = prop_oneof![
        (0.0f64..2.0).prop_map(|new| Answer::Figures { new, stable: Some(1.0) }),
        Just(Answer::Figures { new: f64::NAN, stable: None }),
        Just(Answer::NoData),
        Just(Answer::Failed("away".into())),
    ];
    let one = prop_oneof![
        6 => (0u64..3_000).prop_map(Move::Wait),
        1 => (0u64..2_000_000).prop_map(Move::Wait),
        4 => (0u64..400, 0u64..8).prop_map(|(n, bad)| Move::Traffic(n, bad.min(n))),
        2 => answer.prop_map(Move::Asked),
        1 => (0u32..3).prop_map(Move::Ready),
        1 => (0u32..12).prop_map(Move::Died),
        2 => word().prop_map(Move::Word),
        1 => Just(Move::Crash),
        1 => Just(Move::Commit),
    ];
    proptest::collection::vec(one, 1..80)
}

fn strategy() -> impl Strategy<Value = crate::model::Strategy> {
    use crate::model::Strategy::{AtOnce, BlueGreen, Canary, Experiment, Recreate, Shadow};
    let hold = || (0u64..5_000).prop_map(Millis);
    let steps = || {
        let step = (0.001f64..100.0, 0u64..5_000, any::<bool>());
        proptest::collection::vec(step, 1..5).prop_map(|mut all| {
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            let step = |(weight, hold, gate)| StepSpec { gate, ..StepSpec::new(weight, Millis(hold)) };
            all.into_iter().map(step).collect::<Vec<_>>()
        })
    };
    prop_oneof![
        Just(AtOnce),
        Just(Recreate),
        steps().prop_map(|steps| Canary { steps }),
        (hold(), any::<bool>()).prop_map(|(hold, gate)| BlueGreen { hold, gate }),
        (hold(), any::<bool>(), steps()).prop_map(|(hold, gate, steps)| Shadow {
            share: 100.0,
            hold,
            gate,
            tolerance: 0.0,
            steps
        }),
        (0.001f64..50.0, hold(), any::<bool>()).prop_map(|(weight, hold, gate)| Experiment { weight, hold, gate }),
    ]
}

fn analyses() -> Vec<AnalysisSpec> {
    let asked = AnalysisMetric::Prometheus { address: "http://p".into(), query: "q".into() };
    vec![
        AnalysisSpec { max: Some(0.5), ..AnalysisSpec::new(AnalysisMetric::ErrorRate) },
        AnalysisSpec {
            name: "beside".into(),
            no_worse_than_stable: true,
            tolerance: 0.01,
            inconclusive_limit: Some(3),
            ..AnalysisSpec::new(AnalysisMetric::ErrorRate)
        },
        AnalysisSpec { max: Some(1.0), failure_limit: 1, error_limit: 2, ..AnalysisSpec::new(asked) },
    ]
}

/// A rollout with everything around it that it is a function of.
struct Course {
    deploy: DeploySpec,
    deployment: Deployment,
    now: u64,
    traffic: Traffic,
    asked: Vec<Asked>,
    ready: u32,
    death: Option<Death>,
    version: u32,
}

impl Course {
    fn new(strategy: crate::model::Strategy) -> Self {
        let deploy = DeploySpec { strategy, deadline: Millis(20_000), ..DeploySpec::at_once(env()) };
        let deployment = Deployment { stable: Some(release(1)), ..Deployment::default() };
        let (traffic, asked) = (traffic(0, 0, 0.0), vec![]);
        let mut course = Self { deploy, deployment, now: 0, traffic, asked, ready: 1, death: None, version: 1 };
        course.commit();
        course
    }

    /// As the plan does it when another release is asked for: from stable, anew.
    fn commit(&mut self) {
        self.version += 1;
        let now = Now { wall: WallMs(0), steady: SteadyMs(self.now) };
        self.deployment.rejected.clear();
        self.deployment.rollout = Some(start(Start {
            from: self.deployment.stable,
            to: release(self.version),
            deploy: &self.deploy,
            analysis: analyses(),
            at_once: false,
            revision: &rollout(&[]).revision,
            now,
        }));
    }

    fn apply(&mut self, next: Next) {
        let Some(r) = self.deployment.rollout.as_mut() else { return };
        match next {
            Next::Stay(..) => {}
            Next::Measured(analysis) => r.analysis = analysis,
            Next::Change(changed) => *r = changed,
            Next::Finish => {
                self.deployment.stable = Some(r.to);
                self.deployment.rollout = None;
            }
            Next::Reject(reason) => {
                let (release, at, evidence) = (r.to, WallMs(0), r.analysis.clone());
                self.deployment.reject(Rejection { release, reason, at, evidence, revert: None });
                self.deployment.rollout = None;
            }
        }
    }

    fn moved(&mut self, to: &Move) {
        match to {
            Move::Wait(ms) => self.now += ms,
            Move::Traffic(requests, errors) => self.traffic = traffic(*requests, *errors, 10.0),
            Move::Asked(answer) => {
                let (analysis, at) = ("prometheus".into(), SteadyMs(self.now));
                self.asked = vec![Asked { analysis, at, answer: answer.clone() }];
            }
            Move::Ready(ready) => self.ready = *ready,
            Move::Died(times) => self.death = (*times > 0).then(|| death(*times, true)),
            Move::Word(word) => {
                let steered = self.deployment.rollout.as_ref().map(|r| steer(r, *word, SteadyMs(self.now)));
                if let Some(Ok(next)) = steered {
                    self.apply(next);
                }
            }
            Move::Crash => {
                let kept = serde_json::to_string(&self.deployment).unwrap();
                self.deployment = serde_json::from_str(&kept).unwrap();
                self.asked.clear();
            }
            Move::Commit => self.commit(),
        }
    }

    /// Looks until there is nothing more to do at this instant; the invariants hold at each of them.
    fn look(&mut self) {
        for _ in 0..40 {
            let stable = self.deployment.stable;
            let Some(r) = self.deployment.rollout.clone() else { return };
            let next = next(
                &r,
                &env(),
                &Facts {
                    ready: self.ready,
                    death: self.death.as_ref(),
                    asked: &self.asked,
                    ..facts(self.now, &self.traffic)
                },
            );
            let stays = matches!(next, Next::Stay(..));
            let finishes = next == Next::Finish;
            self.apply(next);
            self.check(stable, finishes);
            if stays {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn check(&self, before: Option<Release>, finishes: bool) {
        let d = &self.deployment;
        let shares = d.shares();
        let sum: f64 = shares.iter().map(|(_, w)| w).sum();
        assert!((sum - 100.0).abs() < 1e-9 && shares.iter().all(|(_, w)| (0.0..=100.0).contains(w)), "{shares:?}");
        assert!(finishes || d.stable == before, "stable stays until the new one has all");
        let recreates = d.rollout.as_ref().is_some_and(|r| r.strategy == StrategyKind::Recreate);
        assert!(recreates || shares.iter().any(|(r, _)| Some(*r) == d.stable), "stable has replicas: {shares:?}");
        for rejected in &d.rejected {
            assert!(d.rollout.is_none() && shares.iter().all(|(r, _)| *r != rejected.release), "{shares:?}");
            assert_eq!(shares, [(d.stable.unwrap(), 100.0)], "abort ends at stable");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    /// Whatever strategy, and whatever is measured, asked and committed, and however often the daemon dies: shares add up, stable stays until
    /// the new release has all traffic, an abort ends at stable, and it ends.
    #[test]
    fn any_course_keeps_the_invariants_and_ends(strategy in strategy(), moves in course()) {
        let mut course = Course::new(strategy);
        for to in &moves {
            course.moved(to);
            course.look();
        }
        // From now on all is well, and a person says go on wherever one is asked.
        (course.ready, course.death) = (1, None);
        course.traffic = traffic(1_000, 0, 10.0);
        for _ in 0..200 {
            course.moved(&Move::Asked(Answer::Figures { new: 0.0, stable: None }));
            course.look();
            if course.deployment.rollout.is_none() {
                break;
            }
            course.moved(&Move::Word(Steer::Resume));
            course.moved(&Move::Wait(6_000));
        }
        prop_assert!(course.deployment.rollout.is_none(), "{:?}", course.deployment.rollout);
    }
}

//! `[[deploy]]` and `analyses/`.

use super::*;

const CANARY: &str = "strategy = \"canary\"\nsteps = [{ weight = 10, hold = \"1m\" }]\n";

/// The model with these lines at the end of its `[[deploy]]`.
fn deploying(lines: &str) -> Files {
    base().with("models/fraud/model.toml", &format!("{MODEL}{lines}\n"))
}

fn deploy(files: &Files) -> DeploySpec {
    assert_eq!(files.load().state().diagnostics, []);
    files.load().state().models["fraud"].spec.deploy[0].clone()
}

#[test]
fn each_mistake_of_delivery_is_told_with_its_place() {
    let deploys = [
        ("strategy = \"blue\"", "the strategies are \"at_once\", \"canary\""),
        ("strategy = \"shadow\"", "a shadow needs `hold`"),
        ("strategy = \"recreate\"\nhold = \"1m\"", "`hold` belongs to strategy = \"blue_green\""),
        ("strategy = \"experiment\"\nhold = \"1m\"\nweight = 60", "more than half of the traffic"),
        ("sticky = \"x-user\"", "write \"header:NAME\" or \"cookie:NAME\""),
        ("on_failure = \"panic\"", "write \"hold\" or \"revert\""),
        ("limit = { queue = 3 }", "`limit` needs `concurrent`"),
        ("limit = { concurrent = 0 }", "write a whole number from 1 to"),
        ("timeout = \"0s\"", "no replica answers in no time"),
        ("[monitor.slo]\nwatch = \"1h\"", "`slo` needs an objective"),
        ("[monitor.slo]\navailability = 1.0", "`availability` is above 0 and below 1"),
        ("[monitor.slo]\nlatency_p99 = 50", "latency_p99"),
        ("[monitor.slo]\navailability = 0.9\nburn_rate = 0.5", "at a `burn_rate` below 1"),
        ("[monitor.slo]\nlatency_p95 = \"50ms\"", "did you mean"),
        ("strategy = \"canary\"\nsteps = [{ weight = 5 }]", "a step needs `hold`"),
        ("strategy = \"canary\"\nsteps = [{ weight = 0.0001, hold = \"1m\" }]", "finer than traffic is split"),
        ("[[deploy.analysis]]\nmetric = \"error_rate\"\nmax = 0.1", "has no step in which anything could be measured"),
    ];
    let analyses = [
        ("metric = \"errors\"\nmax = 0.1", "the router measures error_rate"),
        ("prometheus = \"http://p:9090\"\nmax = 1", "`prometheus` needs a `query`"),
        ("metric = \"error_rate\"\nrun = [\"x\"]\nmax = 0.1", "an analysis needs one of"),
        ("metric = \"agreement\"\nno_worse_than = \"stable\"", "no counterpart of the stable release"),
        ("metric = \"error_rate\"\nno_worse_than = \"live\"", "write \"stable\""),
        ("metric = \"error_rate\"\nmax = 0.1\nconfidence = 0.9", "`confidence` goes with `no_worse_than`"),
        ("use = \"nowhere\"", "analysis `nowhere` is not defined"),
    ];
    let analyses = analyses.map(|(lines, said)| (format!("{CANARY}[[deploy.analysis]]\n{lines}"), said));
    for (lines, said) in deploys.map(|(lines, said)| (lines.to_owned(), said)).into_iter().chain(analyses) {
        let files = deploying(&lines);
        let text = diagnostics(&files);
        assert!(text.contains(said), "{lines}: {text}");
        assert!(text.contains("models/fraud/model.toml:1"), "{text}");
        assert!(files.load().state().broken.contains_key("fraud"), "{lines}");
    }
}

#[test]
fn every_strategy_is_read() {
    let strategy = |lines: &str| deploy(&deploying(lines)).strategy;
    let minute = Millis(60_000);
    assert_eq!(strategy(""), crate::model::Strategy::AtOnce);
    assert_eq!(strategy("strategy = \"recreate\""), crate::model::Strategy::Recreate);
    let steps = "steps = [{ weight = 0.1, hold = \"1m\" }, { weight = 5, gate = \"manual\" }]";
    let gated = StepSpec { gate: true, ..StepSpec::new(5.0, Millis(0)) };
    let steps_read = vec![StepSpec::new(0.1, minute), gated];
    let canary = strategy(&format!("strategy = \"canary\"\n{steps}"));
    assert_eq!(canary, crate::model::Strategy::Canary { steps: steps_read.clone() });
    let blue_green = strategy("strategy = \"blue_green\"\ngate = \"manual\"");
    assert_eq!(blue_green, crate::model::Strategy::BlueGreen { hold: Millis(0), gate: true });
    let shadow = strategy(&format!("strategy = \"shadow\"\nshare = 50\nhold = \"1m\"\ntolerance = 0.01\n{steps}"));
    let (share, tolerance) = (50.0, 0.01);
    assert_eq!(
        shadow,
        crate::model::Strategy::Shadow { share, hold: minute, gate: false, tolerance, steps: steps_read }
    );
    let experiment = strategy("strategy = \"experiment\"\nweight = 2\nhold = \"1m\"");
    assert_eq!(experiment, crate::model::Strategy::Experiment { weight: 2.0, hold: minute, gate: false });
}

#[test]
fn an_analysis_is_read_with_all_its_words() {
    let lines = "[[deploy.analysis]]\nname = \"slow\"\nmetric = \"latency_p90\"\nmax = \"50ms\"\n\
        no_worse_than = \"stable\"\ntolerance = 0.2\nconfidence = 0.99\ninterval = \"5s\"\ndelay = \"10s\"\ncount = 3\n\
        failure_limit = 1\ninconclusive_limit = 2\nerror_limit = 6\nmin_requests = 50\ndry_run = true\n\
        [[deploy.analysis]]\nrun = \"./smoke\"\nmin = 1\n";
    let all = deploy(&deploying(&format!("{CANARY}{lines}"))).analysis;
    let slow = AnalysisSpec {
        name: "slow".into(),
        max: Some(50.0),
        no_worse_than_stable: true,
        tolerance: 0.2,
        confidence: 0.99,
        interval: Millis(5_000),
        delay: Millis(10_000),
        count: 3,
        failure_limit: 1,
        inconclusive_limit: Some(2),
        error_limit: 6,
        min_requests: 50,
        dry_run: true,
        ..AnalysisSpec::new(AnalysisMetric::LatencyP90)
    };
    assert_eq!(all[0], slow);
    assert!(matches!(&all[1].metric, AnalysisMetric::Command { timeout: Millis(30_000), .. }), "{:?}", all[1]);
}

#[test]
fn shared_analyses_are_followed_to_the_models_that_use_them() {
    let file = |max: &str| {
        format!(
            "schema = \"trimtab/v1\"\n[analysis]\nname = \"usual\"\n[[metric]]\nmetric = \"error_rate\"\nmax = {max}\n"
        )
    };
    let before = deploying(&format!("{CANARY}[[deploy.analysis]]\nuse = \"usual\"\n"))
        .with("analyses/usual.toml", &file("0.01"));
    let loaded = before.load();
    assert_eq!(loaded.state().diagnostics, []);
    let max = |loaded: &Loaded| {
        let model = &loaded.state().models["fraud"];
        model.spec.deploy[0].measured(&model.analyses)[0].max
    };
    assert_eq!(max(&loaded), Some(0.01));
    let after = before.clone().with("analyses/usual.toml", &file("0.05"));
    let (next, touched) = loaded.update(&after.changes_from(&before), &revision(), "", &after).unwrap();
    assert_eq!((touched.len(), max(&next)), (1, Some(0.05)));
    let broken = after.clone().with("analyses/usual.toml", &file("2"));
    let (last, _) = next.update(&broken.changes_from(&after), &revision(), "", &broken).unwrap();
    let text = render::text(&last.state().diagnostics);
    assert!(text.contains("analysis `usual` is broken") && text.contains("analyses/usual.toml"), "{text}");
}

#[test]
fn objectives_and_limits_are_read() {
    let spec = |lines: &str| {
        let files = deploying(lines);
        assert_eq!(files.load().state().diagnostics, []);
        files.load().state().models["fraud"].spec.clone()
    };
    let limit = |lines: &str| spec(lines).deploy[0].limit;
    assert_eq!(limit("limit = { concurrent = 8 }"), Some(RequestLimit { concurrent: 8, queue: 8 }));
    assert_eq!(limit("limit = { concurrent = 8, queue = 0 }"), Some(RequestLimit { concurrent: 8, queue: 0 }));
    assert_eq!(spec("timeout = \"2s\"").deploy[0].timeout, Some(Millis(2_000)));
    let slo = spec("[monitor]\nslo = { availability = 0.999, latency_p99 = \"50ms\", watch = \"10m\" }").slo.clone();
    let objectives = vec![Objective::Availability(0.999), Objective::Latency { quantile: 0.99, max: Millis(50) }];
    assert_eq!(*slo.unwrap(), SloSpec { objectives, burn_rate: DEFAULT_BURN_RATE, watch: Millis(600_000) });
}

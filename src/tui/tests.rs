use super::state::Command;
use super::*;
use crate::{api::types::*, model::*};
use crossterm::event::{KeyCode, KeyEvent};
use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend};

mod access;
mod burst;
mod context;
mod copy;
mod fleet;
mod help;
mod keys;
mod log;
mod memory;
mod model;
mod mouse;
mod outside;
mod plan;
mod promotion;
mod rollout;
mod steer;
mod theme;
mod timeline;
mod tracked;

fn revision() -> Revision {
    Revision {
        commit: ObjectId("4f1c2ab0".into()),
        tree: ObjectId("7".into()),
        author: "Ada".into(),
        email: String::new(),
        summary: "fraud: deeper \u{1b}[31mtrees".into(),
        time: WallMs(880_000),
    }
}

fn measured() -> AnalysisRun {
    let spec = AnalysisSpec { max: Some(0.01), ..AnalysisSpec::new(AnalysisMetric::ErrorRate) };
    let text = "error_rate 0.0002 over 4120 requests".into();
    let last = Measurement { verdict: Verdict::Success, value: Some(0.0002), stable: None, text };
    let recent = vec![0.0, 0.0001, 0.0004, 0.0002];
    let recent_stable = vec![0.0002, 0.0003, 0.0002, 0.0001];
    AnalysisRun { good: 4, last: Some(last), recent, recent_stable, ..AnalysisRun::new(spec) }
}

fn summary(name: &str, health: Health, rollout: bool) -> ModelSummary {
    let rollout = rollout.then(|| RolloutSummary {
        to: VersionNumber(7),
        step: 2,
        steps: vec![StepSpec::new(10.0, Millis(60_000)), StepSpec::new(25.0, Millis(60_000))],
        strategy: StrategyKind::Canary,
        weight: 25.0,
        phase: "step".into(),
        held: false,
        gate: false,
        until: Some(SteadyMs(1_030_000)),
        started: WallMs(0),
        analysis: vec![measured()],
        traffic: Traffic {
            new: TrafficStats {
                requests: 4120,
                errors: 1,
                p50_ms: 4.0,
                p90_ms: 8.1,
                p99_ms: 12.4,
                ..TrafficStats::default()
            },
            ..Traffic::default()
        },
    });
    let environment = EnvironmentSummary {
        environment: Name::new("production").unwrap(),
        version: Some(VersionNumber(6)),
        routed: None,
        rollout,
        rejected: None,
        requests_per_s: 910.0,
        p99_ms: 12.0,
        error_share: 0.001,
        stood_in: 0,
        history: vec![],
        objectives: vec![],
        promised: vec![],
    };
    ModelSummary {
        name: Name::new(name).unwrap(),
        sync: if health == Health::Degraded { SyncStatus::OutOfSync } else { SyncStatus::Synced },
        health,
        spec_broken: false,
        message: if health == Health::Degraded { "v13 stays out: mae ≤ 4: 4.31".into() } else { String::new() },
        environments: vec![environment],
        unapproved: None,
        training: None,
        changed_by: Some(revision()),
        observed_revision: None,
        owner: None,
        file: Some("models/x/model.toml".into()),
        labels: Default::default(),
    }
}

fn fleet(models: Vec<ModelSummary>) -> Fleet {
    let counts = Counts {
        models: models.len(),
        healthy: 1,
        progressing: 1,
        degraded: 1,
        suspended: 1,
        out_of_sync: 1,
        burning: 0,
        off_promise: 0,
    };
    let source = SourceStatus {
        url: "https://git.example.com/risk-models".into(),
        branch: "main".into(),
        path: "specs".into(),
        revision: Some(revision()),
        ..SourceStatus::default()
    };
    let now = Now { wall: WallMs(1_000_000), steady: SteadyMs(1_000_000) };
    Fleet {
        source,
        models,
        after: None,
        next: None,
        counts,
        files: 4,
        diagnostics: vec![],
        held: vec![],
        router: None,
        store_error: None,
        mirror_error: None,
        now,
    }
}

fn filled() -> State {
    let mut state = State::new();
    let models = vec![
        summary("churn", Health::Suspended, false),
        summary("demand", Health::Healthy, false),
        summary("fraud", Health::Progressing, true),
        summary("pricing", Health::Degraded, false),
    ];
    update(&mut state, Message::Fleet(Box::new(fleet(models))));
    state
}

fn key(state: &mut State, code: KeyCode) -> Vec<Command> {
    update(state, Message::Key(KeyEvent::from(code)))
}

fn screen(state: &State, width: u16, height: u16) -> String {
    seen(&mut state.clone(), width, height)
}

/// As the loop draws: how far it can be scrolled is noted.
fn seen(state: &mut State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut drawn = Drawn::default();
    terminal.draw(|f| drawn = draw(f, state)).unwrap();
    state.drawn(drawn);
    terminal.backend().to_string()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn type_line(state: &mut State, text: &str) -> Vec<Command> {
    text.chars().for_each(|c| drop(key(state, KeyCode::Char(c))));
    key(state, KeyCode::Enter)
}

fn event(kind: EventKind, message: &str) -> Event {
    Event {
        seq: 1,
        at: WallMs(940_000),
        kind,
        model: Name::new("fraud").ok(),
        environment: None,
        commit: Some(ObjectId("4f1c2ab0".into())),
        author: Some("Ada".into()),
        message: message.into(),
    }
}

fn detail() -> ModelDetail {
    let fraud = Name::new("fraud").unwrap();
    let stage = |n: &str, s: &str| StageProgress {
        name: Name::new(n).unwrap(),
        run: None,
        state: s.into(),
        duration: (s == "succeeded").then_some(Millis(60)),
    };
    ModelDetail {
        summary: summary("fraud", Health::Progressing, true),
        conditions: vec![Condition {
            kind: "SpecValid".into(),
            status: true,
            reason: "Checked".into(),
            message: String::new(),
            since: WallMs(0),
        }],
        pipeline: Some(Pipeline {
            fingerprint: Digest::of(b"f"),
            revision: revision(),
            attempt: 1,
            state: PipelineState::Running,
            started: WallMs(0),
            since: SteadyMs(0),
            content: None,
            stages: vec![stage("check-data", "succeeded"), stage("train", "running")],
        }),
        versions: vec![VersionBrief {
            origin: Origin::Pipeline,
            number: VersionNumber(6),
            fingerprint: Digest::of(b"v6"),
            created: WallMs(900_000),
            duration: Millis(242_000),
            commit: ObjectId("c09e7710".into()),
            author: "Lin".into(),
            summary: String::new(),
            metrics: [("auc".to_owned(), 0.981)].into(),
            gates: vec![],
            serves: vec![Name::new("production").unwrap()],
            size: 10,
        }],
        replicas: vec![],
        plan: None,
        diagnostics: vec![],
        events: vec![event(EventKind::Promoted, "production: v5 → v6 (all traffic)")],
        runs: vec![],
        now: Now { wall: WallMs(1_000_000), steady: SteadyMs(1_000_000) },
    }
    .tap(|d| d.summary.name = fraud)
}

/// An objective that is kept, one that is not, and figures then and now.
fn promised() -> ModelDetail {
    let mut out = detail();
    out.summary = summary("pricing", Health::Degraded, false);
    let quick = Objective::Latency { quantile: 0.99, max: Millis(50) };
    let available = Objective::Availability(0.999);
    let e = &mut out.summary.environments[0];
    e.objectives = vec![
        ObjectiveStatus { objective: available, requests: 12_345, spent: Some(0.18), kept: true },
        ObjectiveStatus { objective: quick, requests: 12_345, spent: Some(3.2), kept: false },
    ];
    let bound = |metric, max| AnalysisSpec { max: Some(max), ..AnalysisSpec::new(metric) };
    let told = |metric, max, then, now, holds| PromiseStatus { analysis: bound(metric, max), then, now, holds };
    e.promised = vec![
        told(AnalysisMetric::ErrorRate, 0.01, Some(0.0002), Some(0.0003), true),
        told(AnalysisMetric::LatencyP99, 50.0, Some(11.8), Some(88.0), false),
    ];
    out
}

trait Tap: Sized {
    fn tap(mut self, f: impl FnOnce(&mut Self)) -> Self {
        f(&mut self);
        self
    }
}
impl Tap for ModelDetail {}
impl Tap for super::tracked::TrackedRun {}

#[test]
fn the_fleet_wide_and_narrow() {
    insta::assert_snapshot!("fleet_120", screen(&filled(), 120, 14));
    insta::assert_snapshot!("fleet_80", screen(&filled(), 80, 24));
}

#[test]
fn a_model_with_a_rollout() {
    let mut state = filled();
    type_line(&mut state, "/fraud");
    assert_eq!(key(&mut state, KeyCode::Enter), [Command::FetchModel(name("fraud"))]);
    update(&mut state, Message::Model(Box::new(detail())));
    insta::assert_snapshot!("model_120", screen(&state, 120, 20));
    insta::assert_snapshot!("model_80", screen(&state, 80, 24));
}

#[test]
fn a_failed_model_shows_where_its_output_ended() {
    let mut state = filled();
    let mut failed = detail();
    failed.summary = summary("pricing", Health::Degraded, false);
    let output: String = (0..20).map(|n| format!("epoch {n}\n")).collect();
    failed.summary.message = format!("stage train: exit 1\n{output}ValueError: no such column\n");
    key(&mut state, KeyCode::Enter);
    update(&mut state, Message::Model(Box::new(failed.clone())));
    let text = screen(&state, 80, 24);
    assert!(text.contains("stage train: exit 1") && text.contains("ValueError: no such column"), "{text}");
    assert!(text.contains("14 lines, l shows all") && !text.contains("epoch 3 "), "{text}");
    key(&mut state, KeyCode::Esc);
    update(&mut state, Message::Fleet(Box::new(fleet(vec![failed.summary]))));
    let text = screen(&state, 140, 8);
    assert!(text.contains("stage train: exit 1: ValueError: no such column · fix it, or R to revert it"), "{text}");
}

#[test]
fn the_plan_after_the_mistakes_in_the_specs() {
    let mut state = filled();
    assert_eq!(key(&mut state, KeyCode::Char('p')), [Command::FetchPlan]);
    assert!(screen(&state, 80, 6).contains("loading"));
    let mistake = Diagnostic {
        severity: Severity::Error,
        message: "unknown key `parms`".into(),
        location: Some(Location {
            file: "models/fraud/model.toml".into(),
            line: 14,
            column: 1,
            text: String::new(),
            width: 5,
        }),
        label: "did you mean `params`?".into(),
        help: None,
        model: None,
    };
    let plan = FleetPlan {
        revision: Some(revision()),
        models: vec![],
        unchanged: 4,
        diagnostics: vec![mistake],
        held: vec![name("old")],
        at: WallMs(1_000_000),
    };
    update(&mut state, Message::Plan(Box::new(plan)));
    insta::assert_snapshot!("plan_80", screen(&state, 80, 12));
}

#[test]
fn the_difference_of_a_model() {
    let mut state = filled();
    assert_eq!(key(&mut state, KeyCode::Char('d')), [Command::FetchDiff(name("pricing"))]);
    let field = |field: &str, live: &str, desired: Option<&str>| FieldDiff {
        field: field.into(),
        live: Some(live.into()),
        desired: desired.map(str::to_owned),
    };
    let plan = ModelPlan {
        model: name("pricing"),
        sync: SyncStatus::OutOfSync,
        health: Health::Degraded,
        fingerprint: None,
        version: None,
        actions: vec![],
        waiting: vec![Waiting::Gates { version: VersionNumber(13), failed: vec!["mae ≤ 4: 4.31".into()] }],
        outlook: vec![],
        conditions: vec![],
        questions: vec![],
        look_again: None,
    };
    let fields = vec![field("train.params.depth", "6", Some("8 \u{1b}[2J")), field("monitor", "x", None)];
    update(
        &mut state,
        Message::Diff(Box::new(Difference { model: name("pricing"), fields, plan, detail: promised() })),
    );
    insta::assert_snapshot!("diff_80", screen(&state, 80, 24));
    insta::assert_snapshot!("diff_120", screen(&state, 120, 26));
}

#[test]
fn help_events_and_the_empty_fleet() {
    let mut state = filled();
    key(&mut state, KeyCode::Char('?'));
    insta::assert_snapshot!("help_80", screen(&state, 80, 24));
    type_line(&mut state, ":events");
    update(
        &mut state,
        Message::Events(vec![
            event(EventKind::RunStarted, "training b3:1"),
            event(EventKind::GateFailed, "v7: gate \u{1b}failed"),
        ]),
    );
    insta::assert_snapshot!("events_80", screen(&state, 80, 6));
    let mut empty = State::new();
    update(&mut empty, Message::Fleet(Box::new(fleet(vec![]))));
    insta::assert_snapshot!("empty_80", screen(&empty, 80, 12));
    let waiting = screen(&State::new(), 80, 5);
    assert!(waiting.contains("waiting for the daemon"), "{waiting}");
    type_line(&mut state, ":fleet");
    type_line(&mut state, "/nothing");
    assert!(screen(&state, 80, 8).contains("None of 4 models matches /nothing"));
    let mut held = fleet(vec![]);
    held.held = vec![name("old")];
    held.source.error = Some("the remote hangs".into());
    held.source.reason = Some(SourceReason::Timeout);
    update(&mut empty, Message::Fleet(Box::new(held)));
    let text = screen(&empty, 100, 12);
    assert!(text.contains("source: the remote hangs") && text.contains("1 spec deleted, held: old"), "{text}");
}

#[test]
fn back_leads_to_where_one_came_from_and_q_leaves_only_from_the_fleet() {
    let mut state = filled();
    let first = state.shown()[0].name.clone();
    key(&mut state, KeyCode::Enter);
    key(&mut state, KeyCode::Char('t'));
    key(&mut state, KeyCode::Char('?'));
    key(&mut state, KeyCode::Char('?'));
    assert_eq!(state.screen, Screen::TimeLine);
    assert_eq!(key(&mut state, KeyCode::Esc), [Command::FetchModel(first.clone())]);
    key(&mut state, KeyCode::Char('l'));
    key(&mut state, KeyCode::Enter);
    assert_eq!(state.screen, Screen::Model(first));
    assert_eq!(key(&mut state, KeyCode::Char('q')), []);
    assert_eq!(state.screen, Screen::Fleet, "a screen on the way back is not gone back to twice");
    assert_eq!(key(&mut state, KeyCode::Char('q')), [Command::Quit]);
    key(&mut state, KeyCode::Char(':'));
    let ctrl_c = KeyEvent::new(KeyCode::Char('c'), crossterm::event::KeyModifiers::CONTROL);
    assert_eq!(update(&mut state, Message::Key(ctrl_c)), [Command::Quit], "at once, whatever is being typed");
}

#[test]
fn the_end_of_a_page_is_where_scrolling_ends() {
    let mut state = filled();
    key(&mut state, KeyCode::Char('?'));
    let top = seen(&mut state, 80, 12);
    key(&mut state, KeyCode::Char('G'));
    let end = seen(&mut state, 80, 12);
    assert!(end.contains("leave; the daemon goes on") && end != top, "{end}");
    key(&mut state, KeyCode::Down);
    assert_eq!(seen(&mut state, 80, 12), end);
    key(&mut state, KeyCode::Up);
    assert_ne!(seen(&mut state, 80, 12), end, "one line up moves at once");
    key(&mut state, KeyCode::PageUp);
    key(&mut state, KeyCode::PageUp);
    key(&mut state, KeyCode::PageUp);
    assert_ne!(seen(&mut state, 80, 12), end);
    key(&mut state, KeyCode::Char('g'));
    assert_eq!(seen(&mut state, 80, 12), top);
}

#[test]
fn no_hint_is_cut_and_help_is_always_offered() {
    let mut state = filled();
    for at in ["", "\n", "l", "d", "t", "p", "?", "r", "rr", "r~~", "r\n", "r\n\n", "r~~c"] {
        state.screen = Screen::Fleet;
        tracked::press(&mut state, at);
        for width in 20..160 {
            let text = screen(&state, width, 6);
            let foot = text.lines().last().unwrap().trim_matches('"').trim_end().to_owned();
            assert!(foot.ends_with("? help"), "{at:?} at {width}: {foot:?}");
        }
    }
}

#[test]
fn the_selection_stays_with_the_model_and_the_filter_narrows() {
    let mut state = filled();
    key(&mut state, KeyCode::Char('G'));
    assert_eq!(state.selected.as_ref().unwrap().as_str(), "demand", "the healthy ones are last");
    key(&mut state, KeyCode::Char('g'));
    assert_eq!(state.selected.as_ref().unwrap().as_str(), "pricing");
    let mut more = vec![summary("aaa", Health::Healthy, false)];
    more.extend(state.fleet.clone().unwrap().models);
    update(&mut state, Message::Fleet(Box::new(fleet(more))));
    assert_eq!(state.selected.as_ref().unwrap().as_str(), "pricing");
    for c in "/fra".chars() {
        key(&mut state, KeyCode::Char(c));
    }
    key(&mut state, KeyCode::Enter);
    assert_eq!(state.shown().len(), 1);
    key(&mut state, KeyCode::Esc);
    assert_eq!(state.shown().len(), 5);
}

#[test]
fn commands_are_typed_and_a_gone_daemon_keeps_the_picture() {
    let mut state = filled();
    let suspend = [Command::Post { model: name("fraud"), verb: "suspend".into() }];
    assert_eq!(type_line(&mut state, ":suspend fraud"), suspend);
    ":sus".chars().for_each(|c| drop(key(&mut state, KeyCode::Char(c))));
    assert!(screen(&state, 80, 10).contains(":sus▏  suspend NAME  stop reconciling it"));
    key(&mut state, KeyCode::Tab);
    key(&mut state, KeyCode::Char('f'));
    key(&mut state, KeyCode::Tab);
    assert_eq!(key(&mut state, KeyCode::Enter), suspend);
    for (line, said) in [(":nonsense", "is no command"), (":model nobody", "there is no model `nobody`")] {
        assert_eq!(type_line(&mut state, line), []);
        assert!(state.note.contains(said), "{line}: {}", state.note);
    }
    assert_eq!(type_line(&mut State::new(), ":logs"), []);
    update(&mut state, Message::Reachable(false));
    let text = screen(&state, 120, 10);
    assert!(text.contains("not reachable") && text.contains("pricing"), "{text}");
}

fn any_key() -> impl proptest::strategy::Strategy<Value = KeyCode> {
    prop_oneof![
        proptest::strategy::Strategy::prop_map(proptest::char::any(), KeyCode::Char),
        proptest::strategy::Strategy::prop_map(
            prop::sample::select("jkgGldptsPHARaOC/:?qydlrrrr  cmMxnNzzSoLwT".chars().collect::<Vec<_>>()),
            KeyCode::Char
        ),
        prop::sample::select(vec![
            KeyCode::Enter,
            KeyCode::Esc,
            KeyCode::Backspace,
            KeyCode::PageDown,
            KeyCode::PageUp,
            KeyCode::Up,
            KeyCode::Left,
            KeyCode::Right,
            KeyCode::Tab,
            KeyCode::Home
        ]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_keys_at_any_size_never_panic(keys in proptest::collection::vec(any_key(), 0..40), width in 1u16..140, height in 1u16..50) {
        let mut state = filled();
        update(&mut state, Message::Model(Box::new(detail())));
        for code in keys {
            let commands = key(&mut state, code);
            timeline::serve(&mut state, &commands);
            tracked::serve(&mut state, commands);
            seen(&mut state, width, height);
        }
    }
}

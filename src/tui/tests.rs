use super::state::Command;
use super::*;
use crate::{api::types::*, model::*};
use crossterm::event::{KeyCode, KeyEvent};
use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend};

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

fn summary(name: &str, health: Health, rollout: bool) -> ModelSummary {
    let rollout = rollout.then(|| RolloutSummary {
        to: VersionNumber(7),
        step: 2,
        steps: vec![StepSpec { weight: 10.0, hold: Millis(60_000) }, StepSpec { weight: 25.0, hold: Millis(60_000) }],
        weight: 25.0,
        phase: "step".into(),
        until: Some(SteadyMs(1_030_000)),
        started: WallMs(0),
        analysis: vec![],
        traffic: TrafficStats { requests: 4120, errors: 1, p50_ms: 4.0, p99_ms: 12.4 },
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
    };
    ModelSummary {
        name: Name::new(name).unwrap(),
        sync: if health == Health::Degraded { SyncStatus::OutOfSync } else { SyncStatus::Synced },
        health,
        message: if health == Health::Degraded { "v13 stays out: mae ≤ 4: 4.31".into() } else { String::new() },
        environments: vec![environment],
        training: None,
        changed_by: Some(revision()),
        observed_revision: None,
        owner: None,
    }
}

fn fleet(models: Vec<ModelSummary>) -> Fleet {
    let counts = Counts { models: models.len(), healthy: 1, progressing: 1, degraded: 1, suspended: 1, out_of_sync: 1 };
    let source = SourceStatus {
        url: "https://git.example.com/risk-models".into(),
        branch: "main".into(),
        path: "specs".into(),
        revision: Some(revision()),
        ..SourceStatus::default()
    };
    let now = Now { wall: WallMs(1_000_000), steady: SteadyMs(1_000_000) };
    Fleet { source, models, counts, files: 4, diagnostics: vec![], held: vec![], router: None, now }
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
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|f| draw(f, state)).unwrap();
    terminal.backend().to_string()
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
            stages: vec![stage("check-data", "succeeded"), stage("train", "running")],
        }),
        versions: vec![VersionBrief {
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

trait Tap: Sized {
    fn tap(mut self, f: impl FnOnce(&mut Self)) -> Self {
        f(&mut self);
        self
    }
}
impl Tap for ModelDetail {}

#[test]
fn the_fleet_wide_and_narrow() {
    insta::assert_snapshot!("fleet_120", screen(&filled(), 120, 14));
    insta::assert_snapshot!("fleet_80", screen(&filled(), 80, 24));
}

#[test]
fn a_model_with_a_rollout() {
    let mut state = filled();
    key(&mut state, KeyCode::Down);
    key(&mut state, KeyCode::Down);
    assert_eq!(key(&mut state, KeyCode::Enter), [Command::FetchModel(Name::new("fraud").unwrap())]);
    update(&mut state, Message::Model(Box::new(detail())));
    insta::assert_snapshot!("model_120", screen(&state, 120, 16));
}

#[test]
fn help_events_log_and_the_empty_fleet() {
    let mut state = filled();
    key(&mut state, KeyCode::Char('?'));
    insta::assert_snapshot!("help_80", screen(&state, 80, 24));
    key(&mut state, KeyCode::Char('t'));
    update(
        &mut state,
        Message::Events(vec![
            event(EventKind::RunStarted, "training b3:1"),
            event(EventKind::GateFailed, "v7: gate \u{1b}failed"),
        ]),
    );
    insta::assert_snapshot!("events_80", screen(&state, 80, 6));
    key(&mut state, KeyCode::Char('l'));
    update(&mut state, Message::Log("one\ntwo \u{1b}[2J".into()));
    update(&mut state, Message::Log("…\n".into()));
    assert_eq!(state.log.len(), 2);
    let text = screen(&state, 60, 5);
    assert!(text.contains("two \\u{1b}[2J…") && !text.contains('\u{1b}'), "{text}");
    let mut empty = State::new();
    update(&mut empty, Message::Fleet(Box::new(fleet(vec![]))));
    assert!(screen(&empty, 80, 12).contains("trimtab new NAME"));
}

#[test]
fn dangerous_keys_ask_first() {
    let mut state = filled();
    assert_eq!(key(&mut state, KeyCode::Char('R')), []);
    assert!(screen(&state, 80, 10).contains("Make and push a git revert for churn?"));
    assert_eq!(key(&mut state, KeyCode::Char('n')), []);
    key(&mut state, KeyCode::Char('R'));
    let done = key(&mut state, KeyCode::Char('y'));
    assert_eq!(done, [Command::Post { model: Name::new("churn").unwrap(), verb: "rollback".into() }]);
}

#[test]
fn the_selection_stays_with_the_model_and_the_filter_narrows() {
    let mut state = filled();
    key(&mut state, KeyCode::Char('G'));
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
    for c in ":suspend fraud".chars() {
        key(&mut state, KeyCode::Char(c));
    }
    assert_eq!(
        key(&mut state, KeyCode::Enter),
        [Command::Post { model: Name::new("fraud").unwrap(), verb: "suspend".into() }]
    );
    update(&mut state, Message::Reachable(false));
    let text = screen(&state, 120, 10);
    assert!(text.contains("not reachable") && text.contains("pricing"), "{text}");
    assert_eq!(update(&mut state, Message::Reachable(true)), [Command::FetchFleet]);
}

fn any_key() -> impl proptest::strategy::Strategy<Value = KeyCode> {
    prop_oneof![
        proptest::strategy::Strategy::prop_map(proptest::char::any(), KeyCode::Char),
        proptest::strategy::Strategy::prop_map(
            prop::sample::select("jkgGldptsPHAR/:?qy".chars().collect::<Vec<_>>()),
            KeyCode::Char
        ),
        prop::sample::select(vec![
            KeyCode::Enter,
            KeyCode::Esc,
            KeyCode::Backspace,
            KeyCode::PageDown,
            KeyCode::PageUp,
            KeyCode::Up,
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
            key(&mut state, code);
            screen(&state, width, height);
        }
    }
}

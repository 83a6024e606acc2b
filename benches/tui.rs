//! A frame of the fleet of 10,000 models, 160 by 50 cells, with the escapes that a terminal is sent: at rest, after a key, filtered; and what
//! a new picture of the fleet costs before its frame. Beside it a frame of ratatui's own that fills as many cells.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run says so by panicking")]

use criterion::{Criterion, criterion_group, criterion_main};
use crossterm::event::{KeyCode, KeyEvent};
use ratatui::{
    Terminal, TerminalOptions, Viewport, backend::CrosstermBackend, layout::Rect, text::Line, widgets::Paragraph,
};
use std::{
    hint::black_box,
    io::{Sink, sink},
};
use trimtab::{
    api::types::*,
    model::*,
    tui::{Drawn, Message, State, draw, update},
};

const MODELS: usize = 10_000;
const SCREEN: Rect = Rect::new(0, 0, 160, 50);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn rollout() -> RolloutSummary {
    let step = |weight| StepSpec::new(weight, Millis(60_000));
    RolloutSummary {
        to: VersionNumber(7),
        step: 2,
        steps: vec![step(10.0), step(50.0)],
        strategy: StrategyKind::Canary,
        weight: 50.0,
        phase: "step".into(),
        held: false,
        gate: false,
        until: Some(SteadyMs(1_030_000)),
        started: WallMs(0),
        analysis: vec![],
        traffic: Traffic {
            new: TrafficStats {
                requests: 4120,
                errors: 1,
                p50_ms: 4.0,
                p90_ms: 8.1,
                p99_ms: 12.4,
                latency: vec![],
                open: vec![],
            },
            ..Traffic::default()
        },
    }
}

/// One of a hundred is degraded, one rolls out, one is suspended.
fn summary(n: usize) -> ModelSummary {
    let health = match n % 100 {
        7 => Health::Degraded,
        23 => Health::Progressing,
        61 => Health::Suspended,
        _ => Health::Healthy,
    };
    let environment = EnvironmentSummary {
        environment: name("production"),
        version: Some(VersionNumber(6)),
        routed: Some(VersionNumber(6)),
        rollout: (health == Health::Progressing).then(rollout),
        rejected: None,
        requests_per_s: n as f64,
        p99_ms: 12.0,
        error_share: 0.001,
        stood_in: 0,
        history: vec![],
        objectives: vec![],
        promised: vec![],
    };
    let id = |text: &str| ObjectId(text.into());
    let revision = Revision {
        commit: id("4f1c2ab0"),
        tree: id("7"),
        author: "Ada".into(),
        email: "ada@example.com".into(),
        summary: "deeper trees".into(),
        time: WallMs(880_000),
    };
    let said = if health == Health::Degraded { "v13 stays out: mae ≤ 4: 4.31" } else { "" };
    ModelSummary {
        name: name(&format!("m{n}")),
        sync: if health == Health::Degraded { SyncStatus::OutOfSync } else { SyncStatus::Synced },
        health,
        spec_broken: false,
        message: said.into(),
        environments: vec![environment],
        unapproved: None,
        training: None,
        changed_by: Some(revision),
        observed_revision: None,
        owner: None,
        file: Some("models/x/model.toml".into()),
        labels: Default::default(),
    }
}

fn fleet() -> Fleet {
    let hundredth = MODELS / 100;
    Fleet {
        mirror_error: None,
        source: SourceStatus::default(),
        models: (0..MODELS).map(summary).collect(),
        after: None,
        next: None,
        counts: Counts {
            models: MODELS,
            healthy: MODELS - 3 * hundredth,
            progressing: hundredth,
            degraded: hundredth,
            suspended: hundredth,
            out_of_sync: hundredth,
            burning: 0,
            off_promise: 0,
        },
        files: MODELS,
        diagnostics: vec![],
        held: vec![],
        router: None,
        store_error: None,
        now: Now { wall: WallMs(1_000_000), steady: SteadyMs(1_000_000) },
    }
}

fn terminal() -> Terminal<CrosstermBackend<Sink>> {
    let options = TerminalOptions { viewport: Viewport::Fixed(SCREEN) };
    Terminal::with_options(CrosstermBackend::new(sink()), options).unwrap()
}

fn frame(terminal: &mut Terminal<CrosstermBackend<Sink>>, state: &mut State) {
    let mut drawn = Drawn::default();
    terminal.draw(|f| drawn = draw(f, state)).unwrap();
    state.drawn(drawn);
}

fn press(state: &mut State, code: KeyCode) {
    update(state, Message::Key(KeyEvent::from(code)));
}

/// The fleet's screen, with the selection in the middle of the list.
fn opened() -> State {
    let mut state = State::new();
    update(&mut state, Message::Fleet(Box::new(fleet())));
    for _ in 0..MODELS / 2 {
        press(&mut state, KeyCode::Down);
    }
    state
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("a frame at 10,000 models");
    let mut terminal = terminal();
    let mut state = opened();
    group.bench_function("the fleet", |b| b.iter(|| frame(&mut terminal, &mut state)));
    let mut down = false;
    group.bench_function("a key and the fleet", |b| {
        b.iter(|| {
            down = !down;
            press(&mut state, if down { KeyCode::Down } else { KeyCode::Up });
            frame(&mut terminal, &mut state);
        });
    });
    let mut filtered = opened();
    "/m99".chars().for_each(|c| press(&mut filtered, KeyCode::Char(c)));
    group.bench_function("the fleet, filtered", |b| b.iter(|| frame(&mut terminal, &mut filtered)));
    let news = Box::new(fleet());
    group.bench_function("a new picture of the fleet, taken up", |b| {
        let take = |fleet| black_box(update(&mut state, Message::Fleet(fleet)));
        b.iter_batched(|| news.clone(), take, criterion::BatchSize::LargeInput);
    });
    let text: Vec<Line> = (0..SCREEN.height).map(|_| Line::raw("m".repeat(SCREEN.width.into()))).collect();
    group.bench_function("ratatui alone", |b| {
        b.iter(|| terminal.draw(|f| f.render_widget(Paragraph::new(text.clone()), f.area())).map(drop).unwrap());
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);

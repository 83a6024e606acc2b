//! Tracked runs: their list, a run, several beside each other.

use super::*;
use crate::tui::tracked::*;
use std::collections::BTreeMap;

mod ask;
mod draw;
mod find;
mod wire;

fn id(n: usize) -> RunId {
    RunId(format!("{n:032x}"))
}

/// The n-th run of fraud: every third failed, the newest goes on.
fn run(n: usize) -> TrackedRun {
    let x = n as f64;
    let newest = |value: f64| Newest { value: Figure(value), step: 119, time: 900_000 };
    let metrics = [
        ("auc", 0.98 - x / 100.0),
        ("loss", 0.1 + x / 50.0),
        ("grad_norm", if n == 1 { f64::INFINITY } else { f64::NAN }),
        ("lr", 1e-5),
        ("system/cpu_utilization_percentage", 31.5),
    ];
    let status = match n {
        0 => Status::Running,
        n if n % 3 == 2 => Status::Failed,
        _ => Status::Finished,
    };
    TrackedRun {
        id: id(n),
        name: ["brave-cat-12", "evil \u{1b}[31mred\u{202e}", "山田太郎"]
            .get(n)
            .map_or(format!("train-{n}"), |t| (*t).into()),
        user: ["Ada", "Lin"][n % 2].into(),
        status,
        started: 900_000 - 60_000 * n as i64,
        ended: (n > 0).then_some(905_500 - 60_000 * n as i64),
        metrics: metrics.into_iter().map(|(k, v)| (k.to_owned(), newest(v))).collect(),
    }
}

fn whole(n: usize) -> WholeRun {
    let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    let depth = (6 + n).to_string();
    WholeRun {
        run: run(n),
        params: text(&[
            ("depth", &depth),
            ("seed", "1"),
            ("features", "amount,merchant,\u{9b}country,hour"),
            ("lr", "1e-5"),
        ]),
        tags: text(&[
            ("team", "risk"),
            ("mlflow.user", "Ada"),
            ("mlflow.source.git.commit", "4f1c2ab0c8"),
            ("mlflow.source.name", "train.py"),
            ("mlflow.note.content", "deeper trees\nand a slower rate"),
        ]),
    }
}

/// 120 points, which rise or fall to the newest value.
fn points(want: &Want) -> Vec<Point> {
    let (last, from) = (want.mark.newest.value.0, if want.key == "loss" { 1.0 } else { 0.5 });
    let slow = 10.0 + want.run.0.len() as f64 + f64::from(want.run.0.as_bytes()[31] % 8) * 6.0;
    let value = |s: i64| last + (from - last) * (-(s as f64) / slow).exp();
    (0..120)
        .map(|s| Point { step: s, time: 900_000 + s * 750, value: Figure(if s == 119 { last } else { value(s) }) })
        .collect()
}

fn found(count: usize) -> Found {
    Found { there: true, runs: (0..count).map(run).collect(), next: None, newest: Some(id(0)) }
}

/// Answers what is asked about tracked runs, as a daemon with eight of them does, until nothing more is asked.
pub(super) fn serve(state: &mut State, commands: Vec<Command>) {
    for command in commands {
        let told = match command {
            Command::FetchExperiments => {
                let fraud = Experiment { id: "7".into(), name: "fraud".into(), updated: 900_000 };
                Told::Experiments(vec![fraud])
            }
            Command::FetchRuns(wish) => Told::Runs(wish, Ok(found(8))),
            Command::FetchTracked(ids) => {
                Told::Whole(ids.iter().filter_map(|i| (0..8).find(|n| id(*n) == *i)).map(whole).collect())
            }
            Command::FetchCurves(wants) => {
                Told::Curves(wants.into_iter().map(|w| (points(&w), w)).map(|(p, w)| (w, p)).collect())
            }
            _ => continue,
        };
        let more = update(state, Message::Tracked(told));
        serve(state, more);
    }
}

/// Types keys, and serves what they ask for. `~` is the bar of space, a line break enter.
pub(super) fn press(state: &mut State, keys: &str) {
    for c in keys.chars() {
        let code = match c {
            '\n' => KeyCode::Enter,
            '~' => KeyCode::Char(' '),
            c => KeyCode::Char(c),
        };
        let commands = key(state, code);
        serve(state, commands);
    }
}

/// The runs of fraud are open.
fn opened() -> State {
    let mut state = filled();
    type_line(&mut state, "/fraud");
    press(&mut state, "r");
    state
}

fn wish(filter: &str, order: Order, token: &str) -> Wish {
    Wish { experiment: "fraud".into(), filter: filter.into(), order, token: token.into() }
}

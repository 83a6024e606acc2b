//! Screens of tracked runs: the list, one run, several beside each other.

mod compare;
mod experiments;
mod list;
mod pane;
mod run;

pub use compare::draw as compare;
pub use experiments::draw as experiments;
pub use list::draw as list;
pub use run::draw as run;

use super::paint::{accent, age, bad, cut, dim, good, strong, visible, warn};
use crate::{
    model::Millis,
    tui::{
        state::{Screen, State},
        tracked::{Status, TrackedRun, WholeRun},
    },
};
use ratatui::text::Span;

/// An experiment's name at the head of a screen: others are told beside it.
fn heading(experiment: &str, width: usize) -> Span<'static> {
    strong(&format!(" {}", cut(&visible(experiment), width / 2)))
}

/// A symbol and a word for each status, in its colour.
fn status(status: Status, wide: bool) -> Span<'static> {
    let (symbol, word, paint): (&str, &str, fn(&str) -> Span<'static>) = match status {
        Status::Finished => ("✓", "finished", good),
        Status::Failed => ("!", "failed", bad),
        Status::Killed => ("‖", "killed", warn),
        Status::Running => ("↻", "running", accent),
        Status::Scheduled => ("·", "scheduled", dim),
        Status::Unknown => ("?", "unknown", dim),
    };
    if wide { paint(&format!("{symbol} {word}")) } else { paint(symbol) }
}

/// How long a run took, or takes so far: in whole seconds while it counts.
fn took(run: &TrackedRun, now: i64) -> String {
    let whole = |ms: u64| if run.lives() { ms / 1000 * 1000 } else { ms };
    run.took(now).map_or("-".into(), |ms| match whole(ms) {
        0 if run.lives() => "0s".into(),
        ms => Millis(ms).to_string(),
    })
}

/// The commit of a run: a tag is whatever a client says, and need not be an id.
fn commit(r: &WholeRun) -> Option<String> {
    let tag = r.tags.get("mlflow.source.git.commit").filter(|t| !t.is_empty());
    tag.map(|t| visible(&t.chars().take(7).collect::<String>()))
}

/// The texts of these screens that change by time alone.
pub fn ages(state: &State, seen: usize) -> Vec<String> {
    let now = state.now().wall.0;
    let of = |r: &TrackedRun| format!("{} {}", age(now - r.started), took(r, now));
    let tracked = &state.tracked;
    match state.screen {
        Screen::Experiments => {
            let place = tracked.experiments.place().saturating_sub(seen);
            let near = tracked.experiments.known().iter().skip(place).take(2 * seen);
            near.map(|e| age(now - e.updated)).collect()
        }
        Screen::Runs(_) => {
            let list = &tracked.list;
            let place = list.place().saturating_sub(seen);
            list.runs.iter().skip(place).take(2 * seen).map(of).collect()
        }
        Screen::Run(..) | Screen::Compare(..) => tracked.page.runs.iter().map(|r| of(&r.run)).collect(),
        _ => vec![],
    }
}

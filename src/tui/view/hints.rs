//! What can be done on the open screen, in its last line.

use super::paint::{dim, strong};
use crate::{
    model::*,
    tui::{
        keymap::Act,
        log::Output,
        state::{Screen, State, held},
    },
};
use ratatui::text::Span;
use unicode_width::UnicodeWidthStr;

/// What can be done, by one key or by a pair of them.
struct Hint {
    act: Act,
    other: Option<Act>,
    what: &'static str,
}

fn one(act: Act, what: &'static str) -> Hint {
    Hint { act, other: None, what }
}

fn two(act: Act, other: Act, what: &'static str) -> Hint {
    Hint { act, other: Some(other), what }
}

/// What can be done here, the most useful first.
fn hints(state: &State) -> Vec<Hint> {
    let subject = state.subject_summary();
    let rollout = subject.and_then(held);
    let wrong = subject.is_some_and(|m| m.health != Health::Missing && (m.health == Health::Degraded || m.spec_broken));
    let marked = subject.is_some_and(|m| state.marked.contains(&m.name));
    let unapproved = subject.is_some_and(|m| m.unapproved.is_some());
    let mut out: Vec<Hint> = vec![];
    let steer = |out: &mut Vec<Hint>| {
        if let Some(held) = rollout {
            out.extend([
                one(Act::Promote, "promote"),
                one(Act::Hold, if held { "go on" } else { "hold" }),
                one(Act::Abort, "abort"),
            ]);
        }
        out.extend(unapproved.then_some(one(Act::Approve, "approve")));
        if wrong {
            out.push(one(Act::Rollback, "revert"));
        }
    };
    match state.screen {
        Screen::Fleet => {
            if subject.is_some() {
                out.extend([one(Act::Open, "open"), one(Act::Diff, "diff"), one(Act::Log, "logs")]);
            }
            steer(&mut out);
            out.extend(rollout.is_some().then_some(one(Act::Rollout, "rollout")));
            out.push(one(Act::Runs, if subject.is_some() { "runs" } else { "experiments" }));
            out.extend([
                one(Act::Filter, "filter"),
                one(Act::Command, "command"),
                one(Act::Order, "order"),
                one(Act::Group, "group"),
                one(Act::Plan, "plan"),
                one(Act::TimeLine, "time line"),
                one(Act::Sync, "sync"),
                one(Act::Quit, "quit"),
                one(Act::Bookmark, if marked { "★ take the mark off" } else { "mark" }),
            ]);
        }
        Screen::Rollout(_) => {
            out.push(one(Act::Back, "back"));
            steer(&mut out);
            out.extend([
                two(Act::Down, Act::Up, "choose an analysis"),
                one(Act::Open, "model"),
                one(Act::Log, "logs"),
                one(Act::Diff, "diff"),
                one(Act::Command, "command"),
            ]);
        }
        Screen::Model(_) | Screen::Diff(_) => {
            out.push(one(Act::Back, "back"));
            out.extend(rollout.is_some().then_some(one(Act::Rollout, "rollout")));
            steer(&mut out);
            let other =
                if matches!(state.screen, Screen::Diff(_)) { one(Act::Open, "open") } else { one(Act::Diff, "diff") };
            if matches!(state.screen, Screen::Model(_)) {
                out.extend([one(Act::Part, "part"), two(Act::Down, Act::Up, "choose")]);
            }
            out.extend([
                other,
                one(Act::Log, "logs"),
                one(Act::Runs, "runs"),
                one(Act::TimeLine, "time line"),
                one(Act::Command, "command"),
            ]);
        }
        Screen::Log(_, ref output) => {
            let other = if *output == Output::Runs { "replicas" } else { "next output" };
            out.extend([
                one(Act::Back, "back"),
                one(Act::Log, other),
                one(Act::Filter, "search"),
                one(Act::Bottom, "follow"),
                one(Act::Level, "level"),
                one(Act::Wrap, "wrap"),
                one(Act::Stamp, "times"),
                one(Act::Save, "save"),
                one(Act::Pager, "pager"),
                one(Act::Open, "model"),
            ]);
        }
        Screen::Runs(_) => {
            out.push(one(Act::Back, "back"));
            if !state.tracked.list.runs.is_empty() {
                let compare = state.tracked.list.marked.len() > 1;
                out.extend([one(Act::Open, "open"), one(Act::Mark, "mark")]);
                out.extend(compare.then_some(one(Act::Compare, "compare")));
                out.extend(state.tracked.list.next.is_some().then_some(one(Act::NextPage, "next")));
                out.extend((state.tracked.list.skipped() > 0).then_some(one(Act::PageBefore, "before")));
                out.extend([one(Act::Filter, "filter"), one(Act::Sort, "sort"), one(Act::Metric, "metric")]);
            } else {
                out.push(one(Act::Filter, "filter"));
            }
            out.extend([one(Act::Runs, "experiments"), one(Act::Command, "command")]);
        }
        Screen::Experiments => {
            out.extend([
                one(Act::Back, "back"),
                one(Act::Open, "open"),
                one(Act::Filter, "find"),
                two(Act::Down, Act::Up, "choose"),
                one(Act::Command, "command"),
            ]);
        }
        Screen::Run(..) | Screen::Compare(..) => {
            let alone = if state.tracked.page.alone { "all" } else { "chart alone" };
            out.push(one(Act::Back, "back"));
            let cut = matches!(state.screen, Screen::Compare(..)) && state.extent.last > 0;
            out.extend(cut.then_some(two(Act::Left, Act::Right, "other runs")));
            out.extend([two(Act::Down, Act::Up, "choose"), one(Act::Open, alone), one(Act::Metric, "next metric")]);
            out.extend([one(Act::Axis, "step or time"), one(Act::Command, "command")]);
        }
        Screen::Plan => {
            out.extend([one(Act::Back, "back"), two(Act::Down, Act::Up, "choose")]);
            out.extend([one(Act::Open, "fold"), one(Act::Group, "fold all")]);
            out.extend(state.subject().is_some().then_some(one(Act::Diff, "diff")));
            out.extend([one(Act::Sync, "sync"), one(Act::Command, "command")]);
        }
        Screen::TimeLine => {
            out.push(one(Act::Back, "back"));
            if !state.timeline.known().is_empty() {
                out.extend([one(Act::Open, "open"), one(Act::Rollback, "revert"), two(Act::Down, Act::Up, "choose")]);
            }
            out.extend([one(Act::Sync, "sync"), one(Act::Command, "command")]);
        }
        Screen::Commit(_) => {
            out.extend([one(Act::Back, "back"), one(Act::Rollback, "revert")]);
            out.extend([two(Act::Down, Act::Up, "scroll"), one(Act::Command, "command")]);
        }
        Screen::Revert(_) => {
            out.extend([one(Act::Back, "back"), two(Act::Down, Act::Up, "scroll"), one(Act::Command, "command")]);
        }
        Screen::Events => {
            out.extend([
                one(Act::Back, "back"),
                two(Act::Down, Act::Up, "scroll"),
                two(Act::Top, Act::Bottom, "top, end"),
                one(Act::Sync, "sync"),
                one(Act::Command, "command"),
            ]);
        }
        Screen::Contexts => {
            out.extend([one(Act::Back, "back"), one(Act::Open, "go there"), two(Act::Down, Act::Up, "choose")]);
            out.push(one(Act::Command, "command"));
        }
        Screen::Help => {
            out.extend([one(Act::Back, "back"), two(Act::Down, Act::Up, "scroll"), one(Act::Filter, "search")]);
        }
    }
    out
}

/// Where hints are in their line: from which cell on, in how many, and what they do.
pub type Hints = Vec<(usize, usize, Act)>;

/// As many from cell `from` on as fit whole; help is always among them. What has no key is no hint.
pub fn laid_out(state: &State, from: usize, width: usize) -> (Vec<Span<'static>>, Hints) {
    let closed = state.forbidden().is_some();
    let shown = |h: Hint| {
        let other = h.other.and_then(|a| state.key(a)).map_or(String::new(), |k| format!(" {k}"));
        let what = if closed && h.act.changes() { format!("✗ {}", h.what) } else { h.what.to_owned() };
        Some((state.key(h.act)? + &other, what, h.act))
    };
    let size = |h: &(String, String, Act)| h.0.width() + h.1.width() + 3;
    let help = shown(one(Act::Help, "help"));
    // The space before the first, and none after the last.
    let mut room = (width + 1).saturating_sub(from).saturating_sub(help.as_ref().map_or(0, size));
    let fitting = hints(state).into_iter().filter_map(shown).take_while(|h| {
        let fits = size(h) <= room;
        room = room.saturating_sub(size(h));
        fits
    });
    let (mut spans, mut hints, mut at) = (vec![Span::raw(" ")], vec![], from + 1);
    for hint in fitting.collect::<Vec<_>>().into_iter().chain(help) {
        hints.push((at, size(&hint) - 2, hint.2));
        spans.extend((at > from + 1).then(|| Span::raw("  ")));
        at += size(&hint);
        let key = if closed && hint.2.changes() { dim(&hint.0) } else { strong(&hint.0) };
        spans.extend([key, dim(&format!(" {}", hint.1))]);
    }
    (spans, hints)
}

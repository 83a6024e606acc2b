//! Screens as functions of the state.

mod chart;
mod contexts;
mod drift;
mod fleet;
mod help;
mod hints;
pub(super) mod log;
mod model;
mod paint;
mod panes;
mod plan;
mod rollout;
mod scale;
mod simple;
mod spark;
mod timeline;
mod tracked;

use super::{
    access::Access,
    keymap::{Act, candidates},
    promotion::Letting,
    state::{Drawn, Mode, Screen, State, Target},
};
use crate::{
    api::types::{Counts, ModelDetail},
    model::*,
};
use hints::{Hints, laid_out};
pub(super) use paint::gist;
#[cfg(test)]
pub(super) use paint::tests::odd_text;
use paint::{bad, clip, dim, good, strong, visible, warn};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::Paragraph,
};

/// Draws the whole screen:
/// ```text
///  trimtab  risk-models @ 4f1c2ab main   ● watching             12 models  ✓ 9  ↻ 1  ! 1  ‖ 1
///  …the open screen…
///  enter open  d diff  l logs  p plan  t time line  s sync  / filter  : command  q quit  ? help
/// ```
pub fn draw(frame: &mut Frame, state: &State) -> Drawn {
    let width = frame.area().width.into();
    let (below, hints) = match (state.question(), &state.mode) {
        (Some(question), _) => (confirmation(&question, &answers(state), width), vec![]),
        (None, Mode::Reason(letting, text)) => (reason(letting, text, width), vec![]),
        (None, _) => {
            let (line, hints) = footer(state, width);
            (vec![line], hints)
        }
    };
    let rows = u16::try_from(below.len()).unwrap_or(1);
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(rows)]).areas(frame.area());
    frame.render_widget(Paragraph::new(header(state, width)), head);
    frame.render_widget(Paragraph::new(below), foot);
    let place = |(x, width, act): (usize, usize, Act)| {
        let area = Rect::new(cells(x), foot.y, cells(width), foot.height);
        (area.intersection(foot), Target::Hint(act))
    };
    let mut targets: Targets = hints.into_iter().map(place).collect();
    let extent = match &state.screen {
        Screen::Fleet => fleet::draw(frame, body, state, &mut targets),
        Screen::Model(_) => model::draw(frame, body, state, &mut targets),
        Screen::Rollout(name) => rollout::draw(frame, body, state, name),
        Screen::Log(name, output) => log::draw(frame, body, state, name, output),
        Screen::Diff(name) => drift::draw(frame, body, state, name),
        Screen::Experiments => tracked::experiments(frame, body, state, &mut targets),
        Screen::Runs(_) => tracked::list(frame, body, state, &mut targets),
        Screen::Run(experiment, _) => tracked::run(frame, body, state, experiment, &mut targets),
        Screen::Compare(experiment, _) => tracked::compare(frame, body, state, experiment, &mut targets),
        Screen::TimeLine => timeline::draw(frame, body, state, &mut targets),
        Screen::Commit(id) => timeline::commit(frame, body, state, id),
        Screen::Revert(id) => timeline::revert(frame, body, state, id),
        Screen::Events => simple::events(frame, body, state),
        Screen::Plan => plan::draw(frame, body, state, &mut targets),
        Screen::Contexts => contexts::draw(frame, body, state, &mut targets),
        Screen::Help => help::draw(frame, body, state),
    };
    state.look.dress(frame.buffer_mut());
    Drawn { extent, targets }
}

/// What is where.
type Targets = Vec<(Rect, Target)>;

/// The lines of a list from `from` up to `to` stand for one row of it.
fn row_target(area: Rect, from: usize, to: usize, row: usize) -> (Rect, Target) {
    let lines = Rect::new(area.x, area.y.saturating_add(cells(from)), area.width, cells(to.saturating_sub(from)));
    (lines.intersection(area), Target::Row(row))
}

fn cells(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

/// The texts that change by time alone.
pub fn ages(state: &State) -> String {
    // More than the tallest screen shows.
    const SEEN: usize = 200;
    let now = state.now();
    let ago = |at: WallMs| paint::age(now.wall.0 - at.0);
    let models = || state.fleet.iter().flat_map(|f| &f.models).take(SEEN);
    let mut texts: Vec<String> = match &state.screen {
        Screen::Fleet => models().filter_map(|m| m.changed_by.as_ref()).map(|r| ago(r.time)).collect(),
        Screen::Events => state.events.iter().rev().take(SEEN + state.scroll).map(|e| ago(e.at)).collect(),
        Screen::TimeLine => {
            let commits = state.timeline.known().iter().map(|c| c.revision.time);
            commits.chain(state.events.iter().rev().take(SEEN).map(|e| e.at)).map(ago).collect()
        }
        Screen::Commit(id) => {
            let page = state.timeline.page_of(id);
            let events = page.into_iter().flat_map(|p| p.events.iter().map(|e| e.at));
            events.chain(page.map(|p| p.commit.revision.time)).map(ago).collect()
        }
        Screen::Model(_) => {
            let page = state.model.iter();
            // Stages that run are counted in seconds.
            let times = |m: &ModelDetail| {
                let running = m.runs.iter().filter(|r| r.status == RunStatus::Running).map(|r| r.started);
                let told = m.events.iter().map(|e| e.at).chain(m.versions.iter().map(|v| v.created));
                let told = told.map(ago).collect::<Vec<_>>();
                told.into_iter().chain(running.map(|at| (now.wall.0 - at.0).to_string())).collect::<Vec<_>>()
            };
            page.flat_map(times).collect()
        }
        Screen::Plan => {
            let revision = state.plan.iter().filter_map(|p| p.revision.as_ref());
            revision.map(|r| Millis((now.wall.0 - r.time.0).max(0) as u64).to_string()).collect()
        }
        Screen::Experiments | Screen::Runs(_) | Screen::Run(..) | Screen::Compare(..) => tracked::ages(state, SEEN),
        Screen::Rollout(_) => {
            let moving = state.model.iter().filter_map(|m| rollout::moving(&m.summary));
            moving.map(|(_, r)| format!("{} {}", fleet::stage(r, now), ago(r.started))).collect()
        }
        Screen::Contexts => contexts::ages(&state.contexts),
        Screen::Diff(_) | Screen::Log(..) | Screen::Revert(_) | Screen::Help => vec![],
    };
    if matches!(state.screen, Screen::Fleet | Screen::Model(_)) {
        let rollouts = models().flat_map(|m| &m.environments).filter_map(|e| e.rollout.as_ref());
        texts.extend(rollouts.map(|r| fleet::stage(r, now)));
    }
    texts.push(state.note.clone());
    texts.extend(state.stale().map(gone));
    texts.join(" ")
}

fn counts(c: Counts, wide: bool) -> Vec<Span<'static>> {
    let mut out = vec![];
    if wide {
        out.push(Span::raw(format!("{} {}  ", c.models, if c.models == 1 { "model" } else { "models" })));
    }
    for (symbol, n, paint) in [
        ("✓", c.healthy, good as fn(&str) -> Span<'static>),
        ("↻", c.progressing, paint::accent),
        ("!", c.degraded, bad),
        ("‖", c.suspended, warn),
    ] {
        let text = if wide { format!("{symbol} {n}  ") } else { format!("{symbol}{n} ") };
        out.push(if n == 0 { dim(&text) } else { paint(&text) });
    }
    out
}

fn header(state: &State, width: usize) -> Line<'static> {
    let mut left = vec![strong(" trimtab  ")];
    left.extend(state.contexts.open().map(|c| paint::accent(&format!("{}  ", visible(c)))));
    if let Some(fleet) = &state.fleet {
        let name = fleet.source.url.rsplit('/').next().unwrap_or_default().trim_end_matches(".git");
        let revision = fleet.source.revision.as_ref().map_or("no commit yet", |r| r.commit.short());
        left.push(Span::raw(visible(&format!("{name} @ {revision} {}  ", fleet.source.branch))));
    }
    left.push(match (state.stale(), state.fleet.as_ref().map(|f| f.source.reason)) {
        (Some(stale), _) => bad(&gone(stale)),
        (None, Some(Some(reason))) => bad(&format!("○ source: {reason}")),
        (None, None) => dim("connecting"),
        (None, Some(None)) if !state.whole => dim(&reading(state)),
        (None, Some(None)) => good("● watching"),
    });
    left.extend((state.access != Access::Full).then(|| warn("  read-only")));
    let used: usize = left.iter().map(Span::width).sum();
    let sized = |wide| state.fleet.as_ref().map(|f| counts(f.counts, wide)).unwrap_or_default();
    let fits = |right: &Vec<Span>| used + 1 + right.iter().map(Span::width).sum::<usize>() <= width;
    if let Some(right) = [sized(true), sized(false)].into_iter().find(fits) {
        let room = width - used - right.iter().map(Span::width).sum::<usize>();
        left.push(Span::raw(" ".repeat(room)));
        left.extend(right);
    }
    clip(Line::from(left), width)
}

/// `○ 1000 of 10000 read`.
fn reading(state: &State) -> String {
    let (read, all) = state.fleet.as_ref().map_or((0, 0), |f| (f.models.len(), f.counts.models));
    format!("○ {read} of {all} read")
}

/// `○ not reachable for 12s, as of 11:52:03`.
fn gone((seconds, at): (u64, Option<String>)) -> String {
    let at = at.map_or(String::new(), |at| format!(", as of {at}"));
    format!("○ not reachable for {}{at}", paint::age(seconds as i64 * 1000))
}

/// Which keys answer no: where a plan is read before, its keys move in it.
fn answers(state: &State) -> String {
    let moves: Vec<String> = [Act::Down, Act::Up].into_iter().filter_map(|a| state.key(a)).collect();
    if !matches!(state.screen, Screen::Revert(_)) || moves.is_empty() {
        return "any other key no".to_owned();
    }
    format!("{} scroll, any other key no", moves.join(" "))
}

/// A question in as many rows as it needs, and the keys that answer it.
fn confirmation(question: &str, answers: &str, width: usize) -> Vec<Line<'static>> {
    let mut rows = paint::told(&visible(question), width.saturating_sub(1), 0);
    let last = rows.pop().unwrap_or_default();
    let mut out: Vec<Line> = rows.iter().map(|r| Line::from(warn(&format!(" {r}")))).collect();
    let keys = [strong("  y"), Span::raw(format!(" yes, {answers}"))];
    let last = warn(&format!(" {last}"));
    if last.width() + keys.iter().map(Span::width).sum::<usize>() <= width {
        out.push(Line::from([vec![last], keys.to_vec()].concat()));
    } else {
        out.extend([Line::from(last), clip(Line::from(keys.to_vec()), width)]);
    }
    out
}

/// What is asked for, and below it what is typed so far: its end is always seen.
fn reason(letting: &Letting, text: &str, width: usize) -> Vec<Line<'static>> {
    let Letting { version, environment, lacks, .. } = letting;
    let asked =
        format!("why {version} goes to {environment} without {lacks}, for the record (enter goes on, esc gives up):");
    let mut out: Vec<Line> = paint::told(&visible(&asked), width.saturating_sub(1), 0)
        .iter()
        .map(|row| Line::from(warn(&format!(" {row}"))))
        .collect();
    let typed = paint::tail(&visible(text), width.saturating_sub(2));
    out.push(clip(Line::from(vec![Span::raw(format!(" {typed}")), Span::raw("▏")]), width));
    out
}

fn footer(state: &State, width: usize) -> (Line<'static>, Hints) {
    let mut places = vec![];
    let line = match &state.mode {
        Mode::Command(typed) => {
            let mut line = vec![strong(" :"), Span::raw(visible(&typed.text)), Span::raw("▏")];
            let may: Vec<&Listed> = candidates(&typed.text).collect();
            // More than the widest screen shows.
            let names: Vec<String> = typed.names(state).into_iter().take(40).map(visible).collect();
            match may.as_slice() {
                _ if !names.is_empty() => line.push(dim(&format!("  {}", names.join(" · ")))),
                [(name, takes, what)] => line.push(dim(&format!("  {name} {takes}  {what}"))),
                [] => line.push(dim("  no such command")),
                many => line.push(dim(&format!("  {}", many.iter().map(|c| c.0).collect::<Vec<_>>().join(" · ")))),
            }
            line
        }
        Mode::Filter(text) if matches!(state.screen, Screen::Runs(_)) => {
            vec![
                strong(" /"),
                Span::raw(visible(text)),
                Span::raw("▏"),
                dim("  as MLflow has it; enter asks, esc clears"),
            ]
        }
        Mode::Filter(text) if matches!(state.screen, Screen::Log(..)) => {
            let keys = [Act::NextPage, Act::PageBefore].map(|a| state.called(a)).join(", ");
            let told = format!("  enter keeps, esc clears; then {keys}");
            vec![strong(" /"), Span::raw(visible(text)), Span::raw("▏"), dim(&told)]
        }
        Mode::Filter(text) if state.screen == Screen::Help => {
            vec![strong(" /"), Span::raw(visible(text)), Span::raw("▏"), dim("  enter keeps, esc clears")]
        }
        Mode::Filter(text) => {
            let all = state.fleet.as_ref().map_or(0, |f| f.models.len());
            let found = format!("  {} of {all}   enter keeps, esc clears", state.shown().len());
            vec![strong(" /"), Span::raw(visible(text)), Span::raw("▏"), dim(&found)]
        }
        Mode::Normal if !state.note.is_empty() => vec![warn(&format!(" {}", gist(&state.note)))],
        Mode::Normal | Mode::Confirm(_) | Mode::Reason(..) => {
            let mut line = vec![];
            if state.screen == Screen::Fleet && !state.filter.is_empty() {
                line.extend([
                    strong(&format!(" /{}", visible(&state.filter))),
                    dim(&state.with_key(Act::Back, " {} clears ")),
                ]);
            }
            let used: usize = line.iter().map(Span::width).sum();
            let (spans, hints) = laid_out(state, used, width);
            places = hints;
            line.extend(spans);
            line
        }
    };
    (clip(Line::from(line), width), places)
}

type Listed = (&'static str, &'static str, &'static str);

/// A symbol for each health, so that nothing hangs on colour alone.
pub(super) fn symbol(health: Health) -> &'static str {
    match health {
        Health::Healthy => "✓",
        Health::Progressing => "↻",
        Health::Degraded | Health::Missing => "!",
        Health::Suspended => "‖",
        Health::Unknown => "·",
    }
}

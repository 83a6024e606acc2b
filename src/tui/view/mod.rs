//! Screens as functions of the state.

mod fleet;
mod model;
mod paint;
mod simple;

use super::{
    keymap::KEYS,
    state::{Mode, Screen, State},
};
use crate::model::*;
use paint::{dim, strong, visible};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::Paragraph,
};

/// Draws the whole screen:
/// ```text
///  trimtab  models.git @ 4f1c2ab main   ● watching              12 models  ✓ 9  ↻ 1  ! 1  ‖ 1
///  …the open screen…
///  enter open · p plan · s sync · l logs · t time line · / filter · : command · ? help
/// ```
pub fn draw(frame: &mut Frame, state: &State) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(header(state, head), head);
    match &state.screen {
        Screen::Fleet => fleet::draw(frame, body, state),
        Screen::Model(_) => model::draw(frame, body, state),
        Screen::Log(name) => simple::log(frame, body, state, name),
        Screen::Events => simple::events(frame, body, state),
        Screen::Plan => simple::plan(frame, body, state),
        Screen::Help => simple::lines(frame, body, state.scroll, " keys", help()),
    }
    frame.render_widget(footer(state), foot);
}

/// The texts that change by time alone.
pub fn ages(state: &State) -> String {
    let now = state.now();
    let models = state.fleet.iter().flat_map(|f| &f.models);
    let ages: Vec<String> =
        models.take(200).filter_map(|m| m.changed_by.as_ref()).map(|r| paint::age(now.wall.0 - r.time.0)).collect();
    let rolling = matches!(state.screen, Screen::Model(_))
        && state.model.as_ref().is_some_and(|m| m.summary.environments.iter().any(|e| e.rollout.is_some()));
    format!("{ages:?}{}", if rolling { now.steady.0 } else { 0 })
}

fn header(state: &State, area: Rect) -> Paragraph<'static> {
    let mut left = vec![strong(" trimtab  ")];
    let mut right = String::new();
    if let Some(fleet) = &state.fleet {
        let name = fleet.source.url.rsplit('/').next().unwrap_or_default();
        let revision = fleet.source.revision.as_ref().map_or("no commit yet", |r| r.commit.short());
        left.push(Span::raw(visible(&format!("{name} @ {revision} {}  ", fleet.source.branch))));
        let c = fleet.counts;
        right =
            format!("{} models  ✓ {}  ↻ {}  ! {}  ‖ {} ", c.models, c.healthy, c.progressing, c.degraded, c.suspended);
    }
    left.push(match (state.reachable, state.fleet.as_ref().and_then(|f| f.source.error.as_ref())) {
        (false, _) => paint::bad("○ daemon not reachable, retrying"),
        (true, Some(e)) => paint::bad(&format!("○ source: {}", visible(e))),
        (true, None) if state.fleet.is_none() => dim("connecting"),
        (true, None) => paint::good("● watching"),
    });
    let used: usize = left.iter().map(Span::width).sum();
    let room = usize::from(area.width).saturating_sub(used + right.chars().count());
    if usize::from(area.width) > used + right.chars().count() {
        left.push(Span::raw(" ".repeat(room)));
        left.push(Span::raw(right));
    }
    Paragraph::new(Line::from(left))
}

fn footer(state: &State) -> Paragraph<'static> {
    let line = match &state.mode {
        Mode::Command(text) => Line::from(vec![strong(" :"), Span::raw(visible(text)), Span::raw("▏")]),
        Mode::Filter(text) => Line::from(vec![strong(" /"), Span::raw(visible(text)), Span::raw("▏")]),
        Mode::Confirm(_) => Line::from(vec![
            paint::warn(&format!(" {} ", state.question().unwrap_or_default())),
            strong("y"),
            Span::raw(" yes · any other key no"),
        ]),
        Mode::Normal if !state.note.is_empty() => Line::from(paint::warn(&format!(" {}", visible(&state.note)))),
        Mode::Normal => Line::from(dim(match state.screen {
            Screen::Fleet => {
                " enter open · p plan · s sync · l logs · t time line · / filter · : command · ? help · q quit"
            }
            Screen::Model(_) => " P promote · H hold · A abort · R revert · l logs · p plan · esc back · ? help",
            Screen::Log(_) => " k up · j down · G follow · esc back",
            _ => " j down · k up · esc back · ? help",
        })),
    };
    Paragraph::new(line)
}

/// ```text
///   enter   open the model
/// ```
fn help() -> Vec<Line<'static>> {
    let key = |(name, _, _, what): &(&'static str, _, _, &'static str)| {
        Line::from(vec![strong(&format!("  {name:<8}")), Span::raw(*what)])
    };
    let mut out: Vec<Line> = KEYS.iter().filter(|k| !k.0.is_empty()).map(key).collect();
    out.push(Line::raw(""));
    out.push(Line::from(vec![dim("  ✓ healthy   ↻ progressing   ! degraded   ‖ suspended   · unknown")]));
    out
}

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

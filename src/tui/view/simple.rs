//! Screens that are lists of lines: log, time line, plan, help.

use super::paint::{accent, age, bad, dim, good, strong, visible, warn};
use crate::{model::*, plan::render, tui::state::State};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

/// Lines from `scroll` on, under a title.
pub fn lines(frame: &mut Frame, area: Rect, scroll: usize, title: &str, all: Vec<Line<'static>>) {
    let mut shown = Vec::new();
    if !title.is_empty() {
        shown.push(Line::from(strong(title)));
    }
    let room = usize::from(area.height).saturating_sub(shown.len());
    let first = scroll.min(all.len().saturating_sub(room));
    shown.extend(all.into_iter().skip(first).take(room));
    frame.render_widget(Paragraph::new(shown), area);
}

/// ```text
///  log of tumour
///  trained on 398 rows …
/// ```
pub fn log(frame: &mut Frame, area: Rect, state: &State, name: &Name) {
    let room = usize::from(area.height).saturating_sub(1);
    let last = state.log.len().saturating_sub(state.scroll.min(state.log.len().saturating_sub(room)));
    let first = last.saturating_sub(room);
    let text = |l: &String| Line::raw(format!(" {}", visible(&l.trim_end_matches(['\n', '\r']).replace('\t', "    "))));
    let shown = if state.log.is_empty() {
        vec![Line::from(dim(" nothing was written yet"))]
    } else {
        state.log[first..last].iter().map(text).collect()
    };
    let held = if state.scroll > 0 { format!("  ({} lines below)", state.scroll) } else { String::new() };
    lines(frame, area, 0, &format!(" log of {name}{held}"), shown);
}

/// ```text
///  4f1c2ab  2m   Ada   fraud        training b3:a78dd014: train.params.depth 6 → 8
/// ```
pub fn events(frame: &mut Frame, area: Rect, state: &State) {
    let now = state.now();
    let all: Vec<Line> = state.events.iter().rev().map(|e| event(e, now)).collect();
    let all = if all.is_empty() { vec![Line::from(dim(" nothing happened yet"))] } else { all };
    lines(frame, area, state.scroll, " time line, newest first", all);
}

/// One event.
pub fn event(e: &Event, now: Now) -> Line<'static> {
    let commit = e.commit.as_ref().map_or("       ".to_owned(), |c| c.short().to_owned());
    let author = e.author.as_deref().map(visible).unwrap_or_default();
    let model = e.model.as_ref().map_or("", Name::as_str);
    let message = visible(e.message.lines().next().unwrap_or_default());
    let message = match e.kind {
        EventKind::RunFailed
        | EventKind::GateFailed
        | EventKind::RolloutAborted
        | EventKind::SpecBroken
        | EventKind::SourceUnreachable => bad(&message),
        EventKind::Promoted | EventKind::VersionRegistered | EventKind::RolledBack => good(&message),
        EventKind::RetireHeld | EventKind::ReplicaDied => warn(&message),
        _ => Span::raw(message),
    };
    Line::from(vec![
        dim(&format!(" {commit}  {:>4}  ", age(now.wall.0 - e.at.0))),
        Span::raw(format!("{author:<10.10} ")),
        accent(&format!("{model:<16.16} ")),
        message,
    ])
}

/// The plan, as `trimtab plan` prints it.
pub fn plan(frame: &mut Frame, area: Rect, state: &State) {
    let text = state.plan.as_ref().map_or_else(|| "loading".to_owned(), render::fleet);
    let paint = |l: &str| {
        let l = format!(" {}", visible(l));
        match l.trim_start().chars().next() {
            Some('+') => Line::from(good(&l)),
            Some('~' | '↺') => Line::from(accent(&l)),
            Some('-') => Line::from(bad(&l)),
            _ => Line::raw(l),
        }
    };
    lines(frame, area, state.scroll, " plan", text.lines().map(paint).collect());
}

//! Screens that are lists of lines: events.

use super::paint::{accent, age, bad, clip, dim, fold, good, pad, strong, visible, warn};
use crate::{
    model::*,
    tui::state::{Extent, State},
};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

/// Lines from `scroll` on, under a title.
pub fn lines(
    frame: &mut Frame,
    area: Rect,
    scroll: usize,
    title: Option<Line<'static>>,
    all: Vec<Line<'static>>,
) -> Extent {
    let mut shown: Vec<Line> = title.into_iter().collect();
    let page = usize::from(area.height).saturating_sub(shown.len());
    let last = all.len().saturating_sub(page);
    shown.extend(all.into_iter().skip(scroll.min(last)).take(page));
    let shown: Vec<Line> = shown.into_iter().map(|l| clip(l, area.width.into())).collect();
    frame.render_widget(Paragraph::new(shown), area);
    Extent { last, page, width: 0 }
}

/// ```text
///  4f1c2ab  2m   Ada   fraud        training b3:a78dd014: train.params.depth 6 → 8
/// ```
pub fn events(frame: &mut Frame, area: Rect, state: &State) -> Extent {
    let now = state.now();
    let all: Vec<Line> = state.events.iter().rev().map(|e| event(e, now, true)).collect();
    let all = if all.is_empty() { vec![Line::from(dim(" nothing happened yet"))] } else { all };
    let title = Line::from(vec![strong(" events"), dim("  newest first")]);
    lines(frame, area, state.scroll, Some(title), all)
}

/// A message in the colour of what it tells.
pub fn toned(kind: EventKind, message: &str) -> Span<'static> {
    match kind {
        EventKind::RunFailed
        | EventKind::GateFailed
        | EventKind::RolloutAborted
        | EventKind::RevertCommitted
        | EventKind::SpecBroken
        | EventKind::SourceUnreachable => bad(message),
        EventKind::Promoted | EventKind::VersionRegistered | EventKind::RolledBack => good(message),
        EventKind::RetireHeld | EventKind::ReplicaDied => warn(message),
        _ => Span::raw(message.to_owned()),
    }
}

/// One event; on a model's own page without its name.
pub fn event(e: &Event, now: Now, named: bool) -> Line<'static> {
    let commit = e.commit.as_ref().map_or("       ".to_owned(), |c| c.short().to_owned());
    let author = e.author.as_deref().map(visible).unwrap_or_default();
    let model = e.model.as_ref().map_or("", Name::as_str);
    let message = toned(e.kind, &super::paint::gist(&e.message));
    let mut spans =
        vec![dim(&format!(" {commit} {:>4}  ", age(now.wall.0 - e.at.0))), Span::raw(format!("{} ", pad(&author, 9)))];
    if named {
        spans.push(accent(&format!("{} ", pad(model, 14))));
    }
    spans.push(message);
    Line::from(spans)
}

/// A line of a rendered plan in the colour of its sign; what follows it stands below its text.
pub fn planned(l: &str, width: usize) -> Vec<Line<'static>> {
    let l = visible(l);
    let text_at = if l.starts_with("  ") { 19 } else { 0 };
    let paint: fn(&str) -> Span<'static> = match l.trim_start().chars().next() {
        Some('+') => good,
        Some('~' | '↺') => accent,
        Some('-') => bad,
        _ => |l| Span::raw(l.to_owned()),
    };
    fold(&l, width.saturating_sub(1), text_at).iter().map(|l| Line::from(paint(&format!(" {l}")))).collect()
}

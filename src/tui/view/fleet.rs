//! The fleet.
//!
//! ```text
//!   MODEL            SYNC       HEALTH       LIVE          TRAFFIC            REQ/S     P99   ERR   CHANGED
//! ! pricing          OutOfSync  Degraded     v12           ██████████████        41    88ms  2.1%   6m Lin
//!     v13 stays out: mae ≤ 4: 4.31
//! ↻ fraud            Synced     Progressing  v6 → v7 25 %  ██████████▒▒▒▒       910    12ms  0.0%   2m Ada
//! ```

use super::{
    paint::{age, bar, dim, health, strong, visible, warn},
    symbol,
};
use crate::{api::types::*, model::*, tui::state::State};
use ratatui::{
    Frame,
    layout::Rect,
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::Paragraph,
};

const EMPTY: &[&str] = &[
    "",
    "  No models yet.",
    "",
    "  trimtab new NAME      makes one from a template",
    "  git commit            and it is trained, checked and served",
];

/// Draws the table; only rows that fit are built.
pub fn draw(frame: &mut Frame, area: Rect, state: &State) {
    let shown = state.shown();
    if shown.is_empty() {
        let text: Vec<Line> = match (&state.fleet, state.filter.is_empty()) {
            (None, _) => vec![Line::raw(""), Line::from(dim("  waiting for the daemon"))],
            (_, false) => vec![
                Line::raw(""),
                Line::raw(format!("  Nothing matches /{}: esc clears the filter.", visible(&state.filter))),
            ],
            _ => EMPTY.iter().map(|l| Line::raw(*l)).collect(),
        };
        return frame.render_widget(Paragraph::new(text), area);
    }
    let wide = area.width >= 100;
    let mut lines = vec![Line::from(strong(&heading(wide)))];
    let place = state.place();
    let height = usize::from(area.height.saturating_sub(1)).max(1);
    // Two lines for each row at most: the selected row is kept in the upper part.
    let first = place.saturating_sub(height / 2);
    let now = state.now().wall.0;
    for (i, m) in shown.iter().enumerate().skip(first) {
        if lines.len() > height {
            break;
        }
        let style = if i == place { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        lines.push(row(m, now, wide).style(style));
        if !m.message.is_empty() && m.health != Health::Healthy {
            let first_line = m.message.lines().next().unwrap_or_default();
            lines.push(Line::from(warn(&format!("    {}", visible(first_line)))));
        }
    }
    for name in state.fleet.iter().flat_map(|f| &f.held).take(3) {
        lines.push(Line::from(warn(&format!("  {name}: spec deleted, held: `trimtab sync --prune` retires it"))));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn heading(wide: bool) -> String {
    let more =
        if wide { format!("{:<15}{:>7} {:>8} {:>6}  ", "TRAFFIC", "REQ/S", "P99", "ERR") } else { String::new() };
    format!("  {:<17}{:<11}{:<13}{:<16}{more}{}", "MODEL", "SYNC", "HEALTH", "LIVE", "CHANGED")
}

fn row(m: &ModelSummary, now: i64, wide: bool) -> Line<'static> {
    let live = m.environments.last();
    let rollout = live.and_then(|e| e.rollout.as_ref());
    let version = live.and_then(|e| e.version).map_or("-".to_owned(), |v| v.to_string());
    let version = match rollout {
        Some(r) => format!("{version} → {} {} %", r.to, r.weight),
        None if m.training.is_some() => format!("{version} training"),
        None => version,
    };
    let mut spans = vec![
        health(m.health, symbol(m.health)),
        Span::raw(format!(" {:<17.17}", m.name.as_str())),
        Span::raw(format!("{:<11}", m.sync.to_string())),
        health(m.health, &format!("{:<13}", m.health.to_string())),
        Span::raw(format!("{version:<16.16}")),
    ];
    if wide {
        let serves = live.is_some_and(|e| e.version.is_some());
        spans.push(Span::raw(format!(
            "{:<15}",
            if serves { bar(rollout.map_or(0.0, |r| r.weight), 13) } else { String::new() }
        )));
        let (rate, p99, errors) = live.map_or((0.0, 0.0, 0.0), |e| (e.requests_per_s, e.p99_ms, e.error_share));
        spans.push(Span::raw(format!(
            "{rate:>7.1} {:>8} {:>6}  ",
            format!("{p99:.0}ms"),
            format!("{:.1}%", errors * 100.0)
        )));
    }
    let changed =
        m.changed_by.as_ref().map_or(String::new(), |r| format!("{} {}", age(now - r.time.0), visible(&r.author)));
    spans.push(Span::raw(changed));
    Line::from(spans)
}

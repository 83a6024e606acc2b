//! Colours and small words. With `NO_COLOR` everything is told by symbols and words alone.

use crate::{model::*, plan::render};
use ratatui::{
    style::{Color, Modifier, Style},
    text::{Line, Span},
};
use std::sync::LazyLock;
use unicode_width::UnicodeWidthChar;

static COLOUR: LazyLock<bool> = LazyLock::new(|| std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()));

fn ink(text: &str, colour: Color) -> Span<'static> {
    let style = if *COLOUR { Style::new().fg(colour) } else { Style::new() };
    Span::styled(text.to_owned(), style)
}
pub fn good(text: &str) -> Span<'static> {
    ink(text, Color::Green)
}
pub fn bad(text: &str) -> Span<'static> {
    ink(text, Color::Red)
}
pub fn warn(text: &str) -> Span<'static> {
    ink(text, Color::Yellow)
}
pub fn accent(text: &str) -> Span<'static> {
    ink(text, Color::Cyan)
}
pub fn dim(text: &str) -> Span<'static> {
    Span::styled(text.to_owned(), Style::new().add_modifier(Modifier::DIM))
}
pub fn strong(text: &str) -> Span<'static> {
    Span::styled(text.to_owned(), Style::new().add_modifier(Modifier::BOLD))
}

/// A health in its colour.
pub fn health(h: Health, text: &str) -> Span<'static> {
    match h {
        Health::Healthy => good(text),
        Health::Progressing => accent(text),
        Health::Degraded | Health::Missing => bad(text),
        Health::Suspended | Health::Unknown => warn(text),
    }
}

/// Untrusted text: control characters are shown, never sent.
pub fn visible(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// What a long message comes down to in one line.
pub fn gist(message: &str) -> String {
    visible(&render::gist(message))
}

/// `3s`, `6m`, `2h`, `5d`.
pub fn age(ms: i64) -> String {
    let s = ms.max(0) / 1000;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m", s / 60),
        3600..86_400 => format!("{}h", s / 3600),
        _ => format!("{}d", s / 86_400),
    }
}

/// `━━━━━━╌╌` : stable and new share of `width` cells, told apart by form and by colour.
pub fn bar(new_share: f64, width: usize) -> [Span<'static>; 2] {
    let new = ((new_share / 100.0) * width as f64).round() as usize;
    let new = if new_share > 0.0 { new.clamp(1, width) } else { 0 };
    [accent(&"━".repeat(width - new)), warn(&"╌".repeat(new))]
}

/// The line in at most `width` cells; `…` says that it was longer.
pub fn clip(line: Line<'static>, width: usize) -> Line<'static> {
    if line.width() <= width {
        return line;
    }
    let mut room = width.saturating_sub(1);
    let mut spans = vec![];
    for span in line.spans {
        let mut kept = String::new();
        for c in span.content.chars() {
            let w = c.width().unwrap_or(0);
            if w > room {
                spans.push(Span::styled(kept + "…", span.style));
                return Line::from(spans).style(line.style);
            }
            room -= w;
            kept.push(c);
        }
        spans.push(Span::styled(kept, span.style));
    }
    Line::from(spans).style(line.style)
}

/// Text in rows of at most `width` cells.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w > width.max(2) {
            rows.push(String::new());
            used = 0;
        }
        if let Some(row) = rows.last_mut() {
            row.push(c);
        }
        used += w;
    }
    rows
}

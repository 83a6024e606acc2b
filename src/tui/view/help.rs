//! What keys and commands there are.
//!
//! ```text
//!  the fleet  keys of this screen, then of all; / searches, ? closes
//!   enter         open the model
//!   j ↓ k ↑       choose another
//! ```

use super::{
    paint::{accent, bad, dim, good, new, stable, strong, visible, warn},
    simple,
};
use crate::tui::{
    help::{Row, Section, sections},
    keymap::Act,
    state::{Extent, State},
};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};
use unicode_width::UnicodeWidthStr;

/// Draws the help of the screen that it was asked on.
pub fn draw(frame: &mut Frame, area: Rect, state: &State) -> Extent {
    let mut all = sections(state.asked_on(), &state.bindings);
    let title = title(state, all[0].heading);
    let wanted = state.sought.to_lowercase();
    all.iter_mut().for_each(|s| s.rows.retain(|r| has(r, &wanted)));
    let closed = state.forbidden().is_some();
    let mut lines: Vec<Line> = vec![];
    for (n, section) in all.iter().enumerate().filter(|(_, s)| !s.rows.is_empty()) {
        lines.extend((n > 0).then(|| heading(section)));
        lines.extend(section.rows.iter().map(|r| row(r, closed)));
        lines.extend((n == 1 && wanted.is_empty()).then(legend).into_iter().flatten());
    }
    if lines.is_empty() {
        lines.push(Line::from(dim("  no key and no command is told with that")));
    }
    simple::lines(frame, area, state.scroll, Some(title), lines)
}

fn has(r: &Row, wanted: &str) -> bool {
    r.what.to_lowercase().contains(wanted) || r.keys.to_lowercase().contains(wanted)
}

fn title(state: &State, screen: &str) -> Line<'static> {
    let mut line = vec![strong(&format!(" {screen}"))];
    if !state.sought.is_empty() {
        line.push(accent(&format!("   /{}", visible(&state.sought))));
    }
    let key = |act| state.bindings.keys(act, false).next();
    let told = [(Act::Filter, "searches"), (Act::Help, "closes")];
    let told: Vec<String> = told.into_iter().filter_map(|(act, does)| Some(format!("{} {does}", key(act)?))).collect();
    let whole = if state.sought.is_empty() { "keys of this screen, then of all; " } else { "" };
    line.push(dim(&format!("   {whole}{}", told.join(", "))));
    Line::from(line)
}

fn heading(section: &Section) -> Line<'static> {
    let mut line = vec![strong(&format!(" {}", section.heading))];
    line.extend((section.heading == "commands").then(|| dim("  without NAME: the model that is open or selected")));
    Line::from(line)
}

/// ```text
///   enter         open the model
/// ```
fn row(r: &Row, closed: bool) -> Line<'static> {
    const LONGEST: usize = 13;
    let keys = format!("  {}{}  ", r.keys, " ".repeat(LONGEST.saturating_sub(r.keys.width())));
    Line::from(match r.changes && closed {
        true => vec![dim(&keys), dim(&format!("✗ {}", r.what))],
        false => vec![strong(&keys), Span::raw(r.what)],
    })
}

/// What signs mean.
fn legend() -> [Line<'static>; 2] {
    [
        Line::from(vec![
            good("  ✓ healthy   "),
            accent("↻ progressing   "),
            bad("! degraded   "),
            warn("‖ suspended   "),
            dim("· unknown"),
        ]),
        Line::from(vec![
            Span::raw("  traffic: "),
            stable("━━━"),
            Span::raw(" stable  "),
            new("╌╌╌"),
            Span::raw(" the new version"),
        ]),
    ]
}

//! The output of a run or a replica.
//!
//! ```text
//!  tumour  output of train, as it comes   /loss 3 lines   warnings and worse
//!  12:04:11 epoch 1: loss 0.4321
//! ```

use super::{
    paint::{accent, bad, dim, strong, visible, warn, wrap},
    simple::lines,
};
use crate::{
    model::*,
    tui::{
        keymap::Act,
        log::{Flow, Level, Output},
        state::{Extent, State},
    },
};
use ratatui::{
    Frame,
    layout::Rect,
    style::Modifier,
    text::{Line, Span},
};

/// A row of a line.
pub struct Row {
    text: String,
    level: Level,
}

/// The rows of the lines that are shown, for a screen of so many columns.
pub fn rows(state: &State, width: usize) -> Vec<Row> {
    let view = &state.log_view;
    let stamp = |at: WallMs| format!("{} ", clock(at));
    let room = width.saturating_sub(2);
    let mut out = vec![];
    let mut level = Level::All;
    for l in &state.log.lines {
        let text = String::from_utf8_lossy(&l.bytes).trim_end_matches(['\n', '\r']).replace('\t', "    ");
        level = Level::of(&text, level);
        if level < view.level {
            continue;
        }
        let text = visible(&text);
        let text = if view.stamped { stamp(l.at) + &text } else { text };
        let mut folded = if view.wrapped { wrap(&text, room) } else { vec![text] };
        out.extend(folded.drain(..).map(|text| Row { text, level }));
    }
    out
}

/// `12:04:11`, in UTC.
fn clock(at: WallMs) -> String {
    let s = at.0.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// The first row at or after one that has what is searched for; on from the top when there is none below.
pub fn found(state: &State, rows: &[Row], from: usize, forwards: bool) -> Option<usize> {
    let wanted = state.log_view.search.to_lowercase();
    let has = |i: &usize| !wanted.is_empty() && rows[*i].text.to_lowercase().contains(&wanted);
    if forwards {
        (from..rows.len()).chain(0..from.min(rows.len())).find(has)
    } else {
        let from = (from + 1).min(rows.len());
        (0..from).rev().chain((from..rows.len()).rev()).find(has)
    }
}

/// Draws the page.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, name: &Name, output: &Output) -> Extent {
    let page = usize::from(area.height).saturating_sub(1);
    let (log, view) = (&state.log, &state.log_view);
    let rows = rows(state, area.width.into());
    let last = rows.len().saturating_sub(page);
    let first = if log.following { last } else { state.scroll.min(last) };
    let shown: Vec<Line> = match (rows.is_empty(), output, log.flow) {
        (true, ..) if !log.lines.is_empty() => {
            vec![Line::from(dim(&state.with_key(Act::Level, " no line of that level: {} shows others")))]
        }
        (true, _, Flow::Asked) => vec![Line::from(dim(" loading"))],
        (true, Output::Runs, Flow::Ended) if log.run.is_none() => {
            vec![Line::from(dim(" no run yet: it shows here as soon as one begins"))]
        }
        (true, Output::Replica(_), Flow::Ended) => {
            vec![Line::from(dim(" no replica there: it shows here as soon as one starts"))]
        }
        (true, ..) => vec![Line::from(dim(" nothing was written yet"))],
        _ => rows[first..].iter().take(page).map(|r| row(r, &view.search)).collect(),
    };
    let whose = match (output, &log.run) {
        (Output::Replica(e), _) => format!("  output of the newest replica in {e}"),
        (Output::Runs, Some(r)) => format!("  output of {}", r.stage),
        (Output::Runs, None) => String::new(),
    };
    let how = match (last - first, log.flow) {
        (below, _) if below > 0 => {
            warn(&format!(", {below} lines below ({})", state.with_key(Act::Bottom, "{} follows")))
        }
        (_, Flow::Open) => accent(", as it comes"),
        (_, Flow::Cut) => warn(", cut off: it goes on with the daemon"),
        (_, Flow::Asked | Flow::Ended) => dim(", ended"),
    };
    let mut title = vec![strong(&format!(" {name}")), Span::raw(whose)];
    title.extend((log.run.is_some() || !rows.is_empty()).then_some(how));
    if !view.search.is_empty() {
        let wanted = view.search.to_lowercase();
        let n = rows.iter().filter(|r| r.text.to_lowercase().contains(&wanted)).count();
        title.push(accent(&format!("   /{} {n} found", visible(&view.search))));
    }
    if view.level > Level::All {
        title.push(warn(&format!("   {}", view.level.told())));
    }
    lines(frame, area, 0, Some(Line::from(title)), shown);
    Extent { last, page, width: area.width.into() }
}

/// A row in the colour of its level, what is searched for marked in it.
fn row(r: &Row, search: &str) -> Line<'static> {
    let paint = |text: &str| match r.level {
        Level::All => Span::raw(text.to_owned()),
        Level::Warnings => warn(text),
        Level::Errors => bad(text),
    };
    let mut out = vec![Span::raw(" ")];
    let mut rest = r.text.as_str();
    while let Some((at, end)) = place(rest, search) {
        out.push(paint(&rest[..at]));
        let marked = paint(&rest[at..end]);
        out.push(marked.patch_style(Modifier::REVERSED));
        rest = &rest[end..];
    }
    out.push(paint(rest));
    Line::from(out)
}

/// Where a text is found first, in large or small letters.
fn place(text: &str, search: &str) -> Option<(usize, usize)> {
    if search.is_empty() {
        return None;
    }
    let wanted: Vec<char> = search.to_lowercase().chars().collect();
    text.char_indices().find_map(|(at, _)| {
        let mut end = at;
        let mut left = wanted.iter();
        for c in text[at..].chars() {
            if left.as_slice().is_empty() {
                break;
            }
            if !c.to_lowercase().all(|l| left.next() == Some(&l)) {
                return None;
            }
            end += c.len_utf8();
        }
        left.as_slice().is_empty().then_some((at, end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_searched_for_is_found_in_any_case_and_script() {
        let rows = [
            ("epoch 1: Loss 0.4", "loss", Some("Loss")),
            ("ÄRGER", "ärg", Some("ÄRG")),
            ("漢字かな", "字か", Some("字か")),
            ("lossy", "losses", None),
            ("abab", "", None),
            ("İx", "i\u{307}x", Some("İx")),
        ];
        for (text, search, expected) in rows {
            assert_eq!(place(text, search).map(|(from, to)| &text[from..to]), expected, "{search} in {text}");
        }
    }
}

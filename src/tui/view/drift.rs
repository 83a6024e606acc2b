//! How far what is live is from what was asked for and promised, in four ways.
//!
//! ```text
//!  CONFIGURATION  live                            Git asks for
//!  [train.params]
//!    depth        6                               8
//!
//!  SLO            production, since v6 has all traffic
//!    ████████████████░░░░   82 % of the error budget left   availability 0.999   12,345 requests
//!
//!  QUALITY        production: when v6 was promoted, and now
//!    latency_p99  ≤ 50 ms   11.8 ms → 12.4 ms   ✓
//!
//!  DATA           no drift of inputs is measured yet
//! ```

use super::{
    paint::{accent, bad, dim, fold, good, ink_of, pad, strong, visible, warn},
    simple::{lines, planned},
};
use crate::{
    api::types::*,
    model::*,
    plan::render,
    tui::{
        keymap::Act,
        state::{Difference, Extent, State},
    },
};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};
use unicode_width::UnicodeWidthStr;

/// Draws the page.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, name: &Name) -> Extent {
    let title = Line::from(vec![
        strong(&format!(" {name}")),
        dim("  what is live against what Git asks for and what was promised"),
    ]);
    let Some(d) = state.diff.as_ref().filter(|d| d.model == *name) else {
        return lines(frame, area, 0, Some(title), vec![Line::from(dim(" loading"))]);
    };
    let width = usize::from(area.width);
    let mut all = configuration(&d.fields, width);
    all.push(Line::raw(""));
    all.extend(objectives(&d.detail.summary, state, width));
    all.push(Line::raw(""));
    all.extend(quality(d, state));
    all.push(Line::raw(""));
    all.extend(data());
    if !d.plan.actions.is_empty() || !d.plan.waiting.is_empty() {
        all.push(Line::raw(""));
        all.extend(render::one(&d.plan).lines().flat_map(|l| planned(l, width)));
    }
    lines(frame, area, state.scroll, Some(title), all)
}

fn heading(what: &str, said: &str) -> Line<'static> {
    Line::from(vec![strong(&format!(" {what:<15}")), dim(said)])
}

/// Field by field, the two sides beside each other, under the tables of the spec that they stand in.
fn configuration(fields: &[FieldDiff], width: usize) -> Vec<Line<'static>> {
    if fields.is_empty() {
        let said = good("✓ no difference: what is live is what Git asks for");
        return vec![Line::from(vec![strong(&format!(" {:<15}", "CONFIGURATION")), said])];
    }
    let split = |f: &FieldDiff| match f.field.rsplit_once('.') {
        Some((table, key)) => (visible(table), visible(key)),
        None => (String::new(), visible(&f.field)),
    };
    let names = fields.iter().map(|f| split(f).1.width()).max().unwrap_or(0).clamp(11, 24);
    let side = width.saturating_sub(names + 8) / 2;
    let titles = format!("{} {}", pad("live", side), "Git asks for");
    let mut out = vec![Line::from(vec![strong(&format!(" {} ", pad("CONFIGURATION", names + 4))), dim(&titles)])];
    let mut before = String::new();
    for f in fields {
        let (table, key) = split(f);
        if table != before {
            let whole = if table.is_empty() { " whole tables and files".to_owned() } else { format!(" [{table}]") };
            out.push(Line::from(accent(&whole)));
        }
        before = table;
        // What is not there has a sign and no value.
        let of = |v: &Option<String>| fold(&v.as_deref().map_or(String::new(), visible), side.max(8), 0);
        let (live, desired) = (of(&f.live), of(&f.desired));
        for row in 0..live.len().max(desired.len()) {
            let label = if row == 0 { pad(&key, names) } else { " ".repeat(names) };
            let cell = |rows: &[String]| rows.get(row).cloned().unwrap_or_default();
            let (old, new) = (cell(&live), cell(&desired));
            let mut line = vec![Span::raw(format!("   {label} ")), bad(if row == 0 { "- " } else { "  " })];
            line.extend(value(&pad(&old, side.saturating_sub(1))));
            line.push(good(if row == 0 { "+ " } else { "  " }));
            line.extend(value(&new));
            out.push(Line::from(line));
        }
    }
    out
}

/// What a piece of a TOML value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Text,
    Number,
    Word,
    Other,
}

/// A value in the colours of its parts: strings, numbers, words such as `true`.
fn value(text: &str) -> Vec<Span<'static>> {
    let paint = |piece: Piece, text: &str| match piece {
        Piece::Text => ink_of(text, 3),
        Piece::Number => ink_of(text, 2),
        Piece::Word => ink_of(text, 0),
        Piece::Other => Span::raw(text.to_owned()),
    };
    pieces(text).into_iter().map(|(piece, text)| paint(piece, &text)).collect()
}

fn pieces(text: &str) -> Vec<(Piece, String)> {
    let mut out: Vec<(Piece, String)> = vec![];
    let mut quote = None;
    for c in text.chars() {
        let inside = out.last().map(|(piece, _)| *piece).filter(|p| matches!(p, Piece::Number | Piece::Word));
        let piece = match (quote, inside) {
            (Some(_), _) => Piece::Text,
            (None, _) if matches!(c, '"' | '\'') => Piece::Text,
            (None, Some(same)) if c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+') => same,
            (None, _) if c.is_ascii_digit() => Piece::Number,
            (None, _) if c.is_alphabetic() => Piece::Word,
            _ => Piece::Other,
        };
        quote = match quote {
            None if matches!(c, '"' | '\'') => Some(c),
            Some(open) if open == c => None,
            same => same,
        };
        match out.last_mut() {
            Some((last, said)) if *last == piece => said.push(c),
            _ => out.push((piece, c.to_string())),
        }
    }
    out
}

/// Said while traffic moves to another release: the rollout's own screen has its figures.
fn later(state: &State) -> String {
    state.with_key(Act::Rollout, "told again when the rollout is over; {} shows its figures")
}

fn moves(m: &ModelSummary) -> bool {
    m.environments.last().is_some_and(|e| e.rollout.is_some())
}

/// What is left of the error budget of each objective.
fn objectives(m: &ModelSummary, state: &State, width: usize) -> Vec<Line<'static>> {
    let Some(e) = m.environments.iter().find(|e| !e.objectives.is_empty()) else {
        let said = match moves(m) {
            true => later(state),
            false => {
                "no objective: `[monitor] slo = { availability = 0.999, latency_p99 = \"50ms\" }` sets some".into()
            }
        };
        return vec![heading("SLO", &said)];
    };
    let version = e.version.map_or(String::new(), |v| v.to_string());
    let mut out = vec![heading("SLO", &format!("{}, since {version} has all traffic", e.environment))];
    for o in &e.objectives {
        let cells = if width >= 100 { 24 } else { 12 };
        let left = o.spent.map(|s| 1.0 - s);
        let full = (left.unwrap_or(0.0).clamp(0.0, 1.0) * cells as f64).round() as usize;
        let paint = if !o.kept {
            bad
        } else if left.is_some_and(|l| l < 0.25) {
            warn
        } else {
            good
        };
        let said = match left {
            None => "nothing was asked yet".to_owned(),
            Some(left) if left < 0.0 => format!("{:.1} × its error budget spent", 1.0 - left),
            Some(left) => format!("{:.0} % of the error budget left", left * 100.0),
        };
        out.push(Line::from(vec![
            Span::raw("   "),
            paint(&"█".repeat(full)),
            dim(&"░".repeat(cells - full)),
            paint(&format!("  {said:<32}")),
            Span::raw(format!("{:<22}", o.objective.show())),
            dim(&format!("{} requests", o.requests)),
        ]));
    }
    out
}

/// The figures that the release was promoted by, then and now, and those that its version was registered with.
fn quality(d: &Difference, state: &State) -> Vec<Line<'static>> {
    let m = &d.detail;
    let mut out = vec![];
    for e in m.summary.environments.iter().filter(|e| !e.promised.is_empty()) {
        let version = e.version.map_or(String::new(), |v| v.to_string());
        out.push(heading("QUALITY", &format!("{}: when {version} was promoted → now", e.environment)));
        for p in &e.promised {
            let of = |v: Option<f64>| v.map_or("-".to_owned(), |v| p.analysis.metric.show(v));
            let sign = match (p.now, p.holds) {
                (None, _) => dim("· nothing to compare"),
                (_, true) => good("✓"),
                (_, false) => bad("✗ beyond its bound"),
            };
            out.push(Line::from(vec![
                Span::raw(format!("   {:<14} ", visible(&p.analysis.name))),
                dim(&format!("{:<24} ", p.analysis.bound())),
                Span::raw(format!("{:>10} → {:<10}  ", of(p.then), of(p.now))),
                sign,
            ]));
        }
    }
    if out.is_empty() {
        let said = match moves(&m.summary) {
            true => later(state),
            false => "nothing was promised: a [[deploy.analysis]] does".into(),
        };
        out.push(heading("QUALITY", &said));
    }
    let live = m.summary.environments.last().and_then(|e| e.version);
    if let Some(v) = m.versions.iter().find(|v| Some(v.number) == live && !v.metrics.is_empty()) {
        let all: Vec<String> = v.metrics.iter().take(8).map(|(k, f)| format!("{} {f:.4}", visible(k))).collect();
        out.push(Line::from(dim(&format!("   {} was registered with {}", v.number, all.join("  ")))));
    }
    out
}

/// Where drift of inputs will stand: features by their score, two distributions beside each other.
fn data() -> Vec<Line<'static>> {
    vec![heading("DATA", "no drift of inputs is measured yet")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parted_into_strings_numbers_and_words() {
        use Piece::*;
        let rows: &[(&str, &[(Piece, &str)])] = &[
            ("8", &[(Number, "8")]),
            ("-1.5e-3", &[(Other, "-"), (Number, "1.5e-3")]),
            ("\"a 1\", true", &[(Text, "\"a 1\""), (Other, ", "), (Word, "true")]),
            ("{ depth = 8 }", &[(Other, "{ "), (Word, "depth"), (Other, " = "), (Number, "8"), (Other, " }")]),
            ("\"no end", &[(Text, "\"no end")]),
            ("", &[]),
        ];
        for (text, expected) in rows {
            let found = pieces(text);
            let found: Vec<(Piece, &str)> = found.iter().map(|(p, t)| (*p, t.as_str())).collect();
            assert_eq!(found, *expected, "{text}");
        }
    }
}

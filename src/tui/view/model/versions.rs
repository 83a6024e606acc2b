//! The versions of a model, as a table and as a curve.

use super::super::{
    chart::{self, Chart, Series},
    paint::{accent, age, bad, barred, clip, cut, dim, good, letter, of_curve, pad, strong, visible, warn},
};
use crate::{
    api::types::*,
    model::*,
    tui::{
        keymap::Act,
        state::{Page, State},
        tracked::{Axis, Better},
    },
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::Paragraph,
};
use unicode_width::UnicodeWidthStr;

/// Names of all metrics of the versions, those that gates ask for first.
pub fn metrics(m: &ModelDetail) -> Vec<String> {
    let gates = m.versions.iter().flat_map(|v| &v.gates).map(|g| &g.metric);
    let all = gates.chain(m.versions.iter().flat_map(|v| v.metrics.keys()));
    let mut out: Vec<String> = vec![];
    for name in all.filter(|name| m.versions.iter().any(|v| v.metrics.contains_key(*name))) {
        if !out.contains(name) {
            out.push(name.clone());
        }
    }
    out
}

/// The version that serves in the last environment.
fn champion(m: &ModelDetail) -> Option<VersionNumber> {
    m.summary.environments.last()?.version
}

/// What matters most first: a narrow screen cuts the end. The chosen one is always among those that are drawn.
pub fn table(m: &ModelDetail, page: &Page, now: Now, width: usize, height: usize) -> Vec<Line<'static>> {
    if m.versions.is_empty() {
        let being_made = m.summary.training.is_some() || m.summary.health == Health::Progressing;
        return vec![Line::from(dim(if being_made { " none yet: the first is being made" } else { " none yet" }))];
    }
    let serves = |v: &VersionBrief| v.serves.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
    let longest = m.versions.iter().map(|v| serves(v).width()).max().unwrap_or(0).clamp(6, 20);
    let chosen = page.version.min(m.versions.len() - 1);
    let room = height.saturating_sub(1).max(1);
    let first = chosen.saturating_sub(room / 2).min(m.versions.len().saturating_sub(room));
    // Sign, number, where it serves, what it took, its commit; and of its author and age some.
    let fixed = 10 + longest + 2 + 10 + 8 + 10;
    let metrics: Vec<String> = metrics(m).into_iter().take(width.saturating_sub(fixed) / 10).collect();
    let figures = |v: &VersionBrief| {
        let one = |name: &String| v.metrics.get(name).map_or("-".to_owned(), |value| format!("{value:.4}"));
        metrics.iter().map(|name| format!("{:>9} ", one(name))).collect::<String>()
    };
    let titles: String = metrics.iter().map(|name| format!("{:>9} ", cut(&visible(name), 9))).collect();
    let title = format!("    {:<6}{}  {titles}{:<9} {:<7} AUTHOR", "", pad("SERVES", longest), "TOOK", "COMMIT");
    let mut out = vec![Line::from(strong(&title))];
    for (i, v) in m.versions.iter().enumerate().skip(first).take(room) {
        let passed = v.gates.iter().all(|g| g.passed);
        let star = if champion(m) == Some(v.number) { "★" } else { " " };
        let row = vec![
            warn(&format!(" {star}")),
            if passed { good("✓ ") } else { bad("✗ ") },
            Span::raw(format!("{:<6}", v.number)),
            accent(&format!("{}  ", pad(&serves(v), longest))),
            Span::raw(figures(v)),
            Span::raw(format!("{:<9} ", v.duration.to_string())),
            dim(&format!("{:<7} {} {}", v.commit.short(), visible(&v.author), age(now.wall.0 - v.created.0))),
        ];
        out.push(if i == chosen { barred(&row, width) } else { Line::from(row) });
    }
    out
}

/// The chosen metric over the versions, with the champion's.
pub fn curve(frame: &mut Frame, area: Rect, m: &ModelDetail, state: &State) {
    let all = metrics(m);
    let Some(name) = all.get(state.page.metric % all.len().max(1)) else {
        return frame.render_widget(Paragraph::new(Line::from(dim(" no metrics yet"))), area);
    };
    let points: Vec<(f64, f64)> =
        m.versions.iter().rev().filter_map(|v| Some((f64::from(v.number.0), *v.metrics.get(name)?))).collect();
    let best = champion(m).and_then(|c| points.iter().find(|p| p.0 == f64::from(c.0)).copied().map(|p| (c, p)));
    let mut title = vec![strong(&format!(" {} ", visible(name))), dim("over versions")];
    if all.len() > 1 {
        title.extend(state.key(Act::Metric).map(|k| dim(&format!(", {k}: the next metric"))));
    }
    if let Some((number, (_, value))) = best {
        title.push(of_curve(&format!("   {} ★ {number} {value:.4}", letter(1)), 1));
    }
    let [head, plot] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(clip(Line::from(title), area.width.into())), head);
    let mut series = vec![Series { number: 0, points }];
    series.extend(best.map(|(_, point)| Series { number: 1, points: vec![point] }));
    if !chart::draw(frame, plot, &Chart { axis: Axis::Step, better: Better::Neither, series: &series }) {
        let told: Vec<Line> = m
            .versions
            .iter()
            .map(|v| (v.number, v.metrics.get(name)))
            .filter_map(|(n, f)| Some((n, f?)))
            .map(|(n, f)| Line::raw(format!(" {n:<6} {f:.4}")))
            .collect();
        frame.render_widget(Paragraph::new(told), plot);
    }
}

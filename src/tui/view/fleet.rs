//! The fleet: what needs a person first.
//!
//! ```text
//!   MODEL            SYNC       HEALTH       LIVE          TRAFFIC            REQ/S     P99   ERR  CHANGED
//! ! pricing          OutOfSync  Degraded     v12           ━━━━━━━━━━━━━        41     88ms  2.1%  6m Lin
//!     v13 stays out: mae ≤ 4: 4.31 · fix it, or R to revert it
//! ↻ fraud            Synced     Progressing  v6 → v7 25 %  ━━━━━━━━━━╌╌╌       910     12ms  0.0%  2m Ada
//!     production: canary, step 2 of 3, next step in 36m
//! ```

use super::{
    paint::{age, bad, bar, clip, dim, gist, health, strong, visible, warn},
    symbol,
};
use crate::{
    api::types::*,
    model::*,
    tui::state::{Extent, State},
};
use ratatui::{
    Frame,
    layout::Rect,
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::Paragraph,
};

/// Draws the table; only rows that fit are built.
pub fn draw(frame: &mut Frame, area: Rect, state: &State) -> Extent {
    let width = usize::from(area.width);
    let mut lines = banner(state);
    let shown = state.shown();
    if shown.is_empty() {
        lines.extend(empty(state));
        frame.render_widget(Paragraph::new(lines), area);
        return Extent::default();
    }
    let columns = Columns::new(width, &shown);
    lines.push(Line::from(strong(&columns.heading())));
    let place = state.place();
    let height = usize::from(area.height).saturating_sub(lines.len()).max(1);
    // Two lines for each row at most: the selected row is kept in the upper part.
    let first = place.saturating_sub(height / 2);
    let now = state.now();
    let (top, mut rows) = (lines.len(), 0);
    for (i, m) in shown.iter().enumerate().skip(first) {
        if lines.len() >= top + height {
            break;
        }
        lines.push(columns.row(m, now, i == place));
        lines.extend(note(m, now).map(|l| clip(l, width)));
        rows += 1;
    }
    frame.render_widget(Paragraph::new(lines.into_iter().map(|l| clip(l, width)).collect::<Vec<_>>()), area);
    Extent { last: 0, page: rows }
}

/// What is wrong with the whole.
fn banner(state: &State) -> Vec<Line<'static>> {
    let Some(fleet) = &state.fleet else { return vec![] };
    let mut out = vec![];
    if let Some(error) = &fleet.store_error {
        out.push(Line::from(bad(&format!(" state: {}", gist(error)))));
    }
    if let Some(error) = &fleet.source.error {
        out.push(Line::from(bad(&format!(" source: {}", gist(error)))));
    }
    if let Some(error) = &fleet.source.push_error {
        out.push(Line::from(bad(&format!(" lock commits: {}", gist(error)))));
    }
    if !fleet.held.is_empty() {
        let names: Vec<&str> = fleet.held.iter().map(Name::as_str).take(5).collect();
        let text = format!(
            " {} specs deleted, held: {}. `trimtab sync --prune` retires them; or restore them",
            fleet.held.len(),
            names.join(", ")
        );
        out.push(Line::from(warn(&text)));
    }
    out
}

fn empty(state: &State) -> Vec<Line<'static>> {
    let text = |l: &str| Line::raw(format!("  {l}"));
    let Some(fleet) = &state.fleet else {
        return vec![Line::raw(""), Line::from(dim("  waiting for the daemon"))];
    };
    if !state.filter.is_empty() {
        let what = format!("None of {} models matches /{}", fleet.models.len(), visible(&state.filter));
        return vec![Line::raw(""), text(&what), Line::from(dim("  esc clears the filter"))];
    }
    let place =
        visible(&format!("{}, branch {}, folder {}/", fleet.source.url, fleet.source.branch, fleet.source.path));
    let mut out =
        vec![Line::raw(""), text("No models yet."), Line::from(dim(&format!("  Watching {place}"))), Line::raw("")];
    out.extend(
        [
            ("trimtab new NAME", "makes one from a template"),
            ("git commit, push", "and it is trained, checked and served"),
        ]
        .map(|(what, does)| Line::from(vec![strong(&format!("  {what:<20}")), Span::raw(does)])),
    );
    out.extend(fleet.diagnostics.iter().take(5).map(|d| Line::from(bad(&format!("  {}", diagnostic(d))))));
    out
}

/// `models/fraud/model.toml:14: unknown key`.
pub fn diagnostic(d: &Diagnostic) -> String {
    let place = d.location.as_ref().map(|l| format!("{}:{}: ", l.file, l.line)).unwrap_or_default();
    let label = if d.label.is_empty() { String::new() } else { format!(" ({})", d.label) };
    visible(&format!("{place}{}{label}", d.message))
}

/// What the width has room for.
struct Columns {
    width: usize,
    name: usize,
    live: usize,
    /// Cells of the traffic bar; 0 without traffic columns.
    bar: usize,
    /// Whether the commit's summary is shown.
    summary: bool,
}

impl Columns {
    fn new(width: usize, shown: &[&ModelSummary]) -> Self {
        let longest = shown.iter().map(|m| m.name.as_str().len()).max().unwrap_or(0);
        let bar = match width {
            0..100 => 0,
            100..150 => 13,
            _ => 20,
        };
        let most = if width < 100 { 17 } else { 32 };
        Self { width, name: longest.clamp(12, most) + 2, live: 16, bar, summary: width >= 140 }
    }

    fn heading(&self) -> String {
        let more = match self.bar {
            0 => String::new(),
            n => format!("{:<w$}{:>7} {:>8} {:>6}  ", "TRAFFIC", "REQ/S", "P99", "ERR", w = n + 2),
        };
        format!(
            "  {:<n$}{:<11}{:<13}{:<l$}{more}CHANGED",
            "MODEL",
            "SYNC",
            "HEALTH",
            "LIVE",
            n = self.name,
            l = self.live
        )
    }

    fn row(&self, m: &ModelSummary, now: Now, selected: bool) -> Line<'static> {
        let live = m.environments.last();
        let rollout = live.and_then(|e| e.rollout.as_ref());
        let mut spans = vec![
            health(m.health, symbol(m.health)),
            Span::raw(format!(" {:<n$}", cut(m.name.as_str(), self.name - 1), n = self.name)),
            Span::raw(format!("{:<11}", m.sync.to_string())),
            health(m.health, &format!("{:<13}", m.health.to_string())),
            Span::raw(format!("{:<l$}", cut(&version(m), self.live - 1), l = self.live)),
        ];
        if self.bar > 0 {
            match live.filter(|e| e.version.is_some() || e.rollout.is_some()) {
                Some(e) => {
                    spans.extend(bar(rollout.map_or(0.0, |r| r.weight), self.bar));
                    spans.push(Span::raw("  "));
                    spans.push(traffic(e));
                }
                None => spans.push(Span::raw(" ".repeat(self.bar + 27))),
            }
        }
        if let Some(r) = &m.changed_by {
            spans.push(Span::raw(format!("{:<4}{}", age(now.wall.0 - r.time.0), visible(&r.author))));
            if self.summary {
                spans.push(dim(&format!("  {}", visible(&r.summary))));
            }
        }
        if !selected {
            return Line::from(spans);
        }
        // One bar over the whole width, with no colours of its own in it.
        let text: String = spans.iter().map(|s| s.content.as_ref()).collect();
        let line = clip(Line::raw(text), self.width);
        let rest = " ".repeat(self.width.saturating_sub(line.width()));
        let text: String = line.spans.iter().map(|s| s.content.as_ref()).collect();
        Line::from(Span::styled(text + &rest, Style::new().add_modifier(Modifier::REVERSED)))
    }
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width { text.to_owned() } else { text.chars().take(width - 1).chain(['…']).collect() }
}

fn version(m: &ModelSummary) -> String {
    let live = m.environments.last();
    let version = live.and_then(|e| e.version).map(|v| v.to_string());
    match (live.and_then(|e| e.rollout.as_ref()), m.training.is_some()) {
        (Some(r), _) => format!("{} → {} {} %", version.as_deref().unwrap_or("-"), r.to, r.weight),
        (None, true) => format!("{} training", version.as_deref().unwrap_or("-")),
        (None, false) => version.unwrap_or_else(|| "-".to_owned()),
    }
}

fn traffic(e: &EnvironmentSummary) -> Span<'static> {
    // Nothing was measured where nothing was asked.
    if e.requests_per_s == 0.0 {
        return dim(&format!("{:>7} {:>8} {:>6}  ", "-", "-", "-"));
    }
    let (p99, errors) = (format!("{:.0}ms", e.p99_ms), format!("{:.1}%", e.error_share * 100.0));
    let text = format!("{:>7.1} {p99:>8} {errors:>6}  ", e.requests_per_s);
    if e.error_share > 0.0 { warn(&text) } else { Span::raw(text) }
}

/// What goes on, or what is wrong and what to do about it.
fn note(m: &ModelSummary, now: Now) -> Option<Line<'static>> {
    let rolling = m.environments.iter().find_map(|e| Some((e, e.rollout.as_ref()?)));
    let text = match (rolling, m.health) {
        (_, Health::Healthy) => return None,
        (Some((e, r)), Health::Progressing) => format!("{}: {}", e.environment, stage(r, now)),
        _ if m.message.is_empty() => return None,
        (_, Health::Degraded) => {
            let hint = if m.message.contains("fix the spec") { "" } else { " · fix it, or R to revert it" };
            format!("{}{hint}", gist(&m.message))
        }
        _ => gist(&m.message),
    };
    let text = format!("    {text}");
    Some(Line::from(if matches!(m.health, Health::Degraded | Health::Missing) { warn(&text) } else { dim(&text) }))
}

/// `canary, step 2 of 3, next step in 36m`.
pub fn stage(r: &RolloutSummary, now: Now) -> String {
    let word = if r.phase == "step" { "canary".to_owned() } else { visible(&r.phase) };
    let step = if r.step == 0 { String::new() } else { format!(", step {} of {}", r.step, r.steps.len()) };
    let left = |u: SteadyMs| i64::try_from(u.since(now.steady).div_ceil(1000) * 1000).unwrap_or(i64::MAX);
    let next = r.until.map_or(String::new(), |u| format!(", next step in {}", age(left(u))));
    format!("{word}{step}{next}")
}

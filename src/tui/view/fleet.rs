//! The fleet: what needs a person first.
//!
//! ```text
//!   MODEL         SYNC       HEALTH       LIVE            TRAFFIC          REQ/S      P99    ERR  CHANGED
//! ! pricing       OutOfSync  Degraded     v12             ━━━━━━━━━━━━━     41.0     88ms   2.1%  6m  91ab3cd Lin
//!     v13 stays out: mae ≤ 4: 4.31 · fix it, or R to revert it
//! ↻ fraud         Synced     Progressing  v6 → v7 25 %    ━━━━━━━━━━╌╌╌    910.0     12ms   0.0%  2m  4f1c2ab Ada
//!     production: canary, step 2 of 3, next step in 36m
//! ```

use super::{
    Targets,
    paint::{age, bad, bar, barred, clip, cut, dim, fold, gist, health, pad, strong, visible, warn},
    row_target, symbol,
};
use crate::{
    api::types::*,
    model::*,
    tui::{
        ranking::Ranking,
        state::{Extent, State},
    },
};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};
use unicode_width::UnicodeWidthStr;

/// Draws the table; only rows that fit are built.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, targets: &mut Targets) -> Extent {
    let width = usize::from(area.width);
    let mut lines = banner(state, width);
    let shown = state.shown();
    if shown.is_empty() {
        lines.extend(empty(state));
        frame.render_widget(Paragraph::new(lines), area);
        return Extent::default();
    }
    let columns = Columns::new(width, &shown);
    lines.push(Line::from(strong(&columns.heading(state.ranking))));
    let height = usize::from(area.height).saturating_sub(lines.len()).max(1);
    let (place, now, top) = (state.place_among(&shown), state.now(), lines.len());
    let first = first(&shown, place, height, now);
    let mut rows = 0;
    for (i, m) in shown.iter().enumerate().skip(first) {
        if lines.len() >= top + height {
            break;
        }
        let from = lines.len();
        lines.push(columns.row(m, now, i == place));
        lines.extend(note(m, now).map(Line::from));
        targets.push(row_target(area, from, lines.len(), i));
        rows += 1;
    }
    frame.render_widget(Paragraph::new(lines.into_iter().map(|l| clip(l, width)).collect::<Vec<_>>()), area);
    Extent { last: 0, page: rows }
}

/// The first row that is drawn: the selected one is in the middle, where the list does not end before. Only the rows near it
/// are looked at.
fn first(shown: &[&ModelSummary], place: usize, height: usize, now: Now) -> usize {
    let lines = |i: &usize| 1 + usize::from(note(shown[*i], now).is_some());
    // The farthest row before `end` from which on the rows up to it take at most so many lines.
    let back = |end: usize, mut room: usize| {
        let fit = (0..end).rev().take_while(|i| {
            let fits = lines(i) <= room;
            room = room.saturating_sub(lines(i));
            fits
        });
        fit.last().unwrap_or(end)
    };
    let above = (height / 2).min(height.saturating_sub(lines(&place)));
    back(place, above).min(back(shown.len(), height))
}

/// What is wrong with the whole.
fn banner(state: &State, width: usize) -> Vec<Line<'static>> {
    let Some(fleet) = &state.fleet else { return vec![] };
    let source = &fleet.source;
    // The fleet itself needs the room more.
    let rows = |text: String| fold(&text, width.saturating_sub(1), 2).into_iter().take(2).map(|l| format!(" {l}"));
    let mut out: Vec<Line> = vec![];
    let mut say =
        |text: String, paint: fn(&str) -> Span<'static>| out.extend(rows(text).map(|l| Line::from(paint(&l))));
    fleet.store_error.iter().for_each(|e| say(format!("state: {}", gist(e)), bad));
    source.error.iter().for_each(|e| say(format!("source: {}", gist(e)), bad));
    source.pins_in_store.iter().for_each(|why| say(format!("lock commits: {}", gist(why)), dim));
    source.push_error.iter().for_each(|e| say(format!("lock commits: {}", gist(e)), bad));
    fleet
        .specs_trouble()
        .iter()
        .filter(|_| !fleet.models.is_empty())
        .for_each(|e| say(format!("specs: {}", gist(e)), bad));
    fleet
        .settings_doubts()
        .filter(|_| !fleet.models.is_empty())
        .for_each(|e| say(format!("settings: {}", gist(&e)), warn));
    if !fleet.held.is_empty() {
        let names: Vec<&str> = fleet.held.iter().map(Name::as_str).take(5).collect();
        let (specs, them) = if fleet.held.len() == 1 {
            ("1 spec".into(), "it")
        } else {
            (format!("{} specs", fleet.held.len()), "them")
        };
        let names = names.join(", ");
        let text = format!("{specs} deleted, held: {names}. `trimtab sync --prune` retires {them}; or restore {them}");
        say(text, warn);
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
    if let Some(count @ 1..) = state.tracked.experiments.all.as_ref().map(Vec::len) {
        let (what, them) = if count == 1 { ("experiment is", "it") } else { ("experiments are", "them") };
        out.push(Line::raw(""));
        let told = format!("  {count} {what} tracked: ");
        out.push(Line::from(vec![Span::raw(told), strong("r"), Span::raw(format!(" lists {them}"))]));
    }
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
    /// Whether words are written out, and latencies and authors shown.
    wide: bool,
    live: usize,
    /// Cells of the traffic bar; 0 without traffic columns.
    bar: usize,
    /// Whether the commit's summary is shown.
    summary: bool,
}

impl Columns {
    fn new(width: usize, shown: &[&ModelSummary]) -> Self {
        let longest = shown.iter().map(|m| m.name.as_str().len()).max().unwrap_or(0);
        let wide = width >= 112;
        let traffic = width >= 74;
        // Sign, sync, health, live, figures, and of the change its age, its commit and, when wide, some of its author.
        let fixed = match (wide, traffic) {
            (true, _) => 2 + 11 + 13 + 16 + 25 + 20,
            (false, true) => 2 + 10 + 9 + 13 + 14 + 11,
            (false, false) => 2 + 10 + 9 + 13 + 11,
        };
        let gap = if wide { 2 } else { 1 };
        let room = width.saturating_sub(fixed);
        let (least, most) = match width {
            0..112 => (5, 7),
            112..150 => (6, 13),
            _ => (6, 20),
        };
        let bar = if traffic { room.saturating_sub(longest + 2 * gap).clamp(least, most) } else { 0 };
        let beside = if traffic { bar + gap } else { 0 };
        let name = (longest + gap).min(room.saturating_sub(beside)).max(12 + gap);
        Self { width, name, wide, live: if wide { 16 } else { 13 }, bar, summary: width >= 150 }
    }

    fn heading(&self, ranking: Ranking) -> String {
        let mark = |title: &str, of: Ranking| if ranking == of { format!("{title}▾") } else { title.to_owned() };
        let rate = mark("REQ/S", Ranking::Requests);
        let (p99, errors) = (mark("P99", Ranking::Latency), mark("ERR", Ranking::Errors));
        let more = match (self.bar, self.wide) {
            (0, _) => String::new(),
            (n, true) => format!("{:<w$}{rate:>7} {p99:>8} {errors:>6}  ", "TRAFFIC", w = n + 2),
            (n, false) => {
                let title = if n < 7 { "SPLIT" } else { "TRAFFIC" };
                format!("{title:<w$}{rate:>6}{errors:>6}  ", w = n + 1)
            }
        };
        let (n, l) = (self.name, self.live);
        let (s, h) = if self.wide { (11, 13) } else { (10, 9) };
        let (model, changed) = (mark("MODEL", Ranking::Name), mark("CHANGED", Ranking::Changed));
        format!("  {model:<n$}{:<s$}{:<h$}{:<l$}{more}{changed}", "SYNC", "HEALTH", "LIVE")
    }

    fn row(&self, m: &ModelSummary, now: Now, selected: bool) -> Line<'static> {
        let live = m.environments.last();
        let rollout = live.and_then(|e| e.rollout.as_ref());
        let stale = m.health == Health::Healthy && m.sync == SyncStatus::OutOfSync;
        let sync = pad(&m.sync.to_string(), if self.wide { 11 } else { 10 });
        let word = match m.health {
            Health::Progressing if !self.wide => "Progress".to_owned(),
            Health::Suspended if !self.wide => "Suspend".to_owned(),
            health => health.to_string(),
        };
        let mut spans = vec![
            if stale { warn("!") } else { health(m.health, symbol(m.health)) },
            Span::raw(format!(" {} ", pad(m.name.as_str(), self.name - 1))),
            if stale { warn(&sync) } else { Span::raw(sync) },
            health(m.health, &pad(&word, if self.wide { 13 } else { 9 })),
            Span::raw(format!("{} ", pad(&version(m, self.wide), self.live - 1))),
        ];
        if self.bar > 0 {
            let gap = if self.wide { "  " } else { " " };
            match live.filter(|e| e.version.is_some() || e.rollout.is_some()) {
                Some(e) => {
                    spans.extend(bar(rollout.map_or(0.0, |r| r.weight), self.bar));
                    spans.push(Span::raw(gap));
                    spans.push(traffic(e, self.wide));
                }
                None => spans.push(Span::raw(" ".repeat(self.bar + gap.len() + if self.wide { 25 } else { 14 }))),
            }
        }
        if let Some(r) = &m.changed_by {
            spans.push(Span::raw(format!("{:<4}{:<7}", age(now.wall.0 - r.time.0), r.commit.short())));
            let used: usize = spans.iter().map(Span::width).sum();
            let room = self.width.saturating_sub(used + 1);
            let author = visible(&r.author);
            if room >= author.width().min(4) {
                spans.push(Span::raw(format!(" {}", cut(&author, room))));
            }
            if self.summary {
                spans.push(dim(&format!("  {}", visible(&r.summary))));
            }
        }
        if !selected {
            return Line::from(spans);
        }
        barred(&spans, self.width)
    }
}

fn version(m: &ModelSummary, wide: bool) -> String {
    let live = m.environments.last();
    let version = live.and_then(|e| e.version).map(|v| v.to_string());
    let version = version.as_deref().unwrap_or("-");
    match live.and_then(|e| e.rollout.as_ref()) {
        Some(r) if wide => format!("{version} → {} {} %", r.to, r.weight),
        Some(r) => format!("{version}→{} {}%", r.to, r.weight),
        None if m.training.is_some() => format!("{version} training"),
        None => version.to_owned(),
    }
}

fn traffic(e: &EnvironmentSummary, wide: bool) -> Span<'static> {
    let laid = |rate: &str, p99: &str, errors: &str| match wide {
        true => format!("{rate:>7} {p99:>8} {errors:>6}  "),
        false => format!("{rate:>6}{errors:>6}  "),
    };
    // Nothing was measured where nothing was asked.
    if e.requests_per_s == 0.0 {
        return dim(&laid("-", "-", "-"));
    }
    let rate =
        if e.requests_per_s < 1000.0 { format!("{:.1}", e.requests_per_s) } else { format!("{:.0}", e.requests_per_s) };
    let text = laid(&rate, &format!("{:.0}ms", e.p99_ms), &format!("{:.1}%", e.error_share * 100.0));
    if e.error_share > 0.0 { warn(&text) } else { Span::raw(text) }
}

/// What goes on, or what is wrong and what to do about it.
fn note(m: &ModelSummary, now: Now) -> Option<Span<'static>> {
    let rolling = m.environments.iter().find_map(|e| Some((e, e.rollout.as_ref()?)));
    let wrong = matches!(m.health, Health::Degraded | Health::Missing)
        || m.spec_broken
        || (m.health == Health::Healthy && m.sync == SyncStatus::OutOfSync);
    let text = match rolling {
        Some((e, r)) if m.health == Health::Progressing && !m.spec_broken => {
            format!("{}: {}", e.environment, stage(r, now))
        }
        _ if m.message.is_empty() || (m.health == Health::Healthy && !wrong) => return None,
        _ if m.health != Health::Missing && wrong && !m.message.contains("fix the spec") => {
            format!("{} · fix it, or R to revert it", gist(&m.message))
        }
        _ => gist(&m.message),
    };
    let text = format!("    {text}");
    Some(if wrong { warn(&text) } else { dim(&text) })
}

/// `canary, step 2 of 3, next step in 36m`.
pub fn stage(r: &RolloutSummary, now: Now) -> String {
    let word = if r.phase == "step" { r.strategy.word().replace('_', " ") } else { visible(&r.phase) };
    let step = if r.step == 0 { String::new() } else { format!(", step {} of {}", r.step, r.steps.len()) };
    let left = |u: SteadyMs| i64::try_from(u.since(now.steady).div_ceil(1000) * 1000).unwrap_or(i64::MAX);
    let next = r.until.map_or(String::new(), |u| format!(", next step in {}", age(left(u))));
    format!("{word}{step}{next}")
}

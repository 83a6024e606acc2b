//! Traffic on its way to another release.
//!
//! ```text
//!  fraud · production   v6 → v7   canary, step 2 of 4, next step in 3m             started 5m ago by 4f1c2ab (Ada)
//!
//!  100 ┤████████████████████████████████████████████···············
//!      │████████████████████████████▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄░░░░░░░░░░░░░░░   █ v6, stable
//!    0 ┤▁▁▁▁▁▁▁▁▁▁▁▁▁▁▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒░░░░░░░░░░░░░░░   ▒ v7, new: 25 %
//!       5 %           25 %                         50 %
//!       ✓ 2m          now, of 5m                   5m
//!
//!  ANALYSIS      BOUND    STABLE v6   NEW v7     REQUESTS   VERDICT
//!  error_rate    ≤ 1 %    0.02 %      0.03 %        4,120   ✓ holds    ▂▂▄▂▂
//! ```

use super::{
    chart::{self, Chart, Series},
    fleet::stage,
    paint::{self, accent, age, bad, clip, cut, dim, fold, good, letter, of_curve, pad, share, strong, visible, warn},
    simple,
    spark::spark,
};
use crate::{
    api::types::*,
    model::*,
    tui::{
        state::{Extent, State},
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

/// Columns left of the course: `100 ┤`.
const LEFT: usize = 6;

/// The environment in which traffic moves; the last one of the chain, where it does in several.
pub fn moving(m: &ModelSummary) -> Option<(&EnvironmentSummary, &RolloutSummary)> {
    m.environments.iter().rev().find_map(|e| Some((e, e.rollout.as_ref()?)))
}

/// Draws the page.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, name: &Name) -> Extent {
    let Some(m) = state.model.as_ref().filter(|m| m.summary.name == *name) else {
        return simple::lines(frame, area, 0, None, vec![Line::from(dim("  loading"))]);
    };
    let Some((e, r)) = moving(&m.summary) else {
        return simple::lines(frame, area, 0, None, at_rest(m));
    };
    let now = state.now();
    let width = usize::from(area.width);
    let mut top = vec![head(m, e, r, now, width), Line::raw("")];
    // A third of the screen at most: the analyses say whether it goes on.
    let rows = usize::from(area.height / 3).saturating_sub(2).clamp(2, 8);
    top.extend(course(e, r, now, width, rows));
    top.push(Line::raw(""));
    let selected = state.scroll.min(r.analysis.len().saturating_sub(1));
    top.extend(analyses(e, r, width, Some(selected)));
    if r.analysis.is_empty() {
        top.push(Line::from(dim(" nothing is measured: a [[deploy.analysis]] would hold back a bad version")));
    }
    let height = u16::try_from(top.len()).unwrap_or(u16::MAX);
    let [above, below] = Layout::vertical([Constraint::Length(height), Constraint::Min(0)]).areas(area);
    let top: Vec<Line> = top.into_iter().map(|l| clip(l, width)).collect();
    frame.render_widget(Paragraph::new(top), above);
    if let Some(run) = r.analysis.get(selected) {
        curves(frame, below, e, r, run);
    }
    Extent { last: r.analysis.len().saturating_sub(1), page: 1, width: 0 }
}

fn at_rest(m: &ModelDetail) -> Vec<Line<'static>> {
    let mut out = vec![
        Line::from(vec![strong(&format!(" {}", m.summary.name)), dim("   no rollout is under way")]),
        Line::raw(""),
    ];
    for e in &m.summary.environments {
        let version = e.version.map_or("nothing".to_owned(), |v| v.to_string());
        out.push(Line::from(vec![strong(&format!(" {:<12} ", e.environment.as_str())), Span::raw(version)]));
        out.extend(e.rejected.as_ref().map(|why| Line::from(bad(&format!("   rejected: {}", visible(why))))));
    }
    out.push(Line::raw(""));
    out.push(Line::from(dim(" the next commit that changes what is served begins one; `trimtab rollout retry` tries again what was rejected")));
    out
}

fn head(m: &ModelDetail, e: &EnvironmentSummary, r: &RolloutSummary, now: Now, width: usize) -> Line<'static> {
    let from = e.version.map_or("nothing".to_owned(), |v| v.to_string());
    let left = vec![
        strong(&format!(" {} · {}", m.summary.name, e.environment)),
        Span::raw(format!("   {from} → {}   ", r.to)),
        if r.held { warn(&stage(r, now)) } else { accent(&stage(r, now)) },
    ];
    let ago = age(now.wall.0 - r.started.0);
    let by = m.summary.changed_by.as_ref();
    let by = by.map_or(String::new(), |c| format!(" by {} ({})", c.commit.short(), visible(&c.author)));
    let right = format!("started {ago} ago{by} ");
    let used: usize = left.iter().map(Span::width).sum();
    let room = width.saturating_sub(used + right.width());
    let gap = if room < 2 { String::new() } else { " ".repeat(room) };
    let right = if room < 2 { Span::raw("") } else { dim(&right) };
    Line::from([left, vec![Span::raw(gap), right]].concat())
}

/// One stretch of the course.
struct Stretch {
    weight: f64,
    /// 0 to 1: how much of it is behind.
    done: f64,
    note: String,
}

/// All steps, then the new release with all traffic.
fn stretches(r: &RolloutSummary, now: Now) -> Vec<Stretch> {
    let last = StepSpec::new(100.0, Millis(0));
    let all = r.steps.iter().chain([&last]).enumerate();
    let one = |(i, s): (usize, &StepSpec)| {
        let hold = if s.gate && s.hold.0 == 0 { "gate".to_owned() } else { s.hold.to_string() };
        let is_last = i == r.steps.len();
        let left = r.until.map(|u| u.since(now.steady) as f64 / s.hold.0.max(1) as f64);
        let (done, note) = match (i + 1).cmp(&r.step) {
            std::cmp::Ordering::Less => (1.0, format!("✓ {hold}")),
            std::cmp::Ordering::Equal if r.held => (1.0, "held here".to_owned()),
            std::cmp::Ordering::Equal => (1.0 - left.unwrap_or(0.0).clamp(0.0, 1.0), format!("now, of {hold}")),
            std::cmp::Ordering::Greater if is_last => (0.0, "then stable".to_owned()),
            std::cmp::Ordering::Greater => (0.0, hold),
        };
        Stretch { weight: s.weight, done, note }
    };
    all.map(one).collect()
}

/// Shares over the steps, one above the other: what is behind in full, what is ahead in dots.
fn course(e: &EnvironmentSummary, r: &RolloutSummary, now: Now, width: usize, rows: usize) -> Vec<Line<'static>> {
    let stretches = stretches(r, now);
    let stable = e.version.map_or("nothing".to_owned(), |v| format!("{v}, stable: {} %", 100.0 - r.weight));
    let legend = [format!("█ {stable}"), format!("█ {}, new: {} %", r.to, r.weight)];
    let longest = legend.iter().map(|l| l.width()).max().unwrap_or(0) + 3;
    let beside = width >= LEFT + longest + 8 * stretches.len();
    let room = width.saturating_sub(LEFT + if beside { longest } else { 1 });
    let each = (room / stretches.len()).max(1);
    let mut out: Vec<Line> = (0..rows)
        .map(|row| {
            let label = match row {
                0 => " 100 ┤",
                _ if row + 1 == rows => "   0 ┤",
                _ => "     │",
            };
            let mut line = vec![dim(label)];
            line.extend(stretches.iter().flat_map(|s| cells(s, each, row, rows)));
            let place = (row + legend.len()).checked_sub(rows).filter(|_| beside);
            if let Some((at, text)) = place.and_then(|at| Some((at, legend.get(at)?))) {
                line.push(if at == 0 {
                    paint::stable(&format!("   {text}"))
                } else {
                    paint::new(&format!("   {text}"))
                });
            }
            Line::from(line)
        })
        .collect();
    let here = r.step.checked_sub(1);
    let label = |of: &dyn Fn(&Stretch) -> String| {
        let mut line = vec![Span::raw(" ".repeat(LEFT))];
        for (i, s) in stretches.iter().enumerate() {
            let text = cut(&of(s), each.saturating_sub(1));
            let pad = " ".repeat(each.saturating_sub(text.width()));
            line.extend([if Some(i) == here { strong(&text) } else { dim(&text) }, Span::raw(pad)]);
        }
        Line::from(line)
    };
    out.push(label(&|s| format!("{} %", s.weight)));
    out.push(label(&|s| s.note.clone()));
    if !beside {
        out.push(Line::from(vec![Span::raw(" "), paint::stable(&legend[0]), Span::raw("   "), paint::new(&legend[1])]));
    }
    out
}

/// One row of a stretch. Eighths of a cell are drawn, where colours tell them apart.
fn cells(s: &Stretch, width: usize, row: usize, rows: usize) -> Vec<Span<'static>> {
    let behind = ((s.done * width as f64).round() as usize).min(width);
    let new = s.weight / 100.0 * rows as f64 - (rows - 1 - row) as f64;
    let ahead = if new >= 0.5 || (new > 0.0 && row + 1 == rows) { "░" } else { "·" };
    let mut out = vec![];
    if behind > 0 {
        out.push(share(new, behind));
    }
    if behind < width {
        out.push(dim(&ahead.repeat(width - behind)));
    }
    out
}

/// Each analysis with its bound, the figures of both releases, and how it stands.
pub fn analyses(
    e: &EnvironmentSummary,
    r: &RolloutSummary,
    width: usize,
    selected: Option<usize>,
) -> Vec<Line<'static>> {
    if r.analysis.is_empty() {
        return vec![];
    }
    let columns = AnalysisColumns::new(r, width);
    let mut out = vec![columns.heading(e, r)];
    let rows = r.analysis.iter().enumerate();
    out.extend(rows.flat_map(|(i, run)| columns.row(r, run, selected == Some(i))));
    out
}

/// What the width has room for.
struct AnalysisColumns {
    width: usize,
    name: usize,
    /// 0 where it stands below the name.
    bound: usize,
    requests: bool,
}

impl AnalysisColumns {
    /// Signs and gaps, both figures and the verdict.
    const FIXED: usize = 1 + 2 + 2 + 12 + 12 + 12;

    fn new(r: &RolloutSummary, width: usize) -> Self {
        let longest = |of: &dyn Fn(&AnalysisRun) -> String, least: usize| {
            r.analysis.iter().map(|a| of(a).width()).max().unwrap_or(0).max(least)
        };
        let name = longest(&|a| visible(&a.spec.name), 8);
        let bound = longest(&|a| a.spec.bound(), 5);
        // A word that is cut says nothing: the bound goes to a row of its own first.
        let beside =
            width >= Self::FIXED + name + bound + if r.analysis.iter().any(|a| a.spec.dry_run) { 9 } else { 0 };
        let requests = width >= name + bound + 70;
        let name = if beside { name } else { name.min(width.saturating_sub(Self::FIXED).max(8)) };
        Self { width, name, bound: if beside { bound } else { 0 }, requests }
    }

    /// A cell for the bound, where it has one.
    fn bound(&self, text: &str) -> String {
        if self.bound > 0 { format!("  {}", pad(text, self.bound)) } else { String::new() }
    }

    fn heading(&self, e: &EnvironmentSummary, r: &RolloutSummary) -> Line<'static> {
        let stable = format!("STABLE {}", e.version.map_or("-".to_owned(), |v| v.to_string()));
        let new = format!("NEW {}", r.to);
        let requests = if self.requests { format!("{:>9}   ", "REQUESTS") } else { String::new() };
        let (name, bound) = (pad("ANALYSIS", self.name), self.bound("BOUND"));
        Line::from(strong(&format!(" {name}{bound}  {stable:<11} {new:<11} {requests}VERDICT")))
    }

    fn row(&self, r: &RolloutSummary, run: &AnalysisRun, selected: bool) -> Vec<Line<'static>> {
        let (spec, last) = (&run.spec, run.last.as_ref());
        let of = |v: Option<f64>| v.map_or("-".to_owned(), |v| spec.metric.show(v));
        let new = of(last.and_then(|m| m.value).or_else(|| spec.metric.of_release(&r.traffic.new)));
        let stable = of(last.and_then(|m| m.stable).or_else(|| spec.metric.of_release(&r.traffic.stable)));
        let name = format!("{}{}", if selected { "▸" } else { " " }, pad(&visible(&spec.name), self.name));
        let seen = if spec.metric.is_of_router() { r.traffic.new.requests.to_string() } else { "-".to_owned() };
        let requests = if self.requests { format!("{seen:>9}   ") } else { String::new() };
        let mut line = vec![
            if selected { strong(&name) } else { Span::raw(name) },
            dim(&format!("{}  {stable:<11} ", self.bound(&spec.bound()))),
            Span::raw(format!("{new:<11} ")),
            dim(&requests),
            verdict(run, &r.traffic.new),
        ];
        let dry = if spec.dry_run { "  dry run" } else { "" };
        // The history takes what is left.
        let used = line.iter().map(Span::width).sum::<usize>() + dry.width() + 2;
        let room = self.width.saturating_sub(used).min(if self.requests { 12 } else { 8 });
        let points: Vec<(f64, f64)> = run.recent.iter().enumerate().map(|(n, v)| (n as f64, *v)).collect();
        line.extend((room > 2).then(|| dim(&format!("  {}", spark(&points, room)))));
        line.push(dim(dry));
        let mut out = vec![Line::from(line)];
        if self.bound == 0 {
            let rows = fold(&spec.bound(), self.width.saturating_sub(4), 0);
            out.extend(rows.iter().map(|l| Line::from(dim(&format!("   {l}")))));
        }
        out
    }
}

fn verdict(run: &AnalysisRun, new: &TrafficStats) -> Span<'static> {
    let spec = &run.spec;
    let padded = |text: &str| format!("{text:<12}");
    match run.last.as_ref().map(|m| m.verdict) {
        None if spec.metric.is_of_router() => dim(&padded(&format!("{} of {}", new.requests, spec.min_requests))),
        None => dim(&padded("not yet")),
        Some(Verdict::Success) => good(&padded("✓ holds")),
        Some(Verdict::Failure) => bad(&padded("✗ broken")),
        Some(Verdict::Inconclusive) => warn(&padded("? unclear")),
        Some(Verdict::Error) => warn(&padded("! no figure")),
    }
}

/// The chosen analysis: the new release's figures, and stable's.
fn curves(frame: &mut Frame, area: Rect, e: &EnvironmentSummary, r: &RolloutSummary, run: &AnalysisRun) {
    const LEAST: u16 = 6;
    if area.height < LEAST {
        return;
    }
    let [_, title, said, plot] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Length(1), Constraint::Min(0)])
            .areas(area);
    let stable = e.version.map_or("-".to_owned(), |v| v.to_string());
    let mut line = vec![strong(&format!(" {}   ", visible(&run.spec.name)))];
    let points = |figures: &[f64]| {
        // Both end now.
        let from = -(figures.len() as f64);
        figures.iter().enumerate().map(|(n, v)| (from + n as f64 + 1.0, *v)).collect::<Vec<_>>()
    };
    let mut series = vec![];
    for (number, name, figures) in [(0, &stable, &run.recent_stable), (1, &r.to.to_string(), &run.recent)] {
        if !figures.is_empty() {
            line.push(of_curve(&format!("{} {name}  ", letter(number)), number));
            series.push(Series { number, points: points(figures) });
        }
    }
    // What it is held to, where that is a figure.
    for (sign, bound) in [('≤', run.spec.max), ('≥', run.spec.min)] {
        let long = series.iter().map(|s| s.points.len()).max().filter(|n| *n > 1);
        if let Some((bound, long)) = bound.zip(long) {
            let number = series.len().max(2);
            line.push(of_curve(&format!("{} {sign} {}  ", letter(number), run.spec.metric.show(bound)), number));
            series.push(Series { number, points: points(&[bound, bound].repeat(long.div_ceil(2))) });
        }
    }
    frame.render_widget(Paragraph::new(clip(Line::from(line), area.width.into())), title);
    let text = run.last.as_ref().map_or("nothing measured in this step yet".to_owned(), |m| visible(&m.text));
    frame.render_widget(Paragraph::new(clip(Line::from(dim(&format!(" {text}"))), area.width.into())), said);
    let better = if run.spec.higher_is_better { Better::Higher } else { Better::Lower };
    chart::draw(frame, plot, &Chart { axis: Axis::Step, better, series: &series });
}

//! Runs beside each other: what differs, what came of it, and the curves of a metric over each other.
//!
//! ```text
//!  fraud  2 runs beside each other, changes from A
//!                     A brave-cat-12         B calm-owl-7
//!  status             ✓ finished             ↻ running
//!  params that differ  (14 are the same)
//!  depth              6                      8
//!  metrics
//!  auc ↑              0.9812                 0.9830 ★ +0.2 %
//!
//!  auc ↑
//!  0.9 ┤        ⢀⠤⠒⠉⠉⠉⠉ A
//! ```

use super::{
    super::{
        Targets,
        chart::{Chart, Series},
        paint::{age, bad, barred, clip, cut, dim, good, letter, of_curve, pad, strong, visible, warn},
        panes::parted,
        simple,
    },
    commit,
    pane::{self, Row},
    status, took,
};
use crate::tui::{
    borders::Border,
    state::{Extent, State},
    tracked::{Axis, Better, Curve, Item, Page, WholeRun, better, change},
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::Paragraph,
};
use unicode_width::UnicodeWidthStr;

/// Draws the page.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, experiment: &str, targets: &mut Targets) -> Extent {
    let page = &state.tracked.page;
    if page.runs.len() < 2 {
        return simple::lines(frame, area, 0, None, vec![Line::from(dim("  loading"))]);
    }
    let width = usize::from(area.width);
    let columns = Columns::new(page, width, state.scroll);
    let title = vec![
        super::heading(experiment, width),
        Span::raw(format!("  {} runs beside each other", page.runs.len())),
        dim(", changes from A"),
    ];
    let mut head = vec![Line::from(title), columns.names(page)];
    if page.alone {
        head.truncate(1);
    } else {
        head.extend(columns.facts(page, state));
    }
    let head: Vec<Line> = head.into_iter().map(|l| clip(l, width)).collect();
    let [top, body] = Layout::vertical([Constraint::Length(head.len() as u16), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(head), top);
    if page.alone {
        detail(frame, body, state);
        return Extent { last: columns.hidden, page: 1, width: 0 };
    }
    let rows = laid_out(page);
    let (list, below) = split(frame, body, state, rows.len(), targets);
    let seen = pane::rows(frame, list, &rows, page.item.as_ref(), |item, selected| {
        let spans = columns.line(item, page);
        if selected { barred(&spans, width) } else { Line::from(spans) }
    });
    if let Some(below) = below {
        detail(frame, below, state);
    }
    Extent { last: columns.hidden, ..seen }
}

fn split(frame: &mut Frame, body: Rect, state: &State, rows: usize, targets: &mut Targets) -> (Rect, Option<Rect>) {
    if body.height < 12 {
        return (body, None);
    }
    let height = u16::try_from(rows).unwrap_or(u16::MAX).min(body.height / 2);
    let (list, below) = parted(frame, body, state, Border::Compare, height, targets);
    (list, Some(below))
}

fn laid_out(page: &Page) -> Vec<Row> {
    let differing = page.differing().len();
    let all = page.runs.iter().map(|r| r.params.len()).max().unwrap_or(0);
    let same = all.saturating_sub(differing);
    let heading = match (differing, same) {
        (0, 0) => vec![dim(" no params were logged")],
        (0, 1) => vec![dim(" the only param is the same")],
        (0, n) => vec![dim(&format!(" all {n} params are the same"))],
        (_, 0) => vec![strong(" params that differ")],
        (_, 1) => vec![strong(" params that differ"), dim("   1 more is the same")],
        (_, n) => vec![strong(" params that differ"), dim(&format!("   {n} more are the same"))],
    };
    let mut out = vec![Row::Text(Line::from(heading))];
    let mut metrics = false;
    for item in page.items() {
        if !metrics && matches!(item, Item::Metric(_)) {
            out.push(Row::Text(Line::from(strong(" metrics"))));
            metrics = true;
        }
        out.push(Row::Item(item));
    }
    out.extend((!metrics).then(|| Row::Text(Line::from(dim(" no metric was logged yet")))));
    out
}

/// A column for the names, and one for each run that the width has room for.
struct Columns {
    label: usize,
    each: usize,
    /// The runs that are seen.
    seen: Vec<usize>,
    /// How many have no room.
    hidden: usize,
    /// How many of those stand before the others.
    before: usize,
}

impl Columns {
    fn new(page: &Page, width: usize, before: usize) -> Self {
        const LEAST: usize = 14;
        let keys = page.differing().into_iter().chain(page.metrics());
        let longest = keys.map(|k| visible(k).width() + 2).max().unwrap_or(0);
        let runs = page.runs.len();
        let label = longest.max(11).min((width / 4).max(11)) + 2;
        let shown = (width.saturating_sub(label) / LEAST).clamp(1, runs);
        let each = (width.saturating_sub(label) / shown).clamp(1, 30);
        let hidden = runs - shown;
        let before = before.min(hidden);
        // The first one stays, where there is room for another: changes are told from it.
        let kept = usize::from(shown > 1);
        let seen = (0..kept).chain(before + kept..before + shown).collect();
        Self { label, each, seen, hidden, before }
    }

    fn cells(&self, label: Span<'static>, cell: impl Fn(usize) -> Vec<Span<'static>>) -> Vec<Span<'static>> {
        let mut out = vec![Span::raw(" "), label];
        let pad_to = |out: &mut Vec<Span<'static>>, width: usize| {
            let used: usize = out.iter().map(Span::width).sum();
            out.push(Span::raw(" ".repeat(width.saturating_sub(used))));
        };
        pad_to(&mut out, self.label);
        for (place, n) in self.seen.iter().enumerate() {
            let spans = clip(Line::from(cell(*n)), self.each.saturating_sub(1)).spans;
            out.extend(spans);
            pad_to(&mut out, self.label + (place + 1) * self.each);
        }
        out
    }

    fn names(&self, page: &Page) -> Line<'static> {
        let more = |n: usize, sign: &str| if n > 0 { format!("{sign} {n} ") } else { String::new() };
        let label = warn(&[more(self.before, "←"), more(self.hidden - self.before, "→")].concat());
        let name = |n: usize| vec![of_curve(&format!("{} {}", letter(n), visible(&page.runs[n].run.name)), n)];
        Line::from(self.cells(label, name))
    }

    fn facts(&self, page: &Page, state: &State) -> Vec<Line<'static>> {
        let now = state.now().wall.0;
        let row = |label: &str, cell: &dyn Fn(&WholeRun) -> Vec<Span<'static>>| {
            Line::from(self.cells(dim(label), |n| cell(&page.runs[n])))
        };
        let began = |r: &WholeRun| {
            let by = if r.run.user.is_empty() { String::new() } else { format!(" by {}", visible(&r.run.user)) };
            vec![Span::raw(format!("{} ago{by}", age(now - r.run.started)))]
        };
        let how = |r: &WholeRun| vec![status(r.run.status, true), dim(&format!(" {}", took(&r.run, now)))];
        vec![
            row("status", &how),
            row("began", &began),
            row("commit", &|r| vec![Span::raw(commit(r).unwrap_or_else(|| "-".into()))]),
        ]
    }

    fn line(&self, item: &Item, page: &Page) -> Vec<Span<'static>> {
        let label = |text: &str| Span::raw(pad(text, self.label.saturating_sub(2)));
        match item {
            Item::Metric(key) => {
                let (best, sign) = (best(page, key), better(key).arrow());
                let name = pad(&visible(key), self.label.saturating_sub(4)).trim_end().to_owned();
                self.cells(label(&format!("{name} {sign}")), |n| self.metric(page, key, n, best))
            }
            Item::Param(key) | Item::Tag(key) => self.cells(label(&visible(key)), |n| {
                let value = page.runs[n].params.get(key);
                vec![value.map_or_else(|| dim("-"), |v| Span::raw(visible(v)))]
            }),
        }
    }

    /// `0.9830 ★ +0.2 %`: the change is that from the first run.
    fn metric(&self, page: &Page, key: &str, n: usize, best: Option<f64>) -> Vec<Span<'static>> {
        let of = |n: usize| page.runs[n].run.metrics.get(key).map(|m| m.value);
        let Some(value) = of(n) else { return vec![dim("-")] };
        let is_best = best == Some(value.0);
        let text = format!("{value:<8}");
        let mut out = vec![match value.0.is_finite() {
            false => warn(&text),
            true if is_best => good(&text),
            true => Span::raw(text),
        }];
        out.push(if is_best { good(" ★") } else { Span::raw("  ") });
        let moved = of(0).filter(|_| n > 0 && self.each >= 18).and_then(|a| Some((change(a.0, value.0)?, a.0)));
        out.extend(moved.map(|(text, from)| match (better(key), value.0 > from) {
            (Better::Neither, _) => dim(&format!(" {text}")),
            (Better::Higher, true) | (Better::Lower, false) => good(&format!(" {text}")),
            _ => bad(&format!(" {text}")),
        }));
        out
    }
}

/// The best of a metric's newest values, where they are not all the same.
fn best(page: &Page, key: &str) -> Option<f64> {
    let all = || page.runs.iter().filter_map(|r| r.run.metrics.get(key)).map(|m| m.value.0);
    let best = better(key).best(all())?;
    all().any(|v| v != best).then_some(best)
}

/// The curves of the chosen metric; the values of a param whole.
fn detail(frame: &mut Frame, area: Rect, state: &State) {
    let (tracked, page) = (&state.tracked, &state.tracked.page);
    if let Some(Item::Param(key)) = &page.item {
        let text = |(n, r): (usize, &WholeRun)| {
            let whose = of_curve(&format!(" {} {}", letter(n), visible(&r.run.name)), n);
            (whose, r.params.get(key).cloned().unwrap_or_else(|| "-".to_owned()))
        };
        let texts: Vec<_> = page.runs.iter().enumerate().map(text).collect();
        return pane::text(frame, area, vec![dim(" param "), strong(&visible(key))], &texts);
    }
    let Some(key) = tracked.metric.as_ref().filter(|k| page.has_metric(k)) else { return };
    let curves: Vec<(usize, &WholeRun, &Curve)> =
        page.runs.iter().enumerate().filter_map(|(n, r)| Some((n, r, page.curve(&r.run.id, key)?))).collect();
    let axis = pane::axis_of(state, curves.iter().map(|(_, _, c)| *c));
    let series: Vec<Series> =
        curves.iter().map(|(n, r, c)| Series { number: *n, points: c.over(axis, r.run.started) }).collect();
    let mut title = vec![strong(&format!(" {} {}", visible(key), better(key).arrow())), Span::raw("  ")];
    let over = if axis == Axis::Time { "  by time since the start" } else { "  by step" };
    // Each has its part of the room, so that no letter is left out.
    let used = title.iter().map(Span::width).sum::<usize>() + over.width();
    let each = (usize::from(area.width).saturating_sub(used) / curves.len().max(1)).saturating_sub(4);
    for (n, r, _) in &curves {
        title.push(of_curve(&format!(" {} {} ", letter(*n), cut(&visible(&r.run.name), each)), *n));
    }
    title.push(dim(over));
    pane::chart(frame, area, state, title, &Chart { axis, better: better(key), series: &series }, curves.is_empty());
}

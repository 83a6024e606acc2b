//! A run's page.
//!
//! ```text
//!  ↻ brave-cat-12   running 3m 12s   began 3m ago by Ada   fraud
//!    commit 4f1c2ab   stage train   source train.py   run 0f3a…
//!
//!  metrics             newest     step
//!  auc               0.9812      120  ▁▂▃▅▆▇▇█▇█
//!  params
//!  depth             8
//!
//!  auc ↑  0.9812 at step 120   max 0.9830 at 110   min 0.6123 at 0
//!  0.9 ┤        ⢀⠤⠒⠉⠉⠉⠉
//! ```

use super::{
    super::{
        Targets,
        chart::{Chart, Series},
        paint::{age, barred, clip, cut, dim, pad, strong, visible, warn},
        panes::parted,
        simple,
        spark::spark,
    },
    commit,
    pane::{self, Row},
    status, took,
};
use crate::tui::{
    borders::Border,
    state::{Extent, State},
    tracked::{Axis, Item, WholeRun, better},
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
    let [r] = page.runs.as_slice() else {
        return simple::lines(frame, area, 0, None, vec![Line::from(dim("  loading"))]);
    };
    let width = usize::from(area.width);
    let head: Vec<Line> = head(r, state, experiment, width).into_iter().map(|l| clip(l, width)).collect();
    let [top, body] = Layout::vertical([Constraint::Length(head.len() as u16 + 1), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(head), top);
    let items = page.items();
    if page.alone {
        detail(frame, body, state, r);
        return Extent { last: 0, page: 1, width: 0 };
    }
    let (list, beside) = split(frame, body, state, items.len(), targets);
    let most = (usize::from(list.width) * 2 / 5).max(10);
    let longest =
        |keys: &mut dyn Iterator<Item = &String>| keys.map(|k| visible(k).width()).max().unwrap_or(0).clamp(10, most);
    let names = [longest(&mut r.run.metrics.keys()), longest(&mut r.params.keys()), longest(&mut r.tags.keys())];
    let rows = laid_out(items, names[0]);
    let extent = pane::rows(frame, list, &rows, page.item.as_ref(), |item, selected| {
        line(item, r, state, names, list.width.into(), selected)
    });
    if let Some(beside) = beside {
        detail(frame, beside, state, r);
    }
    extent
}

/// The rows, and what the cursor is on: beside them where there is room, else below.
fn split(frame: &mut Frame, body: Rect, state: &State, rows: usize, targets: &mut Targets) -> (Rect, Option<Rect>) {
    // With headings and the air before them.
    let rows = u16::try_from(rows + 5).unwrap_or(u16::MAX);
    if body.width >= 110 {
        let left = (body.width * 9 / 20).clamp(54, 90);
        let (list, beside) = parted(frame, body, state, Border::RunBeside, left, targets);
        return (list, Some(beside));
    }
    if body.height < 12 {
        return (body, None);
    }
    let height = rows.min(body.height * 9 / 20).max(4);
    let (list, below) = parted(frame, body, state, Border::RunBelow, height, targets);
    (list, Some(below))
}

fn head(r: &WholeRun, state: &State, experiment: &str, width: usize) -> Vec<Line<'static>> {
    let (run, now) = (&r.run, state.now().wall.0);
    let tag = |key: &str| r.tags.get(key).filter(|t| !t.is_empty());
    let user = if run.user.is_empty() { tag("mlflow.user").cloned().unwrap_or_default() } else { run.user.clone() };
    let by = if user.is_empty() { String::new() } else { format!(" by {}", visible(&user)) };
    let status = status(run.status, true);
    let took = format!(" {} {}", if run.lives() { "for" } else { "in" }, took(run, now));
    let began = format!("   began {} ago", age(now - run.started));
    let room = width.saturating_sub("  ›    ".width() + status.width() + took.width());
    let (experiment, name) = names((&visible(experiment), &visible(&run.name)), room, began.width() + by.width());
    let room = room.saturating_sub(experiment.width() + name.width());
    let began = [began.clone() + &by, began].into_iter().find(|told| told.width() <= room);
    let first = vec![
        dim(&format!(" {experiment} › ")),
        strong(&name),
        Span::raw("   "),
        status,
        Span::raw(took),
        dim(&began.unwrap_or_default()),
    ];
    let mut facts = vec![];
    let mut fact = |what: &str, value: Option<String>| facts.extend(value.map(|v| format!("{what} {}", visible(&v))));
    fact("commit", commit(r));
    fact("stage", tag("trimtab.stage").cloned());
    fact("source", tag("mlflow.source.name").cloned());
    fact("run", Some(run.id.0.clone()));
    let mut out = vec![Line::from(first), Line::from(dim(&format!("   {}", facts.join("   "))))];
    let note = tag("mlflow.note.content").and_then(|n| n.lines().next().map(visible));
    out.extend(note.map(|n| Line::raw(format!("   {n}"))));
    out
}

/// The experiment's name and the run's, in so much room: neither takes all of it, and the first gives way to what else is told.
fn names((experiment, run): (&str, &str), room: usize, told: usize) -> (String, String) {
    const LEAST: usize = 12;
    let least = experiment.width().min(LEAST);
    let run = cut(run, room.saturating_sub(least));
    let rest = room.saturating_sub(run.width());
    (cut(experiment, rest.saturating_sub(told).max(least.min(rest))), run)
}

fn laid_out(items: Vec<Item>, name: usize) -> Vec<Row> {
    let mut out = vec![];
    let mut section = "";
    if !matches!(items.first(), Some(Item::Metric(_))) {
        out.push(Row::Text(Line::from(dim(" No metric was logged yet: one shows here within a second."))));
    }
    for item in items {
        let (of, columns) = match item {
            Item::Metric(_) => (" metrics", format!("{:>1$} {2:>7}", "newest", name + 4, "step")),
            Item::Param(_) => (" params", String::new()),
            Item::Tag(_) => (" tags", String::new()),
        };
        if of != section {
            out.extend((!out.is_empty()).then(|| Row::Text(Line::raw(""))));
            out.push(Row::Text(Line::from(vec![strong(of), dim(&columns)])));
            section = of;
        }
        out.push(Row::Item(item));
    }
    out
}

fn line(item: &Item, r: &WholeRun, state: &State, names: [usize; 3], width: usize, selected: bool) -> Line<'static> {
    let mut spans = vec![];
    let named = |key: &str, of: usize| format!(" {}  ", pad(&visible(key), names[of]));
    match item {
        Item::Metric(key) => {
            let newest = r.run.metrics.get(key);
            let value = pane::cell(newest.map(|n| n.value), 9);
            let odd = newest.is_some_and(|n| !n.value.0.is_finite());
            let step = newest.map_or(String::new(), |n| n.step.to_string());
            spans.push(Span::raw(named(key, 0)));
            spans.push(if odd { warn(&value) } else { Span::raw(value) });
            spans.push(dim(&format!(" {step:>7}  ")));
            let used: usize = spans.iter().map(Span::width).sum();
            let room = width.saturating_sub(used + 1).min(40);
            if let Some(curve) = state.tracked.page.curve(&r.run.id, key).filter(|c| c.points.len() > 1) {
                let axis = if curve.is_stepless() { Axis::Time } else { Axis::Step };
                spans.push(super::super::paint::accent(&spark(&curve.over(axis, r.run.started), room)));
            }
        }
        Item::Param(key) => {
            spans.push(Span::raw(named(key, 1)));
            spans.push(Span::raw(visible(r.params.get(key).map_or("", |v| v))));
        }
        Item::Tag(key) => {
            spans.push(dim(&named(key, 2)));
            let value = cut(&visible(r.tags.get(key).map_or("", |v| v)), width);
            spans.push(Span::raw(value));
        }
    }
    if selected { barred(&spans, width) } else { Line::from(spans) }
}

/// The curve of the metric that the cursor is on, or was; the text of another row whole.
fn detail(frame: &mut Frame, area: Rect, state: &State, r: &WholeRun) {
    let tracked = &state.tracked;
    let whole = |what: &str, key: &str| vec![dim(&format!(" {what} ")), strong(&visible(key))];
    match &tracked.page.item {
        Some(Item::Param(key)) => {
            let value = r.params.get(key).cloned().unwrap_or_default();
            return pane::text(frame, area, whole("param", key), &[(Span::raw(""), value)]);
        }
        Some(Item::Tag(key)) => {
            let value = r.tags.get(key).cloned().unwrap_or_default();
            return pane::text(frame, area, whole("tag", key), &[(Span::raw(""), value)]);
        }
        _ => {}
    }
    let Some(key) = tracked.metric.as_ref().filter(|k| r.run.metrics.contains_key(*k)) else { return };
    let curve = tracked.page.curve(&r.run.id, key);
    let axis = pane::axis_of(state, curve.into_iter());
    let series: Vec<Series> =
        curve.into_iter().map(|c| Series { number: 0, points: c.over(axis, r.run.started) }).collect();
    let title = pane::of_metric(key, curve, state.tracked.axis);
    pane::chart(frame, area, state, title, &Chart { axis, better: better(key), series: &series }, curve.is_none());
}

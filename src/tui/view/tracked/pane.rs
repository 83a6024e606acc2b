//! Rows with a cursor, and what the cursor is on beside or below them.

use super::super::{
    chart,
    paint::{clip, dim, fold, strong, visible, warn},
};
use crate::tui::{
    keymap::Act,
    state::{Extent, State},
    tracked::{Axis, Curve, Figure, Item, Point, better},
};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

/// A row of a page: text, or one that the cursor can be on.
pub enum Row {
    Text(Line<'static>),
    Item(Item),
}

/// Draws the rows around the cursor; only those that are seen are built.
pub fn rows(
    frame: &mut Frame,
    area: Rect,
    rows: &[Row],
    cursor: Option<&Item>,
    build: impl Fn(&Item, bool) -> Line<'static>,
) -> Extent {
    let height = usize::from(area.height);
    let is_cursor = |r: &Row| matches!(r, Row::Item(i) if Some(i) == cursor);
    let place = rows.iter().position(is_cursor).unwrap_or(0);
    // Its heading is seen with the first row.
    let first_item = rows.iter().position(|r| matches!(r, Row::Item(_))).unwrap_or(0);
    let first = if place == first_item { 0 } else { place.saturating_sub(height / 2) };
    let first = first.max((place + 1).saturating_sub(height)).min(rows.len().saturating_sub(height));
    let built = rows.iter().skip(first).take(height).map(|row| match row {
        Row::Text(line) => line.clone(),
        Row::Item(item) => build(item, is_cursor(row)),
    });
    let mut built: Vec<Line> = built.map(|l| clip(l, area.width.into())).collect();
    // What is not seen is said in the rows at the ends, where the cursor is not.
    let (above, below) = (first, rows.len().saturating_sub(first + height));
    if height > 4 {
        let more = |n: usize, sign: &str| Line::from(dim(&format!(" {sign} {n} more rows")));
        if let Some(row) = built.first_mut().filter(|_| above > 0 && place != first) {
            *row = more(above + 1, "↑");
        }
        if let Some(row) = built.last_mut().filter(|_| below > 0 && place + 1 != first + height) {
            *row = more(below + 1, "↓");
        }
    }
    frame.render_widget(Paragraph::new(built), area);
    Extent { last: 0, page: height, width: 0 }
}

/// `auc ↑  0.9812 at step 120   max 0.9830 at 110   min 0.6123 at 0`.
pub fn of_metric(key: &str, curve: Option<&Curve>, axis: Axis) -> Vec<Span<'static>> {
    let mut out = vec![strong(format!(" {} {}", visible(key), better(key).arrow()).trim_end())];
    let Some(curve) = curve else { return out };
    let newest = curve.mark.newest;
    out.push(Span::raw(format!("  {} at step {}", newest.value, newest.step)));
    let stepless = axis == Axis::Step && curve.is_stepless();
    out.extend((axis == Axis::Time || stepless).then(|| dim("   by time")));
    let odd = curve.points.iter().filter(|p| !p.value.0.is_finite()).count();
    out.extend((odd > 0).then(|| warn(&format!("   {odd} × no number"))));
    if let Some((low, high)) = curve.extremes().filter(|_| curve.points.len() > 1) {
        let told = |what: &str, p: Point| dim(&format!("   {what} {} at {}", p.value, p.step));
        out.extend([told("max", high), told("min", low)]);
    }
    out.extend(curve.is_sampled().then(|| dim(&format!("   {} samples", curve.points.len()))));
    out
}

/// The chart under its title; or why there is none.
pub fn chart(
    frame: &mut Frame,
    area: Rect,
    state: &State,
    title: Vec<Span<'static>>,
    curves: &chart::Chart,
    loading: bool,
) {
    if area.height == 0 {
        return;
    }
    // Air between the axis and the keys, where there is room.
    let air = u16::from(area.height > 14);
    let body = Rect { y: area.y + 1, height: area.height - 1 - air, ..area };
    let head = Rect { height: 1, ..area };
    frame.render_widget(Paragraph::new(clip(Line::from(title), area.width.into())), head);
    if chart::draw(frame, body, curves) {
        return;
    }
    let points = || curves.series.iter().flat_map(|s| &s.points);
    let why = match points().count() {
        _ if loading => "loading".into(),
        0 => "nothing was logged of it".into(),
        _ if points().all(|p| !p.1.is_finite()) => "none of its values is a number".into(),
        _ => state.with_key(Act::Open, "no room for a chart: {} gives it the screen"),
    };
    frame.render_widget(Paragraph::new(Line::from(dim(&format!("   {why}")))), body);
}

/// Which axis curves are drawn over: without steps of their own it is time.
pub fn axis_of<'a>(state: &State, mut curves: impl Iterator<Item = &'a Curve>) -> Axis {
    if curves.any(Curve::is_stepless) { Axis::Time } else { state.tracked.axis }
}

/// A text of a client, whole.
pub fn text(frame: &mut Frame, area: Rect, title: Vec<Span<'static>>, texts: &[(Span<'static>, String)]) {
    let width = usize::from(area.width);
    let mut lines = vec![Line::from(title)];
    for (whose, text) in texts {
        lines.extend((!whose.content.is_empty()).then(|| Line::from(whose.clone())));
        let rows = text.lines().flat_map(|l| fold(&visible(l), width.saturating_sub(4), 0));
        lines.extend(rows.map(|l| Line::raw(format!("   {l}"))));
    }
    lines.truncate(area.height.into());
    frame.render_widget(Paragraph::new(lines.into_iter().map(|l| clip(l, width)).collect::<Vec<_>>()), area);
}

/// A number in a cell of so many columns.
pub fn cell(value: Option<Figure>, width: usize) -> String {
    value.map_or_else(|| format!("{:>width$}", "-"), |v| format!("{v:>width$}"))
}

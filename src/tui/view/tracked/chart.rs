//! Curves over each other, in dots of braille.
//!
//! ```text
//!  0.9 ┤        ⢀⠤⠒⠉⠉⠉⠉ A
//!  0.8 ┤   ⡠⠔⠊⠁
//!      └┬───────┬───────┬
//!       0      50     100
//! ```

use super::{
    super::paint::{curve_colour, letter},
    scale::{self, Scale},
};
use crate::tui::tracked::Axis;
use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
    symbols::Marker,
    widgets::canvas::{Canvas, Line},
};
use std::collections::BTreeMap;
use unicode_width::UnicodeWidthStr;

/// A curve; its number gives it a colour and a letter.
pub struct Series {
    pub number: usize,
    /// In the order of the first.
    pub points: Vec<(f64, f64)>,
}

fn is_number(p: &(f64, f64)) -> bool {
    p.0.is_finite() && p.1.is_finite()
}

/// Both ends of what is drawn on an axis.
fn ends(series: &[Series], of: fn(&(f64, f64)) -> f64) -> Option<(f64, f64)> {
    let all = series.iter().flat_map(|s| &s.points).filter(|p| is_number(p)).map(of);
    all.fold(None, |ends, v| Some(ends.map_or((v, v), |(low, high): (f64, f64)| (low.min(v), high.max(v)))))
}

/// The parts of the area, and what its axes show.
struct Plot {
    area: Rect,
    x: Scale,
    y: Scale,
}

impl Plot {
    /// `None` where there is nothing to draw, or no room for it.
    fn new(area: Rect, axis: Axis, series: &[Series]) -> Option<Self> {
        let (low, high) = ends(series, |p| p.1)?;
        let (first, last) = ends(series, |p| p.0)?;
        let height = area.height.checked_sub(2).filter(|h| *h >= 2)?;
        let y = scale::values(low, high, usize::from(height.div_ceil(2)).clamp(2, 8));
        let labels = y.ticks.iter().map(|(_, t)| t.width()).max().unwrap_or(0);
        // A space, the labels, another, and the axis; room for a letter at the end.
        let left = u16::try_from(labels).unwrap_or(u16::MAX).saturating_add(3);
        let right = if series.len() > 1 { 2 } else { 1 };
        let width = area.width.checked_sub(left.saturating_add(right)).filter(|w| *w >= 8)?;
        let ticks = usize::from(width / 12).clamp(1, 10);
        let x = match axis {
            Axis::Step => scale::steps(first, last, ticks),
            Axis::Time => scale::seconds(first, last, ticks),
        };
        Some(Self { area: Rect { x: area.x + left, width, height, ..area }, x, y })
    }

    fn column(&self, x: f64) -> u16 {
        let dots = f64::from(self.area.width) * 2.0 - 1.0;
        self.area.x + (self.x.share(x) * dots).round() as u16 / 2
    }

    fn row(&self, y: f64) -> u16 {
        let dots = f64::from(self.area.height) * 4.0 - 1.0;
        self.area.y + ((1.0 - self.y.share(y)) * dots).round() as u16 / 4
    }
}

/// Draws the curves; `false` when there was nothing to draw, or no room.
pub fn draw(frame: &mut Frame, area: Rect, axis: Axis, series: &[Series]) -> bool {
    let Some(plot) = Plot::new(area, axis, series) else { return false };
    axes(frame.buffer_mut(), area, &plot);
    // Shares of the axes: on numbers as large as clients may log, clipping a line would never end.
    let at = |p: &(f64, f64)| (plot.x.share(p.0), plot.y.share(p.1));
    let canvas = Canvas::default().marker(Marker::Braille).x_bounds([0.0, 1.0]).y_bounds([0.0, 1.0]).paint(|ctx| {
        // The first one has its colour where several meet: it is what the others are compared with.
        for s in series.iter().rev() {
            let color = curve_colour(s.number);
            for w in s.points.windows(2).filter(|w| w.iter().all(is_number)) {
                let ((x1, y1), (x2, y2)) = (at(&w[0]), at(&w[1]));
                ctx.draw(&Line { x1, y1, x2, y2, color });
            }
        }
    });
    frame.render_widget(canvas, plot.area);
    grid(frame.buffer_mut(), &plot);
    marks(frame.buffer_mut(), &plot, series);
    true
}

fn axes(buffer: &mut Buffer, area: Rect, plot: &Plot) {
    let dim = Style::new().add_modifier(Modifier::DIM);
    let (axis, bottom) = (plot.area.x - 1, plot.area.bottom());
    (plot.area.top()..bottom).for_each(|row| buffer.set_string(axis, row, "│", dim));
    for (value, text) in &plot.y.ticks {
        let row = plot.row(*value);
        let room = usize::from(axis - 1 - area.x);
        buffer.set_string(area.x, row, format!("{text:>room$} ┤"), dim);
    }
    buffer.set_string(axis, bottom, format!("└{}", "─".repeat(plot.area.width.into())), dim);
    let mut free = area.x;
    for (value, text) in &plot.x.ticks {
        let column = plot.column(*value);
        buffer.set_string(column, bottom, "┬", dim);
        let width = u16::try_from(text.width()).unwrap_or(u16::MAX);
        let from = column.saturating_sub(width / 2).min(area.right().saturating_sub(width)).max(area.x);
        if from >= free && bottom + 1 < area.bottom() {
            buffer.set_stringn(from, bottom + 1, text, width.into(), dim);
            free = from.saturating_add(width + 1);
        }
    }
}

/// Lines to follow with the eye, where no curve is.
fn grid(buffer: &mut Buffer, plot: &Plot) {
    let dim = Style::new().add_modifier(Modifier::DIM);
    for (value, _) in &plot.y.ticks {
        let row = plot.row(*value);
        for column in (plot.area.left()..plot.area.right()).step_by(4) {
            if buffer[(column, row)].symbol() == " " {
                buffer.set_string(column, row, "·", dim);
            }
        }
    }
}

/// What dots alone do not tell: values that stand alone, and whose a curve is.
fn marks(buffer: &mut Buffer, plot: &Plot, series: &[Series]) {
    let mut letters: BTreeMap<u16, Vec<(u16, usize)>> = BTreeMap::new();
    for s in series {
        let alone = s.points.iter().enumerate().filter(|(i, p)| {
            let beside = |at: Option<usize>| at.and_then(|at| s.points.get(at)).is_some_and(is_number);
            is_number(p) && !beside(i.checked_sub(1)) && !beside(Some(i + 1))
        });
        for (_, (x, y)) in alone {
            buffer.set_string(plot.column(*x), plot.row(*y), "•", Style::new().fg(curve_colour(s.number)));
        }
        if let Some(end) = s.points.iter().rfind(|p| is_number(p)).filter(|_| series.len() > 1) {
            letters.entry(plot.column(end.0) + 1).or_default().push((plot.row(end.1), s.number));
        }
    }
    for (column, mut ends) in letters {
        ends.sort();
        spread(&mut ends, plot.area.top(), plot.area.bottom());
        for (row, number) in ends {
            let ink = Style::new().fg(curve_colour(number)).add_modifier(Modifier::BOLD);
            buffer.set_string(column, row, letter(number).to_string(), ink);
        }
    }
}

/// Moves what is in the same row apart, as little as keeps the order.
fn spread(ends: &mut [(u16, usize)], top: u16, bottom: u16) {
    let mut free = top;
    for (row, _) in ends.iter_mut() {
        *row = (*row).max(free);
        free = *row + 1;
    }
    let mut free = bottom;
    for (row, _) in ends.iter_mut().rev() {
        *row = (*row).min(free.saturating_sub(1)).max(top);
        free = *row;
    }
}

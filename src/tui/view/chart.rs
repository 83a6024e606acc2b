//! Curves over each other, in dots of braille.
//!
//! ```text
//!  0.9 ┤        ⢀⠤⠒⠉⠉⠉⠉ A
//!  0.8 ┤   ⡠⠔⠊⠁
//!      └┬───────┬───────┬
//!       0      50     100
//! ```

use super::{
    paint::{curve_colour, letter},
    scale::{self, Scale},
};
use crate::tui::tracked::{Axis, Better};
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

/// What is drawn over each other.
pub struct Chart<'a> {
    pub axis: Axis,
    /// Whose letter stands at its curve's height, where several end in one row.
    pub better: Better,
    pub series: &'a [Series],
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
    fn new(area: Rect, chart: &Chart) -> Option<Self> {
        let series = chart.series;
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
        let x = match chart.axis {
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
pub fn draw(frame: &mut Frame, area: Rect, chart: &Chart) -> bool {
    let Some(plot) = Plot::new(area, chart) else { return false };
    axes(frame.buffer_mut(), area, &plot);
    // Shares of the axes: on numbers as large as clients may log, clipping a line would never end.
    let at = |p: &(f64, f64)| (plot.x.share(p.0), plot.y.share(p.1));
    let canvas = Canvas::default().marker(Marker::Braille).x_bounds([0.0, 1.0]).y_bounds([0.0, 1.0]).paint(|ctx| {
        // The first one has its colour where several meet: it is what the others are compared with.
        for s in chart.series.iter().rev() {
            let color = curve_colour(s.number);
            for w in s.points.windows(2).filter(|w| w.iter().all(is_number)) {
                let ((x1, y1), (x2, y2)) = (at(&w[0]), at(&w[1]));
                ctx.draw(&Line { x1, y1, x2, y2, color });
            }
        }
    });
    frame.render_widget(canvas, plot.area);
    grid(frame.buffer_mut(), &plot);
    marks(frame.buffer_mut(), &plot, chart);
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
fn marks(buffer: &mut Buffer, plot: &Plot, chart: &Chart) {
    let mut letters: BTreeMap<u16, Vec<(f64, usize)>> = BTreeMap::new();
    for s in chart.series {
        let alone = s.points.iter().enumerate().filter(|(i, p)| {
            let beside = |at: Option<usize>| at.and_then(|at| s.points.get(at)).is_some_and(is_number);
            is_number(p) && !beside(i.checked_sub(1)) && !beside(Some(i + 1))
        });
        for (_, (x, y)) in alone {
            buffer.set_string(plot.column(*x), plot.row(*y), "•", Style::new().fg(curve_colour(s.number)));
        }
        if let Some(end) = s.points.iter().rfind(|p| is_number(p)).filter(|_| chart.series.len() > 1) {
            letters.entry(plot.column(end.0) + 1).or_default().push((end.1, s.number));
        }
    }
    // Less is better from the bottom up.
    let upwards = chart.better == Better::Lower;
    let turned = |row: u16| if upwards { plot.area.bottom() - 1 - row } else { row - plot.area.top() };
    for (column, mut ends) in letters {
        ends.sort_by(|a, b| if upwards { a.0.total_cmp(&b.0) } else { b.0.total_cmp(&a.0) }.then(a.1.cmp(&b.1)));
        let mut rows: Vec<u16> = ends.iter().map(|(value, _)| turned(plot.row(*value))).collect();
        spread(&mut rows, plot.area.height);
        // The best one is seen where there are more of them than rows.
        for (row, (_, number)) in rows.into_iter().zip(ends).rev() {
            let row = if upwards { plot.area.bottom() - 1 - row } else { plot.area.top() + row };
            let ink = Style::new().fg(curve_colour(number)).add_modifier(Modifier::BOLD);
            buffer.set_string(column, row, letter(number).to_string(), ink);
        }
    }
}

/// Gives each a row of its own, in their order: the first one stays, as far as the others find room after it.
fn spread(rows: &mut [u16], height: u16) {
    let mut free = 0;
    for row in rows.iter_mut() {
        *row = (*row).max(free);
        free = *row + 1;
    }
    let mut free = height;
    for row in rows.iter_mut().rev() {
        *row = (*row).min(free.saturating_sub(1));
        free = *row;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The letters of curves that end at these values, each with its row.
    fn letters(better: Better, values: &[f64], height: u16) -> Vec<(char, u16)> {
        let curve = |(number, v): (usize, &f64)| Series { number, points: vec![(0.0, 0.0), (9.0, *v)] };
        let series: Vec<Series> = values.iter().enumerate().map(curve).collect();
        let area = Rect::new(0, 0, 40, height + 2);
        let chart = Chart { axis: Axis::Step, better, series: &series };
        let plot = Plot::new(area, &chart).unwrap();
        let mut buffer = Buffer::empty(area);
        marks(&mut buffer, &plot, &chart);
        let rows = (0..area.height).flat_map(|y| (0..area.width).map(move |x| (x, y)));
        let found = rows.filter_map(|(x, y)| Some((buffer[(x, y)].symbol().chars().next()?, y)));
        found.filter(|(c, _)| c.is_ascii_uppercase()).collect()
    }

    #[test]
    fn letters_stand_in_the_order_of_values_and_the_best_at_its_curve() {
        use Better::*;
        let told = |better, values: &[f64], height| {
            letters(better, values, height)
                .into_iter()
                .map(|(c, row)| format!("{c}{row}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(told(Higher, &[0.0, 1.0, 0.5], 11), "B0 C5 A10");
        assert_eq!(told(Higher, &[0.997, 0.998, 0.999, 0.0], 20), "C0 B1 A2 D19");
        assert_eq!(told(Lower, &[0.03, 0.02, 0.01, 1.0], 20), "D0 A16 B17 C18", "less is better");
        assert_eq!(told(Neither, &[1.0, 1.0], 9), "A0 B1");
        assert_eq!(told(Higher, &[0.94, 0.95, 0.96, 0.97, 0.98, 0.99], 6), "F0 E1 D2 C3 B4 A5", "as many as rows");
        assert_eq!(told(Higher, &[0.94, 0.95, 0.96, 0.97], 2), "D0 A1", "the best of more than rows");
    }
}

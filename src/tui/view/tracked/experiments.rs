//! All experiments.
//!
//! ```text
//!  8 experiments, what changed last first
//!  EXPERIMENT        ID  CHANGED
//!  fraud             11   2m ago
//! ```

use super::{
    super::paint::{age, barred, clip, dim, pad, strong, visible},
    super::{Targets, row_target},
    list,
};
use crate::tui::{
    state::{Extent, State},
    tracked::{Experiment, MOST},
};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};
use unicode_width::UnicodeWidthStr;

/// Draws the list; only rows that fit are built.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, targets: &mut Targets) -> Extent {
    let (experiments, width) = (&state.tracked.experiments, usize::from(area.width));
    let all = experiments.known();
    let mut lines = vec![title(state)];
    if all.is_empty() {
        lines.push(Line::raw(""));
        match experiments.all {
            None => lines.push(Line::from(dim("  loading"))),
            Some(_) => lines.extend(list::how_to("my-experiment", width)),
        }
        frame.render_widget(Paragraph::new(lines), area);
        return Extent::default();
    }
    let longest = all.iter().map(|e| visible(&e.name).width()).max().unwrap_or(0);
    let ids = all.iter().map(|e| e.id.width()).max().unwrap_or(0).max(4);
    let name = longest.clamp(12, width.saturating_sub(ids + 14).max(12));
    lines.push(Line::from(strong(&format!(" {}  {:>ids$} {:>10}", pad("EXPERIMENT", name), "ID", "CHANGED"))));
    let height = usize::from(area.height).saturating_sub(lines.len()).max(1);
    let (place, now) = (experiments.place(), state.now().wall.0);
    let first = place.saturating_sub(height / 2).min(all.len().saturating_sub(height));
    let top = lines.len();
    targets.extend((first..all.len()).take(height).map(|i| row_target(area, top + i - first, top + i - first + 1, i)));
    let row = |e: &Experiment, selected: bool| {
        let ago = format!("{} ago", age(now - e.updated));
        let spans = vec![
            Span::raw(format!(" {}  ", pad(&visible(&e.name), name))),
            dim(&format!("{:>ids$} {ago:>10}", visible(&e.id))),
        ];
        if selected { barred(&spans, width) } else { Line::from(spans) }
    };
    lines.extend(all.iter().enumerate().skip(first).take(height).map(|(i, e)| row(e, i == place)));
    frame.render_widget(Paragraph::new(lines.into_iter().map(|l| clip(l, width)).collect::<Vec<_>>()), area);
    Extent { last: 0, page: height, width: 0 }
}

fn title(state: &State) -> Line<'static> {
    let told = match state.tracked.experiments.known().len() {
        0 => return Line::from(strong(" experiments")),
        1 => " 1 experiment".to_owned(),
        MOST => " the 1,000 experiments that changed last; `:runs NAME` opens any".to_owned(),
        n => format!(" {n} experiments"),
    };
    Line::from(vec![strong(&told), dim(", what changed last first")])
}

//! Two panes of a screen, with a border between them.

use super::{Targets, paint::dim};
use crate::tui::{
    borders::Border,
    state::{State, Target},
};
use ratatui::{Frame, layout::Rect, text::Line, widgets::Paragraph};

/// Parts the area, draws the border, and notes where it is. `usual` are the cells of the first pane while nobody dragged it.
pub fn parted(
    frame: &mut Frame,
    area: Rect,
    state: &State,
    border: Border,
    usual: u16,
    targets: &mut Targets,
) -> (Rect, Rect) {
    let [first, line, second] = border.parted(area, &state.borders, usual);
    let text: Vec<Line> = match border.is_upright() {
        true => (0..line.height).map(|_| Line::from(dim("│"))).collect(),
        false => vec![Line::from(dim(&"─".repeat(line.width.into())))],
    };
    frame.render_widget(Paragraph::new(text), line);
    targets.push((line, Target::Border(border, area)));
    (first, second)
}

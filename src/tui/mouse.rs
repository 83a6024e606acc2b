//! What a mouse does: a click selects a row, and opens the one that is selected; of a hint it does what its key does; a border is
//! dragged. Pure.

use super::{
    keymap::Act,
    state::{Command, Mode, Screen, State, Target},
    update::on_act,
};
use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

/// Lines that the wheel scrolls by at once.
const LINES: usize = 3;

pub(super) fn on_mouse(state: &mut State, event: MouseEvent) -> Vec<Command> {
    // Also where it was let go outside of the window, which nobody tells.
    if let MouseEventKind::Up(_) | MouseEventKind::Down(_) = event.kind {
        state.dragged = None;
    }
    // What is being typed or asked is answered by keys.
    if state.mode != Mode::Normal {
        return vec![];
    }
    let at = Position::new(event.column, event.row);
    match event.kind {
        MouseEventKind::ScrollDown => rolled(state, Act::Down),
        MouseEventKind::ScrollUp => rolled(state, Act::Up),
        MouseEventKind::Down(MouseButton::Left) => clicked(state, at),
        MouseEventKind::Drag(MouseButton::Left) => dragged(state, at),
        _ => vec![],
    }
}

fn rolled(state: &mut State, act: Act) -> Vec<Command> {
    let times = if place(state).is_some() { 1 } else { LINES };
    (0..times).flat_map(|_| on_act(state, act)).collect()
}

/// The border that is held goes where the mouse is.
fn dragged(state: &mut State, to: Position) -> Vec<Command> {
    if let Some((border, area)) = state.dragged {
        state.borders.insert(border, border.dragged(area, to));
    }
    vec![]
}

fn clicked(state: &mut State, at: Position) -> Vec<Command> {
    let target = state.targets.iter().find(|(area, _)| area.contains(at)).map(|(_, target)| *target);
    match target {
        Some(Target::Hint(act)) => on_act(state, act),
        Some(Target::Border(border, area)) => {
            state.dragged = Some((border, area));
            vec![]
        }
        Some(Target::Row(row)) if place(state) == Some(row) => on_act(state, Act::Open),
        Some(Target::Row(row)) => {
            select(state, row);
            vec![]
        }
        None => vec![],
    }
}

/// The selected row of a list.
fn place(state: &State) -> Option<usize> {
    match state.screen {
        Screen::Fleet => Some(state.place()),
        Screen::Runs(_) => Some(state.tracked.list.place()),
        Screen::Experiments => Some(state.tracked.experiments.place()),
        Screen::TimeLine => Some(state.timeline.place()),
        Screen::Plan => Some(state.outline.chosen),
        Screen::Contexts => Some(state.contexts.place()),
        _ => None,
    }
}

fn select(state: &mut State, row: usize) {
    let by = |from: usize| row as isize - from as isize;
    match state.screen {
        Screen::Fleet => state.select(row),
        Screen::Runs(_) => state.tracked.list.moved(by(state.tracked.list.place())),
        Screen::Experiments => state.tracked.experiments.moved(by(state.tracked.experiments.place())),
        Screen::TimeLine => state.timeline.moved(by(state.timeline.place())),
        Screen::Plan => state.outline.chosen = row,
        Screen::Contexts => state.contexts.moved(by(state.contexts.place())),
        _ => {}
    }
}

//! What keys do on the screen of a log.

use super::{
    keymap::Act,
    log::Output,
    state::{Command, Screen, State},
    view,
};

/// Does it, where it is about the output that is open.
pub(super) fn on_act(state: &mut State, act: Act) -> Option<Vec<Command>> {
    let Screen::Log(model, output) = &state.screen else { return None };
    match act {
        Act::Level => {
            state.log_view.level = state.log_view.level.next();
            state.note = format!("output: {}", state.log_view.level.told());
        }
        Act::Wrap => state.log_view.wrapped = !state.log_view.wrapped,
        Act::Stamp => {
            state.log_view.stamped = !state.log_view.stamped;
            let when = "when each line was read here, in UTC";
            state.note = if state.log_view.stamped { when.to_owned() } else { String::new() };
        }
        Act::Save => {
            let of = match (output, &state.log.run) {
                (Output::Replica(environment), _) => format!("{model}-{environment}"),
                // It begins with the model's name.
                (Output::Runs, Some(run)) => run.id.to_string(),
                (Output::Runs, None) => model.to_string(),
            };
            let file = format!("{of}-{}.log", state.now().wall.0 / 1000);
            return Some(vec![Command::Save { file, text: state.log.text() }]);
        }
        Act::NextPage => search(state, state.scroll + 1, true),
        Act::PageBefore => search(state, state.scroll.saturating_sub(1), false),
        _ => return None,
    }
    Some(vec![])
}

/// Scrolls to what is searched for.
pub(super) fn search(state: &mut State, from: usize, forwards: bool) {
    let rows = view::log::rows(state, state.extent.width);
    let from = if state.log.following { 0 } else { from };
    match view::log::found(state, &rows, from, forwards) {
        Some(at) => {
            state.scroll = at.min(state.extent.last);
            state.log.following = false;
        }
        None if !state.log_view.search.is_empty() => state.note = format!("no `{}` in it", state.log_view.search),
        None => {}
    }
}

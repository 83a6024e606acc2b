//! What `y` and `Y` copy. Pure.

use super::{
    keymap::Act,
    log::Output,
    state::{Command, Screen, State},
};

/// Copies what the act is about, and says so.
pub(super) fn copied(state: &mut State, act: Act, note: &str) -> Vec<Command> {
    let text = if act == Act::CopyCommit { commit(state) } else { selected(state).or_else(|| told(note)) };
    let Some(text) = text else {
        state.note = match act {
            Act::CopyCommit => "no commit is known here that could be copied".to_owned(),
            _ => "nothing is selected here that could be copied".to_owned(),
        };
        return vec![];
    };
    state.note = format!("copied, where the terminal allows it: {text}");
    vec![Command::Copy(text)]
}

/// What is selected or open.
fn selected(state: &State) -> Option<String> {
    match &state.screen {
        Screen::Log(_, Output::Runs) if state.log.run.is_some() => state.log.run.as_ref().map(|r| r.id.to_string()),
        Screen::TimeLine => state.timeline.known().get(state.timeline.place()).map(|c| c.revision.commit.0.to_string()),
        Screen::Commit(id) | Screen::Revert(id) => Some(id.0.to_string()),
        Screen::Runs(_) => state.tracked.list.selected().map(|r| r.id.to_string()),
        Screen::Run(_, id) => Some(id.to_string()),
        Screen::Compare(_, ids) => Some(ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
        Screen::Experiments => state.tracked.experiments.selected().map(|e| e.name.clone()),
        Screen::Contexts => state.contexts.rows.get(state.contexts.place()).map(|r| r.address.clone()),
        _ => state.subject().map(|name| name.to_string()),
    }
}

/// Where nothing can be selected, what was said last.
fn told(note: &str) -> Option<String> {
    (!note.is_empty()).then(|| note.to_owned())
}

/// The newest change of the model that is meant; else the commit that the fleet is at.
fn commit(state: &State) -> Option<String> {
    let of_model = state.subject_summary().map(|m| m.changed_by.as_ref());
    let of_fleet = || state.fleet.as_ref().and_then(|f| f.source.revision.as_ref());
    of_model.unwrap_or_else(of_fleet).map(|r| r.commit.to_string())
}

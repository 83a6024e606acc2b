use super::*;

#[test]
fn what_is_selected_is_copied_and_the_commit_of_its_change() {
    let mut state = filled();
    assert_eq!(key(&mut state, KeyCode::Char('y')), [Command::Copy("pricing".into())]);
    assert!(screen(&state, 100, 8).contains("copied, where the terminal allows it: pricing"));
    assert_eq!(key(&mut state, KeyCode::Char('Y')), [Command::Copy("4f1c2ab0".into())]);
    type_line(&mut state, ":model fraud");
    assert_eq!(key(&mut state, KeyCode::Char('y')), [Command::Copy("fraud".into())]);
    tracked::press(&mut state, "r");
    let first = state.tracked.list.runs[0].id.to_string();
    assert_eq!(key(&mut state, KeyCode::Char('y')), [Command::Copy(first)]);
}

#[test]
fn where_nothing_is_selected_what_was_said_is_copied() {
    let mut state = filled();
    key(&mut state, KeyCode::Char('p'));
    assert_eq!(key(&mut state, KeyCode::Char('y')), []);
    assert!(state.note.contains("nothing is selected here"), "{}", state.note);
    state.note = "the remote hangs".into();
    assert_eq!(key(&mut state, KeyCode::Char('y')), [Command::Copy("the remote hangs".into())]);
    assert_eq!(key(&mut state, KeyCode::Char('Y')), [Command::Copy("4f1c2ab0".into())], "that of the fleet");
    let mut nothing = State::new();
    for c in "yY".chars() {
        assert_eq!(key(&mut nothing, KeyCode::Char(c)), []);
        assert!(nothing.note.contains("could be copied"), "{}", nothing.note);
    }
}

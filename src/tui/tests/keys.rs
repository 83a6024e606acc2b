use super::*;
use crate::tui::config::Config;

/// A fleet whose person has keys of their own.
fn settled(keys: &str) -> State {
    let mut state = filled();
    state.bindings = Config::read("tui.toml", format!("[keys]\n{keys}").as_bytes()).unwrap().bindings;
    state
}

#[test]
fn help_and_hints_show_the_keys_as_they_are() {
    let mut state = settled("plan = \"ctrl-p\"\ndown = [\"n\", \"down\"]\ndiff = []\nhelp = \"f1\"\nnext_page = \"]\"");
    let foot = screen(&state, 160, 10);
    assert!(foot.contains("ctrl-p plan") && foot.contains("f1 help") && !foot.contains("diff"), "{foot}");
    key(&mut state, KeyCode::F(1));
    insta::assert_snapshot!("help_remapped_80", screen(&state, 80, 75));
    assert_eq!(state.screen, Screen::Help);
    key(&mut state, KeyCode::Char('n'));
    let ctrl_p = KeyEvent::new(KeyCode::Char('p'), crossterm::event::KeyModifiers::CONTROL);
    assert_eq!(update(&mut state, Message::Key(ctrl_p)), [Command::FetchPlan]);
    assert_eq!(key(&mut state, KeyCode::Char('?')), [], "it is no key any more");
    assert_eq!(state.screen, Screen::Plan);
}

#[test]
fn texts_name_the_key_that_is_bound_or_the_command_where_none_is() {
    let mut state = settled("rollback = \"f9\"\nlogs = \"ctrl-l\"\nback = \"backspace\"\ncommand = \"!\"");
    assert!(screen(&state, 140, 14).contains("fix it, or f9 to revert it"));
    "/zzz\r".chars().for_each(|c| drop(key(&mut state, if c == '\r' { KeyCode::Enter } else { KeyCode::Char(c) })));
    let text = screen(&state, 80, 10);
    assert!(text.contains("backspace clears the filter") && text.contains("/zzz backspace clears"), "{text}");
    key(&mut state, KeyCode::Char('v'));
    assert_eq!(state.note, "a pager opens output: ctrl-l shows some first");
    key(&mut state, KeyCode::Char('d'));
    assert!(state.note.contains("here; ! and a command with a NAME"), "{}", state.note);

    let mut state = settled("rollback = []\nlogs = []\nhelp = []\nmark = []\ncompare = []\nback = []");
    assert!(screen(&state, 140, 14).contains("fix it, or :rollback to revert it"));
    key(&mut state, KeyCode::Char('v'));
    assert_eq!(state.note, "a pager opens output: :logs shows some first");
    type_line(&mut state, ":nonsense");
    assert_eq!(state.note, "`nonsense` is no command; :help lists them");
    tracked::press(&mut state, ":runs fraud\n");
    state.bindings.bind("compare", &["C".parse().unwrap()]);
    key(&mut state, KeyCode::Char('C'));
    assert_eq!(state.note, "mark two runs or more with `mark` (no key), then C compares them");
}

#[test]
fn each_act_has_a_name_and_commands_that_do_the_same_are_there() {
    use crate::tui::keymap::{COMMANDS, KEYS, RUN_KEYS};
    for e in KEYS.iter().chain(RUN_KEYS) {
        assert_eq!(e.act.name(), e.name);
        assert!(e.act.command().is_none_or(|c| COMMANDS.iter().any(|(name, ..)| *name == c)), "{}", e.name);
    }
}

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

use super::*;
use crate::tui::{access::Access, theme::Theme};

#[test]
fn daemons_are_named_completed_and_gone_to() {
    let mut state = filled();
    type_line(&mut state, ":context");
    assert!(state.note.contains("no context is named in tui.toml"), "{}", state.note);
    state.contexts = vec!["local".into(), "prod".into()];
    state.context = Some("local".into());
    assert!(screen(&state, 100, 8).contains("trimtab  local  risk-models @"), "{}", screen(&state, 100, 8));
    type_line(&mut state, ":context");
    assert!(state.note.contains("this is local; there are: local, prod"), "{}", state.note);
    assert_eq!(type_line(&mut state, ":context nowhere"), []);
    assert!(state.note.contains("there is no context `nowhere`"), "{}", state.note);
    ":context p".chars().for_each(|c| drop(key(&mut state, KeyCode::Char(c))));
    key(&mut state, KeyCode::Tab);
    assert_eq!(key(&mut state, KeyCode::Enter), [Command::Switch("prod".into())]);
}

#[test]
fn elsewhere_nothing_is_known_but_what_is_the_persons() {
    let mut state = filled();
    state.contexts = vec!["prod".into()];
    tracked::press(&mut state, "b/fra\n");
    type_line(&mut state, ":theme light");
    type_line(&mut state, ":plan");
    update(&mut state, Message::Denied("no".into()));
    let there = state.elsewhere(Access::Full);
    assert!(there.fleet.is_none() && there.filter.is_empty() && there.marked.is_empty() && there.note.is_empty());
    assert_eq!((there.screen.clone(), there.look.theme, &there.access), (Screen::Fleet, Theme::Light, &Access::Full));
    assert_eq!(there.contexts, ["prod"]);
}

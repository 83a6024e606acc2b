use super::*;
use crate::tui::{
    memory::{Memory, View},
    ranking::Ranking,
    theme::Theme,
};

/// As a file keeps it.
fn kept(state: &State) -> View {
    let text = Memory::default().with("here", View::of(state)).text().unwrap();
    Memory::read(&text).unwrap().of("here")
}

#[test]
fn the_view_is_opened_as_it_was_left() {
    let mut state = filled();
    tracked::press(&mut state, "Sb");
    type_line(&mut state, ":theme dark");
    type_line(&mut state, "/env:prod");
    type_line(&mut state, ":model fraud");
    let mut again = State::new();
    assert_eq!(kept(&state).open(&mut again, false), [Command::FetchModel(name("fraud"))]);
    assert_eq!((again.ranking, again.filter.as_str(), again.look.theme), (Ranking::Name, "env:prod", Theme::Dark));
    assert_eq!(again.marked, state.marked);
    key(&mut again, KeyCode::Esc);
    assert_eq!(again.screen, Screen::Fleet, "it leads back to the fleet");
    let mut themed = State::new();
    kept(&state).open(&mut themed, true);
    assert_eq!(themed.look.theme, Theme::Default, "what was asked for now stays");
}

#[test]
fn each_screen_is_opened_again() {
    for line in [
        "fleet",
        "model fraud",
        "rollout fraud",
        "diff fraud",
        "logs fraud",
        "runs a b",
        "experiments",
        "events",
        "plan",
    ] {
        let mut state = filled();
        type_line(&mut state, &format!(":{line}"));
        let mut again = State::new();
        kept(&state).open(&mut again, false);
        assert_eq!(again.screen, state.screen, "{line}");
    }
}

#[test]
fn daemons_are_remembered_apart_and_only_the_newest() {
    let views: Vec<View> = (0..30)
        .map(|n| {
            let mut state = filled();
            state.filter = format!("m{n}");
            View::of(&state)
        })
        .collect();
    let memory = views.iter().enumerate().fold(Memory::default(), |m, (n, v)| m.with(&format!("d{n}"), v.clone()));
    assert_eq!(memory.of("d29"), views[29]);
    assert_eq!(memory.of("d10"), views[10]);
    assert_eq!(memory.of("d9"), View::default());
    assert_eq!(Memory::read(&memory.text().unwrap()), Ok(memory));
    for damaged in [
        "daemon = 3",
        "[[daemon]]\naddress = \"x\"\norder = \"odd\"",
        "[[daemon]]\naddress = \"x\"\nmarked = [\"A b\"]",
        "\0",
    ] {
        assert!(Memory::read(damaged).is_err(), "{damaged:?}");
    }
}

#[test]
fn models_are_marked_and_found_by_it() {
    let mut state = filled();
    key(&mut state, KeyCode::Char('b'));
    assert!(state.note.contains("★ pricing is marked"), "{}", state.note);
    type_line(&mut state, ":bookmarks");
    let shown: Vec<&str> = state.shown().iter().map(|m| m.name.as_str()).collect();
    assert_eq!(shown, ["pricing"]);
    assert!(screen(&state, 200, 8).contains("★ take the mark off"));
    state.filter.clear();
    type_line(&mut state, "/!is:marked");
    assert_eq!(state.shown().len(), 3);
    type_line(&mut state, ":model pricing");
    key(&mut state, KeyCode::Char('b'));
    assert!(state.note.contains("pricing is marked no more") && state.marked.is_empty(), "{}", state.note);
}

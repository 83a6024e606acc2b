//! Help of the screen that it is asked on.

use super::*;
use crate::tui::help::sections;

#[test]
fn help_begins_with_the_screen_that_it_was_asked_on() {
    let mut state = filled();
    key(&mut state, KeyCode::Char('l'));
    key(&mut state, KeyCode::Char('?'));
    insta::assert_snapshot!("log_80", screen(&state, 80, 24));
    key(&mut state, KeyCode::Char('?'));
    assert_eq!(state.screen, Screen::Log(name("pricing"), Output::Runs), "asked again it closes");
    key(&mut state, KeyCode::Esc);
    tracked::press(&mut state, ":runs fraud\n?");
    insta::assert_snapshot!("runs_80", screen(&state, 80, 24));
    type_line(&mut state, ":help");
    assert!(screen(&state, 80, 24).contains(" tracked runs   keys"), "help has no help of its own");
}

#[test]
fn what_is_searched_for_in_the_help_is_left_of_it() {
    let mut state = filled();
    "?G/rollout".chars().for_each(|c| drop(key(&mut state, KeyCode::Char(c))));
    assert!(screen(&state, 80, 24).contains("/rollout▏  enter keeps, esc clears"));
    key(&mut state, KeyCode::Enter);
    insta::assert_snapshot!("searched_80", screen(&state, 80, 16));
    type_line(&mut state, "/xyzzy");
    assert!(screen(&state, 80, 16).contains("no key and no command"));
    key(&mut state, KeyCode::Esc);
    key(&mut state, KeyCode::Char('?'));
    assert!(screen(&state, 80, 24).contains("open the model"), "it is whole again");
}

#[test]
fn what_the_last_line_offers_is_told_in_the_help() {
    let mut state = filled();
    for at in ["", "\n", "l", "d", "t", "p", "r", "rr", "r~~", "r\n", "r\n\n", "r~~c", "o", "?"] {
        state.screen = Screen::Fleet;
        tracked::press(&mut state, at);
        seen(&mut state, 250, 12);
        let asked_on = if state.screen == Screen::Help { state.asked_on().clone() } else { state.screen.clone() };
        let rows: Vec<String> = sections(&asked_on, &state.bindings)
            .into_iter()
            .take(2)
            .flat_map(|s| s.rows)
            .flat_map(|r| r.keys.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .collect();
        for (_, target) in &state.targets {
            let Target::Hint(act) = target else { continue };
            let shown = state.key(*act).unwrap();
            assert!(rows.contains(&shown), "{asked_on:?}: {act:?}");
        }
    }
}

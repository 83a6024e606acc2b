use super::*;
use crate::{
    api::types::FleetOverview,
    tui::{
        access::Access,
        contexts::{Contexts, Trouble},
        theme::Theme,
    },
};

/// Daemons with these names; without one where it is empty.
fn named(names: &[&str]) -> Contexts {
    let name = |n: &str| (!n.is_empty()).then(|| n.to_owned());
    Contexts::new(names.iter().map(|n| (name(n), format!("/srv/state-of-{n}"))))
}

/// What a daemon answers.
fn overview(degraded: usize) -> Box<FleetOverview> {
    let fleet = fleet(vec![]);
    let counts = Counts { models: 12 + degraded, degraded, off_promise: degraded, ..fleet.counts };
    Box::new(FleetOverview { source: fleet.source, counts, store_error: None, now: fleet.now })
}

#[test]
fn daemons_are_named_completed_and_gone_to() {
    let mut state = filled();
    type_line(&mut state, ":context");
    assert!(state.note.contains("no context is named in tui.toml"), "{}", state.note);
    state.contexts = named(&["local", "prod"]);
    assert!(screen(&state, 100, 8).contains("trimtab  local  risk-models @"), "{}", screen(&state, 100, 8));
    type_line(&mut state, ":context");
    assert!(state.note.contains("this is local; there are: local, prod"), "{}", state.note);
    assert_eq!(type_line(&mut state, ":context nowhere"), []);
    assert!(state.note.contains("there is no context `nowhere`"), "{}", state.note);
    ":context p".chars().for_each(|c| drop(key(&mut state, KeyCode::Char(c))));
    key(&mut state, KeyCode::Tab);
    assert_eq!(key(&mut state, KeyCode::Enter), [Command::Switch(1)]);
}

#[test]
fn elsewhere_nothing_is_known_but_what_is_the_persons() {
    let mut state = filled();
    state.contexts = named(&["prod"]);
    tracked::press(&mut state, "b/fra\n");
    type_line(&mut state, ":theme light");
    type_line(&mut state, ":plan");
    update(&mut state, Message::Denied("no".into()));
    let there = state.elsewhere(Access::Full);
    assert!(there.fleet.is_none() && there.filter.is_empty() && there.marked.is_empty() && there.note.is_empty());
    assert_eq!((there.screen.clone(), there.look.theme, &there.access), (Screen::Fleet, Theme::Light, &Access::Full));
    assert_eq!(there.contexts.names().collect::<Vec<_>>(), ["prod"]);
}

#[test]
fn daemons_stand_beside_each_other_and_those_that_are_gone_say_why() {
    let mut state = filled();
    state.contexts = named(&["", "prod", "staging", "a-name-that-is-long", "closed"]);
    let look = [Command::FetchContexts];
    assert_eq!(key(&mut state, KeyCode::Char('C')), look);
    assert!(screen(&state, 80, 10).contains("asking"));
    update(&mut state, Message::Context(1, Ok(overview(1234))));
    update(&mut state, Message::Context(0, Ok(overview(0))));
    (0..3).for_each(|_| assert_eq!(update(&mut state, Message::Tick), []));
    let gone =
        "no daemon answers at /srv/state-of-staging/trimtab.sock: start one with `trimtab daemon`, or say where it is";
    update(&mut state, Message::Context(2, Err(Trouble { reached: false, why: gone.into() })));
    update(&mut state, Message::Context(3, Ok(overview(1))));
    let slow = Trouble { reached: false, why: "no answer within 4 s".into() };
    let refused = Trouble { reached: true, why: "the token is missing or wrong".into() };
    update(&mut state, Message::Context(3, Err(slow.clone())));
    update(&mut state, Message::Context(4, Err(refused)));
    update(&mut state, Message::Context(9, Err(slow)));
    key(&mut state, KeyCode::Char('j'));
    insta::assert_snapshot!("contexts_80", screen(&state, 80, 24));
    insta::assert_snapshot!("contexts_120", screen(&state, 120, 40));
    assert!(screen(&state, 80, 5).contains("prod"), "the chosen one is always seen");
    // They are asked again while their screen is open, also by a daemon that is gone.
    update(&mut state, Message::Reachable(false));
    assert_eq!([update(&mut state, Message::Tick), update(&mut state, Message::Tick)].concat(), look);
    key(&mut state, KeyCode::Esc);
    assert!((0..20).all(|_| update(&mut state, Message::Tick).is_empty()));
}

#[test]
fn a_daemon_of_the_list_is_gone_to() {
    let mut state = filled();
    state.contexts = named(&["", "prod"]);
    type_line(&mut state, ":contexts");
    assert_eq!(key(&mut state, KeyCode::Enter), [], "it is open");
    assert_eq!(state.screen, Screen::Fleet);
    key(&mut state, KeyCode::Char('C'));
    key(&mut state, KeyCode::Char('j'));
    assert_eq!(key(&mut state, KeyCode::Enter), [Command::Switch(1)]);
    let mut there = state.elsewhere(Access::Full);
    there.contexts.here = 1;
    type_line(&mut there, ":contexts");
    assert_eq!(there.contexts.place(), 1);
    key(&mut there, KeyCode::Char('k'));
    assert_eq!(key(&mut there, KeyCode::Enter), [Command::Switch(0)], "the one without a name is gone back to");
}

//! Keys that change something.

use super::*;
use std::collections::BTreeSet;

fn post(model: &str, verb: &str) -> Command {
    Command::Post { model: name(model), verb: verb.into() }
}

#[test]
fn dangerous_keys_ask_first_and_say_what_they_do() {
    let mut state = filled();
    assert_eq!(key(&mut state, KeyCode::Char('R')), []);
    let asked = screen(&state, 80, 10);
    assert!(asked.contains("pricing: revert and push 4f1c2ab \"fraud: deeper") && asked.contains("y yes"), "{asked}");
    assert!(!asked.contains('\u{1b}'), "{asked}");
    assert_eq!(key(&mut state, KeyCode::Char('n')), []);
    key(&mut state, KeyCode::Char('R'));
    assert_eq!(key(&mut state, KeyCode::Char('y')), [post("pricing", "rollback")]);
    let mut locked = summary("pricing", Health::Degraded, false);
    locked.changed_by = Some(Revision { summary: "lock: pricing: train → b3:77e1".into(), ..revision() });
    update(&mut state, Message::Fleet(Box::new(fleet(vec![locked.clone()]))));
    key(&mut state, KeyCode::Char('R'));
    assert!(screen(&state, 80, 10).contains("pricing: revert and push lock 4f1c2ab and its change?"));
    key(&mut state, KeyCode::Char('n'));
    let unknown = ModelSummary { changed_by: None, ..locked.clone() };
    // The commit that broke a spec is not the one of what is in force.
    let broken = ModelSummary { spec_broken: true, ..locked };
    for model in [unknown, broken] {
        update(&mut state, Message::Fleet(Box::new(fleet(vec![model]))));
        key(&mut state, KeyCode::Char('R'));
        assert!(screen(&state, 100, 10).contains("its newest change, not known here?"));
        key(&mut state, KeyCode::Char('n'));
    }
}

#[test]
fn a_rollout_is_held_and_goes_on_by_the_same_key() {
    let mut state = filled();
    type_line(&mut state, "/fraud");
    assert!(screen(&state, 80, 10).contains("H hold"));
    assert_eq!(key(&mut state, KeyCode::Char('H')), []);
    assert!(screen(&state, 80, 10).contains("fraud in production: hold v7 at 25 % until someone says go on? "));
    assert_eq!(key(&mut state, KeyCode::Char('y')), [post("fraud", "rollout/pause")]);
    let mut fraud = summary("fraud", Health::Progressing, true);
    if let Some(r) = fraud.environments[0].rollout.as_mut() {
        (r.phase, r.held, r.until) = ("paused by hand".into(), true, None);
    }
    update(&mut state, Message::Fleet(Box::new(fleet(vec![fraud]))));
    let text = screen(&state, 80, 10);
    assert!(text.contains("H go on") && text.contains("production: paused by hand, step 2 of 2"), "{text}");
    key(&mut state, KeyCode::Char('H'));
    assert!(screen(&state, 80, 10).contains("fraud in production: go on with v7 at 25 %, then all traffic?"));
    assert_eq!(key(&mut state, KeyCode::Char('y')), [post("fraud", "rollout/resume")]);
}

#[test]
fn what_is_not_seen_is_not_acted_on() {
    for place in [":events", "?"] {
        let mut state = filled();
        type_line(&mut state, "/fraud");
        match place.strip_prefix(':') {
            Some(_) => drop(type_line(&mut state, place)),
            None => place.chars().for_each(|c| drop(key(&mut state, KeyCode::Char(c)))),
        }
        let open = state.screen.clone();
        for code in "HARPld".chars().map(KeyCode::Char).chain([KeyCode::Enter]) {
            assert_eq!(key(&mut state, code), [], "{code:?} on {place}");
            assert_eq!((&state.screen, &state.mode), (&open, &Mode::Normal), "{code:?} on {place}");
            assert!(state.note.contains("no model is open here"), "{code:?} on {place}: {}", state.note);
        }
        assert_eq!(type_line(&mut state, ":abort"), []);
        assert!(state.note.contains("`abort` needs a model"), "{}", state.note);
        assert!(!screen(&state, 160, 8).contains("A abort"));
    }
    let mut state = filled();
    type_line(&mut state, "/demand");
    for code in ['P', 'H', 'A'] {
        assert_eq!(key(&mut state, KeyCode::Char(code)), []);
        assert_eq!((&state.mode, state.note.as_str()), (&Mode::Normal, "no rollout of demand is under way"));
    }
}

#[test]
fn a_daemon_that_is_back_is_asked_for_all_that_is_shown() {
    let wanted = [
        ("", vec![]),
        ("\n", vec![Command::FetchModel(name("pricing"))]),
        ("d", vec![Command::FetchDiff(name("pricing"))]),
        ("t", vec![Command::FetchCommits, Command::FetchEvents]),
        ("p", vec![Command::FetchPlan]),
        ("?", vec![]),
    ];
    for (at, also) in wanted {
        let mut state = filled();
        at.chars().for_each(|c| drop(key(&mut state, if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) })));
        update(&mut state, Message::Reachable(false));
        let all: Vec<Command> = [Command::FetchFleet].into_iter().chain(also).collect();
        assert_eq!(update(&mut state, Message::Reachable(true)), all, "{at:?}");
    }
}

#[test]
fn events_are_listed_once_each_and_in_order() {
    let mut state = filled();
    type_line(&mut state, ":events");
    let numbered = |seq: u64| Event { seq, ..event(EventKind::RunStarted, "train") };
    let told = |state: &mut State, seq| drop(update(state, Message::Happened(Some(numbered(seq)))));
    update(&mut state, Message::Events(vec![numbered(1), numbered(2)]));
    told(&mut state, 3);
    told(&mut state, 4);
    // An answer that was made before the newest event, and a connection that tells again.
    update(&mut state, Message::Events(vec![numbered(1), numbered(2), numbered(3)]));
    told(&mut state, 3);
    told(&mut state, 4);
    told(&mut state, 5);
    assert_eq!(state.events.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[test]
fn an_answer_for_a_page_that_was_left_is_not_shown() {
    let mut state = filled();
    update(&mut state, Message::Model(Box::new(detail())));
    type_line(&mut state, ":model pricing");
    let pricing = detail().tap(|d| d.summary.name = name("pricing"));
    update(&mut state, Message::Model(Box::new(pricing)));
    update(&mut state, Message::Model(Box::new(detail())));
    assert!(screen(&state, 80, 12).contains("pricing   Synced"));
}

#[test]
fn the_end_of_a_rollout_is_said_and_rung_once_and_what_is_long_over_is_not() {
    let mut state = filled();
    let event = |seq, kind, at| Event {
        seq,
        at: WallMs(at),
        kind,
        model: Some(name("fraud")),
        environment: Some(name("production")),
        commit: None,
        author: None,
        message: "production: v7 rejected: error_rate 0.3100 > 0.01 \u{1b}[2J; v6 serves on".into(),
    };
    let mut rung = |seq, kind, at| {
        let commands = update(&mut state, Message::Happened(Some(event(seq, kind, at))));
        (commands.contains(&Command::Ring), std::mem::take(&mut state.note))
    };
    let (ring, note) = rung(5, EventKind::RolloutAborted, 999_000);
    assert!(ring && note.starts_with("fraud: production: v7 rejected"), "{note}");
    assert_eq!(rung(5, EventKind::RolloutAborted, 999_000), (false, String::new()), "it is known");
    assert_eq!(rung(6, EventKind::RolloutStep, 999_000), (false, String::new()));
    assert_eq!(rung(7, EventKind::Promoted, 900_000), (false, String::new()), "it is long over");
    assert!(rung(8, EventKind::Promoted, 1_000_000).0);
}

#[test]
fn an_event_of_a_model_asks_for_that_model_alone() {
    let mut state = filled();
    let of = |model: &str| {
        let model = Some(name(model));
        Message::Happened(Some(Event { model, ..event(EventKind::ModelChanged, "") }))
    };
    let asks = |names: &[&str]| vec![Command::FetchModels(names.iter().map(|n| name(n)).collect())];
    assert_eq!(update(&mut state, of("fraud")), asks(&["fraud"]));
    assert_eq!(update(&mut state, of("churn")), asks(&["churn", "fraud"]), "what was not answered is asked for again");
    let some = |names: &[&str], models: Vec<ModelSummary>, all: usize| {
        let mut fleet = fleet(models);
        fleet.counts.models = all;
        Message::Some { asked: names.iter().map(|n| name(n)).collect(), fleet: Box::new(fleet) }
    };
    let broken = || vec![summary("fraud", Health::Degraded, false)];
    assert_eq!(update(&mut state, some(&["fraud"], broken(), 4)), []);
    assert_eq!(state.summary(&name("fraud")).unwrap().health, Health::Degraded);
    assert_eq!(state.shown().len(), 4, "the others stayed");
    assert_eq!(update(&mut state, of("demand")), asks(&["churn", "demand"]));
    // One that is gone, and one that nobody knew of.
    assert_eq!(update(&mut state, some(&["churn"], vec![], 4)), [Command::FetchFleet]);
    let new = vec![summary("new", Health::Healthy, false)];
    assert_eq!(update(&mut state, some(&["new"], new.clone(), 5)), []);
    assert!(state.summary(&name("new")).is_some());
    assert_eq!(update(&mut state, some(&[], new, 9)), [Command::FetchFleet]);
    let requests = Event { seq: 0, model: None, ..event(EventKind::ModelChanged, "") };
    assert_eq!(update(&mut state, Message::Happened(Some(requests))), [Command::FetchBusy]);
    let moved = Event { model: None, ..event(EventKind::SourceMoved, "") };
    assert_eq!(update(&mut state, Message::Happened(Some(moved))), [Command::FetchFleet]);
}

#[test]
fn a_large_fleet_comes_in_pages_with_what_needs_a_person_before_them() {
    let page = |models: &[(&str, Health)], after: Option<&str>, next: Option<&str>| {
        let mut page = fleet(models.iter().map(|(n, health)| summary(n, *health, false)).collect());
        (page.after, page.next, page.counts.models) = (after.map(name), next.map(name), 5);
        Box::new(page)
    };
    use Health::{Degraded, Healthy};
    let mut state = State::new();
    let urgent = page(&[("pear", Degraded)], None, None);
    assert_eq!(
        update(&mut state, Message::Some { asked: BTreeSet::new(), fleet: urgent }),
        [],
        "others are on their way"
    );
    assert!(screen(&state, 100, 12).contains("○ 1 of 5 read"), "{}", screen(&state, 100, 12));
    "/fig\n".chars().for_each(|c| drop(key(&mut state, if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) })));
    assert!(screen(&state, 100, 12).contains("None of 1 models that are read so far matches /fig"));
    key(&mut state, KeyCode::Esc);
    update(&mut state, Message::Fleet(page(&[("apple", Healthy), ("fig", Degraded)], None, Some("fig"))));
    assert_eq!(state.selected, Some(name("fig")), "who looks at the top sees what is worst of what is known");
    update(&mut state, Message::Fleet(page(&[("kiwi", Healthy), ("pear", Healthy)], Some("fig"), Some("pear"))));
    assert!(!state.whole);
    update(&mut state, Message::Fleet(page(&[("plum", Healthy)], Some("pear"), None)));
    let shown = |state: &State| state.shown().iter().map(|m| m.name.to_string()).collect::<Vec<_>>();
    assert_eq!(shown(&state), ["fig", "apple", "kiwi", "pear", "plum"]);
    assert!(state.whole && screen(&state, 100, 12).contains("● watching"));
    // Another time: one of the first page is gone, and what other pages tell stays.
    update(&mut state, Message::Fleet(page(&[("fig", Healthy)], None, Some("fig"))));
    assert_eq!(shown(&state), ["fig", "kiwi", "pear", "plum"]);
    // A daemon that knows no pages answers with all.
    let mut state = filled();
    update(&mut state, Message::Fleet(page(&[("plum", Healthy)], None, None)));
    assert_eq!(shown(&state), ["plum"]);
}

#[test]
fn what_was_said_goes_after_a_while() {
    let mut state = filled();
    key(&mut state, KeyCode::Char('S'));
    let mut ticks = |n: usize| {
        (0..n).for_each(|_| drop(update(&mut state, Message::Tick)));
        state.note.clone()
    };
    assert_eq!(ticks(9), "the fleet: by name");
    assert_eq!(ticks(3), "");
    assert!(screen(&state, 80, 12).contains("enter open"));
}

//! The word of a person that a release waits for.

use super::*;

/// What fraud waits for.
fn plan(waiting: Vec<Waiting>) -> Box<ModelPlan> {
    Box::new(ModelPlan {
        model: name("fraud"),
        sync: SyncStatus::OutOfSync,
        health: Health::Progressing,
        fingerprint: None,
        version: Some(VersionNumber(7)),
        actions: vec![],
        waiting,
        outlook: vec![],
        conditions: vec![],
        questions: vec![],
        look_again: None,
    })
}

fn approval() -> Waiting {
    let (environment, by) = (name("production"), vec!["@risk-team".to_owned()]);
    Waiting::Approval { environment, version: VersionNumber(7), by, refused: None }
}

fn soak() -> Waiting {
    let (environment, after) = (name("production"), name("staging"));
    Waiting::Soak { environment, after, soak: Millis(1), until: SteadyMs(1) }
}

/// With fraud selected, by a person whom git knows.
fn opened() -> State {
    let mut state = filled();
    state.author = Some(("Lin".into(), "lin@example.com".into()));
    type_line(&mut state, "/fraud");
    state
}

/// A key, and what the daemon answers to what it asks.
fn told(state: &mut State, code: char, waiting: Vec<Waiting>) {
    let way = if code == 'a' { Way::Approve } else { Way::Override };
    assert_eq!(key(state, KeyCode::Char(code)), [Command::FetchWaits(name("fraud"), way)]);
    assert_eq!(update(state, Message::Waits(way, plan(waiting))), []);
}

#[test]
fn an_approval_is_asked_for_with_all_that_it_does() {
    let mut state = opened();
    let look = [Command::FetchWaits(name("fraud"), Way::Approve)];
    assert_eq!(key(&mut state, KeyCode::Char('a')), look);
    assert_eq!(type_line(&mut state, ":approve fraud"), look);
    update(&mut state, Message::Waits(Way::Approve, plan(vec![soak(), approval()])));
    insta::assert_snapshot!("approve_80", screen(&state, 80, 8));
    let [Command::Let(letting)] = &key(&mut state, KeyCode::Char('y'))[..] else { panic!() };
    let (path, body) = letting.clone().call();
    assert_eq!(path, "/api/v1/models/fraud/approve");
    let body: ApproveBody = serde_json::from_value(body).unwrap();
    let is = (Some(name("production")), Some(VersionNumber(7)), "Lin", "lin@example.com");
    assert!(body.waiting, "this one or none");
    assert_eq!((body.environment, body.version, &*body.name, &*body.email), is);
}

#[test]
fn a_reason_is_typed_before_a_release_is_let_through() {
    let mut state = opened();
    let look = [Command::FetchWaits(name("fraud"), Way::Override)];
    assert_eq!(key(&mut state, KeyCode::Char('O')), look);
    update(&mut state, Message::Waits(Way::Override, plan(vec![soak(), approval()])));
    "yes q?".chars().for_each(|c| drop(key(&mut state, KeyCode::Char(c))));
    insta::assert_snapshot!("reason_80", screen(&state, 80, 8));
    "x".repeat(90).chars().for_each(|c| drop(key(&mut state, KeyCode::Char(c))));
    assert!(screen(&state, 80, 8).contains("…xxx") && screen(&state, 80, 8).contains("x▏"), "its end is seen");
    (0..90).for_each(|_| drop(key(&mut state, KeyCode::Backspace)));
    key(&mut state, KeyCode::Enter);
    insta::assert_snapshot!("override_80", screen(&state, 80, 8));
    let [Command::Let(letting)] = &key(&mut state, KeyCode::Char('y'))[..] else { panic!() };
    let (path, body) = letting.clone().call();
    assert_eq!(path, "/api/v1/models/fraud/promote");
    let body: PromoteBody = serde_json::from_value(body).unwrap();
    assert_eq!((body.version, &*body.reason), (Some(VersionNumber(7)), "yes q?"));

    told(&mut state, 'O', vec![soak()]);
    assert_eq!(type_line(&mut state, "  "), []);
    assert!(state.note.contains("a reason is needed") && state.mode == Mode::Normal, "{}", state.note);
    told(&mut state, 'O', vec![soak()]);
    key(&mut state, KeyCode::Esc);
    assert_eq!((&state.mode, state.question()), (&Mode::Normal, None));
}

#[test]
fn where_nothing_waits_or_nobody_may_it_is_said() {
    let mut state = opened();
    told(&mut state, 'a', vec![soak()]);
    assert_eq!(state.note, "fraud waits for no approval");
    told(&mut state, 'O', vec![]);
    assert_eq!(state.note, "nothing of fraud waits for soak, approval or the end of a freeze");
    state.author = None;
    told(&mut state, 'a', vec![approval()]);
    assert!(state.note.contains("git does not know who you are"), "{}", state.note);
    state.access = Access::ReadOnly;
    for code in ['a', 'O'] {
        assert_eq!(key(&mut state, KeyCode::Char(code)), []);
        assert!(state.note.contains("--read-only"), "{}", state.note);
    }
}

#[test]
fn a_question_that_comes_late_is_not_asked() {
    for pressed in ["j", ":", "t", "O"] {
        let mut state = opened();
        key(&mut state, KeyCode::Char('a'));
        pressed.chars().for_each(|c| drop(key(&mut state, KeyCode::Char(c))));
        let mode = state.mode.clone();
        update(&mut state, Message::Waits(Way::Approve, plan(vec![approval()])));
        assert_eq!((&state.mode, state.question()), (&mode, None), "{pressed}");
    }
}

#[test]
fn what_waits_for_an_approval_offers_it() {
    let fraud = || summary("fraud", Health::Healthy, false);
    let message = crate::plan::render::waiting(&approval());
    let waits = ModelSummary { sync: SyncStatus::OutOfSync, unapproved: Some(name("production")), message, ..fraud() };
    let mut state = opened();
    update(&mut state, Message::Fleet(Box::new(fleet(vec![waits.clone()]))));
    let shown = screen(&state, 120, 24);
    assert!(shown.contains("by @risk-team: a approves it") && shown.contains("a approve"), "{shown}");
    assert!(!shown.contains("revert it"), "nothing is to be undone: {shown}");
    key(&mut state, KeyCode::Enter);
    update(&mut state, Message::Model(Box::new(ModelDetail { summary: waits, ..detail() })));
    assert!(screen(&state, 120, 24).contains("a approve"));
    update(&mut state, Message::Model(Box::new(ModelDetail { summary: fraud(), ..detail() })));
    assert!(!screen(&state, 120, 24).contains("a approve"));
}

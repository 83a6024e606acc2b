//! The plan as a tree.

use super::*;

fn planned(n: usize) -> ModelPlan {
    let field = |field: &str| Reason {
        field: field.into(),
        old: Some("6".into()),
        new: Some("8".into()),
        commit: Some(ObjectId("4f1c2ab0".into())),
        author: Some("Ada".into()),
        place: Some("models/x/model.toml:14".into()),
    };
    let fingerprint = Digest::of(b"f");
    let action = Action::TakeUp;
    ModelPlan {
        model: name(&format!("m{n:05}")),
        sync: SyncStatus::OutOfSync,
        health: Health::Healthy,
        fingerprint: Some(fingerprint),
        version: None,
        actions: vec![Planned { action, reasons: vec![field("train.params.depth")], expected: Some(Millis(240_000)) }],
        waiting: vec![],
        outlook: vec![],
        conditions: vec![],
        questions: vec![],
        look_again: None,
    }
}

fn opened(models: usize) -> State {
    let mut state = filled();
    key(&mut state, KeyCode::Char('p'));
    let plan = FleetPlan {
        revision: Some(revision()),
        models: (0..models).map(planned).collect(),
        unchanged: 4,
        diagnostics: vec![],
        held: vec![name("old")],
        at: WallMs(1_000_000),
    };
    update(&mut state, Message::Plan(Box::new(plan)));
    state
}

#[test]
fn entries_are_folded_one_by_one_and_all_at_once() {
    let mut state = opened(3);
    let because = |state: &mut State| seen(state, 120, 30).matches("because").count();
    assert_eq!(because(&mut state), 3, "few are open");
    key(&mut state, KeyCode::Down);
    key(&mut state, KeyCode::Enter);
    assert_eq!(because(&mut state), 2);
    insta::assert_snapshot!("tree_120", seen(&mut state, 120, 20));
    assert_eq!(state.subject(), Some(name("m00001")), "keys are about what is chosen");
    key(&mut state, KeyCode::Char('z'));
    assert_eq!(because(&mut state), 0);
    key(&mut state, KeyCode::Enter);
    assert_eq!(because(&mut state), 1);
    key(&mut state, KeyCode::Char('z'));
    assert_eq!(because(&mut state), 3);
}

#[test]
fn a_long_plan_is_folded_and_the_chosen_entry_is_always_seen() {
    let mut state = opened(10_000);
    assert!(!seen(&mut state, 120, 30).contains("because"));
    for _ in 0..40 {
        key(&mut state, KeyCode::Down);
    }
    assert!(seen(&mut state, 120, 30).contains("m00040"));
    key(&mut state, KeyCode::Char('G'));
    let text = seen(&mut state, 120, 30);
    assert!(text.contains("- old") && text.contains("m09990"), "{text}");
    key(&mut state, KeyCode::Char('g'));
    assert!(seen(&mut state, 120, 30).contains("m00000"));
}

#[test]
fn an_entry_is_clicked_and_folded_by_another_click() {
    let mut state = opened(3);
    mouse::click_on(&mut state, "m00001");
    assert_eq!(state.subject(), Some(name("m00001")));
    mouse::click_on(&mut state, "m00001");
    assert_eq!(seen(&mut state, 120, 30).matches("because").count(), 2);
}

//! A model's page, and the texts about it.

use super::*;

fn replica(version: u32, index: u32, ready: bool) -> ReplicaStatus {
    let release = Release { version: VersionNumber(version), serve: Digest::of(b"s") };
    ReplicaStatus { release, index, address: None, ready, restarts: 0, message: None, death: None, drift: None }
}

fn page(detail: ModelDetail, width: u16, height: u16) -> String {
    let mut state = filled();
    type_line(&mut state, &format!(":model {}", detail.summary.name));
    update(&mut state, Message::Model(Box::new(detail)));
    screen(&state, width, height)
}

fn with_replicas(rollout: bool, replicas: Vec<ReplicaStatus>) -> ModelDetail {
    let mut detail = detail();
    detail.summary = summary("fraud", if rollout { Health::Progressing } else { Health::Healthy }, rollout);
    detail.replicas = vec![EnvironmentReplicas { environment: name("production"), replicas }];
    detail
}

#[test]
fn replicas_are_counted_by_what_they_serve() {
    let warm = vec![replica(5, 0, true), replica(6, 0, true)];
    let text = page(with_replicas(false, warm), 120, 20);
    assert!(text.contains("1/1 ready   +1 warm   910.0 req/s"), "{text}");
    let canary = vec![replica(6, 0, true), replica(6, 1, true), replica(7, 0, true), replica(7, 1, false)];
    let text = page(with_replicas(true, canary), 80, 24);
    assert!(text.contains("v6 2/2, v7 1/2 ready   910.0 req/s"), "{text}");
    assert!(text.contains("v7 replica 1: starts"), "{text}");
}

#[test]
fn conditions_and_events_are_seen_below_many_versions() {
    let mut detail = detail();
    let one = detail.versions[0].clone();
    detail.versions = (0..20).map(|n| VersionBrief { number: VersionNumber(30 - n), ..one.clone() }).collect();
    let text = page(detail.clone(), 80, 24);
    for part in ["✓ SpecValid", " events", "v5 → v6 (all traffic)", "v30", "older: trimtab history fraud"] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    let text = page(detail, 80, 40);
    assert!(text.contains("v20") && text.contains("… 9 older"), "{text}");
}

#[test]
fn long_words_about_what_is_wrong_are_folded() {
    let mut detail = detail();
    let why =
        "the replica died with a message that is far longer than a line of eighty columns can ever show, to its end";
    detail.summary = summary("pricing", Health::Degraded, false);
    detail.summary.message = why.into();
    detail.summary.environments[0].rejected = Some(why.into());
    detail.conditions.push(Condition {
        kind: "Deployed".into(),
        status: false,
        reason: "RolloutRejected".into(),
        message: why.into(),
        since: WallMs(0),
    });
    insta::assert_snapshot!("folded_80", page(detail, 80, 24));
}

#[test]
fn nothing_is_said_of_what_never_was() {
    let mut detail = detail();
    detail.summary = summary("broken", Health::Missing, false);
    detail.summary.message =
        "models/broken/model.toml:21: unknown key `parms`; nothing is trained until it is fixed".into();
    detail.summary.environments[0].version = None;
    (detail.versions, detail.pipeline) = (vec![], None);
    let mut state = filled();
    let known = vec![detail.summary.clone()];
    update(&mut state, Message::Fleet(Box::new(super::fleet(known))));
    key(&mut state, KeyCode::Enter);
    update(&mut state, Message::Model(Box::new(detail.clone())));
    let text = screen(&state, 80, 24);
    assert!(text.contains("nothing is deployed") && !text.contains('━') && !text.contains("req/s"), "{text}");
    assert!(text.contains("versions     none yet ") && !text.contains("being made"), "{text}");
    detail.summary.health = Health::Progressing;
    update(&mut state, Message::Model(Box::new(detail)));
    assert!(screen(&state, 80, 24).contains("none yet: the first is being made"));
    let waits = crate::plan::render::waiting(&Waiting::SpecFix);
    assert_eq!(waits, "the newest spec is broken: nothing of it is done until it is fixed");
}

#[test]
fn a_plan_is_folded_below_its_text_and_its_age_goes_on() {
    let mut state = filled();
    key(&mut state, KeyCode::Char('p'));
    let mut plan = FleetPlan {
        revision: Some(revision()),
        models: vec![],
        unchanged: 4,
        diagnostics: vec![],
        held: vec![],
        at: WallMs(1_000_000),
    };
    let wait = Waiting::Rejected {
        environment: name("production"),
        reason: "error_rate 0.3100 > 0.01 over 4120 requests, and more of it than one line holds".into(),
        unreverted: None,
    };
    plan.models.push(ModelPlan {
        model: name("pricing"),
        sync: SyncStatus::OutOfSync,
        health: Health::Degraded,
        fingerprint: None,
        version: None,
        actions: vec![],
        waiting: vec![wait],
        outlook: vec![],
        conditions: vec![],
        questions: vec![],
        look_again: None,
    });
    update(&mut state, Message::Plan(Box::new(plan)));
    insta::assert_snapshot!("plan_folded_80", screen(&state, 80, 14));
    let ages = || super::super::view::ages(&state);
    let before = (ages(), screen(&state, 80, 14));
    let mut later = state.clone();
    (0..61).for_each(|_| drop(update(&mut later, Message::Tick)));
    assert_ne!(super::super::view::ages(&later), before.0, "it is drawn again");
    assert_ne!(screen(&later, 80, 14), before.1);
}

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

fn open(detail: ModelDetail) -> State {
    let mut state = filled();
    type_line(&mut state, &format!(":model {}", detail.summary.name));
    update(&mut state, Message::Model(Box::new(detail)));
    state
}

/// Twenty versions, the newest refused by its gate, an older one live.
fn many_versions() -> ModelDetail {
    let mut out = detail();
    let one = out.versions[0].clone();
    let version = |n: u32| {
        let auc = 0.97 + f64::from((n * 7) % 11) / 1000.0;
        let metrics = [("auc".to_owned(), auc), ("log_loss".to_owned(), 0.2 - auc / 10.0)].into();
        let refused = GateResult {
            condition: "auc ≥ 0.98".into(),
            metric: "auc".into(),
            value: Some(auc),
            passed: n != 20,
            opponent: None,
        };
        let serves = if n == 18 { one.serves.clone() } else { vec![] };
        VersionBrief { number: VersionNumber(n), metrics, gates: vec![refused], serves, ..one.clone() }
    };
    out.versions = (1..=20).rev().map(version).collect();
    out.summary = summary("fraud", Health::Healthy, false);
    out.summary.environments[0].version = Some(VersionNumber(18));
    out
}

fn whole(number: u32) -> Version {
    let stage = |n: &str, cached| StageOutcome {
        name: name(n),
        run: RunId(format!("fraud-{n}")),
        cached,
        duration: Millis(if cached { 0 } else { 242_000 }),
    };
    Version {
        model: name("fraud"),
        number: VersionNumber(number),
        origin: Origin::Pipeline,
        fingerprint: Digest::of(b"v"),
        revision: revision(),
        code_path: "models/fraud".into(),
        code: Digest::of(b"code"),
        code_files: Manifest::default(),
        params: Params::default(),
        snapshots: [(name("train"), Digest::of(b"data"))].into(),
        python: Some(Digest::of(b"python")),
        packages: vec!["scikit-learn==1.7".into()],
        host: "gpu-1".into(),
        metrics: Default::default(),
        stages: vec![stage("features", true), stage("train", false)],
        artifact: Manifest::default(),
        gates: vec![],
        opponent: None,
        created: WallMs(900_000),
        duration: Millis(242_000),
    }
}

#[test]
fn a_version_is_chosen_and_its_lineage_fetched_once() {
    let mut state = open(many_versions());
    let fetch = |n| vec![Command::FetchVersion(name("fraud"), VersionNumber(n))];
    assert_eq!(update(&mut state, Message::Model(Box::new(many_versions()))), fetch(20));
    update(&mut state, Message::Version(Box::new(whole(20))));
    assert_eq!(update(&mut state, Message::Model(Box::new(many_versions()))), [], "it is known");
    assert_eq!(key(&mut state, KeyCode::Down), fetch(19));
    assert!(screen(&state, 80, 24).contains("v19"));
    key(&mut state, KeyCode::Tab);
    assert!(screen(&state, 80, 24).contains("loading v19"), "that of another version is not shown for it");
    update(&mut state, Message::Version(Box::new(whole(19))));
    assert!(screen(&state, 80, 24).contains("train at b3:"));
    assert_eq!(key(&mut state, KeyCode::Char('G')), [], "lines of the lineage scroll");
    key(&mut state, KeyCode::Char('m'));
    assert!(screen(&state, 80, 24).contains("log_loss over versions"));
    assert_eq!(key(&mut state, KeyCode::Char('G')), fetch(1));
    let text = screen(&state, 80, 24);
    key(&mut state, KeyCode::Tab);
    assert!(screen(&state, 80, 24).contains("✓ SpecValid"), "{text}");
    key(&mut state, KeyCode::Tab);
    assert!(screen(&state, 80, 24).contains("v5 → v6 (all traffic)"));
}

#[test]
fn a_large_screen_shows_all_parts() {
    let mut state = open(many_versions());
    update(&mut state, Message::Version(Box::new(whole(20))));
    insta::assert_snapshot!("parts_120", screen(&state, 120, 40));
    insta::assert_snapshot!("parts_220", screen(&state, 220, 60));
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
    assert!(text.contains(" none yet ") && !text.contains("being made"), "{text}");
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

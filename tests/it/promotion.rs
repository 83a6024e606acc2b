//! From staging to production: soak, approval, freeze windows, and the word of a person that overrides them.

use crate::support::{SPECS, World, model, until};
use git2::{FileMode, Signature, build::TreeUpdateBuilder};
use serde_json::Value;
use std::process::Output;
use trimtab::api::{
    client::{Client, Endpoint},
    types::Done,
};

const STAGING: &str = "schema = \"trimtab/v1\"\n[environment]\nname = \"staging\"\n";

/// Staging, then production with these lines.
pub fn chain(lines: &str) -> String {
    format!(
        "[serve]\nrun = [\"python3\", \"serve.py\"]\n[[deploy]]\nenvironment = \"staging\"\n\
         [[deploy]]\nenvironment = \"production\"\nafter = \"staging\"\n{lines}\n"
    )
}

/// A model that is in staging, and whose production asks for what `lines` say.
pub fn staged(lines: &str, settings: &str) -> World {
    let mut w = World::new();
    let settings = format!("{}{settings}", SPECS[0].1);
    w.commit("environments", &[("specs/environments/staging.toml", Some(STAGING)), (SPECS[0].0, Some(&settings))]);
    w.commit_model("fraud", &model("fraud", &w.path("count"), ", seed = 1", &chain(lines)));
    w.start();
    until("staging serves", || version(&w, "staging") == Some(1));
    w
}

/// What has all traffic in an environment.
pub fn version(w: &World, environment: &str) -> Option<u64> {
    let status = w.json(&["status", "fraud"]);
    let all = status["summary"]["environments"].as_array()?.clone();
    all.iter().find(|e| e["environment"] == environment)?["routed"].as_u64()
}

/// What the model waits for.
fn waiting(w: &World) -> Vec<Value> {
    w.json(&["status", "fraud"])["plan"]["waiting"].as_array().cloned().unwrap_or_default()
}

pub fn waits_on(w: &World, what: &str) -> bool {
    waiting(w).iter().any(|x| x["on"] == what)
}

fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

#[test]
fn a_release_soaks_in_staging_also_over_a_restart_of_the_daemon_then_goes_on() {
    let mut w = staged("soak = \"6s\"", "");
    until("it soaks", || waits_on(&w, "soak"));
    let until_ms = waiting(&w)[0]["until"].as_u64().unwrap();
    assert_eq!(version(&w, "production"), None);
    let refused = w.trimtab(&["approve", "fraud", "--author", "Ada <ada@example.com>"]);
    assert!(said(&refused).contains("waits for no approval"), "{}", said(&refused));
    w.kill();
    w.start();
    until("the new daemon looked", || waits_on(&w, "soak") || version(&w, "production").is_some());
    if let Some(soak) = waiting(&w).iter().find(|x| x["on"] == "soak") {
        assert_eq!(soak["until"].as_u64(), Some(until_ms), "what was soaked counts");
    }
    w.wait_for("fraud", "version=v1");
}

pub const GROUPS: &str = "[groups]\nrisk-team = [\"lin@example.com\"]\n";

#[test]
fn an_approval_by_who_may_lets_a_version_through_and_one_by_another_does_not() {
    let w = staged("approve = [\"@risk-team\"]", GROUPS);
    until("it waits", || waits_on(&w, "approval"));
    let text = said(&w.trimtab(&["status", "fraud"]));
    assert!(text.contains("v1 to be approved by @risk-team: `trimtab approve`"), "{text}");

    // Who may not is told so, and no commit is made.
    let head = w.head().unwrap().id();
    let out = w.trimtab(&["approve", "fraud", "--author", "Bob <bob@example.com>"]);
    assert_eq!(out.status.code(), Some(77), "{}", said(&out));
    assert!(said(&out).contains("bob@example.com may not approve production: @risk-team may"), "{}", said(&out));
    assert_eq!(w.head().unwrap().id(), head);

    // Nor does a commit of theirs count, which is Ada's here.
    let fingerprint = w.json(&["history", "fraud"])[0]["fingerprint"].as_str().unwrap().to_owned();
    let path = format!("specs/approvals/fraud/production/{}.toml", fingerprint.strip_prefix("b3:").unwrap());
    let file = |comment: &str| {
        format!(
            "schema = \"trimtab/v1\"\n[approval]\nmodel = \"fraud\"\nenvironment = \"production\"\n\
             fingerprint = \"{fingerprint}\"\ncomment = \"{comment}\"\n"
        )
    };
    w.commit("approve it", &[(&path, Some(&file("looks good")))]);
    until("it is told", || waiting(&w).iter().any(|x| x["refused"] == "Ada <ada@example.com>"));
    assert_eq!(version(&w, "production"), None);

    let out = w.trimtab(&["approve", "fraud", "-m", "checked the report", "--author", "Lin <lin@example.com>"]);
    assert!(out.status.success(), "{}", said(&out));
    w.wait_for("fraud", "version=v1");
    let head = w.head().unwrap();
    assert_eq!((head.author().name(), head.author().email()), (Ok("Lin"), Ok("lin@example.com")));
    let message = head.message().unwrap();
    assert!(message.starts_with("Approve fraud v1 for production\n\nchecked the report\n"), "{message}");
    assert!(message.contains("Trimtab-Reason: approval asked for by ") && message.contains("uid"), "{message}");
    let again = w.trimtab(&["approve", "fraud", "--env", "production", "--author", "Lin <lin@example.com>"]);
    assert!(said(&again).contains("approved for production already"), "{}", said(&again));

    // Another content needs another one; the way back needs none.
    let change =
        w.commit_model("fraud", &model("fraud", &w.path("count"), ", seed = 2", &chain("approve = [\"@risk-team\"]")));
    until("v2 waits", || waits_on(&w, "approval") && version(&w, "staging") == Some(2));
    assert_eq!(version(&w, "production"), Some(1));
    // What was shown to a person while v1 waited approves nothing now.
    let shown = serde_json::json!({
        "environment": "production", "version": 1, "waiting": true, "name": "Lin", "email": "lin@example.com",
    });
    let client = Client::new(Endpoint::Socket(w.state().join("trimtab.sock")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let late = runtime.block_on(client.post::<Done>("/api/v1/models/fraud/approve", &shown)).unwrap_err();
    assert_eq!(late.to_string(), "production: v2 waits now, not v1; look again");
    w.revert(change);
    w.wait_for("fraud", "synced");
    assert_eq!((version(&w, "staging"), version(&w, "production")), (Some(1), Some(1)));
}

/// A branch of Lin's with one file, merged by Ada.
fn merge(w: &World, path: &str, text: &str) {
    let head = w.head().unwrap();
    let by = |name: &str| Signature::now(name, &format!("{}@example.com", name.to_lowercase())).unwrap();
    let (lin, ada) = (by("Lin"), by("Ada"));
    let mut update = TreeUpdateBuilder::new();
    update.upsert(path, w.repo.blob(text.as_bytes()).unwrap(), FileMode::Blob);
    let tree = update.create_updated(&w.repo, &head.tree().unwrap()).unwrap();
    let tree = w.repo.find_tree(tree).unwrap();
    let side = w.repo.commit(None, &lin, &lin, "approve it", &tree, &[&head]).unwrap();
    let side = w.repo.find_commit(side).unwrap();
    w.repo.commit(Some("refs/heads/main"), &ada, &ada, "Merge", &tree, &[&head, &side]).unwrap();
}

#[test]
fn a_plain_commit_by_who_may_is_an_approval_whoever_merges_it() {
    let w = staged("approve = [\"lin@example.com\"]", "");
    until("it waits", || waits_on(&w, "approval"));
    let fingerprint = w.json(&["history", "fraud"])[0]["fingerprint"].as_str().unwrap().to_owned();
    let path = format!("specs/approvals/fraud/production/{}.toml", fingerprint.strip_prefix("b3:").unwrap());
    let other = "0".repeat(64);
    let file = |fingerprint: &str| {
        format!(
            "schema = \"trimtab/v1\"\n[approval]\nmodel = \"fraud\"\nenvironment = \"production\"\nfingerprint = \"{fingerprint}\"\n"
        )
    };
    let elsewhere = format!("specs/approvals/fraud/production/{other}.toml");
    w.commit("approve another", &[(&elsewhere, Some(&file(&format!("b3:{other}"))))]);
    assert!(w.trimtab(&["sync"]).status.success());
    assert!(waits_on(&w, "approval"), "it is of another content");
    merge(&w, &path, &file(&fingerprint));
    w.wait_for("fraud", "version=v1");
}

#[test]
fn nothing_moves_in_a_window_until_a_person_says_so_which_is_recorded() {
    // Every day, all day.
    let window = "freeze = [{ start = \"0 0 * * *\", duration = \"24h\", zone = \"Europe/Berlin\", why = \"audit\" }]";
    let mut w = staged(&format!("soak = \"1h\"\n{window}"), "");
    until("it is frozen", || waits_on(&w, "frozen"));
    let text = said(&w.trimtab(&["status", "fraud"]));
    assert!(text.contains("frozen until ") && text.contains("Europe/Berlin (audit)"), "{text}");
    assert_eq!(w.trimtab(&["promote", "fraud"]).status.code(), Some(64), "a reason is needed");
    let staging = w.trimtab(&["promote", "fraud", "--env", "staging", "--override", "why"]);
    assert!(said(&staging).contains("nothing of fraud waits"), "{}", said(&staging));

    // Another than the one that a person was shown is not let through.
    let other = w.trimtab(&["promote", "fraud", "--version", "v2", "--override", "why"]);
    assert!(said(&other).contains("production: v1 waits now, not v2; look again"), "{}", said(&other));
    assert!(!other.status.success() && waits_on(&w, "frozen"));

    let out = w.trimtab(&["promote", "fraud", "--version", "v1", "--override", "the old one loses money"]);
    assert!(out.status.success(), "{}", said(&out));
    w.wait_for("fraud", "version=v1");
    let told = |w: &World| {
        let events = w.json(&["events"]);
        let all = events.as_array().unwrap().iter().filter(|e| e["kind"] == "overridden").cloned();
        all.map(|e| e["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let events = told(&w);
    assert_eq!(events.len(), 1);
    assert!(events[0].starts_with("production: v1 let through without soak, freeze by "), "{events:?}");
    assert!(events[0].contains("(uid ") && events[0].ends_with(": the old one loses money"), "{events:?}");
    // However much happens later.
    for _ in 0..30 {
        assert!(w.trimtab(&["suspend", "fraud"]).status.success() && w.trimtab(&["resume", "fraud"]).status.success());
    }
    assert!(!w.json(&["status", "fraud"])["events"].to_string().contains("the old one loses money"));
    assert!(said(&w.trimtab(&["history", "fraud"])).contains("the old one loses money"));

    // It was for that release, and the next one waits.
    let spec = model("fraud", &w.path("count"), ", seed = 2", &chain(window));
    w.commit_model("fraud", &spec);
    until("v2 waits", || waits_on(&w, "frozen") && version(&w, "staging") == Some(2));
    w.kill();
    w.start();
    until("v2 still waits", || waits_on(&w, "frozen"));
    assert_eq!(version(&w, "production"), Some(1));
}

#[test]
fn a_rollout_that_a_window_caught_holds_and_is_promoted_by_nobody_in_passing() {
    let canary = "strategy = \"canary\"\nsteps = [{ weight = 10, gate = \"manual\" }]";
    let w = staged(canary, "");
    w.wait_for("fraud", "version=v1");
    let spec = |lines: &str| model("fraud", &w.path("count"), ", seed = 2", &chain(lines));
    w.commit_model("fraud", &spec(canary));
    until("a step waits", || waits_on(&w, "person"));
    let window = "freeze = [{ start = \"0 0 * * *\", duration = \"1d\", zone = \"UTC\" }]";
    w.commit_model("fraud", &spec(&format!("{canary}\n{window}")));
    until("the window is seen", || waits_on(&w, "frozen"));
    for verb in ["promote", "resume"] {
        let out = w.trimtab(&["rollout", verb, "fraud"]);
        assert!(!out.status.success() && said(&out).contains("trimtab promote fraud --env production --override"));
    }
    assert!(w.trimtab(&["promote", "fraud", "--override", "by hand"]).status.success());
    assert!(w.trimtab(&["rollout", "promote", "fraud"]).status.success());
    w.wait_for("fraud", "version=v2");
}

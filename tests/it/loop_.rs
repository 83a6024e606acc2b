//! The main job through the binary: a commit to a served version, and back.

use crate::support::{SERVED, World, eventually, model, until};
use std::time::Duration;

const CANARY: &str = "[serve]\nrun = [\"python3\", \"serve.py\"]\n[[deploy]]\nenvironment = \"production\"\nstrategy = \"canary\"\n\
    steps = [{ weight = 20, hold = \"300ms\" }, { weight = 60, hold = \"300ms\" }]\n";

#[test]
fn a_commit_is_trained_served_changed_and_reverted_without_training() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", CANARY));
    w.start();
    w.wait_for("fraud", "version=v1");
    assert_eq!(w.get("/models/fraud/x"), (200, "v1".into(), "{\"seed\": 1, \"data\": 8}".into()));

    let change = w.commit_model("fraud", &model("fraud", &count, ", seed = 2", CANARY));
    w.wait_for("fraud", "version=v2");
    assert_eq!(w.get("/models/fraud/x").1, "v2");

    w.revert(change);
    w.wait_for("fraud", "version=v1");
    assert_eq!(w.get("/models/fraud/x").1, "v1");
    assert_eq!(w.trained("count").len(), 2, "the revert trained nothing");

    // The bot pinned the data once, and is no loop on its own commits.
    let log = std::process::Command::new("git")
        .args(["log", "--format=%an: %s%n%b", "main"])
        .current_dir(w.path("models.git"))
        .output()
        .unwrap();
    let log = String::from_utf8(log.stdout).unwrap();
    assert_eq!(log.matches("trimtab: lock: fraud").count(), 1, "{log}");
    assert!(log.contains("Trimtab-Reason: "), "{log}");

    let history = w.json(&["history", "fraud"]);
    assert_eq!(history.as_array().unwrap().len(), 2);
    assert_eq!(history[0]["author"], "Ada");
    assert_eq!(w.stop(), Some(0));
}

#[test]
fn rollback_makes_and_pushes_the_revert() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 2", SERVED));
    w.wait_for("fraud", "version=v2");
    let out = w.trimtab(&["rollback", "fraud"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    w.wait_for("fraud", "version=v1");
    assert!(w.head().unwrap().message().unwrap().contains("Trimtab-Reason: rollback"));
    assert_eq!(w.trained("count").len(), 2);
}

#[test]
fn new_data_enters_by_a_refresh_which_is_a_commit_and_its_revert_brings_the_old_data_back() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    std::fs::write(w.path("data/numbers.csv"), "1,2\n3,4\n5,6\n").unwrap();
    assert!(w.trimtab(&["sync"]).status.success());
    assert_eq!(w.trained("count").len(), 1, "changed data alone trains nothing");
    assert!(w.trimtab(&["refresh", "fraud"]).status.success());
    w.wait_for("fraud", "version=v2");
    assert!(w.get("/models/fraud/x").2.contains("\"data\": 12"));
    let lock = w.head().unwrap().id();
    w.revert(lock);
    w.wait_for("fraud", "version=v1");
    assert!(w.get("/models/fraud/x").2.contains("\"data\": 8"));
    assert_eq!(w.trained("count").len(), 2);
}

/// Another dataset under the same input: its data is taken, and both ways back lead to the old version without training.
#[test]
fn another_dataset_is_other_data_and_the_way_back_trains_nothing() {
    let mut w = World::new();
    let count = w.path("count");
    std::fs::write(w.path("data/more.csv"), "1,2\n3,4\n5,6\n").unwrap();
    let more = "schema = \"trimtab/v1\"\n[dataset]\nname = \"more\"\n[source]\npath = \"more.csv\"\n";
    w.commit("more data", &[("specs/datasets/more.toml", Some(more))]);
    let first = model("fraud", &count, ", seed = 1", SERVED);
    w.commit_model("fraud", &first);
    w.start();
    w.wait_for("fraud", "version=v1");
    let second = first.replace("\"numbers\"", "\"more\"");
    let change = w.commit_model("fraud", &second);
    w.wait_for("fraud", "version=v2");
    assert!(w.get("/models/fraud/x").2.contains("\"data\": 12"));
    w.revert(change);
    w.wait_for("fraud", "version=v1");
    assert!(w.get("/models/fraud/x").2.contains("\"data\": 8"));
    w.commit_model("fraud", &second);
    w.wait_for("fraud", "version=v2");
    w.wait_for("fraud", "synced");

    // The lock that followed from the change goes with it: one commit, after which everything is as it was.
    let out = w.trimtab(&["rollback", "fraud"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    w.wait_for("fraud", "version=v1");
    assert!(w.head().unwrap().message().unwrap().starts_with("Revert \"fraud: change\"\n\nThis reverts commit "));
    let out = w.trimtab(&["rollback", "fraud", "--to", "v2"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    w.wait_for("fraud", "version=v2");
    assert_eq!(w.trained("count").len(), 2);
}

/// A commit that changed the dataset itself, and a commit that changed two models: a rollback moves only what is the model's own.
#[test]
fn a_rollback_moves_the_models_own_files_and_no_other_model() {
    let mut w = World::new();
    let count = w.path("count");
    std::fs::write(w.path("data/more.csv"), "1,2\n3,4\n5,6\n").unwrap();
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    let out = w.trimtab(&["rollback", "fraud"]);
    assert!(!out.status.success() && String::from_utf8_lossy(&out.stderr).contains("nothing to go back to"));

    let moved = "schema = \"trimtab/v1\"\n[dataset]\nname = \"numbers\"\n[source]\npath = \"more.csv\"\n";
    w.commit("numbers: a longer file", &[("specs/datasets/numbers.toml", Some(moved))]);
    w.wait_for("fraud", "version=v2");
    let out = w.trimtab(&["rollback", "fraud"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    w.wait_for("fraud", "version=v1");
    assert!(w.get("/models/fraud/x").2.contains("\"data\": 8"));

    let of = |name: &str, seed: &str| model(name, &count, &format!(", seed = {seed}"), SERVED);
    w.commit_model("churn", &of("churn", "1"));
    w.wait_for("churn", "version=v1");
    let (fraud, churn) = (of("fraud", "3"), of("churn", "3"));
    let both = [("specs/models/fraud/model.toml", Some(&*fraud)), ("specs/models/churn/model.toml", Some(&*churn))];
    w.commit("both", &both);
    w.wait_for("fraud", "version=v3");
    w.wait_for("churn", "version=v2");
    assert!(w.trimtab(&["rollback", "fraud"]).status.success());
    w.wait_for("fraud", "version=v1");
    assert_eq!(w.get("/models/churn/x").1, "v2", "the other model stays");

    w.commit("numbers: longer again", &[("specs/datasets/numbers.toml", Some(moved))]);
    w.wait_for("churn", "version=v3");
    let out = w.trimtab(&["rollback", "fraud"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("churn reads it: run `git revert "), "{said}");
}

#[test]
fn a_bad_canary_is_rejected_and_stable_serves_on() {
    let mut w = World::new();
    let count = w.path("count");
    let watched = format!("{CANARY}[[deploy.analysis]]\nmetric = \"error_rate\"\nmax = 0.1\nmin_requests = 5\n")
        .replace("300ms", "30s");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", &watched));
    w.start();
    w.wait_for("fraud", "version=v1");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 666", &watched));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        w.get("/models/fraud/x");
        let status = w.json(&["status", "fraud"]);
        // The look after the one that rejects says how the model now stands.
        let degraded = status["summary"]["health"] == "Degraded";
        let production = &status["summary"]["environments"][0];
        if degraded && production["rejected"].is_string() && production["routed"] == 1 {
            assert!(production["rejected"].as_str().unwrap().contains("error_rate"));
            break;
        }
        assert!(std::time::Instant::now() < until, "{status}");
    }
    for _ in 0..20 {
        assert_eq!(w.get("/models/fraud/x").1, "v1");
    }
    assert_eq!(w.trimtab(&["status", "fraud"]).status.code(), Some(3));
}

#[test]
fn a_failed_gate_and_a_failed_training_say_why_and_their_fix_goes_through() {
    let mut w = World::new();
    let count = w.path("count");
    let gated = format!("[[gate]]\nmetric = \"score\"\nmin = 0.9\n{SERVED}");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1, score = 0.5", &gated));
    w.start();
    let message = |w: &World, part: &str| {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let status = w.json(&["status", "fraud"]);
            if status["summary"]["message"].as_str().is_some_and(|m| m.contains(part)) {
                return;
            }
            assert!(std::time::Instant::now() < until, "{part}: {status}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    w.trimtab(&["sync"]);
    message(&w, "score ≥ 0.9: 0.5");
    let broken = model("fraud", &count, ", seed = 1", &gated)
        .replace("\"train.py\"", "\"-c\", \"raise SystemExit('out of cheese')\"");
    w.commit_model("fraud", &broken);
    message(&w, "out of cheese");
    let plan = String::from_utf8(w.trimtab(&["plan"]).stdout).unwrap();
    assert!(plan.contains("training failed: stage train: exit 1: out of cheese; commit a fix"), "{plan}");
    assert!(plan.contains("1 model waits"), "{plan}");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1, score = 0.95", &gated));
    w.wait_for("fraud", "healthy");
}

/// A version is compared with what was live when it was made: its fix goes through, and a revert is judged by no comparison.
#[test]
fn a_version_worse_than_live_stays_out_and_a_wider_tolerance_lets_it_in_without_training() {
    let mut w = World::new();
    let count = w.path("count");
    let gated = |score: f64, tolerance: f64| {
        let gate = format!("[[gate]]\nmetric = \"score\"\nno_worse_than = \"live\"\ntolerance = {tolerance}\n{SERVED}");
        model("fraud", &count, &format!(", seed = 1, score = {score}"), &gate)
    };
    let good = gated(0.95, 0.005);
    w.commit_model("fraud", &good);
    w.start();
    w.wait_for("fraud", "version=v1");
    w.wait_for("fraud", "healthy");
    w.commit_model("fraud", &gated(0.9, 0.005));
    until("the verdict", || {
        let status = w.json(&["status", "fraud"]);
        let message = status["summary"]["message"].as_str();
        message.is_some_and(|m| m.contains("score no worse than live v1 (0.95) by more than 0.005: 0.9"))
    });
    assert!(w.get("/models/fraud/x").1.contains("v1"));
    // The same figures under another tolerance; v1, in its turn, was made when nothing was live.
    w.commit_model("fraud", &gated(0.9, 0.05));
    w.wait_for("fraud", "version=v2");
    w.commit_model("fraud", &good);
    w.wait_for("fraud", "version=v1");
    assert_eq!(w.trained("count").len(), 2);
}

/// The lock commit that follows from a person's commit is that person's change still.
#[test]
fn what_a_commit_leads_to_is_its_own_after_the_lock_commit_too() {
    let mut w = World::new();
    let count = w.path("count");
    w.start();
    let asked = w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.wait_for("fraud", "version=v1");
    w.wait_for("fraud", "synced");
    let events = w.json(&["events"]);
    let commits_of = |kind: &str| {
        let all = events.as_array().unwrap().iter().filter(|e| e["kind"] == kind && e["model"] == "fraud");
        all.map(|e| e["commit"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(commits_of("promoted"), [asked.to_string()], "{events}");
    let lock = w.head().unwrap().id();
    assert_ne!(lock, asked);
    // New data is the refresh's: its lock commit is the change.
    std::fs::write(w.path("data/numbers.csv"), "1,2\n3,4\n5,6\n").unwrap();
    assert!(w.trimtab(&["refresh", "fraud"]).status.success());
    w.wait_for("fraud", "version=v2");
    let plan = w.json(&["status", "fraud"]);
    assert_eq!(plan["summary"]["changed_by"]["commit"], w.head().unwrap().id().to_string(), "{plan}");
}

#[test]
fn deleting_the_last_model_waits_for_prune_and_suspended_models_are_left_alone() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    assert!(w.trimtab(&["suspend", "fraud"]).status.success());
    w.commit_model("fraud", &model("fraud", &count, ", seed = 2", SERVED));
    assert!(w.trimtab(&["sync"]).status.success());
    w.wait_for("fraud", "version=v1");
    assert_eq!(w.trained("count").len(), 1);
    assert!(w.trimtab(&["resume", "fraud"]).status.success());
    w.wait_for("fraud", "version=v2");

    w.commit("gone", &[("specs/models/fraud/model.toml", None)]);
    assert!(w.trimtab(&["sync"]).status.success());
    assert_eq!(w.json(&["status"])["held"][0], "fraud");
    assert_eq!(w.get("/models/fraud/x").0, 200, "held: it serves on");
    assert!(w.trimtab(&["sync", "--prune"]).status.success());
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while w.get("/models/fraud/x").0 != 404 {
        assert!(std::time::Instant::now() < until, "{}", w.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(w.json(&["history", "fraud"]).as_array().unwrap().len(), 2, "versions are kept");
}

/// More than the share that the settings allow, though not all: held, also by the next daemon, until it is less.
#[test]
fn deletions_of_a_share_of_the_fleet_are_held_across_a_restart() {
    let mut w = World::new();
    let settings = "schema = \"trimtab/v1\"\n[reconcile]\nprune_share = 0.4\n";
    w.commit("settings", &[("specs/trimtab.toml", Some(settings))]);
    let count = w.path("count");
    for (name, seed) in [("churn", 1), ("fraud", 2), ("pricing", 3)] {
        w.commit_model(name, &model(name, &count, &format!(", seed = {seed}"), SERVED));
    }
    w.start();
    for name in ["churn", "fraud", "pricing"] {
        w.wait_for(name, "version=v1");
        w.wait_for(name, "synced");
    }
    let spec = |name: &str| format!("specs/models/{name}/model.toml");
    w.commit("two go", &[(&spec("churn"), None), (&spec("fraud"), None)]);
    assert!(w.trimtab(&["sync"]).status.success());
    let held =
        |w: &World| w.json(&["status"])["held"].as_array().unwrap().iter().map(|n| n.to_string()).collect::<Vec<_>>();
    assert_eq!(held(&w), ["\"churn\"", "\"fraud\""]);
    assert_eq!(w.stop(), Some(0));
    w.start();
    until("the next daemon holds them too", || held(&w).len() == 2);
    assert_eq!((w.get("/models/churn/x").0, w.get("/models/fraud/x").0), (200, 200));
    let text = String::from_utf8(w.trimtab(&["status"]).stdout).unwrap();
    assert!(text.contains("fraud: its spec was deleted; `trimtab sync --prune` retires it"), "{text}");
    // One comes back: the other alone is within the share.
    w.commit_model("fraud", &model("fraud", &count, ", seed = 2", SERVED));
    until("the other one is retired", || w.get("/models/churn/x").0 == 404);
    assert_eq!(w.get("/models/fraud/x").0, 200);
    assert_eq!(held(&w), [""; 0]);
    assert_eq!(w.trained("count").len(), 3);
}

/// Where trimtab may not push, a content keeps the data that it was first given, and a refresh gives it other data for good.
#[test]
fn without_pushing_pins_stay_with_their_content_through_refresh_revert_and_restart() {
    let mut w = World::new();
    w.commit("settings", &[("specs/trimtab.toml", Some("schema = \"trimtab/v1\"\n[bot]\npush = false\n"))]);
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    std::fs::write(w.path("data/numbers.csv"), "1,2\n3,4\n5,6\n").unwrap();
    assert!(w.trimtab(&["refresh", "fraud"]).status.success());
    w.wait_for("fraud", "version=v2");
    let other = w.commit_model("fraud", &model("fraud", &count, ", seed = 2", SERVED));
    w.wait_for("fraud", "version=v3");
    // Newer data yet, which nobody asked for.
    std::fs::write(w.path("data/numbers.csv"), "7\n").unwrap();
    assert_eq!(w.stop(), Some(0));
    w.start();
    w.wait_for("fraud", "synced");
    let revert = w.revert(other);
    w.wait_for("fraud", "version=v2");
    assert!(w.get("/models/fraud/x").2.contains("\"data\": 12"), "the data of the refresh");
    assert_eq!(w.trained("count").len(), 3);
    assert_eq!(w.head().unwrap().id(), revert, "nothing was pushed");
}

#[test]
fn a_rejected_release_is_tried_again_when_a_person_says_so() {
    let mut w = World::new();
    let count = w.path("count");
    let dying = SERVED.replace("serve.py", "-c\", \"raise SystemExit(3)");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", &dying));
    w.start();
    let rejected =
        |w: &World| w.json(&["status", "fraud"])["summary"]["environments"][0]["rejected"].as_str().map(str::to_owned);
    let until = |w: &World, what: &str, done: &dyn Fn(&World) -> bool| {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(80);
        while !done(w) {
            assert!(std::time::Instant::now() < end, "{what}: {}", w.json(&["status", "fraud"]));
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    w.trimtab(&["sync"]);
    until(&w, "it is rejected", &|w| rejected(w).is_some());
    assert!(w.trimtab(&["rollout", "retry", "fraud", "--env", "other"]).status.success());
    assert!(rejected(&w).is_some(), "another environment was meant");
    assert!(w.trimtab(&["rollout", "retry", "fraud", "--env", "production"]).status.success());
    until(&w, "it is tried again", &|w| rejected(w).is_none());
}

#[test]
fn after_a_restart_a_model_is_still_blamed_on_the_commit_that_changed_it() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    w.commit_model("churn", &model("churn", &count, ", seed = 2", SERVED));
    w.wait_for("churn", "version=v1");
    let blamed = |w: &World| w.json(&["status", "fraud"])["summary"]["changed_by"].clone();
    let before = blamed(&w);
    assert_ne!(before["commit"], w.head().unwrap().id().to_string());
    w.kill();
    w.start();
    w.wait_for("fraud", "synced");
    assert_eq!(blamed(&w), before);
    w.commit_model("fraud", &model("fraud", &count, ", seed = 3", SERVED));
    w.wait_for("fraud", "version=v2");
    assert_ne!(blamed(&w), before);
}

/// Whose training number `seed` waits until the file `go` is there; the second does not.
fn waiting(w: &World, seed: u32) -> String {
    let until = if seed == 1 { format!(", until = \"{}\"", w.path("go").display()) } else { String::new() };
    model("fraud", &w.path("count"), &format!(", seed = {seed}{until}"), SERVED)
}

fn trains(w: &World, times: usize) {
    eventually("it trains", Duration::from_secs(60), || (w.trained("count").len() == times).then_some(()));
}

fn seeds(w: &World) -> Vec<String> {
    w.trained("count").into_iter().map(|(_, seed)| seed).collect()
}

/// A training that may finish although a newer commit asks for something else is taken up by the next daemon as what it was.
#[test]
fn a_superseded_training_that_a_new_daemon_takes_up_is_registered_as_itself() {
    let mut w = World::new();
    let finish = |spec: String| spec.replace("[train]", "[train]\nfinish_superseded = true");
    w.commit_model("fraud", &finish(waiting(&w, 1)));
    w.start();
    trains(&w, 1);
    w.commit_model("fraud", &finish(waiting(&w, 2)));
    assert!(w.trimtab(&["sync"]).status.success());
    w.kill();
    w.start();
    assert!(w.trimtab(&["sync"]).status.success());
    assert_eq!(w.json(&["history", "fraud"]), serde_json::json!([]), "it still trains");
    std::fs::write(w.path("go"), "").unwrap();
    w.wait_for("fraud", "version=v2");
    for (version, seed) in [("fraud@v1", 1), ("fraud@v2", 2)] {
        assert_eq!(w.json(&["show", version])["params"]["seed"], seed);
    }
    assert!(w.get("/models/fraud/x").2.contains("\"seed\": 2,"));
    assert_eq!(seeds(&w), ["1", "2"]);
}

/// A commit while the daemon is down: what trains for the commit before is ended, said to be cancelled, and trained anew when asked for again.
#[test]
fn a_training_that_was_superseded_while_no_daemon_ran_is_ended() {
    let mut w = World::new();
    w.commit_model("fraud", &waiting(&w, 1));
    w.start();
    trains(&w, 1);
    let run = w.trained("count")[0].0.clone();
    let shim = trimtab::process::adopt(&w.state().join("runs").join(&run).join("shim")).unwrap();
    w.kill();
    assert_eq!(shim.state(), trimtab::process::State::Running);
    let change = w.commit_model("fraud", &waiting(&w, 2));
    w.start();
    w.wait_for("fraud", "version=v1");
    assert!(matches!(shim.state(), trimtab::process::State::Ended(exit) if exit.stopped));
    let state = |run: &str| {
        let runs = w.json(&["runs", "fraud", "--stages"]);
        let found = runs.as_array().unwrap().iter().find(|r| r["id"] == run).map(|r| r["status"]["state"].clone());
        found.unwrap()
    };
    assert_eq!(state(&run), "cancelled");

    std::fs::write(w.path("go"), "").unwrap();
    w.revert(change);
    w.wait_for("fraud", "version=v2");
    assert_eq!(seeds(&w), ["1", "2", "1"]);
    assert_eq!((state(&run), state(&w.trained("count")[2].0)), ("cancelled".into(), "succeeded".into()));
}

#[test]
fn models_of_one_content_do_not_get_in_each_others_way() {
    let mut w = World::new();
    let count = w.path("count");
    let settings = "schema = \"trimtab/v1\"\n[reconcile]\nmax_concurrent_training = 8\n";
    w.commit("settings", &[("specs/trimtab.toml", Some(settings))]);
    let names: Vec<String> = (0..8).map(|n| format!("twin-{n}")).collect();
    let specs: Vec<(String, String)> =
        names.iter().map(|n| (n.clone(), model(n, &count, ", seed = 1, sleep = 0.5", ""))).collect();
    let files: Vec<(String, &str)> = specs
        .iter()
        .flat_map(|(n, spec)| {
            let at = |f: &str| format!("specs/models/{n}/{f}");
            [(at("model.toml"), spec.as_str()), (at("train.py"), crate::support::TRAIN)]
        })
        .collect();
    let files: Vec<(&str, Option<&str>)> = files.iter().map(|(p, t)| (p.as_str(), Some(*t))).collect();
    w.commit("twins", &files);
    w.start();
    names.iter().for_each(|n| w.wait_for(n, "synced"));
    let events = w.json(&["events"]);
    let failed: Vec<_> = events.as_array().unwrap().iter().filter(|e| e["kind"] == "run_failed").collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// Several commits that arrive at once: each model is blamed on the one that changed, broke or deleted it.
#[test]
fn each_change_is_blamed_on_the_commit_that_made_it() {
    let mut w = World::new();
    let count = w.path("count");
    for name in ["fraud", "churn", "pricing"] {
        w.commit_model(name, &model(name, &count, ", seed = 1", SERVED));
    }
    w.start();
    for name in ["fraud", "churn", "pricing"] {
        w.wait_for(name, "version=v1");
    }
    w.stop();
    let spec = |name: &str| format!("specs/models/{name}/model.toml");
    let fraud = model("fraud", &count, ", seed = 2", SERVED);
    let changed = w.commit("fraud: another seed", &[(&spec("fraud"), Some(&fraud))]);
    let broken = w.commit("churn: a mistake", &[(&spec("churn"), Some("poison"))]);
    let all = ["model.toml", "train.py", "serve.py", "trimtab.lock"].map(|f| format!("specs/models/pricing/{f}"));
    let gone: Vec<(&str, Option<&str>)> = all.iter().map(|f| (f.as_str(), None)).collect();
    let deleted = w.commit("pricing is over", &gone);
    w.commit("words", &[("README.md", Some("hello"))]);
    w.start();
    w.wait_for("fraud", "version=v2");
    let events = w.json(&["events"]);
    let commit_of = |kind: &str, model: &str| {
        let all = events.as_array().unwrap();
        let found = all.iter().rev().find(|e| e["kind"] == kind && e["model"] == model);
        found.unwrap_or_else(|| panic!("no {kind} of {model}: {events}"))["commit"].as_str().unwrap().to_owned()
    };
    assert_eq!(commit_of("run_started", "fraud"), changed.to_string());
    assert_eq!(commit_of("spec_broken", "churn"), broken.to_string());
    assert_eq!(commit_of("retired", "pricing"), deleted.to_string());
}

/// Of a spec that was never valid nothing stays once its file is gone.
#[test]
fn a_spec_that_was_never_valid_leaves_nothing_behind() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.commit("a ghost", &[("specs/models/ghost/model.toml", Some("poison"))]);
    w.start();
    w.wait_for("fraud", "version=v1");
    let names = |w: &World| -> Vec<String> {
        let status = w.json(&["status"]);
        status["models"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&w), ["fraud", "ghost"]);
    w.commit("no ghost", &[("specs/models/ghost/model.toml", None)]);
    until("the ghost goes", || names(&w) == ["fraud"]);
    assert_eq!(w.trimtab(&["status"]).status.code(), Some(0));
}

#[test]
fn a_suspended_model_stays_as_it_is_until_it_is_resumed() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    assert!(w.trimtab(&["suspend", "fraud"]).status.success());
    let more = SERVED.replace("[[deploy]]", "replicas = 3\n[[deploy]]");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 2", &more));
    assert!(w.trimtab(&["sync"]).status.success());
    until("the commit is seen", || w.json(&["status", "fraud"])["summary"]["sync"] == "OutOfSync");
    let replicas = |w: &World| w.json(&["status", "fraud"])["replicas"][0]["replicas"].as_array().unwrap().len();
    assert_eq!((replicas(&w), w.trained("count").len()), (1, 1));
    assert!(w.trimtab(&["resume", "fraud"]).status.success());
    w.wait_for("fraud", "version=v2");
    let events = w.json(&["events"]).to_string();
    assert!(events.contains("train.params.seed 1 → 2"), "the reason is not lost: {events}");
}

/// What failed is over once Git asks for something else: a revert of a broken training leads back to health.
#[test]
fn the_revert_of_a_failed_training_is_healthy_again() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "healthy");
    let bad = w.commit("fraud: a mistake", &[("specs/models/fraud/train.py", Some("raise SystemExit(3)"))]);
    until("it fails", || w.json(&["status", "fraud"])["summary"]["health"] == "Degraded");
    w.revert(bad);
    w.wait_for("fraud", "healthy");
    assert_eq!(w.trimtab(&["status"]).status.code(), Some(0));
    assert_eq!(w.trained("count").len(), 1);
}

/// A dataset that cannot be read, and one that never ends, hold up no other dataset under the same input.
#[test]
fn a_dataset_that_fails_or_hangs_does_not_hold_up_its_own_fix() {
    let mut w = World::new();
    let count = w.path("count");
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let source = |name: &str, source: &str| {
        format!("schema = \"trimtab/v1\"\n[dataset]\nname = \"{name}\"\n[source]\n{source}\n")
    };
    let gone = source("gone", "path = \"gone.csv\"");
    let hangs = source("hangs", &format!("url = \"http://{}/x.csv\"", server.local_addr().unwrap()));
    w.commit("data", &[("specs/datasets/gone.toml", Some(&gone)), ("specs/datasets/hangs.toml", Some(&hangs))]);
    let of =
        |dataset: &str| model("fraud", &count, ", seed = 1", SERVED).replace("\"numbers\"", &format!("\"{dataset}\""));
    w.commit_model("fraud", &of("gone"));
    w.start();
    until("it fails", || w.json(&["status", "fraud"])["summary"]["health"] == "Degraded");
    w.commit_model("fraud", &of("hangs"));
    let (_held, _) = server.accept().unwrap();
    w.commit_model("fraud", &of("numbers"));
    w.wait_for("fraud", "healthy");
}

/// A run that writes into its input spoils it for nobody: neither for the next run nor in the store.
#[test]
fn what_a_training_does_to_its_input_reaches_no_other_training() {
    let mut w = World::new();
    let count = w.path("count");
    let spoil = format!(
        "import os, stat\nplace = os.environ['TRIMTAB_INPUT_TRAIN']\nos.chmod(place, 0o644)\n{}\nopen(place, 'w').write('EVIL EVIL EVIL')\n",
        crate::support::TRAIN
    );
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.commit("fraud: spoils", &[("specs/models/fraud/train.py", Some(&spoil))]);
    w.start();
    w.wait_for("fraud", "version=v1");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 2", SERVED));
    w.wait_for("fraud", "version=v2");
    assert!(w.get("/models/fraud/x").2.contains("\"data\": 8"), "{}", w.get("/models/fraud/x").2);
}

//! What became of failures: when they count, and when they are tried again.

use crate::support::{SERVED, TRAIN, World, eventually, model};
use serde_json::Value;
use std::{fs, time::Duration};

/// Fails after it was counted, unless the file `ok` is there.
fn failing(w: &World, name: &str) -> String {
    let at = format!("specs/models/{name}/train.py");
    let script =
        format!("{TRAIN}\nif \"ok\" in params and not os.path.exists(params[\"ok\"]): sys.exit(\"out of cheese\")\n");
    w.commit(&format!("{name}: may fail"), &[(&at, Some(&script))]);
    format!(", seed = 1, ok = \"{}\"", w.path("ok").display())
}

/// Waits until attempt number `attempt` failed and was counted as often; `trimtab status` as text.
fn failed(w: &World, attempt: u64, times: usize) -> String {
    eventually("it fails", Duration::from_secs(60), || {
        let detail = w.json(&["status", "fraud"]);
        let pipeline = &detail["pipeline"];
        (pipeline["state"]["state"] == "failed" && pipeline["attempt"].as_u64() == Some(attempt)).then_some(())
    });
    assert_eq!(w.trained("count").iter().filter(|(_, seed)| seed == "1").count(), times);
    String::from_utf8(w.trimtab(&["status", "fraud"]).stdout).unwrap()
}

#[test]
fn content_that_failed_and_comes_back_is_tried_again_at_once() {
    let mut w = World::new();
    let count = w.path("count");
    let good = model("fraud", &count, ", seed = 0", SERVED);
    w.commit_model("fraud", &good);
    let fails = failing(&w, "fraud");
    let commit = |w: &World, text: &str| w.commit("fraud: change", &[("specs/models/fraud/model.toml", Some(text))]);
    w.start();
    w.wait_for("fraud", "version=v1");
    commit(&w, &model("fraud", &count, &fails, SERVED));
    let said = failed(&w, 1, 1);
    assert!(said.contains("not tried again before the model changes, or `trimtab rollout retry fraud`"), "{said}");

    // Another time limit makes no other version, but another try.
    commit(&w, &model("fraud", &count, &fails, &format!("timeout = \"30m\"\n{SERVED}")));
    failed(&w, 2, 2);
    // What changes nothing of the training is no reason.
    commit(
        &w,
        &model(
            "fraud",
            &count,
            &fails,
            &format!("timeout = \"30m\"\n{SERVED}[[gate]]\nmetric = \"score\"\nmin = 0.0\n"),
        ),
    );
    assert!(w.trimtab(&["sync"]).status.success());
    failed(&w, 2, 2);

    // There and back again, once by way of a version that there is, once by way of one that is trained.
    commit(&w, &good);
    w.wait_for("fraud", "synced");
    commit(&w, &model("fraud", &count, &fails, SERVED));
    failed(&w, 1, 3);
    commit(&w, &model("fraud", &count, ", seed = 2", SERVED));
    w.wait_for("fraud", "version=v2");
    fs::write(w.path("ok"), "").unwrap();
    w.revert(w.head().unwrap().id());
    w.wait_for("fraud", "version=v3");
    assert_eq!(w.trained("count").len(), 1 + 3 + 1 + 1);
    let told = told_failures(&w);
    assert!(told.len() == 3 && told.iter().all(|e| e["commit"].is_string() && e["author"] == "Ada"), "{told:?}");
}

/// Each failure is told once, with the commit that asked for it.
fn told_failures(w: &World) -> Vec<Value> {
    let events = w.json(&["events"]);
    events.as_array().unwrap().iter().filter(|e| e["kind"] == "run_failed").cloned().collect()
}

/// A daemon that is killed after an attempt failed: the next one takes the failure up, and does not tell it again.
#[test]
fn a_failure_that_a_new_daemon_takes_up_is_told_once() {
    let mut w = World::new();
    let (again, began, go) = (w.path("again"), w.path("began"), w.path("go"));
    let (again, began, go) = (again.display(), began.display(), go.display());
    let script = format!(
        "if [ -e {again} ]; then touch {began}; until [ -e {go} ]; do sleep 0.02; done; exit 4; fi; touch {again}; exit 3"
    );
    let rest = format!("[[stage]]\nname = \"check\"\nretries = 1\nrun = \"{script}\"\n");
    w.commit_model("fraud", &model("fraud", &w.path("count"), ", seed = 1, sleep = 600", &rest));
    w.start();
    eventually("its second attempt runs", Duration::from_secs(60), || w.path("began").exists().then_some(()));
    w.kill();
    w.start();
    fs::write(w.path("go"), "").unwrap();
    eventually("it fails", Duration::from_secs(60), || {
        (w.json(&["status", "fraud"])["pipeline"]["state"]["state"] == "failed").then_some(())
    });
    let told = told_failures(&w);
    let with = |reason: &str| told.iter().filter(|e| e["message"].as_str().unwrap().contains(reason)).count();
    assert_eq!((told.len(), with("exit 3"), with("exit 4")), (2, 1, 1), "{told:?}");
}

/// A stage that failed is tried again when a change of another stage asks for it, though nothing of its own changed.
#[test]
fn a_stage_that_failed_for_one_version_is_tried_again_for_another() {
    let mut w = World::new();
    let (checks, ok) = (w.path("checks"), w.path("ok"));
    let check = format!("echo c >> {}; test -e {} || exit 3", checks.display(), ok.display());
    let rest = format!("[[stage]]\nname = \"check\"\nrun = \"{check}\"\n{SERVED}");
    w.commit_model("fraud", &model("fraud", &w.path("count"), ", seed = 1", &rest));
    w.start();
    eventually("it fails", Duration::from_secs(60), || {
        (w.json(&["status", "fraud"])["pipeline"]["state"]["state"] == "failed").then_some(())
    });
    fs::write(ok, "").unwrap();
    w.commit_model("fraud", &model("fraud", &w.path("count"), ", seed = 2", &rest));
    w.wait_for("fraud", "version=v1");
    assert_eq!(fs::read_to_string(checks).unwrap().lines().count(), 2);
}

//! `trimtab import mlflow`, from another daemon: it speaks the same API. From MLflow itself: tests/extended/mirror.rs.

use crate::{
    peer::{Peer, same},
    support::World,
};
use serde_json::{Value, json};
use std::{
    process::{Command, Output, Stdio},
    time::Duration,
};

fn import(world: &World, from: &Peer, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.args(["import", "mlflow", &from.url, "--json", "--state"]).arg(world.state()).args(flags);
    command.env("MLFLOW_TRACKING_TOKEN", &from.token).stdin(Stdio::null());
    command
}

fn told(out: &Output) -> Value {
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_str(&text).unwrap()
}

fn count(report: &Value, kind: &str, what: &str) -> u64 {
    report["counts"][kind][what].as_u64().unwrap_or_default()
}

fn two() -> (World, World) {
    let (mut there, mut here) = (World::new(), World::new());
    there.start();
    here.start();
    (there, here)
}

#[test]
fn all_of_another_server_comes_once_and_what_changed_comes_again() {
    let (there, here) = two();
    let (from, to) = (Peer::of(&there.state()), Peer::of(&here.state()));
    from.fill(3);
    // Ids are others here, names are not.
    to.experiment("mine");

    let planned = told(&import(&here, &from, &["--dry-run"]).output().unwrap());
    assert_eq!((count(&planned, "run", "new"), count(&planned, "version", "new")), (6, 2), "{planned}");
    assert_eq!(to.experiments().len(), 2, "nothing was made");

    let first = told(&import(&here, &from, &[]).output().unwrap());
    assert_eq!((count(&first, "run", "new"), count(&first, "logged_model", "new")), (6, 3), "{first}");
    assert_eq!(first["notes"], json!([]), "{first}");
    let is = |a: &Peer, b: &Peer| {
        let (a, mut b) = (a.whole(), b.whole());
        b["experiments"].as_object_mut().unwrap().remove("mine");
        same(&a, &b);
    };
    is(&from, &to);
    assert_eq!(here.json(&["history", "churn"]).as_array().unwrap().len(), 2, "versions are the loop's, too");

    let again = told(&import(&here, &from, &[]).output().unwrap());
    for kind in ["experiment", "run", "logged_model", "model", "version", "file"] {
        assert_eq!((count(&again, kind, "new"), count(&again, kind, "changed")), (0, 0), "{kind}: {again}");
    }
    assert_eq!((&again["points"], &again["bytes"]), (&json!(0), &json!(0)), "{again}");
    is(&from, &to);

    // A run goes on and another begins, an alias moves, a version comes, a file of a finished run comes.
    let going = from.named("goes on");
    let id = going["info"]["run_id"].as_str().unwrap();
    from.steps(id, 4, 9);
    from.upload(going["info"]["artifact_uri"].as_str().unwrap(), "last.ckpt", "1");
    from.post("runs/update", json!({"run_id": id, "status": "FAILED", "end_time": 1_700_000_010_000i64}));
    let (churn, other) = (from.experiment("churn"), from.experiment("other"));
    from.run(&churn, "a later one", 4);
    let long = from.named("long");
    from.upload(long["info"]["artifact_uri"].as_str().unwrap(), "late.txt", "late");
    let (number, _) = from.version("churn", &other, long["info"]["run_id"].as_str().unwrap());
    assert_eq!(number, "4", "the free number stays free");
    from.alias("churn", "champion", &number);
    let later = told(&import(&here, &from, &[]).output().unwrap());
    assert_eq!((count(&later, "run", "new"), count(&later, "run", "changed")), (1, 2), "{later}");
    assert_eq!((count(&later, "version", "new"), count(&later, "version", "same")), (1, 2), "{later}");
    is(&from, &to);

    // The next version here comes after theirs.
    let (number, _) = to.version("churn", &to.experiment("other"), long["info"]["run_id"].as_str().unwrap());
    assert_eq!(number, "5");
    let kept = told(&import(&here, &from, &[]).output().unwrap());
    assert_eq!(count(&kept, "version", "same"), 3, "{kept}");
    assert_eq!(to.versions("churn").len(), 4, "what is made here stays");
}

#[test]
fn an_import_that_is_killed_anywhere_goes_on_to_the_same_end() {
    let (there, mut here) = two();
    let from = Peer::of(&there.state());
    from.fill(12);
    let mut kills = 0;
    for n in 1.. {
        let mut child = import(&here, &from, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(40 * n));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        kills += 1;
        // The command alone, and the daemon with it, by turns.
        if n % 2 == 0 {
            child.kill().unwrap();
        } else {
            here.kill();
            here.start();
        }
        child.wait().unwrap();
    }
    assert!(kills > 0, "it was too fast to be killed");
    let last = told(&import(&here, &from, &[]).output().unwrap());
    assert_eq!((count(&last, "run", "new"), &last["notes"]), (0, &json!([])), "{last}");
    let to = Peer::of(&here.state());
    same(&from.whole(), &to.whole());
    here.kill();
    here.start();
    same(&from.whole(), &Peer::of(&here.state()).whole());
}

#[test]
fn parts_are_brought_by_name_and_what_is_ours_is_left() {
    let (there, here) = two();
    let (from, to) = (Peer::of(&there.state()), Peer::of(&here.state()));
    from.fill(2);
    let part = told(&import(&here, &from, &["--experiment", "churn"]).output().unwrap());
    assert_eq!((count(&part, "run", "new"), count(&part, "model", "new")), (2, 0), "{part}");
    assert!(to.experiments().iter().all(|e| e["name"] != "other"));
    // A model of this name is here, with a first version of its own.
    to.post("registered-models/create", json!({"name": "churn"}));
    let run = to.run("0", "ours", 1).0;
    to.version("churn", "0", &run);
    let model = told(&import(&here, &from, &["--model", "churn"]).output().unwrap());
    assert_eq!((count(&model, "version", "new"), count(&model, "version", "left")), (1, 1), "{model}");
    assert_eq!(count(&model, "run", "new"), 1, "the run that the versions came from: {model}");
    let why = model["notes"][0]["why"].as_str().unwrap();
    assert!(why.contains("that was not imported is here already"), "{model}");
    let versions = to.versions("churn");
    assert_eq!((versions.len(), &versions[0]["run_id"]), (2, &json!(run)), "{versions:?}");
}

#[test]
fn refusals_have_their_exit_codes_and_words() {
    let (there, here) = two();
    let from = Peer::of(&there.state());
    let end = |from: &Peer, flags: &[&str]| {
        let out = import(&here, from, flags).output().unwrap();
        let said: Value = serde_json::from_slice(&out.stdout).unwrap();
        (out.status.code().unwrap(), said["error"].as_str().unwrap().to_owned())
    };
    let (code, said) = end(&Peer::new(&from.url, "guess"), &[]);
    assert_eq!(code, 77, "{said}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, said) = end(&Peer::new(&format!("http://{free}"), ""), &[]);
    assert!(code == 69 && said.contains("cannot be reached"), "{code}: {said}");
    let (code, said) = end(&Peer::new("sqlite:///x.db", ""), &[]);
    assert_eq!(code, 64, "{said}");
    let (code, said) = end(&from, &["--experiment", "none"]);
    assert!(code == 1 && said.contains("has no experiment `none`"), "{code}: {said}");
    let (code, said) = end(&Peer::new("http://127.0.0.1:9/", ""), &["--model", "x"]);
    assert_eq!(code, 69, "{said}");
}

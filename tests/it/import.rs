//! `trimtab import mlflow`, from another daemon: it speaks the same API. From MLflow itself: tests/extended/mirror.rs.

use crate::{
    peer::{Peer, same},
    support::{World, until},
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
fn a_daemon_that_dies_in_the_middle_is_told_with_what_to_do_and_notes_are_told_once() {
    let (there, mut here) = two();
    let from = Peer::of(&there.state());
    from.fill(12);
    let text = |world: &World| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
        command.args(["import", "mlflow", &from.url, "--state"]).arg(world.state()).stdin(Stdio::null());
        command.env("MLFLOW_TRACKING_TOKEN", &from.token).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let child = text(&here).spawn().unwrap();
    let to = Peer::of(&here.state());
    until("some runs are here", || to.experiments().iter().map(|e| to.runs_of(e).len()).sum::<usize>() > 3);
    here.kill();
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(69), "{said}");
    let told = "the daemon went away\nWhat was brought stays; the same command goes on from there.\n";
    assert!(said.ends_with(told), "{said}");

    here.start();
    from.post("registered-models/create", json!({"name": "late", "description": "theirs"}));
    Peer::of(&here.state()).post("registered-models/create", json!({"name": "late"}));
    let out = text(&here).output().unwrap();
    let both = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert_eq!(both.concat().matches("left: registered model late").count(), 1, "{both:?}");
    let out = text(&here).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains("Nothing is new at "), "{out:?}");
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
    assert!(why.contains("that was not imported from there is here already"), "{model}");
    let versions = to.versions("churn");
    assert_eq!((versions.len(), &versions[0]["run_id"]), (2, &json!(run)), "{versions:?}");
}

/// What a daemon says of an experiment and a registered model, all fields.
fn said_of(peer: &Peer, experiment: &str, model: &str) -> (Value, Value) {
    let experiment = peer.experiments().into_iter().find(|e| e["name"] == experiment).unwrap();
    (experiment, peer.get(&format!("registered-models/get?name={model}")))
}

#[test]
fn what_is_here_keeps_its_fields_and_a_copy_follows_but_for_what_was_changed_here() {
    let (there, here) = two();
    let (from, to) = (Peer::of(&there.state()), Peer::of(&here.state()));
    let made = |peer: &Peer, value: &str, name: &str| {
        let tags = json!([{"key": "k", "value": value}]);
        peer.post("experiments/create", json!({"name": name, "tags": tags}));
        peer.post("registered-models/create", json!({"name": name, "tags": tags, "description": value}));
    };
    made(&from, "theirs", "fight");
    made(&from, "theirs", "copy");
    made(&to, "MINE", "fight");
    let tag = |peer: &Peer, name: &str, key: &str, value: &str| {
        let id = peer.experiment(name);
        peer.post("experiments/set-experiment-tag", json!({"experiment_id": id, "key": key, "value": value}));
        peer.post("registered-models/set-tag", json!({"name": name, "key": key, "value": value}));
    };
    tag(&from, "fight", "only there", "theirs");
    let run = from.run(&from.experiment("fight"), "theirs", 1).0;
    let (number, _) = from.version("fight", &from.experiment("fight"), &run);
    from.alias("fight", "champion", &number);
    let before = said_of(&to, "fight", "fight");

    let planned = told(&import(&here, &from, &["--dry-run"]).output().unwrap());
    let first = told(&import(&here, &from, &[]).output().unwrap());
    for report in [&planned, &first] {
        for kind in ["experiment", "model"] {
            assert_eq!((count(report, kind, "new"), count(report, kind, "left")), (1, 1), "{kind}: {report}");
        }
        assert_eq!((count(report, "run", "new"), count(report, "version", "new")), (1, 1), "{report}");
        assert_eq!(report["notes"].as_array().unwrap().len(), 2, "{report}");
    }
    // Said of the model are its newest versions, too, and there is one more now.
    let kept = |(experiment, mut model): (Value, Value)| {
        model["registered_model"].as_object_mut().unwrap().remove("latest_versions");
        (experiment, model)
    };
    assert_eq!(kept(said_of(&to, "fight", "fight")), kept(before.clone()));

    // The other side changes all of it, and so does this one.
    tag(&to, "copy", "k", "MINE");
    for name in ["fight", "copy"] {
        tag(&from, name, "k", "later");
        tag(&from, name, "late", "later");
        from.patch("registered-models/update", json!({"name": name, "description": "later"}));
    }
    let later = told(&import(&here, &from, &[]).output().unwrap());
    assert_eq!((count(&later, "experiment", "changed"), count(&later, "model", "changed")), (1, 1), "{later}");
    assert_eq!(kept(said_of(&to, "fight", "fight")), kept(before));
    let (experiment, model) = said_of(&to, "copy", "copy");
    let tags = json!([{"key": "k", "value": "MINE"}, {"key": "late", "value": "later"}]);
    assert_eq!((&experiment["tags"], &model["registered_model"]["tags"]), (&tags, &tags));
    assert_eq!(model["registered_model"]["description"], "later");
}

#[test]
fn a_dry_run_tells_what_the_import_then_does_and_a_repeat_finds_nothing_new() {
    let (there, here) = two();
    let (from, to) = (Peer::of(&there.state()), Peer::of(&here.state()));
    from.fill(2);
    // Here is one of this name with all the numbers, and there an alias for one of them.
    to.post("registered-models/create", json!({"name": "churn"}));
    let run = to.run("0", "ours", 1).0;
    for _ in 0..3 {
        to.version("churn", "0", &run);
    }
    let counted = |flags: &[&str]| {
        let report = told(&import(&here, &from, flags).output().unwrap());
        let mut counts = report["counts"].clone();
        // Files are not looked at by a dry run.
        counts.as_object_mut().unwrap().remove("file");
        (counts, report["notes"].clone())
    };
    for only in [&["--model", "churn"][..], &[]] {
        let planned = counted(&[only, &["--dry-run"]].concat());
        assert_eq!(
            (&planned.0["version"]["left"], &planned.0["version"]["new"]),
            (&json!(2), &json!(0)),
            "{planned:?}"
        );
        assert_eq!((&planned.0["model"]["left"], &planned.0["model"]["new"]), (&json!(1), &json!(0)), "{planned:?}");
        assert_eq!(counted(only), planned);
    }
    let (counts, _) = counted(&[]);
    for (kind, tally) in counts.as_object().unwrap() {
        assert_eq!((&tally["new"], &tally["changed"]), (&json!(0), &json!(0)), "{kind}: {counts}");
    }
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
    assert!(code == 77 && said.contains("the token is wrong") && !said.contains("guess"), "{code}: {said}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, said) = end(&Peer::new(&format!("http://{free}"), ""), &[]);
    assert!(code == 69 && said.contains("cannot be reached"), "{code}: {said}");
    let (code, said) = end(&Peer::new("sqlite:///x.db", ""), &[]);
    assert_eq!(code, 64, "{said}");
    assert!(!said.contains("What was brought stays"), "nothing was: {said}");
    let (code, said) = end(&Peer::new(&from.url.replace("http://", "https://"), ""), &[]);
    assert!(code == 1 && said.contains("does not speak TLS"), "{code}: {said}");
    let (code, said) = end(&from, &["--experiment", "none"]);
    assert!(code == 1 && said.contains("has no experiment `none`"), "{code}: {said}");
    let (code, said) = end(&Peer::new("http://127.0.0.1:9/", ""), &["--model", "x"]);
    assert_eq!(code, 69, "{said}");
}

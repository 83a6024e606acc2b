//! The state folder stays within its limits, and nothing that anybody needs is lost on the way.

use crate::support::{SERVE, SERVED, TRAIN, World, model};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// A daemon that never cleans up by itself.
fn start(w: &mut World) {
    w.start_args(&[], &["--gc-every", "0s"]);
    w.wait_api();
}

fn settings(w: &World, gc: &str) {
    let text = format!("schema = \"trimtab/v1\"\n[bot]\npush = false\n[gc]\n{gc}\n");
    w.commit("settings", &[("specs/trimtab.toml", Some(&text))]);
}

/// Commits a model of some weight with this seed.
fn commit(w: &World, name: &str, seed: u32) -> git2::Oid {
    let weights = "import random\nweights = random.Random(params[\"seed\"]).randbytes(300000)\n\
        open(os.environ[\"TRIMTAB_OUTPUT\"] + \"/weights.bin\", \"wb\").write(weights)\n";
    let spec = model(name, &w.path("count"), &format!(", seed = {seed}"), SERVED);
    let (train, at) = (format!("{TRAIN}{weights}"), |f: &str| format!("specs/models/{name}/{f}"));
    let files = [(at("model.toml"), spec), (at("train.py"), train), (at("serve.py"), SERVE.to_owned())];
    let files: Vec<(&str, Option<&str>)> = files.iter().map(|(p, t)| (p.as_str(), Some(t.as_str()))).collect();
    w.commit(&format!("{name}: seed {seed}"), &files)
}

fn bytes(folder: &Path) -> u64 {
    let files = walkdir::WalkDir::new(folder).into_iter().flatten().filter_map(|e| e.metadata().ok());
    files.filter(|m| m.is_file()).map(|m| m.len()).sum()
}

fn names(report: &Value, kind: &str) -> Vec<String> {
    let items = report["items"].as_array().unwrap_or_else(|| panic!("{report}")).iter();
    items.filter(|i| i["kind"] == kind).map(|i| i["name"].as_str().unwrap().to_owned()).collect()
}

fn versions(w: &World, model: &str) -> Vec<u64> {
    w.json(&["history", model]).as_array().unwrap().iter().map(|v| v["number"].as_u64().unwrap()).collect()
}

#[test]
fn what_is_beyond_the_limits_goes_and_what_git_asked_for_lately_stays() {
    let mut w = World::new();
    w.days_ago = 40;
    settings(&w, "versions = 1\nruns = 0\nsnapshots = 0\nenvironments = 0");
    commit(&w, "fraud", 1);
    start(&mut w);
    w.wait_for("fraud", "version=v1");
    // Other data from here on: the first snapshot belongs to the first version alone.
    std::fs::write(w.path("data/numbers.csv"), "1,2\n3,4\n5,6\n").unwrap();
    assert!(w.trimtab(&["refresh", "fraud"]).status.success());
    w.wait_for("fraud", "version=v2");
    for seed in 3..=6 {
        commit(&w, "fraud", seed);
        w.wait_for("fraud", &format!("version=v{seed}"));
    }
    w.days_ago = 0;
    commit(&w, "fraud", 7);
    w.wait_for("fraud", "version=v7");
    let newest = commit(&w, "fraud", 8);
    w.wait_for("fraud", "version=v8");
    w.wait_for("fraud", "synced");

    // v6 to v8 are asked for lately (a revert of the first recent commit leads to v6), v5 is the one that stays beside them.
    let before = bytes(&w.state());
    let shown = w.json(&["gc", "--dry-run"]);
    assert_eq!(names(&shown, "version"), ["v1", "v2", "v3", "v4"], "{shown}");
    assert_eq!((names(&shown, "run").len(), names(&shown, "snapshot").len()), (5, 1), "{shown}");
    let first = &shown["items"][0];
    assert!(first["bytes"].as_u64().unwrap() > 300_000, "{shown}");
    assert!(first["why"].as_str().unwrap().contains("no commit of the last 30d asks for"), "{shown}");
    assert_eq!(versions(&w, "fraud").len(), 8, "nothing was removed");
    let text = String::from_utf8(w.trimtab(&["gc", "--dry-run"]).stdout).unwrap();
    assert!(text.contains("Would go: 4 versions, 5 runs, 1 snapshot"), "{text}");

    let done = w.json(&["gc"]);
    assert_eq!(done["items"], shown["items"]);
    assert_eq!(versions(&w, "fraud"), [5, 6, 7, 8]);
    let freed = before - bytes(&w.state());
    assert!(freed > 4 * 500_000, "runs and versions are gone from the disk: {freed}");
    assert_eq!(w.json(&["gc"])["items"], serde_json::json!([]), "a second time there is nothing");
    assert_eq!(w.get("/models/fraud/x"), (200, "v8".into(), "{\"seed\": 8, \"data\": 12}".into()));
    assert!(w.json(&["events"]).as_array().unwrap().iter().any(|e| e["kind"] == "cleaned_up"));

    w.revert(newest);
    w.wait_for("fraud", "version=v7");
    assert_eq!(w.trained("count").len(), 8, "the revert trained nothing");
    w.kill();
    start(&mut w);
    w.wait_for("fraud", "synced");
    commit(&w, "fraud", 3);
    w.wait_for("fraud", "version=v9");
    assert_eq!(w.trained("count").len(), 9, "what was removed is trained again");
    assert_eq!(w.get("/models/fraud/x").2, "{\"seed\": 3, \"data\": 12}");
}

#[test]
fn the_daemon_cleans_up_by_itself_and_bad_limits_are_said() {
    let mut w = World::new();
    w.days_ago = 40;
    settings(&w, "versions = 0\nruns = 0");
    commit(&w, "fraud", 1);
    w.start_args(&[], &["--gc-every", "1s"]);
    w.wait_api();
    w.wait_for("fraud", "version=v1");
    for seed in 2..=5 {
        commit(&w, "fraud", seed);
        w.wait_for("fraud", &format!("version=v{seed}"));
    }
    let until = Instant::now() + Duration::from_secs(60);
    while versions(&w, "fraud") != [3, 4, 5] {
        assert!(Instant::now() < until, "{}", w.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(w.get("/models/fraud/x").1, "v5");

    let bad = w.path("bad");
    std::fs::create_dir_all(&bad).unwrap();
    std::fs::write(
        bad.join("trimtab.toml"),
        "schema = \"trimtab/v1\"\n[gc]\nkeep = \"30 days\"\nversion = 3\nruns = -1\n",
    )
    .unwrap();
    let out = w.trimtab(&["check", &bad.display().to_string()]);
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    for part in ["trimtab.toml:3", "`versions`", "write a whole number from 0"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

fn gc(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.arg("gc").arg("--state").arg(state);
    command
}

/// Every digest of a `files` list anywhere below.
fn digests(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            out.extend(
                map.get("digest").and_then(Value::as_str).filter(|_| map.contains_key("executable")).map(str::to_owned),
            );
            map.values().for_each(|v| digests(v, out));
        }
        Value::Array(all) => all.iter().for_each(|v| digests(v, out)),
        _ => {}
    }
}

/// Clean-ups without end, with the strictest limits, beside trainings, reverts and kills.
#[test]
fn a_clean_up_at_any_moment_takes_nothing_that_is_in_use_and_a_kill_breaks_nothing() {
    let mut w = World::new();
    settings(&w, "keep = \"0s\"\nversions = 0\nruns = 0\nsnapshots = 0\nenvironments = 0");
    let models = ["churn", "fraud"];
    for m in models {
        commit(&w, m, 0);
    }
    start(&mut w);
    let over = AtomicBool::new(false);
    for round in 1..=4 {
        over.store(false, Ordering::SeqCst);
        std::thread::scope(|s| {
            let (state, over) = (w.state(), &over);
            let cleaner = s.spawn(move || {
                let mut done = 0;
                while !over.load(Ordering::SeqCst) {
                    done += usize::from(gc(&state).output().unwrap().status.success());
                }
                done
            });
            for m in models {
                commit(&w, m, round);
            }
            models.iter().for_each(|m| w.wait_for(m, "synced"));
            // Back to a content that was removed, or is about to be.
            for m in models {
                commit(&w, m, round - 1);
            }
            models.iter().for_each(|m| w.wait_for(m, "synced"));
            over.store(true, Ordering::SeqCst);
            assert!(cleaner.join().unwrap() > 0, "it was cleaned up meanwhile");
        });
        // In the middle of one.
        let mut last = gc(&w.state()).stderr(Stdio::null()).spawn().unwrap();
        w.kill();
        last.wait().unwrap();
        start(&mut w);
    }
    models.iter().for_each(|m| w.wait_for(m, "synced"));
    let events = w.json(&["events"]);
    let failed: Vec<&Value> = events.as_array().unwrap().iter().filter(|e| e["kind"] == "run_failed").collect();
    assert!(failed.is_empty(), "{failed:?}");
    let mut referred = BTreeSet::new();
    for m in models {
        digests(&w.json(&["runs", m, "--stages"]), &mut referred);
        for number in versions(&w, m) {
            digests(&w.json(&["show", &format!("{m}@v{number}")]), &mut referred);
        }
    }
    assert!(referred.len() > 4, "{referred:?}");
    for digest in referred {
        let (head, rest) = digest.strip_prefix("b3:").unwrap().split_at(2);
        assert!(w.state().join("artifacts").join(head).join(rest).exists(), "{digest} is missing");
    }
}

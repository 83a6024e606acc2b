//! The command line's contract: exit codes, JSON, help.

use crate::support::{SERVED, World, model};
use std::{path::Path, process::Command};

fn trimtab(args: &[&str], dir: &Path) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_trimtab"))
        .args(args)
        .current_dir(dir)
        .env_remove("TRIMTAB_STATE")
        .env_remove("TRIMTAB_API")
        .output()
        .unwrap();
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

#[test]
fn exit_codes_are_those_of_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(trimtab(&["--help"], dir.path()).0, 0);
    assert_eq!(trimtab(&["nonsense"], dir.path()).0, 64);
    assert_eq!(trimtab(&["show", "fraud"], dir.path()).0, 64);
    let (code, _, said) = trimtab(&["status"], dir.path());
    assert_eq!(code, 69);
    assert!(said.contains("trimtab daemon"), "{said}");
    assert_eq!(trimtab(&["diff", "fraud"], dir.path()).0, 2);
    let (code, out, _) = trimtab(&["status", "--json"], dir.path());
    assert_eq!((code, serde_json::from_str::<serde_json::Value>(&out).unwrap()["exit"].as_u64()), (69, Some(69)));
}

#[test]
fn every_command_has_an_example() {
    let dir = tempfile::tempdir().unwrap();
    let help = trimtab(&["--help"], dir.path()).1;
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|l| !l.starts_with("Commands:"))
        .skip(1)
        .take_while(|l| l.starts_with("  "))
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert!(commands.len() > 20, "{help}");
    for command in commands.iter().filter(|c| !["help", "tui", "man", "completions"].contains(c)) {
        let (_, text, _) = trimtab(&[command, "--help"], dir.path());
        assert!(text.contains(&format!("Example: trimtab {command}")), "{command}: {text}");
    }
}

#[test]
fn init_new_check_plan_lead_to_a_clean_repository() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(trimtab(&["init", "risk"], dir.path()).0, 0);
    let repo = dir.path().join("risk");
    assert_eq!(trimtab(&["new", "churn"], &repo).0, 0);
    assert_eq!(trimtab(&["new", "churn"], &repo).0, 1, "nothing is overwritten");
    let (code, out, err) = trimtab(&["check"], &repo);
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, _) = trimtab(&["plan", "--detailed-exitcode"], &repo);
    assert_eq!(code, 2, "{out}");
    assert!(out.contains("+ churn"), "{out}");
    let spec = repo.join("specs/models/churn/model.toml");
    std::fs::write(&spec, std::fs::read_to_string(&spec).unwrap().replace("params", "parms")).unwrap();
    let (code, out, _) = trimtab(&["check", "--json"], &repo);
    assert_eq!(code, 1);
    let found = serde_json::from_str::<serde_json::Value>(&out).unwrap();
    assert_eq!(found["diagnostics"][0]["label"], "did you mean `params`?");
}

#[test]
fn settings_beside_the_folder_of_specs_are_told_where_they_belong() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(trimtab(&["init", "risk"], dir.path()).0, 0);
    let repo = dir.path().join("risk");
    assert_eq!(trimtab(&["new", "churn"], &repo).0, 0);
    let settings = repo.join("specs/trimtab.toml");
    std::fs::copy(&settings, repo.join("trimtab.toml")).unwrap();
    std::fs::write(&settings, std::fs::read_to_string(&settings).unwrap() + "\nnonsense = 1\n").unwrap();
    let (code, out, _) = trimtab(&["check"], &repo);
    assert!(code == 1 && out.contains("nonsense"), "the specs themselves are checked: {out}");
    let told = [
        "warning: `trimtab.toml` is not read: the specs are in `specs/`",
        "move it to `specs/trimtab.toml`",
        "--path .",
    ];
    assert!(told.iter().all(|part| out.contains(part)), "{out}");
    std::fs::remove_file(&settings).unwrap();
    let (code, out, _) = trimtab(&["check", "specs"], &repo);
    assert!(code == 0 && told.iter().all(|part| out.contains(part)), "{out}");
    let (code, out, _) = trimtab(&["check"], &repo.join("specs"));
    assert!(code == 0 && told.iter().all(|part| out.contains(part)), "{out}");
}

/// A clean checkout of the live revision against a backup of the state: Git's own ids lead to the very fingerprint.
#[test]
fn an_offline_plan_of_what_is_live_finds_nothing_to_do_and_of_a_change_finds_it() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    w.wait_for("fraud", "synced");
    let (backup, checkout) = (w.path("backup"), w.path("checkout"));
    let (backup, checkout) = (backup.to_str().unwrap(), checkout.to_str().unwrap());
    assert!(w.trimtab(&["backup", backup]).status.success());
    git2::Repository::clone(w.path("models.git").to_str().unwrap(), checkout).unwrap();
    let plan = |extra: &[&str]| {
        let args = [&["plan", "--detailed-exitcode", "--state", backup], extra].concat();
        trimtab(&args, Path::new(checkout))
    };
    let (code, out, err) = plan(&[]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("Nothing to do: what is live is what Git says."), "{out}");
    let spec = Path::new(checkout).join("specs/models/fraud/model.toml");
    let text = std::fs::read_to_string(&spec).unwrap();
    std::fs::write(&spec, text.replace("seed = 1", "seed = 2")).unwrap();
    let (code, out, _) = plan(&[]);
    assert_eq!(code, 2);
    assert!(out.contains("train.params.seed 1 → 2") && out.contains("v1 → new"), "{out}");
    assert_eq!(plan(&["--rev", "HEAD"]).0, 0, "the commit is still what is live");
    std::fs::write(&spec, text.replace("seed", "sed = ")).unwrap();
    assert_eq!(plan(&[]).0, 1, "a mistake is an error, whatever else there is to do");
    let (code, _, err) = trimtab(&["plan", "--state", spec.to_str().unwrap()], Path::new(checkout));
    assert!(code == 1 && err.contains("is no backup of a state"), "{err}");
}

#[test]
fn a_broken_spec_is_a_difference_and_its_model_says_what_goes_on() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    w.wait_for("fraud", "synced");
    assert_eq!(w.trimtab(&["diff", "fraud"]).status.code(), Some(0));
    let held = model(
        "fraud",
        &count,
        ", seed = 2, score = 0.1",
        &format!("{SERVED}[[gate]]\nmetric = \"score\"\nmin = 0.9\n"),
    );
    w.commit_model("fraud", &held);
    // `history` has no wait of its own: the version is there once its gate was judged.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while w.json(&["history", "fraud"]).as_array().unwrap().len() < 2 {
        assert!(std::time::Instant::now() < until, "v2 is not registered");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let out = w.trimtab(&["diff", "fraud"]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    // Against what serves, not against what was taken up.
    assert!(
        said.contains("train.params.seed\n  - 1\n  + 2") && said.contains("production.version\n  - v1\n  + v2"),
        "{said}"
    );

    w.commit("a mistake", &[("specs/models/fraud/model.toml", Some("poison"))]);
    assert!(w.trimtab(&["sync"]).status.success());
    let out = w.trimtab(&["diff", "fraud"]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("broken: specs/models/fraud/model.toml:1"), "{said}");
    let out = w.trimtab(&["plan", "--detailed-exitcode"]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("fraud keeps serving v1 from revision"), "{said}");
}

#[test]
fn every_command_speaks_json() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let file = dir.path().join("backup");
    let (state, file) = (state.to_str().unwrap(), file.to_str().unwrap());
    let calls: &[&[&str]] = &[
        &["init", "risk"],
        &["new", "churn", "--path", "risk/specs"],
        &["new", "--list"],
        &["check", "risk"],
        &["plan", "--path", "risk"],
        &["completions", "bash"],
        &["man"],
        &["status", "--state", state],
        &["restore", file, "--state", state],
        &["nonsense"],
        &["logs", "churn", "--state", state],
    ];
    for call in calls {
        let (_, out, err) = trimtab(&[call, &["--json"][..]].concat(), dir.path());
        assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{call:?}: {out}{err}");
    }
}

#[test]
fn the_specs_of_this_repository_are_clean() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(trimtab(&["check", "specs"], root).0, 0);
}

#[test]
fn run_executes_a_pipeline_without_a_daemon_and_takes_unchanged_stages_from_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let count = dir.path().join("count");
    let write = |path: &str, text: &str| {
        let place = dir.path().join("specs").join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, text).unwrap();
    };
    for (path, text) in crate::support::SPECS {
        write(path.trim_start_matches("specs/"), text);
    }
    let stages = "[[stage]]\nname = \"features\"\nrun = \"cat $TRIMTAB_INPUT_TRAIN > $TRIMTAB_OUTPUT/f.csv; echo made >> $COUNT_FILE\"\ninputs = [\"train\"]\noutputs = [\"f.csv\"]\nsecrets = [\"COUNT_FILE\"]\n\
        [[stage]]\nname = \"evaluate\"\nrun = \"test -f $TRIMTAB_INPUT_ARTIFACT/model.json && echo '{\\\"late\\\": 0.5}' >> $TRIMTAB_METRICS\"\ninputs = [\"artifact\"]\n\
        [[gate]]\nmetric = \"late\"\nmin = 0.4\n";
    let spec =
        |seed: u32, gate: &str| model("fraud", &count, &format!(", seed = {seed}"), &stages.replace("0.4", gate));
    write("models/fraud/model.toml", &spec(1, "0.4"));
    write("models/fraud/train.py", crate::support::TRAIN);
    write("numbers.csv", "1,2\n");
    let made = dir.path().join("made");
    let run = || {
        let out = Command::new(env!("CARGO_BIN_EXE_trimtab"))
            .args(["run", "fraud", "--json"])
            .env("COUNT_FILE", &made)
            .current_dir(dir.path())
            .output()
            .unwrap();
        (
            out.status.code().unwrap(),
            String::from_utf8_lossy(&out.stdout).into_owned(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    let (code, out, err) = run();
    assert_eq!(code, 0, "{out}{err}");
    let first: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(first["metrics"]["late"], 0.5);
    write("models/fraud/model.toml", &spec(2, "0.4"));
    let (code, out, err) = run();
    assert_eq!(code, 0, "{out}{err}");
    let second: serde_json::Value = serde_json::from_str(&out).unwrap();
    let cached: Vec<(&str, bool)> = second["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["name"].as_str().unwrap(), s["cached"].as_bool().unwrap()))
        .collect();
    assert!(cached.contains(&("features", true)) && cached.contains(&("train", false)), "{cached:?}");
    assert_eq!(std::fs::read_to_string(&made).unwrap().lines().count(), 1);
    write("models/fraud/model.toml", &spec(2, "0.9"));
    let (code, out, _) = run();
    assert!(code == 1 && out.contains("late ≥ 0.9: 0.5"), "{code} {out}");
}

#[test]
fn the_api_over_tcp_asks_for_its_token_and_the_socket_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    let (url, token) = w.start_tcp_with(&[("TRIMTAB_WEBHOOK_SECRET", "It's a Secret to Everybody")]);
    w.wait_for("fraud", "version=v1");
    let mode = |f: &str| std::fs::metadata(w.state().join(f)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("trimtab.sock"), mode("token")), (0o600, 0o600));
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let status = |path: &str, token: &str| {
        client.get(format!("{url}{path}")).bearer_auth(token).send().unwrap().status().as_u16()
    };
    assert_eq!(status("/api/v1/fleet", "wrong"), 401);
    assert_eq!(status("/api/v1/fleet", token.trim()), 200);
    let lower = client.get(format!("{url}/api/v1/fleet")).header("authorization", format!("bearer {}", token.trim()));
    assert_eq!(lower.send().unwrap().status().as_u16(), 200);
    assert_eq!(status("/healthz", ""), 200);
    assert_eq!(status("/api/v1/models/none", token.trim()), 404);
    assert_eq!(status("/api/v1/openapi.json", token.trim()), 200);
    let metrics = client.get(format!("{url}/metrics")).bearer_auth(token.trim()).send().unwrap().text().unwrap();
    assert!(metrics.contains("trimtab_model_version{environment=\"production\",model=\"fraud\"} 1"), "{metrics}");
    let hook = |signature: Option<&str>, body: Vec<u8>| {
        let mut r = client.post(format!("{url}/webhook")).body(body);
        if let Some(s) = signature {
            r = r.header("x-hub-signature-256", s);
        }
        r.send().map_or(413, |a| a.status().as_u16())
    };
    let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(hook(Some(good), b"Hello, World!".to_vec()), 202);
    assert_eq!(hook(Some(good), b"Hello, World?".to_vec()), 401);
    assert_eq!(hook(None, b"x".to_vec()), 401);
    assert_eq!(hook(Some(good), vec![b'x'; 2 << 20]), 413);
    for _ in 0..500 {
        hook(Some(good), b"Hello, World!".to_vec());
    }
    assert_eq!(w.get("/models/fraud/x").0, 200, "a flood stops nothing");
    let out = Command::new(env!("CARGO_BIN_EXE_trimtab"))
        .args(["status", "--api", &url])
        .env("TRIMTAB_TOKEN", "wrong")
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(77));
}

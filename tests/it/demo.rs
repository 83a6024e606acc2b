//! `trimtab demo` of the real binary, with its Python environment kept in the target folder, so that it is built once.

use serde_json::Value;
use std::{
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

/// Runs the demo; what it keeps between runs lies in `cache`.
fn demo(args: &[&str], cache: &Path, env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.arg("demo").args(args).env("XDG_CACHE_HOME", cache).envs(env.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_whole_story_is_one_document_with_its_figures() {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo");
    let out = demo(&["--json"], &cache, &[]);
    let needs = "the demo needs python3 (Debian: with python3-venv), and a network once for scikit-learn";
    assert_eq!(out.status.code(), Some(0), "{needs}\n{}{}", text(&out.stdout), text(&out.stderr));
    let story: Value = serde_json::from_slice(&out.stdout).unwrap();
    let number = |key: &str| story[key].as_u64().unwrap_or_else(|| panic!("no {key} in {story}"));
    let versions = story["versions"].as_array().unwrap();
    let numbers: Vec<u64> = versions.iter().map(|v| v["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2]);
    assert_ne!(versions[0]["fingerprint"], versions[1]["fingerprint"]);
    assert!(versions.iter().all(|v| v["metrics"]["auc"].as_f64().is_some_and(|auc| auc > 0.9)), "{story}");
    assert_eq!(versions[0]["serves"], serde_json::json!(["production", "staging"]), "the revert brought v1 back");
    assert_eq!((number("trainings"), number("trainings_after_revert")), (2, 0));
    assert!(number("requests") > 100 && number("failed_requests") == 0, "{story}");
    assert!(number("revert_to_traffic_ms") > 0, "{story}");
    assert!(story["folder"].is_null(), "nothing is kept unasked");
}

#[test]
fn without_python_or_a_network_one_line_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let said = |env: &[(&str, &str)]| {
        let out = demo(&["--no-tui"], dir.path(), env);
        let said = text(&out.stderr);
        assert!(out.status.code().is_some_and(|code| code != 0), "{said}");
        assert_eq!(said.lines().filter(|l| !l.trim().is_empty()).count(), 1, "{said}");
        said
    };
    let git = Command::new("sh").args(["-c", "command -v git"]).output().unwrap();
    symlink(text(&git.stdout).trim(), dir.path().join("git")).unwrap();
    let bare = said(&[("PATH", dir.path().to_str().unwrap())]);
    assert!(bare.contains("python3 is not here: install it (Debian: apt-get install python3 python3-venv)"), "{bare}");

    // Nobody answers at this address, and nothing is cached.
    let nowhere = "http://127.0.0.1:9/";
    let caches = dir.path().join("packages");
    let pip = [("PIP_INDEX_URL", nowhere), ("PIP_RETRIES", "0"), ("PIP_NO_CACHE_DIR", "1")];
    let uv = [("UV_INDEX_URL", nowhere), ("UV_HTTP_RETRIES", "0"), ("UV_CACHE_DIR", caches.to_str().unwrap())];
    let alone = said(&[pip, uv].concat());
    assert!(alone.contains("is there a network"), "{alone}");
}

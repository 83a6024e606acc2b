//! Pipelines through `trimtab run`: real processes in a work tree, no daemon.

use std::{fs, path::Path, process::Command, process::Output};

fn write(root: &Path, path: &str, text: &str) {
    let file = root.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

fn world(spec: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "trimtab.toml", "schema = \"trimtab/v1\"\n");
    write(
        dir.path(),
        "models/m/model.toml",
        &format!(
            "schema = \"trimtab/v1\"\n[model]\nname = \"m\"\n{}",
            spec.replace("COUNT", &dir.path().join("count").display().to_string())
        ),
    );
    dir
}

fn run(dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trimtab"))
        .args(["run", "m", "--json", "--path"])
        .arg(dir)
        .arg("--state")
        .arg(dir.join("state"))
        .env("PLANTED", "not for children")
        .output()
        .unwrap()
}

fn counted(dir: &Path) -> usize {
    fs::read_to_string(dir.join("count")).unwrap_or_default().lines().count()
}

#[test]
fn stages_run_once_for_one_content_and_feed_each_other() {
    let dir = world(
        "[[stage]]\nname = \"prepare\"\nrun = \"echo p >> COUNT; test -z \\\"$PLANTED\\\" && echo 41 > $TRIMTAB_OUTPUT/clean\"\noutputs = [\"clean\"]\n\
         [train]\ninputs = [\"clean\"]\nrun = \"echo t >> COUNT; cp $TRIMTAB_INPUT_CLEAN $TRIMTAB_OUTPUT/model; \
         echo '{\\\"step\\\": 1, \\\"auc\\\": 0.5}' >> $TRIMTAB_METRICS; echo bad >> $TRIMTAB_METRICS; echo '{\\\"auc\\\": 0.9}' >> $TRIMTAB_METRICS\"\n",
    );
    for cached in [false, true] {
        let out = run(dir.path());
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["metrics"]["auc"], 0.9);
        assert!(answer["stages"].as_array().unwrap().iter().all(|s| s["cached"] == cached), "{text}");
        assert_eq!(counted(dir.path()), 2);
    }
}

#[test]
fn a_failing_stage_is_tried_again_and_says_its_last_lines() {
    let dir = world("[train]\nrun = \"echo t >> COUNT; echo the reason >&2; exit 3\"\nretries = 2\n");
    let out = run(dir.path());
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1));
    assert!(said.contains("stage train: exit 3") && said.contains("the reason"), "{said}");
    assert_eq!(counted(dir.path()), 3);
}

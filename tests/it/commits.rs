//! Commits of the source: what each caused, what it asked for, and undoing one.

use crate::{
    fleet::Caller,
    support::{SERVED, World, model, until},
    worktrees::git,
};
use git2::Oid;
use serde_json::{Value, json};

const FRAUD: &str = "specs/models/fraud/model.toml";

fn revert(c: &Caller, body: &Value) -> (u16, Value) {
    let answer = c.call("post", "/api/v1/revert", Some(&body.to_string()));
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

fn dry(c: &Caller, commit: Oid) -> (u16, Value) {
    revert(c, &json!({ "commit": commit.to_string(), "dry_run": true }))
}

/// The row of a commit.
fn row(c: &Caller, commit: Oid) -> Value {
    let rows = c.json("/api/v1/commits");
    let found = rows.as_array().unwrap().iter().find(|r| r["revision"]["commit"] == *commit.to_string()).cloned();
    found.unwrap_or_else(|| panic!("{commit} is not in {rows}"))
}

fn words(row: &Value) -> String {
    let all = row["consequences"].as_array().unwrap().iter();
    all.map(|c| format!("{} {}", c["model"].as_str().unwrap(), c["words"].as_str().unwrap()))
        .collect::<Vec<_>>()
        .join("; ")
}

#[test]
fn a_commit_in_the_middle_is_undone_first_as_a_plan_and_then_by_a_push() {
    let mut w = World::new();
    let count = w.path("count");
    let of = |name: &str, seed: &str| model(name, &count, &format!(", seed = {seed}"), SERVED);
    w.commit_model("fraud", &of("fraud", "1"));
    let c = Caller::new(w.start_tcp());
    w.wait_for("fraud", "version=v1");
    // It changes something outside of the specs, too.
    let middle = w.commit("fraud: seed 2", &[(FRAUD, Some(&of("fraud", "2"))), ("README.md", Some("two"))]);
    w.wait_for("fraud", "version=v2");
    let last = w.commit_model("churn", &of("churn", "1"));
    w.wait_for("churn", "version=v1");
    until("the row of the first training", || words(&row(&c, last)).contains("churn trained v1 ("));

    let told = row(&c, middle);
    let said = words(&told);
    assert!(said.starts_with("fraud trained v2 (") && said.ends_with("), production v1 → v2"), "{said}");
    assert_eq!((&told["bot"], &told["models"], &told["models_changed"]), (&json!(false), &json!(["fraud"]), &json!(1)));
    let rows = c.json("/api/v1/commits");
    assert!(rows.as_array().unwrap().iter().any(|r| r["bot"] == true && words(r).contains("data pinned: ")), "{rows}");
    assert_eq!(c.json("/api/v1/commits?limit=1").as_array().unwrap().len(), 1);

    let page = c.json(&format!("/api/v1/commits/{middle}"));
    let reason = &page["changes"][0]["reasons"][0];
    assert_eq!(page["changes"].as_array().unwrap().len(), 1, "{page}");
    assert_eq!(
        (&reason["field"], &reason["old"], &reason["new"]),
        (&json!("train.params.seed"), &json!("1"), &json!("2"))
    );
    assert!(reason["place"].as_str().unwrap().starts_with("specs/models/fraud/model.toml:"), "{page}");
    let kinds: Vec<&str> = page["events"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"run_started") && kinds.contains(&"promoted"), "{kinds:?}");
    let new = c.json(&format!("/api/v1/commits/{last}"));
    assert_eq!(new["changes"][0]["reasons"][0]["field"], "new model", "{new}");
    assert_eq!(c.call("get", "/api/v1/commits/nothing", None).status, 404);

    let head = w.head().unwrap().id();
    let (status, plan) = dry(&c, middle);
    assert_eq!(status, 200, "{plan}");
    assert_eq!(w.head().unwrap().id(), head, "nothing is pushed yet");
    assert_eq!(w.repo.references().unwrap().count(), 1, "nor is there another branch");
    assert_eq!(
        (&plan["files"], &plan["outside"], &plan["on"]),
        (&json!(1), &json!(["README.md"]), &json!(head.to_string()))
    );
    let models = plan["plan"]["models"].as_array().unwrap();
    assert_eq!(models.len(), 1, "{plan}");
    assert_eq!((&models[0]["model"], &models[0]["version"]), (&json!("fraud"), &json!(1)));
    let actions: Vec<&str> =
        models[0]["actions"].as_array().unwrap().iter().map(|a| a["action"].as_str().unwrap()).collect();
    // Its replicas are warm: it takes over at once.
    assert_eq!(actions, ["finish_rollout"]);
    let out = w.trimtab(&["rollback", "--commit", &middle.to_string(), "--dry-run"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success() && text.contains("nothing is pushed yet") && text.contains("fraud"), "{text}");
    assert_eq!(w.head().unwrap().id(), head);

    let trained = w.trained("count").len();
    let (status, done) = revert(&c, &json!({ "commit": middle.to_string(), "on": plan["on"] }));
    assert_eq!(status, 200, "{done}");
    w.wait_for("fraud", "version=v1");
    let head = w.head().unwrap();
    assert_eq!(head.message().unwrap(), plan["text"].as_str().unwrap());
    let title = format!("Revert \"fraud: seed 2\"\n\nThis reverts commit {middle}.\n");
    assert!(head.message().unwrap().starts_with(&title) && head.message().unwrap().contains("\nTrimtab-Reason: "));
    let tree = head.tree().unwrap();
    assert_eq!(
        tree.get_path(FRAUD.as_ref()).unwrap().id(),
        Oid::hash_object(git2::ObjectType::Blob, of("fraud", "1").as_bytes()).unwrap()
    );
    assert!(tree.get_name("README.md").is_some(), "what lies elsewhere stays");
    assert_eq!(w.trained("count").len(), trained, "nothing is trained again");
    until("the row of the revert", || words(&row(&c, head.id())).contains("fraud production v2 → v1, nothing trained"));
    assert_eq!(
        (&row(&c, head.id())["bot"], &row(&c, middle)["reverted_by"]),
        (&json!(true), &json!(head.id().to_string()))
    );

    let (status, again) = dry(&c, middle);
    assert_eq!(status, 409);
    assert!(again["error"].as_str().unwrap().contains("nothing of"), "{again}");
}

#[test]
fn what_later_commits_changed_too_is_refused_by_name_and_a_merge_is_undone_as_a_whole() {
    let mut w = World::new();
    let count = w.path("count");
    let of = |name: &str, seed: &str| model(name, &count, &format!(", seed = {seed}"), SERVED);
    w.commit_model("fraud", &of("fraud", "1"));
    let c = Caller::new(w.start_tcp());
    w.wait_for("fraud", "version=v1");
    let first = w.commit("fraud: seed 2", &[(FRAUD, Some(&of("fraud", "2")))]);
    w.wait_for("fraud", "version=v2");
    w.commit("fraud: seed 3", &[(FRAUD, Some(&of("fraud", "3")))]);
    assert!(w.trimtab(&["sync"]).status.success());
    let (status, said) = dry(&c, first);
    let said = said["error"].as_str().unwrap();
    assert_eq!(status, 409);
    assert!(said.contains(&format!("places of {FRAUD}; run `git revert ")), "{said}");
    let out = w.trimtab(&["rollback", "--commit", &first.to_string()]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains(FRAUD));
    assert_eq!(w.trimtab(&["rollback"]).status.code(), Some(64));
    let root = w.repo.revparse_single("main").unwrap().peel_to_commit().unwrap();
    let root = std::iter::successors(Some(root), |c| c.parent(0).ok()).last().unwrap().id();
    let (status, said) = dry(&c, root);
    assert!(status == 409 && said["error"].as_str().unwrap().contains("the first commit"), "{said}");

    // Two commits come in by a merge: one row, with what both caused.
    w.wait_for("fraud", "version=v3");
    w.wait_for("fraud", "synced");
    let base = w.head().unwrap().id();
    w.commit_model("churn", &of("churn", "1"));
    let side = w.commit("fraud: seed 4", &[(FRAUD, Some(&of("fraud", "4")))]);
    let (base, side) = (w.repo.find_commit(base).unwrap(), w.repo.find_commit(side).unwrap());
    let ada = side.author();
    let merge = w.repo.commit(None, &ada, &ada, "Merge branch 'more'", &side.tree().unwrap(), &[&base, &side]).unwrap();
    w.repo.reference("refs/heads/main", merge, true, "test").unwrap();
    w.wait_for("churn", "version=v1");
    w.wait_for("fraud", "version=v4");
    until("what the merge caused", || {
        let told = words(&row(&c, merge));
        told.contains("churn trained v1 (") && told.contains("production v3 → v4")
    });
    assert_eq!(row(&c, merge)["merged"], 2);
    let (status, plan) = dry(&c, merge);
    assert_eq!(status, 200, "{plan}");
    let models: Vec<&str> =
        plan["plan"]["models"].as_array().unwrap().iter().map(|m| m["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["churn", "fraud"]);
    assert_eq!(plan["plan"]["models"][1]["version"], 3);
    // A person changes the same files after the plan was made: theirs wins.
    w.commit("fraud: seed 5", &[(FRAUD, Some(&of("fraud", "5")))]);
    let (status, said) = revert(&c, &json!({ "commit": merge.to_string(), "on": plan["on"] }));
    assert_eq!(status, 503, "{said}");
    assert!(said["error"].as_str().unwrap().contains("nothing was pushed"), "{said}");
    assert_eq!(w.head().unwrap().summary().unwrap(), Some("fraud: seed 5"));
}

#[test]
fn where_nothing_may_be_written_the_plan_is_told_and_the_command_to_run_by_hand() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    git(&w.path("models.git"), &["worktree", "add", "-q", "../linked", "main"]);
    let c = Caller::new(w.start_tcp());
    w.wait_for("fraud", "version=v1");
    let change = w.commit("fraud: seed 2", &[(FRAUD, Some(&model("fraud", &count, ", seed = 2", SERVED)))]);
    w.wait_for("fraud", "version=v2");
    let (status, plan) = dry(&c, change);
    assert_eq!((status, &plan["plan"]["models"][0]["version"]), (200, &json!(1)), "{plan}");
    let (status, said) = revert(&c, &json!({ "commit": change.to_string() }));
    assert_eq!(status, 409);
    let by_hand = format!("run `git revert {}` there yourself", &change.to_string()[..7]);
    assert!(said["error"].as_str().unwrap().contains(&by_hand), "{said}");
    assert_eq!(w.head().unwrap().id(), change);
}

//! Local repositories whose branch somebody has checked out: in the main work tree, in a linked one, in the middle of a rebase.

use crate::{
    forge::config,
    support::{SERVED, World, model},
};
use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};
use trimtab::{
    ports::*,
    source::{Credentials, GitSource, SourceConfig},
};

pub fn git(at: &Path, args: &[&str]) {
    let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"];
    let out = Command::new("git").args(who).args(args).current_dir(at).output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Writes a lock by way of the repository at `at`; why it may not, if so.
fn refusal(w: &World, at: &Path, lock: &str) -> Option<String> {
    let open = config(w, at.to_str().unwrap(), "");
    let source = GitSource::open(&SourceConfig { credentials: Credentials::default(), ..open }).unwrap();
    let Fetched::Head { revision, .. } = source.fetch(None).unwrap() else { panic!() };
    let commit = BotCommit {
        files: vec![FileChange {
            path: format!("specs/models/{lock}/trimtab.lock"),
            content: FileContent::Bytes(b"lock".to_vec()),
        }],
        message: lock.into(),
        name: "trimtab".into(),
        email: "bot@example.com".into(),
        decided_on: revision.commit,
        guard: format!("specs/models/{lock}"),
    };
    match source.push(&commit).unwrap() {
        Pushed::Done(_) => None,
        Pushed::ReadOnly(why) => Some(why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_branch_that_any_work_tree_holds_is_not_written_to() {
    let w = World::new();
    let (bare, clone, linked) = (w.path("models.git"), w.path("clone"), w.path("linked"));
    assert_eq!(refusal(&w, &bare, "free"), None);
    git(w.dir.path(), &["clone", "-q", "models.git", "clone"]);
    let held = |at: &Path, by: &Path, lock: &str| {
        let before = Command::new("git").args(["rev-parse", "main"]).current_dir(at).output().unwrap().stdout;
        let why = refusal(&w, at, lock).unwrap_or_else(|| panic!("{lock}: was written"));
        assert!(why.contains(&by.canonicalize().unwrap().display().to_string()), "{lock}: {why}");
        let after = Command::new("git").args(["rev-parse", "main"]).current_dir(at).output().unwrap().stdout;
        assert_eq!(before, after, "{lock}");
    };
    held(&clone, &clone, "main-tree");
    git(&clone, &["switch", "-q", "-c", "dev"]);
    assert_eq!(refusal(&w, &clone, "nobody"), None);
    git(&clone, &["worktree", "add", "-q", "../linked", "main"]);
    held(&clone, &linked, "linked-tree");
    held(&linked, &linked, "from-the-linked-tree");
    // The branch is the main tree's, the repository is opened by way of another.
    git(&linked, &["switch", "-q", "-c", "other"]);
    git(&clone, &["switch", "-q", "main"]);
    held(&linked, &clone, "main-from-the-linked-tree");
    // Detached in the middle of a rebase, which will come back to it.
    git(&clone, &["commit", "-q", "--allow-empty", "-m", "one"]);
    git(&clone, &["switch", "-q", "dev"]);
    git(&linked, &["switch", "-q", "main"]);
    let stops = ["-c", "sequence.editor=sed -i s/^pick/edit/", "rebase", "-q", "-i", "HEAD~1"];
    git(&linked, &stops);
    assert!(fs::read_to_string(w.path("clone/.git/worktrees/linked/HEAD")).unwrap().len() >= 40, "it is detached");
    held(&clone, &linked, "rebase");
    git(&linked, &["rebase", "--abort"]);
    git(&clone, &["worktree", "remove", "../linked"]);
    assert_eq!(refusal(&w, &clone, "removed"), None);
    git(&bare, &["worktree", "add", "-q", "../linked", "main"]);
    held(&bare, &linked, "of-a-bare-one");
}

#[test]
fn locks_are_committed_once_the_work_tree_lets_the_branch_go() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    git(&w.path("models.git"), &["worktree", "add", "-q", "../linked", "main"]);
    w.start();
    w.wait_for("fraud", "version=v1");
    let held = w.json(&["status"])["source"]["pins_in_store"].as_str().unwrap_or_default().to_owned();
    assert!(held.contains("linked"), "{held}");
    let text = String::from_utf8(w.trimtab(&["status"]).stdout).unwrap();
    assert!(text.contains("is checked out in"), "{text}");
    assert_eq!(w.head().unwrap().author().name(), Ok("Ada"));
    git(&w.path("models.git"), &["worktree", "remove", "--force", "../linked"]);
    assert!(w.trimtab(&["sync"]).status.success());
    let until = Instant::now() + Duration::from_secs(60);
    while w.head().unwrap().author().name() != Ok("trimtab") {
        assert!(Instant::now() < until, "the lock was never committed: {}", w.log());
        std::thread::sleep(Duration::from_millis(30));
    }
    assert!(w.json(&["status"])["source"]["pins_in_store"].is_null());
    assert_eq!(w.trained("count").len(), 1, "the pin is the one that was trained with");
}

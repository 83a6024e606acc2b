//! What Git does next is followed, or refused, while what stands goes on.

use crate::{
    forge::Forge,
    source::{CREDENTIALS, follows, trouble, until},
    support::{SERVED, World, model as spec},
};
use git2::{FileMode, Oid, Signature, build::TreeUpdateBuilder};
use std::{fs, os::unix::fs::symlink, process::Command};

const STRICT: &str = "schema = \"trimtab/v1\"\n[source]\nallow_rewrite = false\n";
/// Only a wake-up can be what is followed.
const SELDOM: &[&str] = &["--poll", "10h"];
const OFTEN: &[&str] = &["--poll", "200ms"];

fn served(w: &World, seed: u32) -> Oid {
    w.commit_model("a", &spec("a", &w.path("count"), &format!(", seed = {seed}"), SERVED))
}

fn changed<'w>(w: &'w World, tree: &git2::Tree, change: &mut TreeUpdateBuilder) -> git2::Tree<'w> {
    w.repo.find_tree(change.create_updated(&w.repo, tree).unwrap()).unwrap()
}

/// Makes a commit of a tree, with these parents, the branch's head.
fn force(w: &World, tree: &git2::Tree, parents: &[&git2::Commit]) -> Oid {
    let eve = Signature::now("Eve", "eve@example.com").unwrap();
    let id = w.repo.commit(None, &eve, &eve, "by force", tree, parents).unwrap();
    w.repo.reference("refs/heads/main", id, true, "force").unwrap();
    id
}

#[test]
fn a_rewrite_that_is_not_allowed_is_told_and_changes_nothing_until_the_branch_is_put_back() {
    let mut w = World::new();
    w.commit("strict", &[("specs/trimtab.toml", Some(STRICT))]);
    served(&w, 1);
    w.start_args(&[], OFTEN);
    w.wait_api();
    w.wait_for("a", "version=v1");
    until("the lock is not followed", &w, || follows(&w));
    let good = w.head().unwrap().id();
    let blob = w.repo.blob(spec("a", &w.path("count"), ", seed = 2", SERVED).as_bytes()).unwrap();
    let mut change = TreeUpdateBuilder::new();
    change.upsert("specs/models/a/model.toml", blob, FileMode::Blob);
    let forced = force(&w, &changed(&w, &w.head().unwrap().tree().unwrap(), &mut change), &[]).to_string();
    for restarted in [false, true] {
        if restarted {
            assert_eq!(w.stop(), Some(0));
            w.start_args(&[], OFTEN);
            w.wait_api();
        }
        let said = trouble(&w, "rewritten");
        assert!(said.contains(&forced[..7]) && said.contains(&good.to_string()[..7]), "{said}");
        assert!(said.contains("allow_rewrite"), "{said}");
        assert_eq!(w.get("/models/a/x").1, "v1");
    }
    assert_eq!(w.trained("count").len(), 1, "what was forced is not trained");
    w.repo.reference("refs/heads/main", good, true, "put back").unwrap();
    until("it is not followed again", &w, || follows(&w));
    served(&w, 3);
    w.wait_for("a", "version=v2");
    assert!(w.trained("count").iter().all(|(_, seed)| seed != "2"));
}

#[test]
fn a_commit_in_a_local_repository_is_noticed_without_asking() {
    let mut w = World::new();
    served(&w, 1);
    w.start_args(&[], SELDOM);
    w.wait_api();
    w.wait_for("a", "version=v1");
    served(&w, 2);
    w.wait_for("a", "version=v2");
    // Also where all branches are in one file.
    assert!(
        Command::new("git")
            .arg("-C")
            .arg(w.path("models.git"))
            .args(["pack-refs", "--all"])
            .status()
            .unwrap()
            .success()
    );
    served(&w, 3);
    w.wait_for("a", "version=v3");
}

#[test]
fn a_daemon_that_starts_without_its_remote_serves_on_says_so_and_goes_on_when_it_is_back() {
    let mut w = World::new();
    let mut forge = Forge::start(&w);
    w.url = Some(forge.url.clone());
    served(&w, 1);
    w.start_args(CREDENTIALS, OFTEN);
    w.wait_api();
    w.wait_for("a", "version=v1");
    assert_eq!(w.stop(), Some(0));
    forge.stop();
    w.start_args(CREDENTIALS, OFTEN);
    w.wait_api();
    let said = trouble(&w, "unreachable");
    assert!(said.contains("check host, port, network and proxy"), "{said}");
    // What was served is still looked after.
    let before = w.json(&["status", "a"])["replicas"].to_string();
    assert_eq!(w.get("/models/a/x").1, "v1", "{before}");
    served(&w, 2);
    forge.again();
    w.wait_for("a", "version=v2");
    assert!(w.json(&["events"]).to_string().contains("source_recovered"));
}

#[test]
fn a_link_in_the_place_of_the_specs_is_told_and_retires_nothing() {
    let mut w = World::new();
    served(&w, 1);
    w.start_args(&[], OFTEN);
    w.wait_api();
    w.wait_for("a", "version=v1");
    for place in ["specs/models", "specs"] {
        until("the head is not followed", &w, || follows(&w));
        let good = w.head().unwrap();
        let link = w.repo.blob(b"elsewhere").unwrap();
        let without = changed(&w, &good.tree().unwrap(), TreeUpdateBuilder::new().remove(place));
        force(&w, &changed(&w, &without, TreeUpdateBuilder::new().upsert(place, link, FileMode::Link)), &[&good]);
        let said = trouble(&w, "other");
        assert!(said.contains(&format!("`{place}` is a symbolic link, not a folder")), "{said}");
        let status = w.json(&["status"]);
        assert!(!status.to_string().contains("retired") && w.get("/models/a/x").0 == 200, "{status}");
        w.repo.reference("refs/heads/main", good.id(), true, "put back").unwrap();
    }
    served(&w, 2);
    w.wait_for("a", "version=v2");
    assert!(!w.json(&["events"]).to_string().contains("retire"), "nothing was to be retired");
}

#[test]
fn a_check_tells_a_link_in_the_place_of_the_models() {
    let w = World::new();
    fs::create_dir_all(w.path("tree/specs")).unwrap();
    fs::write(w.path("tree/specs/trimtab.toml"), "schema = \"trimtab/v1\"\n").unwrap();
    symlink("/tmp", w.path("tree/specs/models")).unwrap();
    let out = w.trimtab(&["check", w.path("tree").to_str().unwrap()]);
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("`models` is a symbolic link, not a folder"), "{said}");
}

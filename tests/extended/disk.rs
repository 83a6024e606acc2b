//! A disk that is full, one that is read-only, and a clock that is set back. Needs root (to mount) and libfaketime (Debian: `apt-get
//! install libfaketime`).

use crate::support::{SERVED, World, model};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// A small file system of its own, on a folder.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, size: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        let disk = Self(at.to_owned());
        disk.run(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        disk
    }

    fn run(&self, args: &[&str]) {
        let done = Command::new("mount").args(args).arg(&self.0).output().unwrap();
        assert!(done.status.success(), "mount (root is needed): {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Takes all room that is left but so many bytes.
    fn fill_but(&self, room: u64) {
        let left = nix::sys::statvfs::statvfs(&self.0).map(|s| s.blocks_available() * s.fragment_size()).unwrap();
        fs::write(self.0.join("fill"), vec![7u8; (left - room) as usize]).unwrap();
    }

    /// Takes all room that is left.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("fill")).unwrap();
        let block = vec![7u8; 64 * 1024];
        while file.write_all(&block).is_ok() {}
        while file.write_all(&[7]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("fill")).unwrap();
    }
}

/// The world is dropped first: what it stops is found on the disk.
fn world_on_a_disk(size: &str) -> (Disk, World) {
    let w = World::new();
    (Disk::mount(&w.state(), size), w)
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: processes that hold files there are ended by whoever is dropped after this.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn served(w: &World) -> String {
    let (status, version, _) = w.get("/models/fraud/x");
    assert_eq!(status, 200);
    version
}

#[test]
fn a_full_disk_is_said_serves_on_loses_nothing_and_once_there_is_room_all_goes_on() {
    let (disk, mut w) = world_on_a_disk("48m");
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    let started = Instant::now();
    w.wait_for("fraud", "version=v1");
    w.wait_for("fraud", "synced");
    // What the daemon does at its start, when it looks often whether all is well, is over.
    until("the start is over", || started.elapsed() > Duration::from_secs(4));
    disk.fill();
    let out = w.trimtab(&["suspend", "fraud"]);
    assert_eq!(out.status.code(), Some(1), "what cannot be kept is not acknowledged");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 2", SERVED));
    until("the full disk is said", || {
        w.json(&["status"])["store_error"].as_str().is_some_and(|e| e.contains("0 MiB are free"))
    });
    assert!((0..50).all(|_| served(&w) == "v1"));
    disk.free();
    let freed = Instant::now();
    w.wait_for("fraud", "version=v2");
    assert!(freed.elapsed() < Duration::from_secs(30), "{:?} after there was room", freed.elapsed());
    assert!(w.json(&["status"])["store_error"].is_null());
    w.kill();
    w.start();
    w.wait_for("fraud", "version=v2");
    assert_eq!(w.json(&["history", "fraud"]).as_array().unwrap().len(), 2);
    assert_eq!(w.trained("count").len(), 2);
}

/// A training that ends while there is no room at all: how it ended is known, whatever becomes of the daemon, and it does not run again.
#[test]
fn a_training_that_ends_on_a_full_disk_is_not_run_again() {
    const TRAIN: &str = r#"
import json, os, time
params = json.load(open(os.environ["TRIMTAB_PARAMS"]))
json.dump({"seed": params["seed"], "data": 1}, open(os.environ["TRIMTAB_OUTPUT"] + "/model.json", "w"))
open(os.environ["TRIMTAB_METRICS"], "a").write(json.dumps({"score": 1.0}) + "\n")
open(params["count"], "a").write(os.environ["TRIMTAB_RUN_ID"] + " " + str(params["seed"]) + "\n")
while not os.path.exists(params["until"]):
    time.sleep(0.02)
"#;
    let (disk, mut w) = world_on_a_disk("48m");
    let count = w.path("count");
    let until_go = format!(", seed = 1, until = \"{}\"", w.path("go").display());
    w.commit_model("fraud", &model("fraud", &count, &until_go, SERVED));
    w.commit("fraud: ends late", &[("specs/models/fraud/train.py", Some(TRAIN))]);
    w.start();
    until("it trains", || w.trained("count").len() == 1);
    let run = w.state().join("runs").join(&w.trained("count")[0].0);
    disk.fill();
    fs::write(w.path("go"), "").unwrap();
    until("its end is written", || run.join("shim/exit.json").exists());
    w.kill();
    disk.free();
    w.start();
    w.wait_for("fraud", "version=v1");
    assert_eq!(w.trained("count").len(), 1);
    assert_eq!(served(&w), "v1");
}

/// There is room for records, but not for what a training made: that is taken up once there is, and not made again.
#[test]
fn what_a_training_made_is_taken_up_once_there_is_room() {
    const TRAIN: &str = r#"
import os, time, json
params = json.load(open(os.environ["TRIMTAB_PARAMS"]))
open(os.environ["TRIMTAB_OUTPUT"] + "/model.bin", "wb").write(os.urandom(24 << 20))
open(params["count"], "a").write(os.environ["TRIMTAB_RUN_ID"] + " " + str(params["seed"]) + "\n")
while not os.path.exists(params["until"]):
    time.sleep(0.02)
"#;
    let (disk, mut w) = world_on_a_disk("128m");
    let until_go = format!(", seed = 1, until = \"{}\"", w.path("go").display());
    let spec = model("fraud", &w.path("count"), &until_go, "retries = 2\n");
    w.commit_model("fraud", &spec);
    w.commit("fraud: large", &[("specs/models/fraud/train.py", Some(TRAIN))]);
    w.start();
    until("it trains", || w.trained("count").len() == 1);
    disk.fill_but(20 << 20);
    fs::write(w.path("go"), "").unwrap();
    until("what is wrong is said", || w.json(&["status", "fraud"]).to_string().contains("No space left on device"));
    disk.free();
    until("it is registered", || w.json(&["history", "fraud"]).as_array().unwrap().len() == 1);
    assert_eq!(w.trained("count").len(), 1);
}

/// With the repository on a disk of its own.
fn world_with_its_repository_on_a_disk(size: &str) -> (Disk, World) {
    let w = World::new();
    let (git, aside) = (w.path("models.git"), w.path("aside.git"));
    fs::rename(&git, &aside).unwrap();
    let disk = Disk::mount(&git, size);
    let copied = Command::new("cp").arg("-a").arg(aside.join(".")).arg(&git).status().unwrap();
    assert!(copied.success());
    (disk, w)
}

/// The head, of a repository in which nothing is broken or left from a write that failed.
fn sound_head(w: &World) -> git2::Oid {
    let git = w.path("models.git");
    let out = Command::new("git").arg("-C").arg(&git).args(["fsck", "--strict", "--no-dangling"]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    for entry in walkdir::WalkDir::new(&git).into_iter().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(!name.starts_with("tmp_obj") && !name.ends_with(".lock"), "left behind: {}", entry.path().display());
    }
    w.head().unwrap().id()
}

#[test]
fn a_revert_for_which_there_is_no_room_is_said_and_made_once_there_is() {
    const CANARY: &str = "[serve]\nrun = [\"python3\", \"serve.py\"]\n[[deploy]]\nenvironment = \"production\"\n\
        strategy = \"canary\"\nsteps = [{ weight = 50, hold = \"1m\" }]\non_failure = \"revert\"\n\
        [[deploy.analysis]]\nmetric = \"error_rate\"\nmax = 0.1\nmin_requests = 5\n";
    let (disk, mut w) = world_with_its_repository_on_a_disk("16m");
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", CANARY));
    w.start();
    w.wait_for("fraud", "version=v1");
    until("the lock", || w.json(&["events"]).to_string().contains("lock_committed"));
    let before = w.head().unwrap().tree_id();
    // This one answers each call with 500.
    w.commit_model("fraud", &model("fraud", &count, ", seed = 666", CANARY));
    let production = || w.json(&["status", "fraud"])["summary"]["environments"][0].clone();
    until("the canary", || production()["rollout"]["weight"] == 50.0);
    let asked = w.head().unwrap().id();
    disk.fill();
    until("the rejection", || {
        (0..10).for_each(|_| drop(w.get("/models/fraud/x")));
        production()["rejected"].is_string()
    });
    let said = || w.json(&["status", "fraud"])["summary"]["message"].as_str().unwrap_or_default().to_owned();
    until("why Git is not told", || said().contains("not reverted by trimtab"));
    assert!(said().contains("No space left on device"), "{}", said());
    assert!((0..20).all(|_| served(&w) == "v1"), "traffic does not wait for it");
    assert_eq!(sound_head(&w), asked);
    disk.free();
    until("the revert", || w.head().unwrap().id() != asked);
    sound_head(&w);
    let head = w.head().unwrap();
    assert_eq!(head.tree_id(), before);
    assert!(head.message().unwrap().starts_with("Revert "), "{:?}", head.message());
    w.wait_for("fraud", "healthy");
    assert_eq!(w.trained("count").len(), 2);
}

#[test]
fn an_approval_for_which_there_is_no_room_is_refused_with_the_reason_and_given_once_there_is() {
    const ASKS: &str = "[serve]\nrun = [\"python3\", \"serve.py\"]\n[[deploy]]\nenvironment = \"production\"\n\
        approve = [\"lin@example.com\"]\n";
    let (disk, mut w) = world_with_its_repository_on_a_disk("16m");
    w.commit_model("fraud", &model("fraud", &w.path("count"), ", seed = 1", ASKS));
    w.start();
    until("the lock", || w.json(&["events"]).to_string().contains("lock_committed"));
    until("it waits", || w.json(&["status", "fraud"]).to_string().contains("to be approved by lin@example.com"));
    let head = w.head().unwrap().id();
    let approve = || w.trimtab(&["approve", "fraud", "-m", "checked", "--author", "Lin <lin@example.com>"]);
    disk.fill();
    let out = approve();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("No space left on device"), "{said}");
    assert_eq!(sound_head(&w), head);
    disk.free();
    assert_eq!(w.json(&["status", "fraud"])["summary"]["environments"][0]["version"], serde_json::Value::Null);
    let out = approve();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    w.wait_for("fraud", "version=v1");
    assert_ne!(sound_head(&w), head);
}

#[test]
fn a_state_that_turns_read_only_is_said_and_serves_on() {
    let (disk, mut w) = world_on_a_disk("48m");
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    w.kill();
    trimtab::deploy::local::stop_everything(&w.state());
    disk.run(&["-o", "remount,ro"]);
    let out = Command::new(env!("CARGO_BIN_EXE_trimtab"))
        .args(["daemon", "--router", "127.0.0.1:0", "--repo"])
        .arg(w.path("models.git"))
        .arg("--state")
        .arg(w.state())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("Read-only file system") && said.contains("permissions"), "{said}");
    disk.run(&["-o", "remount,rw"]);
    w.start();
    w.wait_for("fraud", "version=v1");
    assert_eq!(w.trained("count").len(), 1);
}

/// Only what the daemon reads as wall time moves: libfaketime stands between it and the kernel.
#[test]
fn a_clock_set_back_by_a_day_changes_nothing_that_is_under_way() {
    const CANARY: &str = "[serve]\nrun = [\"python3\", \"serve.py\"]\n[[deploy]]\nenvironment = \"production\"\n\
        strategy = \"canary\"\nsteps = [{ weight = 50, hold = \"4s\" }]\n";
    let folders = fs::read_dir("/usr/lib").unwrap().flatten().map(|e| e.path().join("faketime/libfaketime.so.1"));
    let library = folders.into_iter().find(|l| l.exists()).expect("apt-get install libfaketime");
    let library = library.to_str().unwrap();
    let mut w = World::new();
    let count = w.path("count");
    let offset = w.path("offset");
    fs::write(&offset, "+0").unwrap();
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", CANARY));
    let file = offset.display().to_string();
    w.start_with(&[
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", &file),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]);
    w.wait_api();
    w.wait_for("fraud", "version=v1");
    let wall = || w.json(&["status"])["now"]["wall"].as_i64().unwrap();
    let before = wall();
    w.commit_model("fraud", &model("fraud", &count, ", seed = 2", CANARY));
    until("the canary begins", || {
        w.json(&["status"])["models"][0]["environments"][0]["rollout"]["step"].as_u64() == Some(1)
    });
    fs::write(&offset, "-86400").unwrap();
    until("the clock of the daemon goes back", || wall() < before - 80_000_000);
    let begun = Instant::now();
    w.wait_for("fraud", "version=v2");
    assert!(begun.elapsed() < Duration::from_secs(30), "the hold of four seconds took {:?}", begun.elapsed());
    assert_eq!(w.trained("count").len(), 2);
    // Events stay in their order, whatever the wall clock says of them.
    let events = w.json(&["events"]);
    let all = events.as_array().unwrap();
    assert!(all.windows(2).all(|e| e[0]["seq"].as_u64() < e[1]["seq"].as_u64()));
    w.kill();
    w.start();
    w.wait_for("fraud", "version=v2");
}

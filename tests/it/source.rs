//! What a daemon makes of sources in trouble.

use crate::{
    forge::Forge,
    support::{World, model},
};
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

const CREDENTIALS: &[(&str, &str)] = &[("TRIMTAB_GIT_USERNAME", "bot"), ("TRIMTAB_GIT_TOKEN", "s3cret")];

/// Waits until it is so.
fn until(what: &str, w: &World, mut so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < limit, "{what}: {}\n{}", w.json(&["status"])["source"], w.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends the daemon, which takes far less than the time that it gives a remote.
fn stops_at_once(w: &mut World) {
    let begun = Instant::now();
    assert_eq!(w.stop(), Some(0), "{}", w.log());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

const PATIENT: &[&str] = &["--git-timeout", "10m"];

#[test]
fn a_daemon_that_is_told_to_end_does_not_wait_for_a_remote_that_says_nothing() {
    let mut w = World::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    w.url = Some(format!("http://{}/models.git", silent.local_addr().unwrap()));
    w.start_args(&[], PATIENT);
    let _asked = silent.accept().unwrap();
    w.wait_api();
    stops_at_once(&mut w);
    assert!(!w.log().contains("unreachable"), "{}", w.log());
}

/// Pushes that reach the repository are held up for as long as the file stands.
fn hold_pushes(w: &World, while_there: &Path) {
    let hook = w.path("models.git/hooks/pre-receive");
    fs::create_dir_all(w.path("models.git/hooks")).unwrap();
    let file = while_there.display();
    fs::write(&hook, format!("#!/bin/sh\ntouch {file}\nwhile [ -e {file} ]; do sleep 0.1; done\n")).unwrap();
    fs::set_permissions(hook, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_daemon_that_is_told_to_end_does_not_wait_for_a_push_and_the_next_one_finishes_it() {
    let mut w = World::new();
    let forge = Forge::start(&w);
    w.url = Some(forge.url.clone());
    let held = w.path("held");
    hold_pushes(&w, &held);
    w.commit_model("a", &model("a", &w.path("count"), ", seed = 1", ""));
    w.start_args(CREDENTIALS, PATIENT);
    w.wait_api();
    until("no push came", &w, || held.exists());
    stops_at_once(&mut w);
    fs::remove_file(w.path("models.git/hooks/pre-receive")).unwrap();
    fs::remove_file(&held).unwrap();
    w.start_args(CREDENTIALS, &[]);
    w.wait_api();
    until("no lock came", &w, || w.repo.revparse_single("main:specs/models/a/trimtab.lock").is_ok());
}

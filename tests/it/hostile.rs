//! Hostile input through the whole daemon: refused with a reason, while everything else goes on.

use crate::support::{SERVED, World, model, until};
use std::{fs, os::unix::fs::PermissionsExt, process::Command, time::Duration};

#[test]
fn a_poison_commit_is_told_while_the_other_model_goes_on() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("good", &model("good", &count, ", seed = 1", SERVED));
    w.commit_model("bad", &model("bad", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("good", "version=v1");
    w.wait_for("bad", "version=v1");
    // A link out of the repository, a huge blob, escapes in the commit message.
    let link = w.repo.blob(b"/etc/passwd").unwrap();
    let head = w.head().unwrap();
    let mut update = git2::build::TreeUpdateBuilder::new();
    update.upsert("specs/models/bad/secret", link, git2::FileMode::Link);
    let huge = w.repo.blob(&vec![b'x'; 100 << 20]).unwrap();
    update.upsert("specs/models/bad/huge.bin", huge, git2::FileMode::Blob);
    let tree = w.repo.find_tree(update.create_updated(&w.repo, &head.tree().unwrap()).unwrap()).unwrap();
    let eve = git2::Signature::now("Eve \u{1b}[31m", "eve@example.com").unwrap();
    w.repo.commit(Some("refs/heads/main"), &eve, &eve, "evil \u{1b}]0;title\u{7}", &tree, &[&head]).unwrap();
    w.commit_model("good", &model("good", &count, ", seed = 2", SERVED));
    w.wait_for("good", "version=v2");
    until("the broken spec shows", || {
        w.json(&["status", "bad"])["summary"]["message"].as_str().unwrap_or("").contains("symbolic link")
    });
    assert_eq!(w.get("/models/bad/x").1, "v1", "what was deployed stays");
    for args in [&["events"][..], &["status"], &["history", "good"], &["plan"]] {
        let out = w.trimtab(args);
        let text = [out.stdout, out.stderr].concat();
        assert!(
            !text.contains(&0x1b) && !text.contains(&7),
            "{args:?}: {}",
            String::from_utf8_lossy(&text).escape_debug()
        );
    }
}

/// What no model's row can tell of is said above them all, and the settings that were in force stay.
#[test]
fn broken_settings_show_in_the_status_of_the_fleet() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("good", &model("good", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("good", "version=v1");
    w.commit("settings", &[("specs/trimtab.toml", Some("schema = \"trimtab/v1\"\n[reconcile]\nprune_shore = 1\n"))]);
    assert!(w.trimtab(&["sync"]).status.success());
    let status = || String::from_utf8(w.trimtab(&["status"]).stdout).unwrap();
    // What a model's own row tells is not told twice.
    w.commit("poison", &[("specs/models/bad/model.toml", Some("poison"))]);
    assert!(w.trimtab(&["sync"]).status.success());
    assert!(!status().contains("specs: specs/models"), "{}", status());
    let said = "specs: specs/trimtab.toml:3: unknown key `prune_shore`";
    assert!(status().contains(said), "{}", status());
    w.commit_model("good", &model("good", &count, ", seed = 2", SERVED));
    w.wait_for("good", "version=v2");
    w.commit("settings", &[("specs/trimtab.toml", Some("schema = \"trimtab/v1\"\n"))]);
    assert!(w.trimtab(&["sync"]).status.success());
    assert!(!status().contains("specs:"), "{}", status());
}

#[test]
fn a_secret_shows_nowhere() {
    const SECRET: &str = "hunter2-5ca1ab1e-c0ffee";
    let mut w = World::new();
    let leaky = "import base64, os, sys, time, urllib.parse\nv = os.environ['DB_PASSWORD']\nprint('got', v)\nsys.stdout.write(v[:9]); sys.stdout.flush(); time.sleep(0.05)\nprint(v[9:])\nsys.stderr.write(v)\n\
                 print('sent', base64.b64encode(b'bot:' + v.encode()).decode(), ''.join('%%%02X' % b for b in v.encode()))\n\
                 print('url', base64.urlsafe_b64encode(v.encode()).decode(), urllib.parse.quote(v))\n";
    let count = w.path("count");
    let spec = model("fraud", &count, ", seed = 1", &format!("secrets = [\"DB_PASSWORD\"]\n{SERVED}"));
    w.commit_model("fraud", &spec);
    w.commit("leak", &[("specs/models/fraud/train.py", Some(&format!("{leaky}{}", crate::support::TRAIN)))]);
    w.start_with(&[("DB_PASSWORD", SECRET)]);
    w.wait_api();
    w.wait_for("fraud", "version=v1");
    let log = w.trimtab(&["logs", "fraud"]);
    assert!(String::from_utf8_lossy(&log.stdout).contains("got ***"), "{}", String::from_utf8_lossy(&log.stdout));
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    assert!(log.contains("*** ***\n") && log.contains("url *** ***"), "{log}");
    // As it is, in base64 at its three places in a group, percent-encoded throughout.
    let base64 = |before: &str| {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{before}{SECRET}"));
        text[4..text.len() - 4].to_owned()
    };
    let percent = SECRET.bytes().map(|b| format!("%{b:02X}")).collect();
    let forms = [SECRET.to_owned(), base64(""), base64("a"), base64("ab"), percent];
    let clean = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        forms.iter().all(|form| !text.contains(form))
    };
    for args in [&["events"][..], &["status", "fraud"], &["show", "fraud@v1"], &["plan"], &["logs", "fraud"]] {
        let out = w.trimtab(args);
        assert!(clean(&[out.stdout, out.stderr].concat()), "{args:?}");
    }
    w.stop();
    for entry in walkdir::WalkDir::new(w.dir.path()).into_iter().flatten().filter(|e| e.file_type().is_file()) {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        assert!(clean(&bytes), "{}", entry.path().display());
    }
}

#[test]
fn hooks_of_the_watched_repository_never_run() {
    let mut w = World::new();
    let hooks = w.path("models.git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    let mark = w.path("hook-ran");
    for hook in
        ["reference-transaction", "post-receive", "pre-receive", "update", "post-update", "post-checkout", "pre-push"]
    {
        fs::write(hooks.join(hook), format!("#!/bin/sh\ntouch {}\n", mark.display())).unwrap();
        fs::set_permissions(hooks.join(hook), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    until("the lock is committed", || w.head().unwrap().author().name() == Ok("trimtab"));
    assert!(!mark.exists());
}

#[test]
fn locations_that_are_no_repository_are_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    for (repo, said) in [
        ("-oProxyCommand=touch x", "begins with `-`"),
        ("https://h/$(touch x)", "percent-encoded"),
        ("ftp://h/x", "not supported"),
        ("/does/not/exist", "it was moved or deleted, or never was there"),
    ] {
        let out = Command::new(env!("CARGO_BIN_EXE_trimtab"))
            .args(["daemon", "--router", "127.0.0.1:0", "--state"])
            .arg(dir.path())
            .arg(format!("--repo={repo}"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && text.contains(said), "{repo}: {text}");
        assert_eq!(text.lines().count(), 1, "{repo}: {text}");
    }
}

#[test]
fn a_second_daemon_and_a_taken_port_are_refused_by_name() {
    let mut w = World::new();
    w.start();
    let first = w.daemon.as_ref().unwrap().id();
    let again = |w: &World, state: &str, router: &str| {
        let out = Command::new(env!("CARGO_BIN_EXE_trimtab"))
            .args(["daemon", "--branch", "main", "--router", router, "--repo"])
            .arg(w.path("models.git"))
            .arg("--state")
            .arg(w.path(state))
            .output()
            .unwrap();
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let said = again(&w, "state", "127.0.0.1:0");
    assert!(said.contains(&format!("process {first}")), "{said}");
    let taken = w.json(&["status"])["router"].as_str().unwrap().trim_start_matches("http://").to_owned();
    let said = again(&w, "other", &taken);
    assert!(said.contains(&taken), "{said}");
    trimtab::deploy::local::stop_everything(&w.path("other"));
}

#[test]
fn a_damaged_database_is_said_and_a_backup_brings_it_back() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    let backup = w.path("backup");
    assert!(w.trimtab(&["backup", backup.to_str().unwrap()]).status.success());
    // A start moves what the journal held into the database; before that the journal alone would bring everything back.
    w.kill();
    w.start();
    assert_eq!(w.stop(), Some(0));
    let db = w.state().join("db/db");
    let mut bytes = fs::read(&db).unwrap();
    bytes.fill(0x5a);
    fs::write(&db, bytes).unwrap();
    w.start_with(&[]);
    until("the daemon refuses to start", || w.daemon.as_mut().unwrap().try_wait().unwrap().is_some());
    assert!(w.log().contains("trimtab restore"), "{}", w.log());
    let out = w.trimtab(&["restore", backup.to_str().unwrap()]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    w.start();
    w.wait_for("fraud", "version=v1");
    assert_eq!(w.trained("count").len(), 1);
}

#[test]
fn force_pushes_are_followed_and_a_deleted_branch_keeps_serving() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    let first = w.head().unwrap().id();
    w.start();
    w.wait_for("fraud", "version=v1");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 2", SERVED));
    w.wait_for("fraud", "version=v2");
    // By git, which waits for a lock: the daemon may be writing to the branch.
    let branch = |args: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.arg("-C").arg(w.repo.path()).args(["-c", "core.filesRefLockTimeout=30000", "update-ref"]);
        assert!(git.args(args).status().unwrap().success(), "{args:?}");
    };
    branch(&["refs/heads/main", &first.to_string()]);
    w.wait_for("fraud", "version=v1");
    branch(&["-d", "refs/heads/main"]);
    until("the deleted branch shows", || {
        w.json(&["status"])["source"]["error"].as_str().is_some_and(|e| e.contains("deleted"))
    });
    assert_eq!(w.get("/models/fraud/x").1, "v1");
    branch(&["refs/heads/main", &first.to_string()]);
    until("it recovers", || w.json(&["status"])["source"]["error"].is_null());
}

/// Far more connections than the daemon takes at once, none of which ever asks anything.
#[test]
fn half_open_connections_do_not_stop_the_daemon() {
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };
    let mut w = World::new();
    let (address, _) = w.start_tcp();
    let address = address.trim_start_matches("http://").to_owned();
    let open = |text: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    let answer = |mut stream: TcpStream| {
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    };
    let large = open("POST /webhook HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 99999999\r\n\r\n");
    assert!(answer(large).starts_with("HTTP/1.1 413 "), "before any of the body came");
    let slow = open("POST /webhook HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 10\r\n\r\n");
    let half: Vec<TcpStream> = (0..300).map(|_| open("POST /webhook HTTP/1.1\r\nhost: x\r\n")).collect();
    let fds = format!("/proc/{}/fd", w.daemon.as_ref().unwrap().id());
    until("the daemon took some", || fs::read_dir(&fds).unwrap().count() > 256);
    assert!(w.trimtab(&["status"]).status.success(), "the socket answers");
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.wait_for("fraud", "version=v1");
    for mut stream in half {
        // Closed by the daemon; with or without a word.
        let mut text = String::new();
        assert!(stream.read_to_string(&mut text).is_ok_and(|_| text.is_empty() || text.starts_with("HTTP/1.1 408 ")));
    }
    assert!(answer(slow).starts_with("HTTP/1.1 408 "));
    let well = open("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(answer(well).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_daemon_without_descriptors_does_not_call_its_replicas_dead() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "healthy");
    let pid = w.daemon.as_ref().unwrap().id() as i32;
    let limit = |now: u64| {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both limits live through the calls.
        unsafe {
            assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut before), 0);
            let wanted = libc::rlimit { rlim_cur: now, ..before };
            assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const wanted, std::ptr::null_mut()), 0);
        }
        before.rlim_cur
    };
    let before = limit(8);
    // After five failed checks a replica is started anew.
    until("six checks could not be made", || w.log().matches("health cannot be checked").count() >= 6);
    limit(before);
    w.wait_for("fraud", "healthy");
    assert!(!w.log().contains("a replica died"), "{}", w.log());
    assert_eq!(w.json(&["status", "fraud"])["replicas"][0]["replicas"][0]["restarts"], 0);
}

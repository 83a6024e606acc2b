//! What a daemon makes of sources in trouble.

use crate::{
    forge::{Forge, config},
    support::{SERVED, World, model as spec},
};

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use trimtab::{
    model::*,
    ports::*,
    source::{Credentials, GitSource, SourceConfig},
};

pub const CREDENTIALS: &[(&str, &str)] = &[("TRIMTAB_GIT_USERNAME", "bot"), ("TRIMTAB_GIT_TOKEN", "s3cret")];

/// Waits until it is so.
pub fn until(what: &str, w: &World, mut so: impl FnMut() -> bool) {
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
    w.commit_model("a", &spec("a", &w.path("count"), ", seed = 1", ""));
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

/// The files of loose objects.
fn loose(repo: &Path) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(repo.join("objects")).into_iter().flatten().filter(|e| e.file_type().is_file());
    files.map(|e| e.into_path()).filter(|p| p.file_name().is_some_and(|n| n.len() == 38)).collect()
}

/// Cuts a file as a power cut does.
fn cut(file: &Path, to: u64) {
    let mut kept = fs::read(file).unwrap();
    kept.truncate(to as usize);
    fs::remove_file(file).unwrap();
    fs::write(file, kept).unwrap();
}

fn mirror(w: &World) -> PathBuf {
    fs::read_dir(w.state().join("sources")).unwrap().next().unwrap().unwrap().path()
}

pub fn follows(w: &World) -> bool {
    let head = w.head().unwrap().id().to_string();
    w.json(&["status"])["source"]["revision"]["commit"] == *head && w.json(&["status"])["source"]["error"].is_null()
}

#[test]
fn a_mirror_that_a_power_cut_damaged_is_fetched_anew_while_all_is_served() {
    let mut w = World::new();
    let forge = Forge::start(&w);
    w.url = Some(forge.url.clone());
    w.commit_model("a", &spec("a", &w.path("count"), ", seed = 1", SERVED));
    w.start_args(CREDENTIALS, &["--poll", "200ms"]);
    w.wait_api();
    w.wait_for("a", "healthy");
    w.kill();
    let objects = loose(&mirror(&w));
    assert!(!objects.is_empty());
    objects.iter().for_each(|file| cut(file, 12));
    w.start_args(CREDENTIALS, &["--poll", "200ms"]);
    w.wait_api();
    assert_eq!(w.get("/models/a/x").0, 200);
    w.commit_model("a", &spec("a", &w.path("count"), ", seed = 2", SERVED));
    w.wait_for("a", "version=v2");
    assert_eq!(w.get("/models/a/x").1, "v2");
    // The same while it runs.
    loose(&mirror(&w)).iter().for_each(|file| cut(file, 12));
    let again =
        |w: &World| w.json(&["status"])["source"]["error"].as_str().is_some_and(|e| e.contains("damaged again"));
    until("it is not found damaged", &w, || again(&w));
    assert_eq!(w.get("/models/a/x").1, "v2");
    let told = w.json(&["events"]).to_string();
    assert!(told.contains("source_mended") && told.contains("ends early"), "{told}");
}

#[test]
fn a_damaged_local_repository_is_told_by_name_and_followed_again_once_it_is_whole() {
    let mut w = World::new();
    w.commit_model("a", &spec("a", &w.path("count"), ", seed = 1", SERVED));
    w.start();
    w.wait_for("a", "healthy");
    w.stop();
    w.commit_model("a", &spec("a", &w.path("count"), ", seed = 2", SERVED));
    let tree = w.repo.revparse_single("main:specs").unwrap().id().to_string();
    let file = w.path("models.git/objects").join(&tree[..2]).join(&tree[2..]);
    let whole = fs::read(&file).unwrap();
    cut(&file, 20);
    w.start_args(&[], &["--poll", "200ms"]);
    w.wait_api();
    until("the damage is not told", &w, || w.json(&["status"])["source"]["reason"] == "damaged");
    let said = w.json(&["status"])["source"]["error"].as_str().unwrap().to_owned();
    assert!(said.contains(&*file.to_string_lossy()) && said.contains("git fsck"), "{said}");
    assert_eq!(w.get("/models/a/x").1, "v1");
    fs::remove_file(&file).unwrap();
    fs::write(&file, whole).unwrap();
    w.wait_for("a", "version=v2");
    assert!(follows(&w));
    stops_at_once(&mut w);
}

#[test]
fn whatever_of_a_mirror_is_damaged_it_is_fetched_anew() {
    let first = |folder: PathBuf, end: &str| {
        let all = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
        all.into_iter().find(|p| p.to_string_lossy().ends_with(end)).unwrap()
    };
    let garble = |file: PathBuf, from: usize| {
        let mut bytes = fs::read(&file).unwrap();
        bytes[from..].iter_mut().take(60).for_each(|b| *b ^= 0x5a);
        fs::remove_file(&file).unwrap();
        fs::write(file, bytes).unwrap();
    };
    let pack = |mirror: &Path, end: &str| first(mirror.join("objects/pack"), end);
    type Damage<'a> = (&'a str, bool, &'a dyn Fn(&Path));
    let damages: &[Damage] = &[
        ("a pack that ends early", true, &|m| cut(&pack(m, ".pack"), 200)),
        ("a garbled pack", true, &|m| garble(pack(m, ".pack"), 60)),
        ("a garbled index of a pack", true, &|m| garble(pack(m, ".idx"), 1100)),
        ("an empty index of a pack", true, &|m| cut(&pack(m, ".idx"), 0)),
        ("a lost pack", true, &|m| fs::remove_file(pack(m, ".pack")).unwrap()),
        ("objects that end early", false, &|m| loose(m).iter().for_each(|f| cut(f, 5))),
        ("empty objects", false, &|m| loose(m).iter().for_each(|f| cut(f, 0))),
        ("garbled objects", false, &|m| loose(m).into_iter().for_each(|f| garble(f, 4))),
        ("lost objects", false, &|m| loose(m).iter().for_each(|f| fs::remove_file(f).unwrap())),
        ("no objects", false, &|m| fs::remove_dir_all(m.join("objects")).unwrap()),
        ("an empty branch", false, &|m| cut(&m.join("refs/heads/main"), 0)),
        ("a garbled branch", false, &|m| garble(m.join("refs/heads/main"), 3)),
        ("an empty HEAD", false, &|m| cut(&m.join("HEAD"), 0)),
        ("garbled settings", false, &|m| garble(m.join("config"), 0)),
        ("a file in its place", false, &|m| {
            fs::remove_dir_all(m).unwrap();
            fs::write(m, "x").unwrap();
        }),
    ];
    let w = World::new();
    let forge = Forge::start(&w);
    for ((what, packed, damage), reopened) in damages.iter().flat_map(|d| [(d, true), (d, false)]) {
        drop(fs::remove_dir_all(w.state()));
        let mut source = forge.open(&w, "s3cret");
        let Fetched::Head { revision, .. } = source.fetch(None).unwrap() else { panic!() };
        let mirror = mirror(&w);
        if *packed {
            let git = std::process::Command::new("git").arg("-C").arg(&mirror).args(["repack", "-adq"]).status();
            assert!(git.unwrap().success());
        }
        damage(&mirror);
        if reopened {
            source = forge.open(&w, "s3cret");
        }
        let mut told = Vec::new();
        for _round in 0..3 {
            let fetched = source.fetch(Some(&revision.commit));
            let read = fetched.clone().and_then(|_| source.list(&revision.tree, "specs")).and_then(|files| {
                files.iter().try_for_each(|f| source.blob(&f.id, 1 << 20).map(drop)).map(|()| files.len())
            });
            told.push(format!("{fetched:?} {read:?}"));
            if matches!((fetched, read), (Ok(_), Ok(3))) {
                break;
            }
        }
        assert!(told.last().unwrap().ends_with(" Ok(3)"), "{what}: {told:#?}");
    }
}

/// What the daemon says of its source once it is in trouble.
pub fn trouble(w: &World, reason: &str) -> String {
    until("it is not in trouble", w, || w.json(&["status"])["source"]["reason"] == reason);
    w.json(&["status"])["source"]["error"].as_str().unwrap().to_owned()
}

#[test]
fn a_branch_that_is_not_there_is_told_with_those_that_are() {
    let mut w = World::new();
    let forge = Forge::start(&w);
    w.repo.branch("dev", &w.head().unwrap(), false).unwrap();
    w.repo.find_reference("refs/heads/main").unwrap().rename("refs/heads/mian", false, "").unwrap();
    for (url, has) in
        [(None, "no branch `main`; did you mean `mian`?"), (Some(forge.url.clone()), "It has `mian`, `dev`")]
    {
        w.url = url;
        w.start_args(CREDENTIALS, &[]);
        w.wait_api();
        let said = trouble(&w, "no_branch");
        assert!(said.contains(has) && said.contains("--branch"), "{said}");
        w.stop();
    }
}

#[test]
fn a_local_repository_that_is_moved_away_is_told_by_its_path_and_followed_again_when_it_is_back() {
    let mut w = World::new();
    let often = &["--poll", "200ms"];
    w.start_args(&[], often);
    w.wait_api();
    until("nothing is followed", &w, || follows(&w));
    let (here, away) = (w.path("models.git"), w.path("away.git"));
    for restarted in [false, true] {
        fs::rename(&here, &away).unwrap();
        if restarted {
            w.stop();
            w.start_args(&[], often);
            w.wait_api();
        }
        let said = trouble(&w, "unreachable");
        assert!(said.contains("models.git: it was moved or deleted"), "{said}");
        fs::rename(&away, &here).unwrap();
        until("it is not followed again", &w, || follows(&w));
    }
}

#[test]
fn a_web_page_is_no_repository_and_deletes_no_branch() {
    const SERVER: &str = r#"
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class H(BaseHTTPRequestHandler):
    def do_GET(self):
        page = sys.argv[2].encode()
        self.send_response(200); self.send_header("content-type", sys.argv[1]); self.send_header("content-length", str(len(page))); self.end_headers()
        self.wfile.write(page)
    def log_message(self, *a): pass
s = HTTPServer(("127.0.0.1", 0), H)
print(s.server_port, flush=True)
s.serve_forever()
"#;
    let w = World::new();
    let advertised = "application/x-git-upload-pack-advertisement";
    let lines = "<!doctype html>\n<html>\n<title>Sign in</title>\n";
    for (kind, page) in
        [("text/html", "<html>Sign in</html>"), ("text/html; charset=utf-8", lines), (advertised, lines)]
    {
        let mut server = std::process::Command::new("python3");
        let server = server.args(["-c", SERVER, kind, page]).stdout(std::process::Stdio::piped());
        let mut server = server.spawn().unwrap();
        let mut port = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.take().unwrap()), &mut port).unwrap();
        let url = format!("http://127.0.0.1:{}/models.git", port.trim());
        for branch in [None, Some("main".to_owned())] {
            let source = GitSource::open(&SourceConfig { branch, ..config(&w, &url, "s3cret") }).unwrap();
            let previous = ObjectId(w.head().unwrap().id().to_string().into());
            for error in [source.fetch(None).unwrap_err(), source.fetch(Some(&previous)).unwrap_err()] {
                assert_eq!(error.reason, Some(SourceReason::NotFound), "{kind}: {error}");
                assert!(error.message.contains("login page") && !error.message.contains("s3cret"), "{kind}: {error}");
            }
        }
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

#[test]
fn a_user_in_the_url_goes_with_a_password_that_is_given_elsewhere() {
    let w = World::new();
    let forge = Forge::start(&w);
    let url = forge.url.replace("http://", "http://bot@");
    let given = |username: Option<&str>, secret: Option<&str>| {
        let credentials = Credentials {
            username: username.map(Into::into),
            secret: secret.map(Into::into),
            ..Credentials::default()
        };
        GitSource::open(&SourceConfig { credentials, ..config(&w, &url, "") }).unwrap().fetch(None)
    };
    assert!(matches!(given(None, Some("s3cret")), Ok(Fetched::Head { .. })));
    let error = given(None, None).unwrap_err();
    assert_eq!(error.reason, Some(SourceReason::Authentication), "{error}");
    assert!(error.message.contains("TRIMTAB_GIT_PASSWORD"), "{error}");
}

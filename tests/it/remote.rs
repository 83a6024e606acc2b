//! Real remotes over HTTP: `git http-backend` behind a small server that asks for a password.

use crate::support::World;
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use trimtab::{
    model::*,
    ports::*,
    source::{Credentials, GitSource, SourceConfig},
};

const SERVER: &str = r#"
import base64, os, subprocess, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
ROOT, WANTED = sys.argv[1], "Basic " + base64.b64encode(b"bot:s3cret").decode()
class H(BaseHTTPRequestHandler):
    def do(self):
        if self.headers.get("authorization") != WANTED:
            self.send_response(401); self.send_header("www-authenticate", "Basic"); self.send_header("content-length", "0"); self.end_headers(); return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        env = {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": ROOT, "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "bot", "PATH_INFO": path, "QUERY_STRING": query,
               "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("content-type", ""), "CONTENT_LENGTH": str(len(body)),
               "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""), "GIT_PROTOCOL": self.headers.get("git-protocol", "")}
        out = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True).stdout
        head, _, rest = out.partition(b"\r\n\r\n")
        lines = [l.split(": ", 1) for l in head.decode().split("\r\n")]
        status = next((int(v.split()[0]) for k, v in lines if k == "Status"), 200)
        self.send_response(status)
        for k, v in lines:
            if k != "Status": self.send_header(k, v)
        self.send_header("content-length", str(len(rest))); self.end_headers(); self.wfile.write(rest)
    do_GET = do_POST = do
    def log_message(self, *a): pass
s = ThreadingHTTPServer(("127.0.0.1", 0), H)
print(s.server_port, flush=True)
s.serve_forever()
"#;

struct Forge {
    server: Child,
    url: String,
}
impl Forge {
    fn start(root: &Path) -> Self {
        let mut server = Command::new("python3")
            .args(["-c", SERVER])
            .arg(root)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { server, url: format!("http://127.0.0.1:{}/models.git", port.trim()) }
    }
}
impl Drop for Forge {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

fn open(w: &World, url: &str, secret: &str, timeout: u64) -> PortResult<GitSource> {
    GitSource::open(&SourceConfig {
        location: url.into(),
        branch: Some("main".into()),
        folder: "specs".into(),
        state: w.state(),
        credentials: Credentials {
            username: Some("bot".into()),
            secret: Some(secret.into()),
            ..Credentials::default()
        },
        timeout: Duration::from_secs(timeout),
        ca: None,
    })
}

fn world() -> World {
    let w = World::new();
    w.repo.config().unwrap().set_bool("http.receivepack", true).unwrap();
    w
}

fn head(source: &GitSource) -> Revision {
    match source.fetch(None).unwrap() {
        Fetched::Head { revision, .. } => revision,
        other => panic!("{other:?}"),
    }
}

fn lock(head: &Revision, model: usize) -> BotCommit {
    BotCommit {
        files: vec![FileChange {
            path: format!("specs/models/m{model}/trimtab.lock"),
            content: Some(b"lock".to_vec()),
        }],
        message: format!("lock: m{model}"),
        name: "trimtab".into(),
        email: "bot@example.com".into(),
        decided_on: head.commit.clone(),
        guard: format!("specs/models/m{model}"),
    }
}

#[test]
fn the_right_password_reads_and_pushes_and_the_wrong_one_is_said_without_being_shown() {
    let w = world();
    let forge = Forge::start(w.dir.path());
    let source = open(&w, &forge.url, "s3cret", 30).unwrap();
    let first = head(&source);
    assert_eq!(source.list(&first.tree, "specs").unwrap().len(), 3);
    assert!(matches!(source.push(&lock(&first, 0)).unwrap(), Pushed::Done(_)));
    assert_eq!(w.head().unwrap().summary().unwrap(), Some("lock: m0"));
    assert_eq!(source.push(&lock(&first, 0)).unwrap(), Pushed::AlreadyThere);
    let error = open(&w, &forge.url, "wr0ng-pass", 30).unwrap().fetch(None).unwrap_err();
    assert!(error.message.contains("TRIMTAB_GIT_TOKEN") && !error.message.contains("wr0ng-pass"), "{error}");
}

#[test]
fn locks_pushed_at_once_by_many_all_arrive_and_a_person_wins() {
    let w = world();
    let forge = Forge::start(w.dir.path());
    let source = Arc::new(open(&w, &forge.url, "s3cret", 60).unwrap());
    let first = head(&source);
    std::thread::scope(|s| {
        for model in 0..4 {
            let (source, first) = (source.clone(), first.clone());
            s.spawn(move || assert!(matches!(source.push(&lock(&first, model)).unwrap(), Pushed::Done(_))));
        }
        // People push meanwhile.
        for n in 0..5 {
            w.commit("readme", &[("README.md", Some(&n.to_string()))]);
            std::thread::sleep(Duration::from_millis(40));
        }
    });
    let log =
        Command::new("git").args(["log", "--format=%s", "main"]).current_dir(w.path("models.git")).output().unwrap();
    let log = String::from_utf8(log.stdout).unwrap();
    for model in 0..4 {
        assert_eq!(log.matches(&format!("lock: m{model}\n")).count(), 1, "{log}");
    }
    assert_eq!(log.matches("readme").count(), 5, "{log}");
    w.commit("m9 by hand", &[("specs/models/m9/model.toml", Some("x"))]);
    assert_eq!(source.push(&lock(&first, 9)).unwrap(), Pushed::Superseded);
}

#[test]
fn a_remote_that_says_nothing_is_given_up_and_one_that_is_not_there_is_said() {
    let w = world();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let error = open(&w, &format!("http://{address}/x.git"), "s", 1).unwrap().fetch(None).unwrap_err();
    assert!(error.message.contains("did not answer within 1 s") && error.retryable, "{error}");
    drop(silent);
    let error = open(&w, &format!("http://{address}/y.git"), "s", 10).unwrap().fetch(None).unwrap_err();
    assert!(error.message.contains(&address.to_string()) && error.retryable, "{error}");
}

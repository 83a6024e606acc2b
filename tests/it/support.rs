//! A small world for whole-loop tests: a bare repository, a data folder, a daemon of the real binary.

use git2::{Oid, Repository, Signature, build::TreeUpdateBuilder};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Before any thread begins: this binary and all that it starts see no Git settings of the machine, and ask no proxy for what is on it.
#[used]
// SAFETY: the loader calls what stands in this section once, before `main`.
#[unsafe(link_section = ".init_array")]
static ALONE: extern "C" fn() = {
    extern "C" fn alone() {
        let direct = std::env::var("NO_PROXY").or_else(|_| std::env::var("no_proxy")).unwrap_or_default();
        let direct = format!("{direct},127.0.0.1,localhost");
        let proxies = [("NO_PROXY", &*direct), ("no_proxy", &*direct)];
        for (name, value) in
            [("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")].into_iter().chain(proxies)
        {
            // SAFETY: there is one thread.
            unsafe { std::env::set_var(name, value) };
        }
    }
    alone
};

pub const SPECS: &[(&str, &str)] = &[
    ("specs/trimtab.toml", "schema = \"trimtab/v1\"\n"),
    ("specs/environments/production.toml", "schema = \"trimtab/v1\"\n[environment]\nname = \"production\"\n"),
    (
        "specs/datasets/numbers.toml",
        "schema = \"trimtab/v1\"\n[dataset]\nname = \"numbers\"\n[source]\npath = \"numbers.csv\"\n",
    ),
];

/// Trains by writing its params, once a file `until` is there; notes every execution in a file outside, so that tests can count them.
pub const TRAIN: &str = r#"
import json, os, sys, time
params = json.load(open(os.environ["TRIMTAB_PARAMS"]))
with open(params["count"], "a") as f:
    f.write(os.environ["TRIMTAB_RUN_ID"] + " " + str(params["seed"]) + "\n")
time.sleep(params.get("sleep", 0))
while "until" in params and not os.path.exists(params["until"]):
    time.sleep(0.02)
data = open(os.environ["TRIMTAB_INPUT_TRAIN"]).read()
json.dump({"seed": params["seed"], "data": len(data)}, open(os.environ["TRIMTAB_OUTPUT"] + "/model.json", "w"))
open(os.environ["TRIMTAB_METRICS"], "a").write(json.dumps({"score": params.get("score", 1.0)}) + "\n")
"#;

/// Serves what was trained; `bad` params make it answer 500.
pub const SERVE: &str = r#"
import json, os, signal, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
model = open(os.environ["TRIMTAB_ARTIFACT"] + "/model.json").read().encode()
class H(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        ready = self.path == "/v2/health/ready"
        if self.path == "/slow": time.sleep(1)
        status = 500 if b'"seed": 666' in model and not ready else 200
        self.wfile.write(b"HTTP/1.1 %d -\r\ncontent-length: %d\r\n\r\n" % (status, len(model)) + model)
    def log_message(self, *a): pass
class S(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
s = S(("127.0.0.1", int(os.environ["PORT"])), H)
signal.signal(signal.SIGTERM, lambda *a: threading.Thread(target=s.shutdown).start())
s.serve_forever()
"#;

/// A fast model. `extra` goes into its params, `rest` behind `[train]`.
pub fn model(name: &str, count: &Path, extra: &str, rest: &str) -> String {
    format!(
        "schema = \"trimtab/v1\"\n[model]\nname = \"{name}\"\n[data]\ntrain = \"numbers\"\n[train]\nrun = [\"python3\", \"train.py\"]\n\
         params = {{ count = \"{}\"{extra} }}\n{rest}",
        count.display()
    )
}

/// Serving and one environment, at once.
pub const SERVED: &str = "[serve]\nrun = [\"python3\", \"serve.py\"]\n[[deploy]]\nenvironment = \"production\"\n";

pub struct World {
    pub dir: tempfile::TempDir,
    pub repo: Repository,
    pub daemon: Option<Child>,
    /// Where the daemon finds the repository, when not by its path.
    pub url: Option<String>,
    /// The binary of the daemon.
    pub exe: PathBuf,
    /// Days ago that commits are dated.
    pub days_ago: i64,
}

impl World {
    /// A repository with the common specs, and data.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = git2::RepositoryInitOptions::new();
        let repo =
            Repository::init_opts(dir.path().join("models.git"), options.bare(true).initial_head("main")).unwrap();
        let exe = env!("CARGO_BIN_EXE_trimtab").into();
        let world = Self { dir, repo, daemon: None, url: None, exe, days_ago: 0 };
        fs::create_dir_all(world.path("data")).unwrap();
        fs::write(world.path("data/numbers.csv"), "1,2\n3,4\n").unwrap();
        let files: Vec<(&str, Option<&str>)> = SPECS.iter().map(|(p, t)| (*p, Some(*t))).collect();
        world.commit("specs", &files);
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub fn head(&self) -> Option<git2::Commit<'_>> {
        self.repo.find_reference("refs/heads/main").ok().map(|r| r.peel_to_commit().unwrap())
    }

    /// Commits files on the newest head, as a person who pulls and pushes until it goes through.
    pub fn commit(&self, message: &str, files: &[(&str, Option<&str>)]) -> Oid {
        let bytes: Vec<(&str, Option<&[u8]>)> = files.iter().map(|(p, t)| (*p, t.map(str::as_bytes))).collect();
        self.commit_bytes(message, &bytes)
    }

    pub fn commit_bytes(&self, message: &str, files: &[(&str, Option<&[u8]>)]) -> Oid {
        loop {
            let head = self.head();
            let mut update = TreeUpdateBuilder::new();
            for (path, content) in files {
                match content {
                    Some(c) => update.upsert(*path, self.repo.blob(c).unwrap(), git2::FileMode::Blob),
                    None => update.remove(*path),
                };
            }
            let empty = self.repo.treebuilder(None).unwrap().write().unwrap();
            let base = head.as_ref().map_or(self.repo.find_tree(empty).unwrap(), |h| h.tree().unwrap());
            let tree = self.repo.find_tree(update.create_updated(&self.repo, &base).unwrap()).unwrap();
            if let Some(id) = self.publish(&tree, message, head.as_ref()) {
                return id;
            }
        }
    }

    fn publish(&self, tree: &git2::Tree, message: &str, parent: Option<&git2::Commit>) -> Option<Oid> {
        let now = Signature::now("Ada", "ada@example.com").unwrap();
        let time = git2::Time::new(now.when().seconds() - self.days_ago * 86_400, 0);
        let ada = Signature::new("Ada", "ada@example.com", &time).unwrap();
        let parents: Vec<&git2::Commit> = parent.into_iter().collect();
        let id = self.repo.commit(None, &ada, &ada, message, tree, &parents).unwrap();
        let moved = match parent {
            Some(p) => self.repo.reference_matching("refs/heads/main", id, true, p.id(), "test"),
            None => self.repo.reference("refs/heads/main", id, false, "test"),
        };
        moved.ok().map(|_| id)
    }

    /// A model with its code.
    pub fn commit_model(&self, name: &str, spec: &str) -> Oid {
        let at = |f: &str| format!("specs/models/{name}/{f}");
        self.commit(
            &format!("{name}: change"),
            &[(&at("model.toml"), Some(spec)), (&at("train.py"), Some(TRAIN)), (&at("serve.py"), Some(SERVE))],
        )
    }

    /// `git revert`.
    pub fn revert(&self, commit: Oid) -> Oid {
        loop {
            let (head, target) = (self.head().unwrap(), self.repo.find_commit(commit).unwrap());
            let mut index = self.repo.revert_commit(&target, &head, 0, None).unwrap();
            let tree = self.repo.find_tree(index.write_tree_to(&self.repo).unwrap()).unwrap();
            if let Some(id) = self.publish(&tree, "Revert", Some(&head)) {
                return id;
            }
        }
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&mut self) {
        self.start_with(&[]);
        self.wait_api();
    }

    pub fn start_with(&mut self, env: &[(&str, &str)]) {
        self.start_args(env, &[]);
    }

    /// Starts the daemon with its API on TCP too; address and token.
    pub fn start_tcp(&mut self) -> (String, String) {
        self.start_tcp_with(&[])
    }

    pub fn start_tcp_with(&mut self, env: &[(&str, &str)]) -> (String, String) {
        self.start_args(env, &["--listen", "127.0.0.1:0"]);
        self.wait_api();
        let said = |file: &str| fs::read_to_string(self.state().join(file)).unwrap();
        (format!("http://{}", said("listen")), said("token"))
    }

    /// Starts the daemon with more flags.
    pub fn start_args(&mut self, env: &[(&str, &str)], args: &[&str]) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("daemon.log")).unwrap();
        let mut command = Command::new(&self.exe);
        let repo = self.url.clone().map_or_else(|| self.path("models.git"), PathBuf::from);
        command.args(["daemon", "--branch", "main", "--router", "127.0.0.1:0", "--repo"]).arg(repo);
        command.arg("--data").arg(self.path("data")).arg("--state").arg(self.state()).args(args);
        command.envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
    }

    pub fn wait_api(&mut self) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.trimtab(&["status", "--json"]).status.code() == Some(69) {
            assert!(
                Instant::now() < until && self.daemon.as_mut().unwrap().try_wait().unwrap().is_none(),
                "{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut d) = self.daemon.take() {
            d.kill().unwrap();
            d.wait().unwrap();
        }
    }

    /// SIGTERM; returns the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut d = self.daemon.take()?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(d.id() as i32), nix::sys::signal::Signal::SIGTERM).unwrap();
        d.wait().unwrap().code()
    }

    /// Runs the binary against this world's state.
    pub fn trimtab(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_trimtab")).args(args).arg("--state").arg(self.state()).output().unwrap()
    }

    pub fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let out = self.trimtab(&args);
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| {
            panic!("{args:?}: {e}: {}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
        })
    }

    /// `trimtab wait`; panics with the reasons when it does not come.
    pub fn wait_for(&self, model: &str, what: &str) {
        let out = self.trimtab(&["wait", model, "--for", what, "--timeout", "90s"]);
        if !out.status.success() {
            let status = self.trimtab(&["status", model]);
            panic!(
                "{model} {what}: {}\n{}\n{}",
                String::from_utf8_lossy(&out.stderr),
                String::from_utf8_lossy(&status.stdout),
                self.log()
            );
        }
    }

    /// How often each seed was trained, as the training script itself counted.
    pub fn trained(&self, count: &str) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.path(count)).unwrap_or_default();
        text.lines().filter_map(|l| l.split_once(' ')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    }

    /// One request through the router: status, version, body.
    pub fn get(&self, path: &str) -> (u16, String, String) {
        let router = self.json(&["status"])["router"].as_str().unwrap().to_owned();
        let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(format!("{router}{path}")).send().unwrap();
        let version =
            answer.headers().get("x-trimtab-version").map_or(String::new(), |v| v.to_str().unwrap().to_owned());
        (answer.status().as_u16(), version, answer.text().unwrap())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
        trimtab::deploy::local::stop_everything(&self.state());
        // Runs outlive their daemon by design, and some wait here for what never comes.
        let runs = fs::read_dir(self.state().join("runs")).into_iter().flatten().flatten();
        let shims = runs.filter_map(|run| trimtab::process::adopt(&run.path().join("shim")));
        shims.filter(|shim| shim.pid().is_some()).for_each(|shim| shim.kill());
    }
}

/// Waits for something that has no event to wait for.
pub fn eventually<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// For what `trimtab wait` has no word for.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, Duration::from_secs(60), || holds().then_some(()));
}

//! The real `mlflow` package: its server answers the same calls beside ours, and its client works with ours unchanged.
//!
//! What is compared, and how, stands in the scripts of `mlflow/`; each runs by itself, too.

use crate::support::{SERVE, SERVED, World, model};
use std::{
    io::{BufRead, BufReader, Lines},
    net::TcpListener,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Mutex, OnceLock},
    time::{Duration, Instant},
};

/// The Python that has `mlflow`.
fn python() -> Command {
    let python = std::env::var("TRIMTAB_TEST_MLFLOW").unwrap_or_else(|_| {
        panic!(
            "TRIMTAB_TEST_MLFLOW names no Python that has mlflow. Make one: `python3 -m venv V && V/bin/pip install --no-deps -r \
             tests/extended/mlflow/requirements.txt`, and set TRIMTAB_TEST_MLFLOW=V/bin/python"
        )
    });
    let mut command = Command::new(python);
    command.env("PYTHONUNBUFFERED", "1").env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    command
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/extended/mlflow").join(name)
}

/// A process that goes with its owner.
struct Ended(Child);
impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A real server. It lives as long as its input is held open, however this process ends.
struct Real {
    url: String,
    _server: Child,
}
impl Real {
    fn start() -> Real {
        let mut command = python();
        command.arg(script("server.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = command.spawn().expect("Python");
        let mut url = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http"), "there is no real server: {:?}", server.wait().unwrap());
        Real { url: url.trim().to_owned(), _server: server }
    }
}

/// The server of all tests that ask only for what they made.
fn real() -> &'static Real {
    static REAL: OnceLock<Real> = OnceLock::new();
    REAL.get_or_init(Real::start)
}

/// Runs a script and shows what it said when it fails. A script ends by itself, and says where it was when that took too long.
fn run(name: &str, args: &[&str]) {
    let began = Instant::now();
    let done = python().arg(script(name)).args(args).output().expect("Python");
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{name}: {}\n{said}", done.status);
    println!("{name} took {:.1} s\n{said}", began.elapsed().as_secs_f64());
}

/// The script sees the same of a new daemon as of the real server.
fn beside(name: &str, real: &Real) {
    // One at a time: the real server serves one call at a time, and its database may be found locked.
    static TURN: Mutex<()> = Mutex::new(());
    let mut w = World::new();
    let (url, token) = w.start_tcp();
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    run(name, &[&real.url, "-", &url, &token]);
}

#[test]
fn searches_find_the_same() {
    beside("filters.py", real());
}

#[test]
fn what_is_malformed_is_refused_in_the_same_words() {
    // Some malformed calls ask for all there is: a server that other tests wrote to would answer with their things.
    beside("malformed.py", &Real::start());
}

#[test]
fn random_sequences_of_calls_are_answered_the_same() {
    beside("sequences.py", real());
}

#[test]
fn the_fluent_api_sees_the_same() {
    beside("fluent.py", real());
}

#[test]
fn the_client_sees_the_same() {
    beside("client.py", real());
}

#[test]
fn the_registry_and_its_models_are_the_same() {
    beside("registry.py", real());
}

#[test]
fn files_go_and_come_the_same() {
    beside("artifacts.py", real());
}

#[test]
fn autologging_logs_the_same() {
    beside("autolog.py", real());
}

#[test]
fn a_recorded_session_is_answered_as_it_was() {
    let mut w = World::new();
    let (url, token) = w.start_tcp();
    run("golden.py", &[&url, &token]);
}

/// Eight threads that log, and what they told.
struct Load {
    child: Ended,
    told: Lines<BufReader<ChildStdout>>,
}

impl Load {
    fn start(url: &str, token: &str, notes: &str) -> Self {
        let mut command = python();
        command.arg(script("durable.py")).args(["log", url, token, notes]);
        let mut child = Ended(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python"));
        let told = BufReader::new(child.0.stdout.take().unwrap()).lines();
        Self { child, told }
    }

    /// Waits until so many more things were acknowledged.
    fn go_on(&mut self, more: u64) {
        let mut first = None;
        loop {
            let line = self.told.next().expect("the clients ended").unwrap();
            let count: u64 = line.parse().unwrap_or_else(|_| panic!("{line}"));
            if count >= *first.get_or_insert(count) + more {
                return;
            }
        }
    }

    fn end(mut self) {
        drop(self.child.0.stdin.take());
        let last = self.told.by_ref().last().expect("it says how many").unwrap();
        assert!(self.child.0.wait().unwrap().success(), "{last}");
        println!("{last}");
    }
}

#[test]
fn what_was_acknowledged_outlives_kills() {
    let mut w = World::new();
    // The clients try the same address again.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let listen = ["--listen", &*address];
    w.start_args(&[], &listen);
    w.wait_api();
    let (url, token) = (format!("http://{address}"), std::fs::read_to_string(w.state().join("token")).unwrap());
    let notes = w.path("notes").display().to_string();
    let mut load = Load::start(&url, &token, &notes);
    for _ in 0..5 {
        load.go_on(300);
        w.kill();
        let began = Instant::now();
        w.start_args(&[], &listen);
        w.wait_api();
        assert!(began.elapsed() < Duration::from_secs(30), "a start took {:?}", began.elapsed());
    }
    load.go_on(300);
    load.end();
    run("durable.py", &["check", &url, &token, &notes]);
    w.kill();
    w.start_args(&[], &listen);
    w.wait_api();
    run("durable.py", &["check", &url, &token, &notes]);
}

/// A stage that joins its run, and whose output is a model that MLflow can read.
const TRAIN: &str = r#"
import json, os, mlflow
from sklearn.linear_model import LogisticRegression
with mlflow.start_run():
    model = LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    mlflow.log_metric("auc", 0.75)
mlflow.sklearn.save_model(model, os.environ["TRIMTAB_OUTPUT"] + "/model")
json.dump({"seed": 1}, open(os.environ["TRIMTAB_OUTPUT"] + "/model.json", "w"))
"#;
const LOAD: &str = r#"
import mlflow, numpy
model = mlflow.pyfunc.load_model("models:/fraud@production")
print("answers", model.predict(numpy.array([[0.0], [3.0]])).tolist())
version = mlflow.MlflowClient().get_model_version_by_alias("fraud", "production")
print("auc", mlflow.get_run(version.run_id).data.metrics["auc"])
"#;

#[test]
fn what_production_serves_is_loaded_by_its_alias() {
    let mut w = World::new();
    w.start();
    let python = std::env::var("TRIMTAB_TEST_MLFLOW").expect("TRIMTAB_TEST_MLFLOW names a Python that has mlflow");
    let spec = model("fraud", &w.path("count"), "", SERVED)
        .replace("run = [\"python3\", \"train.py\"]", &format!("run = [\"{python}\", \"train.py\"]"));
    let at = |file: &str| format!("specs/models/fraud/{file}");
    let files = [(at("model.toml"), spec.as_str()), (at("train.py"), TRAIN), (at("serve.py"), SERVE)];
    w.commit("fraud", &files.each_ref().map(|(path, text)| (path.as_str(), Some(*text))));
    w.wait_for("fraud", "version=v1");
    let read = |name: &str| std::fs::read_to_string(w.state().join(name)).unwrap();
    let mut client = python_that_calls(&format!("http://{}", read("tracking")), &read("token"));
    let done = client.args(["-c", LOAD]).output().expect("Python");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        said.contains("answers [0, 1]") && said.contains("auc 0.75"),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// The Python that has `mlflow`, as users set it up for a tracking server.
fn python_that_calls(url: &str, token: &str) -> Command {
    let mut command = python();
    command.env("MLFLOW_TRACKING_URI", url).env("MLFLOW_TRACKING_TOKEN", token).env("MLFLOW_DISABLE_TELEMETRY", "true");
    command
}

//! The local target: real replicas in Python behind a real router, under load, through deaths of everything.

use crate::{
    load::{Client, Load},
    support::eventually,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use trimtab::{
    artifact::FileStore,
    deploy::local::{LocalTarget, LocalTargetConfig, stop_everything},
    model::*,
    ports::{ArtifactStore, Manner, PortError, Target, Wanted, WantedRelease},
    rollout,
};

const SERVER: &str = r#"
import http.server, json, os, signal, sys, time
artifact = open(os.path.join(os.environ["TRIMTAB_ARTIFACT"], "weights")).read()
if artifact == "broken":
    sys.exit("the weights are broken")
sick = False
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def answer(self, status=200, **more):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length).decode()
        out = dict(pid=os.getpid(), version=os.environ["TRIMTAB_VERSION"], artifact=artifact, path=self.path, body=body,
                   cwd=os.getcwd(), secret=os.environ.get("DEPLOY_TEST_SECRET"), clean="CARGO" not in os.environ, **more)
        data = json.dumps(out).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self):
        if self.path.startswith("/slow"):
            time.sleep(float(self.path.split("=")[1]))
        global sick
        sick = sick or self.path == "/sick"
        self.answer(500 if sick and self.path == "/ready" else 200)
    do_POST = do_GET
    def log_message(self, *a): pass
print("serving with", os.environ.get("DEPLOY_TEST_SECRET"), flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

fn name(s: &str) -> Name {
    Name::new(s).unwrap()
}

fn serve(replicas: u32) -> ServeSpec {
    ServeSpec {
        run: Serving::Command(Command::Argv(vec!["python3".into(), "serve.py".into()])),
        replicas,
        ready: "/ready".into(),
        ready_timeout: Millis(20_000),
        drain: Millis(5_000),
        memory: None,
        secrets: vec![],
    }
}

fn release(number: u32) -> Release {
    Release { version: VersionNumber(number), serve: Digest::of(b"serve") }
}

fn manifest(store: &dyn ArtifactStore, path: &str, content: &str) -> Manifest {
    Manifest { files: vec![store.put_bytes(content.as_bytes(), path).unwrap()] }
}

fn version(store: &dyn ArtifactStore, number: u32, weights: &str) -> Version {
    let id = |s: &str| ObjectId(s.into());
    let revision = Revision {
        commit: id("c"),
        tree: id("t"),
        author: "a".into(),
        email: "e".into(),
        summary: "s".into(),
        time: WallMs(0),
    };
    Version {
        model: name("m"),
        number: VersionNumber(number),
        origin: Origin::Pipeline,
        fingerprint: Digest::of(&number.to_le_bytes()),
        revision,
        code_path: "models/m".into(),
        code: Digest::of(b"code"),
        code_files: manifest(store, "serve.py", SERVER),
        params: BTreeMap::new(),
        snapshots: BTreeMap::new(),
        python: None,
        packages: vec![],
        host: "test".into(),
        metrics: BTreeMap::new(),
        stages: vec![],
        artifact: manifest(store, "weights", weights),
        gates: vec![],
        opponent: None,
        created: WallMs(0),
        duration: Millis(0),
    }
}

/// Releases of version `v` with weight `w`.
fn wanted(store: &dyn ArtifactStore, shares: &[(u32, f64)], serve: &ServeSpec, weights: &str) -> Wanted {
    let releases = shares.iter().map(|(number, weight)| WantedRelease {
        release: release(*number),
        version: Arc::new(version(store, *number, weights)),
        serve: serve.clone(),
        weight: *weight,
    });
    Wanted {
        environment: name("production"),
        model: name("m"),
        live: true,
        releases: releases.collect(),
        manner: Manner::default(),
    }
}

fn start(state: &Path, exe: &Path, router: SocketAddr) -> Result<LocalTarget, PortError> {
    LocalTarget::start(LocalTargetConfig {
        state_dir: state.into(),
        exe: exe.into(),
        router_address: router,
        artifacts: Arc::new(FileStore::open(state)?),
        python_bin: Arc::new(|_| Err(PortError::permanent("no Python environments here"))),
        wake: Arc::new(|_, _| {}),
    })
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A state folder with a target; everything is stopped in the end.
struct Rig {
    state: TempDir,
    store: FileStore,
    target: Option<LocalTarget>,
}
impl Rig {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let store = FileStore::open(state.path()).unwrap();
        let target = start(state.path(), exe(), ANY).unwrap();
        Self { state, store, target: Some(target) }
    }
    fn target(&self) -> &LocalTarget {
        self.target.as_ref().unwrap()
    }
    fn apply(&self, shares: &[(u32, f64)], serve: &ServeSpec, weights: &str) {
        self.target().apply(&wanted(&self.store, shares, serve, weights)).unwrap();
    }
    fn address(&self) -> SocketAddr {
        self.target().address().unwrap().strip_prefix("http://").unwrap().parse().unwrap()
    }
    fn replicas(&self) -> Vec<ReplicaStatus> {
        self.target().replicas(&name("production"), &name("m"))
    }
    fn ready(&self, number: u32, count: usize) {
        eventually("replicas ready", Duration::from_secs(30), || {
            let ready = self.replicas().iter().filter(|r| r.release == release(number) && r.ready).count();
            (ready == count).then_some(())
        });
    }
    /// Requests that the release holds, as the router says.
    fn in_flight(&self, number: u32) -> u64 {
        let client = trimtab::route::RouterClient::new(&self.state.path().join("router"));
        let stats = block(client.stats(&name("production"), &name("m"))).unwrap();
        stats.releases.iter().filter(|r| r.release == release(number)).map(|r| r.in_flight).sum()
    }
    /// The first good answer.
    fn call(&self, path: &str) -> serde_json::Value {
        let address = self.address();
        eventually("an answer", Duration::from_secs(10), || {
            let answer = block(async { Client::new(address).get(path).await }).ok()?;
            (answer.status == 200).then(|| serde_json::from_slice(&answer.body).unwrap())
        })
    }
}
impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.target.take());
        stop_everything(self.state.path());
    }
}

fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_trimtab"))
}

fn kill_9(pid: i64) {
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
}

#[test]
fn a_release_is_served_from_its_own_folder_with_a_clean_environment() {
    let rig = Rig::new();
    rig.apply(&[(7, 100.0)], &serve(2), "good");
    rig.ready(7, 2);
    let answer = rig.call("/models/m/predict?x=1");
    assert_eq!(answer["version"], "v7");
    assert_eq!(answer["artifact"], "good");
    assert_eq!(answer["path"], "/predict?x=1");
    assert_eq!(answer["clean"], true);
    assert!(answer["cwd"].as_str().unwrap().ends_with("/code"), "{answer}");
    assert_eq!(rig.call("/environments/production/models/m")["path"], "/");
    let deploy = DeploySpec::at_once(name("production"));
    let now = Now { wall: WallMs(0), steady: SteadyMs(0) };
    let revision = Revision {
        commit: ObjectId("4f1c2ab0".into()),
        tree: ObjectId("7ree".into()),
        author: String::new(),
        email: String::new(),
        summary: String::new(),
        time: WallMs(0),
    };
    let rollout = rollout::start(rollout::Start {
        from: None,
        to: release(7),
        deploy: &deploy,
        analysis: vec![],
        at_once: true,
        revision: &revision,
        now,
    });
    let traffic = rig.target().traffic(&name("production"), &name("m"), &rollout).new;
    assert!(traffic.requests >= 2 && traffic.errors == 0 && traffic.p99_ms > 0.0, "{traffic:?}");
    assert!(rig.target().recent()[&(name("production"), name("m"))].requests_per_s > 0.0);
}

#[test]
fn a_killed_replica_is_healed_and_scaling_keeps_the_others() {
    let rig = Rig::new();
    rig.apply(&[(1, 100.0)], &serve(1), "good");
    rig.ready(1, 1);
    let first = rig.call("/models/m/")["pid"].as_i64().unwrap();
    kill_9(first);
    let second = eventually("another process", Duration::from_secs(20), || {
        rig.replicas()
            .iter()
            .any(|r| r.ready && r.restarts == 1)
            .then(|| rig.call("/models/m/")["pid"].as_i64().unwrap())
    });
    assert_ne!(first, second);
    rig.apply(&[(1, 100.0)], &serve(3), "good");
    rig.ready(1, 3);
    rig.apply(&[(1, 100.0)], &serve(1), "good");
    eventually("one replica left", Duration::from_secs(20), || (rig.replicas().len() == 1).then_some(()));
    assert_eq!(rig.call("/models/m/")["pid"].as_i64(), Some(second));
}

#[test]
fn a_sick_replica_loses_its_traffic_and_is_started_anew() {
    let rig = Rig::new();
    rig.apply(&[(1, 100.0)], &serve(1), "good");
    rig.ready(1, 1);
    let first = rig.call("/models/m/sick")["pid"].as_i64().unwrap();
    let message = eventually("not ready, with a reason", Duration::from_secs(20), || {
        rig.replicas().into_iter().find(|r| !r.ready && r.restarts == 0)?.message
    });
    assert_eq!(message, "/ready answers 500 Internal Server Error");
    eventually("a new process", Duration::from_secs(30), || {
        rig.replicas().iter().any(|r| r.restarts == 1 && r.ready).then_some(())
    });
    assert_ne!(rig.call("/models/m/")["pid"].as_i64(), Some(first));
}

#[test]
fn a_release_that_does_not_come_up_gets_no_traffic_and_says_why() {
    let rig = Rig::new();
    rig.apply(&[(1, 100.0)], &serve(1), "good");
    rig.ready(1, 1);
    let good = wanted(&rig.store, &[(1, 0.0)], &serve(1), "good");
    let mut both = wanted(&rig.store, &[(2, 100.0)], &serve(1), "broken");
    both.releases.extend(good.releases);
    rig.target().apply(&both).unwrap();
    let message = eventually("deaths with a reason", Duration::from_secs(20), || {
        rig.replicas().into_iter().find(|r| r.release == release(2) && r.restarts >= 2)?.message
    });
    assert!(message.contains("exit 1") && message.contains("the weights are broken"), "{message}");
    assert_eq!(rig.call("/models/m/")["version"], "v1");
    // Also when the old one is no longer asked for: there is nothing better.
    rig.apply(&[(2, 100.0)], &serve(1), "broken");
    assert_eq!(rig.call("/models/m/")["version"], "v1");
}

#[test]
fn a_slow_request_ends_before_its_replica_does() {
    let rig = Rig::new();
    rig.apply(&[(1, 100.0)], &serve(1), "good");
    rig.ready(1, 1);
    rig.call("/models/m/");
    let address = rig.address();
    let slow =
        std::thread::spawn(move || block(async { Client::new(address).post("/models/m/slow?s=1.5", "x").await }));
    eventually("the slow request is under way", Duration::from_secs(5), || rig.in_flight(1).eq(&1).then_some(()));
    rig.apply(&[], &serve(1), "good");
    let answer = slow.join().unwrap().unwrap();
    assert_eq!((answer.status, answer.version.as_deref()), (200, Some("v1")));
    eventually("nothing is left", Duration::from_secs(10), || rig.replicas().is_empty().then_some(()));
    let left = std::fs::read_dir(rig.state.path().join("serve/production/m")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn secrets_reach_the_replica_and_no_file() {
    // SAFETY: every test is a process of its own under nextest; under `cargo test` no other test reads this variable.
    unsafe { std::env::set_var("DEPLOY_TEST_SECRET", "s3cr3t-of-deploy") };
    let rig = Rig::new();
    let spec = ServeSpec { secrets: vec!["DEPLOY_TEST_SECRET".into()], ..serve(1) };
    rig.apply(&[(1, 100.0)], &spec, "good");
    rig.ready(1, 1);
    assert_eq!(rig.call("/models/m/")["secret"], "s3cr3t-of-deploy");
    for file in walkdir::WalkDir::new(rig.state.path()).into_iter().flatten().filter(|f| f.file_type().is_file()) {
        let content = std::fs::read(file.path()).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&content).contains("s3cr3t-of-deploy"), "{}", file.path().display());
    }
    let log = trimtab::deploy::local::replica_log(rig.state.path(), &name("production"), &name("m"), &release(1), 0);
    assert!(std::fs::read_to_string(log).unwrap().contains("serving with ***"));
}

#[test]
fn the_router_comes_back_with_its_routes() {
    let rig = Rig::new();
    rig.apply(&[(1, 100.0)], &serve(1), "good");
    rig.ready(1, 1);
    rig.call("/models/m/");
    let before = rig.address();
    let pid = router_pid(rig.state.path());
    kill_9(pid);
    eventually("another router", Duration::from_secs(20), || router_pid_if(rig.state.path()).filter(|p| *p != pid));
    assert_eq!(rig.call("/models/m/")["version"], "v1");
    assert_eq!(rig.address(), before);
    rig.apply(&[(2, 100.0)], &serve(1), "good");
    eventually("the new router is told of changes", Duration::from_secs(20), || {
        (rig.call("/models/m/")["version"] == "v2").then_some(())
    });
}

fn router_pid(state: &Path) -> i64 {
    router_pid_if(state).expect("a router")
}
fn router_pid_if(state: &Path) -> Option<i64> {
    let client = trimtab::route::RouterClient::new(&state.join("router"));
    block(client.identity()).ok().map(|i| i64::from(i.pid))
}

#[test]
fn replicas_and_router_are_adopted_and_what_nobody_wants_ends() {
    let mut rig = Rig::new();
    rig.apply(&[(1, 100.0)], &serve(2), "good");
    rig.ready(1, 2);
    let mut pids: Vec<_> = (0..4).map(|_| rig.call("/models/m/")["pid"].as_i64().unwrap()).collect();
    let router = router_pid(rig.state.path());
    rig.target.take().unwrap().shutdown_keep();
    rig.target = Some(start(rig.state.path(), exe(), ANY).unwrap());
    pids.extend((0..4).map(|_| rig.call("/models/m/")["pid"].as_i64().unwrap()));
    rig.apply(&[(1, 100.0)], &serve(2), "good");
    rig.ready(1, 2);
    pids.extend((0..4).map(|_| rig.call("/models/m/")["pid"].as_i64().unwrap()));
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 2, "no replica was started twice");
    assert_eq!(router_pid(rig.state.path()), router);
    rig.target.take().unwrap().shutdown_keep();
    let gone = rig.state.path().join("serve/staging/other/v1-0123456789ab/code");
    std::fs::create_dir_all(&gone).unwrap();
    rig.target = Some(start(rig.state.path(), exe(), ANY).unwrap());
    rig.target().retain(&[]);
    eventually("the folder of a release that ended unseen", Duration::from_secs(10), || (!gone.exists()).then_some(()));
    for pid in pids {
        eventually("the replica ended", Duration::from_secs(10), || {
            kill(Pid::from_raw(pid as i32), None).is_err().then_some(())
        });
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind(ANY).unwrap();
    let address = taken.local_addr().unwrap();
    let state = tempfile::tempdir().unwrap();
    let e = start(state.path(), exe(), address).err().unwrap();
    assert!(e.message.contains(&format!("port {} is in use", address.port())), "{e}");
    assert!(e.message.contains("--router"), "{e}");
}

/// Switches and kills while requests run.
const SWITCHES: u32 = 20;
const KILLS: u32 = 5;
const REQUESTS: u64 = 20_000;

#[test]
fn no_request_fails_while_versions_switch_and_the_daemon_is_killed() {
    let state = tempfile::tempdir().unwrap();
    let _stop = StopEverything(state.path().into());
    let mut daemon = Daemon::start(state.path());
    daemon.tell("1:100");
    daemon.wait_ready(1);
    let address: SocketAddr = daemon.ask("address").parse().unwrap();
    let load = Load::start(address, "/models/m/predict", 6);
    load.more(100);
    let mut shares = String::from("1:100");
    for switch in 1..=SWITCHES {
        let (old, new) = (switch, switch + 1);
        if switch % (SWITCHES / KILLS) == 0 {
            // In the middle of a switch: the next daemon is told the same and finishes it.
            daemon.tell(&format!("{old}:90 {new}:10"));
            daemon.kill();
            load.more(50);
            daemon = Daemon::start(state.path());
        }
        for step in [format!("{old}:90 {new}:10"), format!("{new}:100 {old}:0"), format!("{new}:100")] {
            shares.clone_from(&step);
            daemon.tell(&shares);
            daemon.wait_ready(new);
            load.more(20);
        }
        load.seen(&format!("v{new}"), Duration::from_secs(20));
    }
    while load.requests() < REQUESTS {
        load.more(1_000);
    }
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:#?}", report.failures);
    assert!(report.requests >= REQUESTS && report.versions.len() > SWITCHES as usize, "{report:?}");
    daemon.kill();
}

struct StopEverything(PathBuf);
impl Drop for StopEverything {
    fn drop(&mut self) {
        stop_everything(&self.0);
    }
}

/// A target in a process of its own, so that it can be killed.
struct Daemon {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}
const STATE: &str = "TRIMTAB_DEPLOY_TEST_STATE";
impl Daemon {
    fn start(state: &Path) -> Self {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["deploy::held_in_a_process_of_its_own", "--exact", "--nocapture"])
            .env(STATE, state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }
    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        let mut answer = String::new();
        loop {
            answer.clear();
            assert_ne!(self.output.read_line(&mut answer).unwrap(), 0, "the daemon ended");
            if let Some(answer) = answer.trim_end().strip_prefix("answer ") {
                return answer.to_owned();
            }
        }
    }
    fn tell(&mut self, shares: &str) {
        assert_eq!(self.ask(&format!("apply {shares}")), "done");
    }
    fn wait_ready(&mut self, number: u32) {
        eventually("the version is ready", Duration::from_secs(30), || {
            (self.ask(&format!("ready {number}")) == "1").then_some(())
        });
    }
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails when it was killed before, as it should be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test of its own: what [`Daemon`] runs. Orders come over standard input.
#[test]
fn held_in_a_process_of_its_own() {
    let Some(state) = std::env::var_os(STATE).map(PathBuf::from) else { return };
    let store = FileStore::open(&state).unwrap();
    let target = start(&state, exe(), ANY).unwrap();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (order, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match order {
            "apply" => {
                let share = |s: &str| s.split_once(':').map(|(v, w)| (v.parse().unwrap(), w.parse().unwrap()));
                let shares: Vec<(u32, f64)> = rest.split(' ').filter_map(share).collect();
                target.apply(&wanted(&store, &shares, &serve(1), "good")).unwrap();
                "done".to_owned()
            }
            "ready" => {
                let number = rest.parse().unwrap();
                let all = target.replicas(&name("production"), &name("m"));
                all.iter().filter(|r| r.ready && r.release == release(number)).count().to_string()
            }
            _ => target.address().unwrap().trim_start_matches("http://").to_owned(),
        };
        println!("answer {answer}");
    }
}

//! What serves stays what was released: changed files, dying replicas, a hung router, upgrades, and requests through all of it.

use crate::{
    load::Load,
    support::{TRAIN, World, eventually, model},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::PathBuf, process::Command, time::Duration};

/// Says who it is; ends at its start while the file `down` lies beside the data.
const SERVER: &str = r#"
import os, signal, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
seed = open(os.environ["TRIMTAB_ARTIFACT"] + "/model.json").read()
if os.path.exists("DOWN") or '"seed": 13,' in seed:
    print("loading")
    sys.exit("cannot load weights: bad magic")
body = ("good %d %s" % (os.getpid(), seed)).encode()
class H(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.wfile.write(b"HTTP/1.1 200 -\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    do_POST = do_GET
    def log_message(self, *a): pass
class S(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
print("serving", flush=True)
S(("127.0.0.1", int(os.environ["PORT"])), H).serve_forever()
"#;

const CANARY: &str = "ready_timeout = \"4s\"\n[[deploy]]\nenvironment = \"production\"\nstrategy = \"canary\"\n\
    steps = [{ weight = 20, hold = \"100ms\" }, { weight = 60, hold = \"100ms\" }]\n";
const AT_ONCE: &str = "[[deploy]]\nenvironment = \"production\"\n";

fn commit(w: &World, seed: u32, deploy: &str) -> git2::Oid {
    let spec =
        model("m", &w.path("count"), &format!(", seed = {seed}"), "[serve]\nrun = [\"python3\", \"serve.py\"]\n");
    let spec = format!("{spec}{deploy}");
    let server = SERVER.replace("DOWN", &w.path("down").display().to_string());
    let files = [("model.toml", spec.as_str()), ("train.py", TRAIN), ("serve.py", &server)];
    let files = files.map(|(name, text)| (format!("specs/models/m/{name}"), text));
    let files: Vec<(&str, Option<&str>)> = files.iter().map(|(p, t)| (p.as_str(), Some(*t))).collect();
    w.commit(&format!("seed {seed}"), &files)
}

fn address(w: &World) -> SocketAddr {
    w.json(&["status"])["router"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap()
}

/// The replica that answers.
fn pid(w: &World) -> i32 {
    let (status, _, body) = w.get("/models/m/x");
    assert_eq!(status, 200, "{body}");
    body.split(' ').nth(1).unwrap().parse().unwrap()
}

fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

fn text(w: &World, args: &[&str]) -> String {
    let out = w.trimtab(args);
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

fn events(w: &World, kind: &str) -> Vec<String> {
    let all = w.json(&["events", "--limit", "1000"]);
    let of = all.as_array().unwrap().iter().filter(|e| e["kind"] == kind);
    of.map(|e| e["message"].as_str().unwrap().to_owned()).collect()
}

fn release_dir(w: &World, version: &str) -> PathBuf {
    let all = fs::read_dir(w.state().join("serve/production/m")).unwrap().flatten();
    let starts = |p: &PathBuf| p.file_name().unwrap().to_string_lossy().starts_with(&format!("{version}-"));
    all.map(|e| e.path()).find(starts).unwrap()
}

#[test]
fn changed_files_of_a_replica_are_laid_out_anew_and_it_is_replaced_without_a_gap() {
    let mut w = World::new();
    commit(&w, 1, AT_ONCE);
    w.start();
    w.wait_for("m", "version=v1");
    let first = pid(&w);
    let load = Load::start(address(&w), "/models/m/x", 4);
    let code = release_dir(&w, "v1").join("code/serve.py");
    let good = fs::read_to_string(&code).unwrap();
    fs::write(&code, good.replace("good", "tampered")).unwrap();
    eventually("another process serves", Duration::from_secs(40), || (pid(&w) != first).then_some(()));
    eventually("the old process ended", Duration::from_secs(20), || kill(Pid::from_raw(first), None).err());
    assert_eq!(fs::read_to_string(&code).unwrap(), good);
    assert!(w.get("/models/m/x").2.starts_with("good"));
    let told = events(&w, "drift_healed");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("code/serve.py was changed on disk"), "{told:?}");
    assert!(w.log().contains("code/serve.py was changed on disk"), "{}", w.log());
    let report = load.stop();
    assert_eq!((report.failed, report.failures), (0, vec![]));
    w.wait_for("m", "healthy");
}

#[test]
fn a_start_checks_what_it_runs_and_a_damaged_store_is_not_served() {
    let mut w = World::new();
    commit(&w, 1, AT_ONCE);
    w.start();
    w.wait_for("m", "version=v1");
    let dir = release_dir(&w, "v1");
    let code = dir.join("code/serve.py");
    fs::write(&code, fs::read_to_string(&code).unwrap().replace("good", "tampered")).unwrap();
    let first = pid(&w);
    kill_9(first);
    let body = eventually("it is started again", Duration::from_secs(20), || {
        Some(w.get("/models/m/x")).filter(|a| a.0 == 200).map(|a| a.2)
    });
    assert!(body.starts_with("good"), "{body}");

    // What was laid out is a copy: the store is not reached through it.
    let weights = dir.join("artifact/model.json");
    assert_eq!(std::os::unix::fs::MetadataExt::nlink(&fs::metadata(&weights).unwrap()), 1);
    let digest = w.json(&["show", "m@v1"])["artifact"]["files"][0]["digest"].as_str().unwrap().to_owned();
    let hex = digest.trim_start_matches("b3:");
    let stored = w.state().join("artifacts").join(&hex[..2]).join(&hex[2..]);
    for file in [&stored, &weights] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(file, "{\"seed\": 666}").unwrap();
    }
    kill_9(pid(&w));
    let said = eventually("the damage is said", Duration::from_secs(20), || {
        Some(text(&w, &["status", "m"])).filter(|t| t.contains("is damaged"))
    });
    assert!(said.contains(hex), "{said}");
    assert_ne!(w.get("/models/m/x").0, 200, "nothing else is served in its place");
}

#[test]
fn a_release_that_dies_is_rejected_with_its_last_words_and_its_log_stays() {
    let mut w = World::new();
    commit(&w, 1, CANARY);
    w.start();
    w.wait_for("m", "version=v1");
    commit(&w, 13, CANARY);
    let said = eventually("the rejection", Duration::from_secs(60), || events(&w, "rollout_aborted").pop());
    assert!(said.contains("before becoming ready: exit 1; last output: cannot load weights: bad magic"), "{said}");
    let status = text(&w, &["status", "m"]);
    assert!(status.contains("cannot load weights: bad magic"), "{status}");
    let died = events(&w, "replica_died");
    assert_eq!(died.len(), 1, "one event for a whole loop: {died:?}");
    assert!(died[0].contains("replica 0 of v2 died: exit 1; last output: cannot load weights"), "{died:?}");
    let log = eventually("its log", Duration::from_secs(20), || {
        let out = w.trimtab(&["logs", "m", "--env", "production", "--rejected"]);
        out.status.success().then(|| String::from_utf8(out.stdout).unwrap())
    });
    assert!(log.contains("loading") && log.contains("bad magic"), "{log}");
    assert!(!text(&w, &["logs", "m", "--env", "production"]).contains("bad magic"), "what serves has its own");
    assert_eq!(w.get("/models/m/x").1, "v1");
}

#[test]
fn a_stable_release_that_loops_says_so_and_who_answers_for_it() {
    let mut w = World::new();
    commit(&w, 1, AT_ONCE);
    w.start();
    w.wait_for("m", "version=v1");
    commit(&w, 2, AT_ONCE);
    w.wait_for("m", "version=v2");
    let second = pid(&w);
    fs::write(w.path("down"), "").unwrap();
    kill_9(second);
    let said = eventually("the old version answers", Duration::from_secs(30), || {
        Some(text(&w, &["status", "m"])).filter(|t| t.contains("v2 (v1 answers)") && t.contains("bad magic"))
    });
    assert!(said.contains("ReplicasNotReady") && said.contains("v2 replica 0: died"), "{said}");
    assert_eq!(w.get("/models/m/x").1, "v1");
    eventually("several deaths", Duration::from_secs(30), || {
        let replicas = &w.json(&["status", "m"])["replicas"][0]["replicas"];
        replicas.as_array().unwrap().iter().any(|r| r["restarts"].as_u64().unwrap() >= 4).then_some(())
    });
    assert!(events(&w, "replica_died").len() <= 2, "a loop is no flood: {:?}", events(&w, "replica_died"));
    fs::remove_file(w.path("down")).unwrap();
    eventually("it recovered", Duration::from_secs(60), || {
        events(&w, "replica_recovered").pop().filter(|_| w.get("/models/m/x").1 == "v2")
    });
    w.wait_for("m", "healthy");
}

fn router_pid(w: &World) -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = trimtab::route::RouterClient::new(&w.state().join("router"));
    runtime.block_on(client.identity()).unwrap().pid as i32
}

#[test]
fn a_router_that_hangs_is_noticed_told_and_replaced() {
    let mut w = World::new();
    commit(&w, 1, AT_ONCE);
    let (api, _) = w.start_tcp();
    w.wait_for("m", "version=v1");
    let before = address(&w);
    let hung = router_pid(&w);
    kill(Pid::from_raw(hung), Signal::SIGSTOP).unwrap();
    eventually("/readyz says so", Duration::from_secs(60), || {
        let answer = reqwest::blocking::get(format!("{api}/readyz")).unwrap();
        let status = answer.status().as_u16();
        (status == 503 && answer.text().unwrap().contains("the router does not answer")).then_some(())
    });
    eventually("another router serves", Duration::from_secs(60), || {
        let answer = reqwest::blocking::get(format!("http://{before}/models/m/x")).ok()?;
        (answer.status() == 200).then_some(())
    });
    assert_ne!(router_pid(&w), hung);
    eventually("/readyz is content", Duration::from_secs(20), || {
        (reqwest::blocking::get(format!("{api}/readyz")).unwrap().status() == 200).then_some(())
    });
    assert!(w.log().contains(&format!("router {hung} hangs")), "{}", w.log());

    // A daemon that finds one that hangs takes its place as well.
    w.kill();
    let hung = router_pid(&w);
    kill(Pid::from_raw(hung), Signal::SIGSTOP).unwrap();
    w.start();
    assert_ne!(router_pid(&w), hung);
    assert_eq!((w.get("/models/m/x").0, address(&w)), (200, before));
}

/// Runs a daemon that cannot start; what it says.
fn refused(w: &World, state: &std::path::Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.args(["daemon", "--branch", "main", "--router", "127.0.0.1:0", "--repo"]).arg(w.path("models.git"));
    let out = command.arg("--data").arg(w.path("data")).arg("--state").arg(state).args(args).output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    assert!(!state.join("router/router.sock").exists(), "no router is left behind");
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn a_daemon_that_cannot_listen_says_what_to_do_and_leaves_nothing() {
    let w = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let said = refused(&w, &w.state(), &["--listen", &taken.local_addr().unwrap().to_string()]);
    assert!(said.contains("in use") && said.contains("--listen"), "{said}");
    let long = w.path(&"long".repeat(30));
    let said = refused(&w, &long, &[]);
    let over = long.canonicalize().unwrap().as_os_str().len() + "/trimtab.sock".len() - 107;
    assert!(said.contains("--state") && said.contains(&format!("at least {over} bytes shorter")), "{said}");
}

const REQUESTS: u64 = 20_000;
const SWITCHES: u32 = 20;

/// Real commits, trainings and canaries through the real daemon, killed in the middle of them.
#[test]
fn no_request_fails_through_twenty_switches_and_five_kills_of_the_daemon() {
    let mut w = World::new();
    commit(&w, 1, CANARY);
    w.start();
    w.wait_for("m", "version=v1");
    let load = Load::start(address(&w), "/models/m/x", 4);
    let mut version = 1;
    for switch in 1..=SWITCHES {
        // A new version by a canary, or the way back; each other new one with a kill in its middle.
        let before = version;
        let wanted = if switch % 2 == 1 {
            version = switch / 2 + 2;
            version
        } else {
            before - 1
        };
        commit(&w, wanted, CANARY);
        if switch % 4 == 1 {
            load.more(20);
            w.kill();
            load.more(50);
            w.start();
        }
        w.wait_for("m", &format!("version=v{wanted}"));
        load.seen(&format!("v{wanted}"), Duration::from_secs(20));
    }
    while load.requests() < REQUESTS {
        load.more(500);
    }
    let switched = events(&w, "promoted").len() + events(&w, "rolled_back").len();
    let report = load.stop();
    assert_eq!((report.failed, &report.failures), (0, &vec![]));
    assert!(report.requests >= REQUESTS, "{report:?}");
    assert!(switched > SWITCHES as usize, "the first and {SWITCHES} more: {switched}");
    assert_eq!(w.trained("count").len(), SWITCHES as usize / 2 + 1, "the ways back trained nothing");
}

/// Settings of the environment: the way back goes through the steps, and the old version is not kept ready.
#[test]
fn the_way_back_may_go_through_the_steps_and_nothing_need_be_kept_warm() {
    let mut w = World::new();
    let settings = "rollback_at_once = false\nkeep_warm = \"0s\"\n";
    let environment = format!("{}{settings}", crate::support::SPECS[1].1);
    w.commit("environment", &[(crate::support::SPECS[1].0, Some(&environment))]);
    commit(&w, 1, CANARY);
    w.start();
    w.wait_for("m", "version=v1");
    let load = Load::start(address(&w), "/models/m/x", 2);
    let first = release_dir(&w, "v1");
    let change = commit(&w, 2, CANARY);
    w.wait_for("m", "version=v2");
    eventually("nothing is kept of v1", Duration::from_secs(30), || (!first.exists()).then_some(()));
    w.revert(change);
    w.wait_for("m", "version=v1");
    let steps = events(&w, "rollout_step");
    assert!(steps.iter().any(|s| s.contains("v1 at 60 %")), "{steps:?}");
    assert_eq!(w.trained("count").len(), 2);
    let report = load.stop();
    assert_eq!((report.failed, report.failures), (0, vec![]));
}

#[test]
fn a_daemon_of_another_binary_adopts_everything_while_requests_go_on() {
    let mut w = World::new();
    commit(&w, 1, AT_ONCE);
    w.start();
    w.wait_for("m", "version=v1");
    let (replica, router) = (pid(&w), router_pid(&w));
    let load = Load::start(address(&w), "/models/m/x", 4);
    load.more(100);
    // Another build of the same program, as an upgrade is.
    let newer = w.path("trimtab-newer");
    let mut bytes = fs::read(&w.exe).unwrap();
    bytes.extend_from_slice(b"another build");
    fs::write(&newer, bytes).unwrap();
    fs::set_permissions(&newer, fs::Permissions::from_mode(0o755)).unwrap();
    w.exe = newer;
    assert_eq!(w.stop(), Some(0));
    load.more(100);
    w.start();
    w.wait_for("m", "healthy");
    load.more(200);
    assert_eq!(pid(&w), replica, "the replica serves on");
    assert_ne!(router_pid(&w), router, "the router is of the new binary");
    eventually("the old router left", Duration::from_secs(30), || kill(Pid::from_raw(router), None).err());
    commit(&w, 2, AT_ONCE);
    w.wait_for("m", "version=v2");
    load.seen("v2", Duration::from_secs(20));
    let report = load.stop();
    assert_eq!((report.failed, report.failures), (0, vec![]));
    let replicas: Value = w.json(&["status", "m"])["replicas"].clone();
    assert!(replicas.to_string().contains("\"ready\":true"), "{replicas}");
}

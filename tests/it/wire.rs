//! The API's contract on the wire: one shape of refusals, streams that resume, a socket that is taken over.

use crate::support::{SERVED, World, model};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    time::Duration,
};

fn open(w: &World, head: &str, body: &str) -> BufReader<UnixStream> {
    let mut socket = UnixStream::connect(w.state().join("trimtab.sock")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let length = body.len();
    let request = format!("{head}\r\nhost: t\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    // A server that refuses a large body may stop reading before it was all sent.
    let _ = socket.write_all(request.as_bytes());
    BufReader::new(socket)
}

/// Status and body.
fn ask(w: &World, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut all = Vec::new();
    let head = format!("{method} {path} HTTP/1.1\r\ncontent-type: application/json");
    // A connection that is cut after the answer is no loss.
    let _ = open(w, &head, body).read_to_end(&mut all);
    let text = String::from_utf8(all).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Reads `id:` lines of a stream until `count` came.
fn ids(stream: &mut BufReader<UnixStream>, count: usize) -> Vec<u64> {
    let mut out = Vec::new();
    let mut line = String::new();
    while out.len() < count {
        line.clear();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the stream ended after {out:?}");
        out.extend(line.strip_prefix("id:").map(|n| n.trim().parse::<u64>().unwrap()));
    }
    out
}

fn newest(w: &World) -> u64 {
    let (_, body) = ask(w, "GET", "/api/v1/events?limit=1", "");
    serde_json::from_str::<Value>(&body).unwrap()[0]["seq"].as_u64().unwrap()
}

#[test]
fn every_refusal_has_one_shape() {
    let mut w = World::new();
    w.start();
    let large = "x".repeat(3 << 20);
    for (method, path, body, status) in [
        ("GET", "/nothing", "", 404),
        ("GET", "/api/v1/models/none", "", 404),
        ("GET", "/api/v1/models/..%2F..%2Fetc", "", 404),
        ("GET", "/api/v1/models/none/versions/v1", "", 404),
        ("GET", "/api/v1/models/none/versions/x", "", 404),
        ("GET", "/api/v1/runs/..%2F..%2Ftoken/log", "", 404),
        ("POST", "/api/v1/models/none/suspend", "", 404),
        ("POST", "/api/v1/models/none/refresh", "", 404),
        ("POST", "/api/v1/models/none/rollback", "{}", 404),
        ("POST", "/api/v1/models/none/rollout/explode", "", 404),
        ("DELETE", "/api/v1/fleet", "", 405),
        ("GET", "/api/v1/sync", "", 405),
        ("GET", "/api/v1/events?after=yesterday", "", 400),
        ("POST", "/api/v1/sync", "{\"prune\": 1}", 400),
        ("POST", "/api/v1/sync", "{\"purge\": true}", 400),
        ("POST", "/api/v1/sync", &large, 413),
        ("POST", "/api/v1/backup", "{\"path\": \"/x\"}", 400),
        ("POST", "/api/v1/backup", "{\"file\": \"relative\"}", 400),
        ("POST", "/webhook", "{}", 403),
    ] {
        let (got, said) = ask(&w, method, path, body);
        assert_eq!(got, status, "{method} {path}: {said}");
        let error = serde_json::from_str::<Value>(&said).unwrap_or_else(|e| panic!("{method} {path}: {e}: {said}"));
        assert!(error["error"].as_str().is_some_and(|e| e.len() > 5), "{method} {path}: {said}");
    }
    assert_eq!(ask(&w, "GET", "/healthz", "").0, 200);
}

#[test]
fn a_stream_resumes_after_the_last_event_that_was_seen_and_goes_on_live() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", ""));
    w.start();
    w.wait_for("fraud", "synced");
    let from = newest(&w);
    // More than one page of what a stream reads from the store at once.
    const MISSED: usize = 1100;
    for n in 0..MISSED {
        let verb = if n % 2 == 0 { "suspend" } else { "resume" };
        assert_eq!(ask(&w, "POST", &format!("/api/v1/models/fraud/{verb}"), "").0, 200);
    }
    let head = format!("GET /api/v1/events?after=0 HTTP/1.1\r\naccept: text/event-stream\r\nlast-event-id: {from}");
    let mut stream = open(&w, &head, "");
    let seen = ids(&mut stream, MISSED);
    assert_eq!(ask(&w, "POST", "/api/v1/models/fraud/suspend", "").0, 200);
    let seen: Vec<u64> = seen.into_iter().chain(ids(&mut stream, 1)).collect();
    let expected: Vec<u64> = (from + 1..).take(MISSED + 1).collect();
    assert_eq!(seen, expected, "none missed, none twice, in order");
}

#[test]
fn who_follows_is_told_that_the_daemon_ended() {
    let mut w = World::new();
    w.start();
    let mut follower = std::process::Command::new(env!("CARGO_BIN_EXE_trimtab"))
        .args(["events", "-f", "--state"])
        .arg(w.state())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("daemon_started"));
    w.commit("words", &[("README.md", Some("hello"))]);
    let live = lines.find(|l| l.as_ref().unwrap().contains("words"));
    assert!(live.is_some(), "it follows");
    assert_eq!(w.stop(), Some(0));
    let out = follower.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(69), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stderr).contains("the daemon ended"));
}

#[test]
fn the_socket_of_a_dead_daemon_is_taken_over() {
    let mut w = World::new();
    w.start();
    w.kill();
    assert!(w.state().join("trimtab.sock").exists());
    let out = w.trimtab(&["status"]);
    assert_eq!(out.status.code(), Some(69), "nobody answers");
    w.start();
    let mode = std::fs::metadata(w.state().join("trimtab.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let left = std::fs::read_dir(w.state()).unwrap().filter_map(Result::ok);
    let left: Vec<_> = left.map(|e| e.file_name()).filter(|n| n.to_string_lossy().starts_with(".s")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn runs_are_listed_and_their_escapes_are_shown_as_text() {
    let mut w = World::new();
    let count = w.path("count");
    let noisy = model("fraud", &count, ", seed = 1", SERVED).replace(
        "run = [\"python3\", \"train.py\"]",
        "run = \"printf '\\\\033[31mgr\\\\303\\\\266\\\\303\\\\237e\\\\n'; python3 train.py\"",
    );
    w.commit_model("fraud", &noisy);
    w.start();
    w.wait_for("fraud", "version=v1");
    let runs = w.json(&["runs", "fraud", "--stages"]);
    let id = runs[0]["id"].as_str().unwrap();
    let table = String::from_utf8(w.trimtab(&["runs", "fraud", "--stages"]).stdout).unwrap();
    assert!(table.contains(id) && table.contains("succeeded"), "{table}");
    let log = String::from_utf8(w.trimtab(&["logs", "fraud", "--run", id]).stdout).unwrap();
    assert!(log.contains("\\u{1b}[31mgröße\n"), "{log:?}");
}

#[test]
fn a_flag_beats_the_environment_and_a_reader_that_goes_away_is_no_crash() {
    let mut w = World::new();
    w.start();
    let trimtab = || std::process::Command::new(env!("CARGO_BIN_EXE_trimtab"));
    let status = |flags: &[&std::ffi::OsStr]| {
        let out = trimtab().args(["status"]).args(flags).env("TRIMTAB_API", "http://127.0.0.1:1").output().unwrap();
        out.status.code()
    };
    assert_eq!(status(&["--state".as_ref(), w.state().as_os_str()]), Some(0));
    assert_eq!(status(&[]), Some(69));
    for command in ["status", "man"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let out = trimtab().arg(command).arg("--state").arg(w.state()).stdout(writer).output().unwrap();
        assert_eq!((out.status.code(), String::from_utf8_lossy(&out.stderr).as_ref()), (Some(141), ""), "{command}");
    }
}

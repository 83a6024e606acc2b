//! What the API says of itself, judged by other people's programs: the OpenAPI document, and real answers against it.

use crate::{
    fleet::{Caller, busy},
    python::judge,
    support::{SERVED, World, model},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    time::{Duration, Instant},
};

/// The document is valid, and so is each answer by the schema that the document names for it.
const VALIDATE: &str = r#"
import json, sys
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
given = json.load(sys.stdin)
document = given["document"]
OpenAPIV31SpecValidator(document).validate()
wrong = []
for a in given["answers"]:
    responses = document["paths"][a["route"]][a["method"]]["responses"]
    response = responses.get(str(a["status"]), responses["default"])
    schema = response["content"][a["media"]]["schema"]
    root = {"components": document["components"], **schema}
    for e in Draft202012Validator(root).iter_errors(a["body"]):
        wrong.append(f'{a["method"]} {a["path"]} {a["status"]}: {e.json_path}: {e.message[:300]}')
print("\n".join(wrong))
sys.exit(bool(wrong))
"#;

#[test]
fn the_fleet_comes_in_pages_and_with_what_needs_a_person_first() {
    let (_w, c) = busy();
    let names = |fleet: &Value| -> Vec<String> {
        fleet["models"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap().to_owned()).collect()
    };
    let whole = c.json("/api/v1/fleet");
    let all = names(&whole);
    assert!(all.len() >= 4 && whole.get("next").is_none(), "{all:?}");
    for limit in [1, 3, all.len() - 1, all.len(), 100] {
        let (mut read, mut path) = (vec![], format!("/api/v1/fleet?limit={limit}"));
        loop {
            let page = c.json(&path);
            assert!(names(&page).len() <= limit, "{page}");
            assert_eq!(page["counts"]["models"], whole["counts"]["models"], "counts are of the whole");
            read.extend(names(&page));
            let Some(last) = page["next"].as_str() else { break };
            assert_eq!(names(&page).last().map(String::as_str), Some(last));
            path = format!("/api/v1/fleet?limit={limit}&after={last}");
        }
        assert_eq!(read, all, "pages of {limit}");
    }
    assert_eq!(names(&c.json("/api/v1/fleet?limit=0")).len(), 1, "a page without room for any would never end");
    let health = |name: &str| c.json(&format!("/api/v1/models/{name}"))["summary"]["health"].clone();
    let urgent = names(&c.json("/api/v1/fleet?urgent=true&limit=2"));
    let is_wrong = |name: &String| health(name) == "Degraded" || health(name) == "Missing";
    assert!(urgent.len() == 2 && urgent.iter().all(is_wrong), "{urgent:?}");
    let mut every = names(&c.json("/api/v1/fleet?urgent=true"));
    every.sort();
    assert_eq!(every, all, "there is room for all of them");
}

#[test]
fn the_document_is_valid_and_real_answers_are_what_it_says() {
    let (_w, c) = busy();
    let document = c.json("/api/v1/openapi.json");
    let run = c.json("/api/v1/models/fraud/runs")[0]["id"].as_str().unwrap().to_owned();
    // Route, path, body, status.
    let log = format!("/api/v1/runs/{run}/log");
    let told = c.json("/api/v1/fleet/summary");
    assert_eq!(told["counts"]["models"].as_u64(), c.json("/api/v1/fleet")["models"].as_array().map(|m| m.len() as u64));
    assert_eq!(told["source"]["branch"], "main");
    let calls = [
        ("get", "/healthz", "/healthz", None, 200),
        ("get", "/readyz", "/readyz", None, 200),
        ("get", "/metrics", "/metrics", None, 200),
        ("get", "/api/v1/openapi.json", "/api/v1/openapi.json", None, 200),
        ("get", "/api/v1/fleet", "/api/v1/fleet", None, 200),
        ("get", "/api/v1/fleet", "/api/v1/fleet?limit=2", None, 200),
        ("get", "/api/v1/fleet", "/api/v1/fleet?limit=x", None, 400),
        ("get", "/api/v1/fleet/summary", "/api/v1/fleet/summary", None, 200),
        ("get", "/api/v1/plan", "/api/v1/plan", None, 200),
        ("get", "/api/v1/plan", "/api/v1/plan?rev=HEAD~1", None, 200),
        ("get", "/api/v1/plan", "/api/v1/plan?rev=nothing", None, 409),
        ("get", "/api/v1/commits", "/api/v1/commits?limit=3", None, 200),
        ("get", "/api/v1/commits/{id}", "/api/v1/commits/HEAD", None, 200),
        ("get", "/api/v1/commits/{id}", "/api/v1/commits/nothing", None, 404),
        ("post", "/api/v1/revert", "/api/v1/revert", Some("{\"commit\": \"HEAD\", \"dry_run\": true}"), 200),
        ("post", "/api/v1/revert", "/api/v1/revert", Some("{}"), 400),
        ("get", "/api/v1/events", "/api/v1/events", None, 200),
        ("get", "/api/v1/events", "/api/v1/events?after=x", None, 400),
        ("get", "/api/v1/models/{name}", "/api/v1/models/fraud", None, 200),
        ("get", "/api/v1/models/{name}", "/api/v1/models/weak", None, 200),
        ("get", "/api/v1/models/{name}", "/api/v1/models/fails", None, 200),
        ("get", "/api/v1/models/{name}", "/api/v1/models/none", None, 404),
        ("get", "/api/v1/models/{name}/versions", "/api/v1/models/fraud/versions", None, 200),
        ("get", "/api/v1/models/{name}/versions/{number}", "/api/v1/models/fraud/versions/v1", None, 200),
        ("get", "/api/v1/models/{name}/versions/{number}", "/api/v1/models/weak/versions/1", None, 200),
        ("get", "/api/v1/models/{name}/runs", "/api/v1/models/fails/runs", None, 200),
        ("get", "/api/v1/models/{name}/overrides", "/api/v1/models/fraud/overrides?before=9&limit=3", None, 200),
        ("get", "/api/v1/models/{name}/overrides", "/api/v1/models/none/overrides", None, 404),
        ("get", "/api/v1/models/{name}/plan", "/api/v1/models/fraud/plan", None, 200),
        ("get", "/api/v1/models/{name}/diff", "/api/v1/models/fraud/diff", None, 200),
        ("get", "/api/v1/runs/{id}/log", &log, None, 200),
        (
            "get",
            "/api/v1/models/{name}/replicas/{environment}/log",
            "/api/v1/models/fraud/replicas/production/log",
            None,
            200,
        ),
        ("post", "/api/v1/sync", "/api/v1/sync", Some("{}"), 200),
        ("post", "/api/v1/sync", "/api/v1/sync", Some("[]"), 400),
        ("post", "/api/v1/gc", "/api/v1/gc", Some("{\"dry_run\": true}"), 200),
        ("post", "/api/v1/backup", "/api/v1/backup", Some("{\"file\": \"/x\"}"), 403),
        ("post", "/api/v1/import", "/api/v1/import", Some("{\"url\": \"ftp://x\"}"), 400),
        ("post", "/api/v1/import", "/api/v1/import", Some("{\"url\": \"http://127.0.0.1:1\", \"from\": 1}"), 400),
        ("post", "/api/v1/models/{name}/refresh", "/api/v1/models/fraud/refresh", None, 200),
        ("post", "/api/v1/models/{name}/suspend", "/api/v1/models/weak/suspend", None, 200),
        ("post", "/api/v1/models/{name}/resume", "/api/v1/models/weak/resume", None, 200),
        ("post", "/api/v1/models/{name}/approve", "/api/v1/models/fraud/approve", None, 400),
        (
            "post",
            "/api/v1/models/{name}/approve",
            "/api/v1/models/fraud/approve",
            Some("{\"name\": \"Ada\", \"email\": \"ada@example.com\"}"),
            409,
        ),
        ("post", "/api/v1/models/{name}/promote", "/api/v1/models/fraud/promote", None, 400),
        ("post", "/api/v1/models/{name}/promote", "/api/v1/models/fraud/promote", Some("{\"reason\": \"x\"}"), 409),
        ("post", "/api/v1/models/{name}/rollout/{verb}", "/api/v1/models/fraud/rollout/pause", None, 200),
        ("post", "/api/v1/models/{name}/rollout/{verb}", "/api/v1/models/fraud/rollout/dance", None, 404),
        ("post", "/api/v1/models/{name}/rollback", "/api/v1/models/fraud/rollback", Some("{\"to\": 99}"), 409),
        ("post", "/api/v1/models/{name}/rollback", "/api/v1/models/fraud/rollback", Some("{}"), 200),
        ("post", "/webhook", "/webhook", Some("{}"), 403),
    ];
    let mut answers = vec![];
    for (method, route, path, body, status) in calls {
        let a = c.call(method, path, body);
        assert_eq!(a.status, status, "{method} {path}: {}", a.body);
        let body = match a.media.as_str() {
            "application/json" => serde_json::from_str(&a.body).unwrap(),
            _ => Value::String(a.body),
        };
        answers.push(
            json!({ "method": method, "route": route, "path": path, "status": status, "media": a.media, "body": body }),
        );
    }
    let seen = |path: &str, field: &str| {
        let a = answers.iter().find(|a| a["path"] == path).unwrap();
        assert!(!a["body"].pointer(field).unwrap_or(&Value::Null).is_null(), "{path} has no {field}: {a}");
    };
    seen("/api/v1/fleet", "/models/2/environments/0/rollout/traffic");
    seen("/api/v1/fleet", "/diagnostics/0/location");
    seen("/api/v1/models/weak/versions/1", "/gates/0/condition");
    seen("/api/v1/models/fails/runs", "/0/status/reason");
    for route in document["paths"].as_object().unwrap().keys() {
        assert!(answers.iter().any(|a| a["route"] == **route), "{route} is never called");
    }
    judge(VALIDATE, &json!({ "document": document, "answers": answers }).to_string());
    // What cannot fail proves nothing.
    let wrong = json!({ "document": document, "answers": [{ "method": "get", "route": "/api/v1/fleet", "path": "", "status": 200,
        "media": "application/json", "body": { "models": [] } }] });
    assert!(std::panic::catch_unwind(|| judge(VALIDATE, &wrong.to_string())).is_err());
}

#[test]
fn over_tcp_a_backup_is_the_answer_and_names_no_file_of_the_daemon() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    let c = Caller::new(w.start_tcp());
    w.wait_for("fraud", "version=v1");
    let planted = w.path("planted");
    let a = c.call("post", "/api/v1/backup", Some(&json!({ "file": planted }).to_string()));
    assert_eq!(a.status, 403, "{}", a.body);
    assert!(!planted.exists());
    let file = w.path("taken");
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_trimtab"))
        .arg("backup")
        .arg(&file)
        .args(["--api", &c.url])
        .env("TRIMTAB_TOKEN", &c.token)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    w.kill();
    let out = w.trimtab(&["restore", file.to_str().unwrap()]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    w.start();
    w.wait_for("fraud", "version=v1");
    assert_eq!(w.trained("count").len(), 1, "the version came from the backup");
    let left = std::fs::read_dir(w.state()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(left.into_iter().all(|n| !n.contains("backup") && !n.starts_with(".tmp")));
}

#[test]
fn a_proxy_of_the_environment_is_not_asked_for_what_is_on_this_machine() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    let (url, token) = w.start_tcp();
    w.wait_for("fraud", "version=v1");
    let body = w.path("body");
    std::fs::write(&body, "{}").unwrap();
    // Nobody listens on port 1.
    let dead = "http://127.0.0.1:1";
    for url in [url.clone(), url.replace("127.0.0.1", "localhost")] {
        let begun = Instant::now();
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_trimtab"))
            .args(["predict", "fraud"])
            .arg(&body)
            .args(["--json", "--api", &url])
            .env("TRIMTAB_TOKEN", &token)
            .envs([("http_proxy", dead), ("HTTP_PROXY", dead), ("ALL_PROXY", dead), ("all_proxy", dead)])
            .env_remove("no_proxy")
            .env_remove("NO_PROXY")
            .output()
            .unwrap();
        let said: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| {
            panic!("{e}: {}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
        });
        assert_eq!(said["version"], "v1", "{said}");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn whoever_listens_is_told_while_requests_come_in_and_once_after_the_last() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    let c = Caller::new(w.start_tcp());
    w.wait_for("fraud", "version=v1");
    let rate = || c.json("/api/v1/fleet")["models"][0]["environments"][0]["requests_per_s"].as_f64().unwrap();
    assert_eq!(w.get("/models/fraud/x").0, 200);
    let request = c.client.get(format!("{}/api/v1/events", c.url)).bearer_auth(&c.token);
    let stream = request.header("accept", "text/event-stream").timeout(Duration::from_secs(60)).send().unwrap();
    let mut told = BufReader::new(stream).lines().map(Result::unwrap).filter(|l| {
        let event = l.strip_prefix("data:").map(|d| serde_json::from_str::<Value>(d).unwrap());
        event.is_some_and(|e| e["kind"] == "model_changed" && e["model"].is_null())
    });
    told.next().unwrap();
    assert!(rate() > 0.0);
    // The window of ten seconds passes: the last word comes when the figure is back at nothing.
    let after = told.take_while(|_| rate() > 0.0).count();
    assert!((2..=7).contains(&after), "{after}");
}

//! MLflow's own web interface: turned on in Git, served from the folder that a Python names, for who may call.

use crate::support::{World, eventually};
use reqwest::{StatusCode, blocking::RequestBuilder};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

struct Ui(String, String);

impl Ui {
    fn of(world: &World) -> Self {
        let read = |name: &str| fs::read_to_string(world.state().join(name)).unwrap();
        Self(format!("http://{}", read("tracking")), read("token"))
    }
    fn get(&self, path: &str) -> RequestBuilder {
        reqwest::blocking::Client::new().get(format!("{}{path}", self.0)).basic_auth("anybody", Some(&self.1))
    }
    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = reqwest::blocking::Client::new().post(format!("{}{path}", self.0)).json(body);
        request.basic_auth("anybody", Some(&self.1))
    }
    /// Status and text of the first page.
    fn front(&self) -> (StatusCode, String) {
        let answer = self.get("/").send().unwrap();
        (answer.status(), answer.text().unwrap())
    }
}

fn turned_on(world: &World, python: &str) {
    let settings = format!("schema = \"trimtab/v1\"\n[ui]\nmlflow = true\npython = \"{python}\"\n");
    world.commit("ui", &[("specs/trimtab.toml", Some(&settings))]);
}

#[test]
fn the_interface_is_turned_on_by_a_commit_and_says_what_is_missing() {
    let mut world = World::new();
    world.start();
    let ui = Ui::of(&world);
    let stranger = reqwest::blocking::get(format!("{}/", ui.0)).unwrap();
    assert_eq!(stranger.status(), 401);
    assert!(stranger.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic"));
    let (status, said) = ui.front();
    assert_eq!(status, 404);
    assert!(said.contains("mlflow = true"), "{said}");

    turned_on(&world, "/nowhere/python");
    let within = Duration::from_secs(30);
    let said = eventually("what is missing is said", within, || {
        let (status, said) = ui.front();
        (status == 404 && said.contains("/nowhere/python")).then_some(said)
    });
    assert!(said.contains("pip install mlflow"), "{said}");
    assert!(world.log().contains("pip install mlflow"), "{}", world.log());

    let build = world.path("build");
    fs::create_dir_all(build.join("static/js")).unwrap();
    fs::write(build.join("index.html"), "<title>MLflow</title>").unwrap();
    fs::write(build.join("static/js/main.js"), "run()").unwrap();
    let python = world.path("python");
    fs::write(&python, format!("#!/bin/sh\necho '{}'\necho 3.17.2\n", build.display())).unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    turned_on(&world, python.to_str().unwrap());
    eventually("the page is served", within, || (ui.front().1 == "<title>MLflow</title>").then_some(()));
    let script = ui.get("/static-files/static/js/main.js").send().unwrap();
    assert_eq!(script.headers()["content-type"], "text/javascript; charset=utf-8");
    let again = ui.get("/static-files/static/js/main.js").header("if-none-match", &script.headers()["etag"]);
    assert_eq!(again.send().unwrap().status(), 304);
    for path in ["/static-files/", "/static-files/static", "/static-files/none.js", "/static-files/..%2Fpython"] {
        assert_eq!(ui.get(path).send().unwrap().status(), 404, "{path}");
    }
}

#[test]
fn a_page_of_another_site_changes_nothing() {
    let mut world = World::new();
    world.start();
    let ui = Ui::of(&world);
    let made = |name: &str, header: (&str, &str)| {
        let request = ui.post("/api/2.0/mlflow/experiments/create", &json!({ "name": name }));
        request.header(header.0, header.1).send().unwrap().status()
    };
    assert_eq!(made("a", ("origin", "http://evil.example")), 403);
    assert_eq!(made("a", ("sec-fetch-site", "cross-site")), 403);
    assert_eq!(made("a", ("origin", &ui.0)), 200);
    assert_eq!(made("b", ("sec-fetch-site", "same-origin")), 200);
}

#[test]
fn queries_in_graphql_are_answered_as_the_rest_api_answers() {
    let mut world = World::new();
    world.start();
    let ui = Ui::of(&world);
    let call = |path: &str, body: Value| ui.post(path, &body).send().unwrap().json::<Value>().unwrap();
    let experiment = call("/api/2.0/mlflow/experiments/create", json!({ "name": "fraud" }))["experiment_id"].clone();
    let new = json!({ "experiment_id": experiment, "run_name": "otter", "start_time": 5 });
    let run = call("/api/2.0/mlflow/runs/create", new)["run"]["info"]["run_id"].clone();
    let point = json!({ "run_id": run, "key": "auc", "value": 0.5, "timestamp": 7, "step": 1 });
    call("/api/2.0/mlflow/runs/log-metric", point);

    let query = "query GetRun($data: MlflowGetRunInput!) @component(name: \"MLflow\") { mlflowGetRun(input: $data) { apiError { code } run { \
                 info { runName startTime endTime status } experiment { name } modelVersions { name } data { metrics { ...point } } } } } \
                 fragment point on MlflowMetric { __typename key value step }";
    let answer = call(
        "/graphql",
        json!({ "query": query, "operationName": "GetRun", "variables": { "data": { "runId": run } } }),
    );
    assert_eq!(answer["errors"], Value::Null, "{answer}");
    assert_eq!(
        answer["data"]["mlflowGetRun"],
        json!({ "apiError": null, "run": {
            "info": { "runName": "otter", "startTime": "5", "endTime": "0", "status": "RUNNING" },
            "experiment": { "name": "fraud" },
            "modelVersions": [],
            "data": { "metrics": [{ "__typename": "MlflowMetricExtension", "key": "auc", "value": 0.5, "step": "1" }] },
        } })
    );
    for (query, why) in [
        ("{ mlflowGetRun(input: {runId: \"0\"}) { run { info { runId } } } }", "not found"),
        ("{ mlflowGetRun(input: {runId: \"0\"}) { nothing } }", "not found"),
        ("{ everything { a } }", "Cannot query field 'everything'"),
        ("{ ...a } fragment a on Query { ...a }", "maximum depth"),
        ("{ mlflowSearchRuns(input: {experimentIds: [\"1\"]}) { runs } }", "selection of subfields"),
    ] {
        let answer = call("/graphql", json!({ "query": query }));
        assert!(answer["errors"][0].as_str().is_some_and(|e| e.contains(why)), "{query}: {answer}");
    }
}

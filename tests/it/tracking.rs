//! The tracking server beside the loop: stages log over HTTP as MLflow's clients do, and what they log counts.

use crate::support::{SERVED, World, model, until};
use serde_json::{Value, json};

/// Logs by MLflow's API alone, with nothing but Python's own library.
const LOGS: &str = r#"
import base64, json, os, urllib.request
def call(path, body):
    request = urllib.request.Request(os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/" + path, json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"])
    return json.load(urllib.request.urlopen(request))
run = os.environ["MLFLOW_RUN_ID"]
call("runs/log-parameter", {"run_id": run, "key": "seed", "value": "one"})
for step in range(3):
    call("runs/log-metric", {"run_id": run, "key": "auc", "value": 0.9 + step / 100, "timestamp": 1000 + step, "step": step})
open(os.environ["TRIMTAB_METRICS"], "a").write('{"loss": 0.5}\n{"loss": 0.25}\n')
json.dump({}, open(os.environ["TRIMTAB_OUTPUT"] + "/model.json", "w"))
"#;

struct Tracking(String, String);

impl Tracking {
    fn of(world: &World) -> Self {
        let read = |name: &str| std::fs::read_to_string(world.state().join(name)).unwrap();
        Self(format!("http://{}", read("tracking")), read("token"))
    }
    fn send(&self, request: reqwest::blocking::RequestBuilder) -> Value {
        let answer = request.bearer_auth(&self.1).send().unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().unwrap());
        answer.json().unwrap()
    }
    fn get(&self, path: &str) -> Value {
        self.send(reqwest::blocking::Client::new().get(format!("{}/api/2.0/mlflow/{path}", self.0)))
    }
    fn post(&self, path: &str, body: &Value) -> Value {
        self.send(reqwest::blocking::Client::new().post(format!("{}/api/2.0/mlflow/{path}", self.0)).json(body))
    }
}

#[test]
fn what_a_stage_logs_over_mlflows_api_is_its_runs_and_gates_judge_by_it() {
    let mut world = World::new();
    world.start();
    let spec = model("fraud", &world.path("count"), ", seed = 1", "[[gate]]\nmetric = \"auc\"\nmin = 0.915\n");
    world.commit(
        "fraud",
        &[("specs/models/fraud/model.toml", Some(&spec)), ("specs/models/fraud/train.py", Some(LOGS))],
    );
    until("a version", || world.trimtab(&["show", "fraud@v1"]).status.success());
    let version = world.json(&["show", "fraud@v1"]);
    assert_eq!(version["metrics"], json!({"auc": 0.92, "loss": 0.25}), "{version}");
    assert_eq!(version["gates"][0]["passed"], true, "{version}");

    let tracking = Tracking::of(&world);
    let experiment = &tracking.get("experiments/get-by-name?experiment_name=fraud")["experiment"];
    let runs = tracking.post("runs/search", &json!({"experiment_ids": [experiment["experiment_id"]]}));
    let run = &runs["runs"][0];
    assert_eq!((&run["info"]["status"], &run["info"]["user_id"]), (&json!("FINISHED"), &json!("Ada")), "{run}");
    let params = run["data"]["params"].as_array().unwrap();
    assert!(params.contains(&json!({"key": "seed", "value": "one"})), "its own word counts: {run}");
    assert!(params.iter().any(|p| p["key"] == "count"), "what it did not log itself is there too: {run}");
    let id = run["info"]["run_id"].as_str().unwrap();
    let values = |key: &str| -> Vec<(f64, i64)> {
        let history = tracking.get(&format!("metrics/get-history?run_id={id}&metric_key={key}"));
        let all = history["metrics"].as_array().unwrap().iter();
        all.map(|m| (m["value"].as_f64().unwrap(), m["step"].as_i64().unwrap())).collect()
    };
    assert_eq!(values("auc"), [(0.9, 0), (0.91, 1), (0.92, 2)]);
    assert_eq!(values("loss"), [(0.5, 0), (0.25, 1)]);
}

#[test]
fn the_tracking_server_keeps_its_place_and_what_was_acknowledged_over_kills() {
    let mut world = World::new();
    world.start();
    let before = Tracking::of(&world);
    let run =
        before.post("runs/create", &json!({"experiment_id": "0", "run_name": "kept"}))["run"]["info"]["run_id"].clone();
    let mut expected = vec![];
    for step in 0..40 {
        let metric = json!({"run_id": run, "key": "m", "value": step, "timestamp": step, "step": step});
        before.post("runs/log-metric", &metric);
        // A client that tries again after a lost answer.
        before.post("runs/log-metric", &metric);
        expected.push(step);
        if step % 10 == 9 {
            world.kill();
            world.start();
        }
    }
    let after = Tracking::of(&world);
    assert_eq!(before.0, after.0, "runs that go on must find it");
    let history = after.get(&format!("metrics/get-history?run_id={}&metric_key=m", run.as_str().unwrap()));
    let steps: Vec<i64> = history["metrics"].as_array().unwrap().iter().map(|m| m["step"].as_i64().unwrap()).collect();
    assert_eq!(steps, expected);
    let run = after.get(&format!("runs/get?run_id={}", run.as_str().unwrap()));
    assert_eq!(run["run"]["data"]["metrics"][0]["value"], 39.0);
}

#[test]
fn the_token_of_runs_opens_the_tracking_server_alone() {
    let mut world = World::new();
    let (api, token) = world.start_tcp();
    let tracking = Tracking::of(&world);
    let of_runs = blake3::hash(format!("trimtab tracking {token}").as_bytes()).to_hex().to_string();
    let client = reqwest::blocking::Client::new();
    let status = |base: &str, path: &str, secret: &str| {
        client.get(format!("{base}{path}")).basic_auth("ada", Some(secret)).send().unwrap().status().as_u16()
    };
    let (fleet, experiment) = ("/api/v1/fleet", "/api/2.0/mlflow/experiments/get?experiment_id=0");
    assert_eq!(status(&api, fleet, &token), 200);
    assert_eq!(status(&api, fleet, &of_runs), 401);
    for base in [&api, &tracking.0] {
        assert_eq!(status(base, experiment, &token), 200);
        assert_eq!(status(base, experiment, &of_runs), 200);
        assert_eq!(status(base, experiment, "guess"), 401);
        assert_eq!(status(base, "/health", "guess"), 200);
    }
    assert_eq!(status(&tracking.0, fleet, &token), 404, "the control API is not there unless it is asked for");
}

/// Users and permissions that Git names.
const ACCESS: &str = r#"schema = "trimtab/v1"
[tracking]
[[tracking.user]]
name = "ada"
secret = "ADA_TOKEN"
[[tracking.user]]
name = "lin"
secret = "LIN_TOKEN"
[[tracking.permission]]
experiment = "secret-*"
level = "none"
[[tracking.permission]]
user = "ada"
experiment = "*"
level = "manage"
[[tracking.permission]]
user = "lin"
experiment = "open"
level = "edit"
[[tracking.permission]]
user = "ada"
model = "*"
level = "edit"
"#;

#[test]
fn what_git_says_users_may_do_is_what_they_may_do() {
    let mut world = World::new();
    world.commit("access", &[("specs/trimtab.toml", Some(ACCESS))]);
    world.start_with(&[("ADA_TOKEN", "ada's own"), ("LIN_TOKEN", "lin's own")]);
    world.wait_api();
    let Tracking(base, _) = Tracking::of(&world);
    let client = reqwest::blocking::Client::new();
    let call = |who: (&str, &str), path: &str, body: &Value| {
        let request = client.post(format!("{base}/api/2.0/mlflow/{path}")).json(body);
        let answer = request.basic_auth(who.0, Some(who.1)).send().unwrap();
        (answer.status().as_u16(), answer.json::<Value>().unwrap())
    };
    let (ada, lin) = (("ada", "ada's own"), ("lin", "lin's own"));
    until("the settings are read", || call(ada, "experiments/search", &json!({"max_results": 1})).0 == 200);
    let made = |name: &str| call(ada, "experiments/create", &json!({ "name": name })).1["experiment_id"].clone();
    let (open, secret) = (made("open"), made("secret-plans"));
    let run = call(ada, "runs/create", &json!({"experiment_id": secret})).1["run"]["info"]["run_id"].clone();
    let metric = json!({"run_id": run, "key": "m", "value": 1, "timestamp": 1});
    for (who, path, body, status) in [
        (lin, "runs/create", json!({"experiment_id": open}), 200),
        (lin, "runs/create", json!({"experiment_id": secret}), 403),
        (lin, "runs/create", json!({"experiment_id": "0"}), 403),
        (lin, "runs/log-metric", metric.clone(), 403),
        (ada, "runs/log-metric", metric, 200),
        (lin, "experiments/delete", json!({"experiment_id": open}), 403),
        (lin, "registered-models/create", json!({"name": "fraud"}), 403),
        (ada, "registered-models/create", json!({"name": "fraud"}), 200),
        (("lin", "ada's own"), "experiments/search", json!({"max_results": 9}), 401),
        (("ada", ""), "experiments/search", json!({"max_results": 9}), 401),
    ] {
        let (found, said) = call(who, path, &body);
        assert_eq!(found, status, "{who:?} {path} {body}: {said}");
    }
    let seen = |who| -> Vec<String> {
        let found = call(who, "experiments/search", &json!({"max_results": 9})).1;
        let all = found["experiments"].as_array().unwrap().iter();
        all.map(|e| e["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(!seen(lin).contains(&"secret-plans".to_owned()) && seen(ada).contains(&"secret-plans".to_owned()));
    let runs = call(lin, "runs/search", &json!({"experiment_ids": [open, secret]})).1;
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "{runs}");

    // What somebody may not see is named as they named it.
    for (path, body, named) in [
        ("experiments/get-by-name", json!({"experiment_name": "secret-plans"}), "experiment `secret-plans`".to_owned()),
        ("experiments/get", json!({"experiment_id": secret}), format!("experiment `{}`", secret.as_str().unwrap())),
        ("runs/get", json!({"run_id": run}), format!("the experiment of run `{}`", run.as_str().unwrap())),
    ] {
        let request = client.get(format!("{base}/api/2.0/mlflow/{path}")).query(&body);
        let said: Value = request.basic_auth(lin.0, Some(lin.1)).send().unwrap().json().unwrap();
        let words = format!("Permission denied: {named} needs the level `read`");
        assert!(said["message"].as_str().unwrap().starts_with(&words), "{path}: {said}");
    }

    // Another commit, other permissions: nothing is restarted.
    world.commit("open", &[("specs/trimtab.toml", Some(&ACCESS.replace("\"none\"", "\"edit\"")))]);
    until("the new settings hold", || call(lin, "runs/create", &json!({"experiment_id": secret})).0 == 200);
}

#[test]
fn settings_that_cannot_work_are_told_by_the_log_and_the_status() {
    let mut world = World::new();
    let other = ACCESS.replace("LIN_TOKEN", "LIN_TOKEN_THAT_NOBODY_SET");
    world.commit("access", &[("specs/trimtab.toml", Some(&other)), ("trimtab.toml", Some(ACCESS))]);
    world.start_with(&[("ADA_TOKEN", "ada's own")]);
    world.wait_api();
    let told = [
        "settings: trimtab.toml:1: `trimtab.toml` is not read: the specs are in `specs/` (move it to `specs/trimtab.toml`; or start \
         the daemon with `--path .`)",
        "settings: specs/trimtab.toml:8: the variable `LIN_TOKEN_THAT_NOBODY_SET` is not set in the daemon's environment: nobody can \
         log in as `lin` (set it, and start the daemon again)",
    ];
    let status = |world: &World| String::from_utf8(world.trimtab(&["status"]).stdout).unwrap();
    until("the status tells it", || told.iter().all(|line| status(&world).matches(line).count() == 1));
    for line in told {
        assert_eq!(world.log().matches(line).count(), 1, "{}", world.log());
    }

    // Two of one name: what was in force before stays, and the second one cannot log in.
    let twice = ACCESS.replace("\"lin\"\nsecret = \"LIN_TOKEN\"", "\"ada\"\nsecret = \"PATH\"");
    world.commit("twice", &[("specs/trimtab.toml", Some(&twice)), ("trimtab.toml", None)]);
    until("it is told", || status(&world).contains("specs: specs/trimtab.toml:7: two users are called `ada`"));
    assert!(!status(&world).contains(told[0]), "{}", status(&world));
    let Tracking(base, _) = Tracking::of(&world);
    let login = |secret: &str| {
        let request =
            reqwest::blocking::Client::new().get(format!("{base}/api/2.0/mlflow/experiments/get?experiment_id=0"));
        request.basic_auth("ada", Some(secret)).send().unwrap().status().as_u16()
    };
    assert_eq!((login("ada's own"), login(&std::env::var("PATH").unwrap())), (200, 401));
}

/// Puts a file where a run's files go.
fn upload(tracking: &Tracking, run: &Value, name: &str, content: &str) {
    let uri = run["info"]["artifact_uri"].as_str().unwrap().trim_start_matches("mlflow-artifacts:/");
    let path = format!("{}/api/2.0/mlflow-artifacts/artifacts/{uri}/{name}", tracking.0);
    let put = reqwest::blocking::Client::new().put(path).body(content.to_owned());
    assert!(put.bearer_auth(&tracking.1).send().unwrap().status().is_success());
}

/// A version of `fraud`, as a client registers it, with a model that has this seed.
fn register(tracking: &Tracking, seed: u32, auc: f64) -> Value {
    let run = tracking.post("runs/create", &json!({"experiment_id": "0", "user_id": "lin"}))["run"].clone();
    upload(tracking, &run, "model/model.json", &format!("{{\"seed\": {seed}}}"));
    tracking
        .post("runs/log-metric", &json!({"run_id": run["info"]["run_id"], "key": "auc", "value": auc, "timestamp": 1}));
    let source = format!("{}/model", run["info"]["artifact_uri"].as_str().unwrap());
    let version = json!({"name": "fraud", "source": source, "run_id": run["info"]["run_id"]});
    tracking.post("model-versions/create", &version)["model_version"].clone()
}

#[test]
fn a_clients_version_is_served_by_a_spec_and_moves_with_its_alias() {
    let mut world = World::new();
    world.start();
    let tracking = Tracking::of(&world);
    tracking.post("registered-models/create", &json!({"name": "fraud"}));
    assert_eq!(register(&tracking, 1, 0.9)["version"], "1");
    let alias = |version: &str| {
        tracking.post("registered-models/alias", &json!({"name": "fraud", "alias": "champion", "version": version}))
    };
    alias("1");
    let history = world.json(&["history", "fraud"]);
    assert_eq!((&history[0]["origin"], &history[0]["metrics"]["auc"]), (&json!("client"), &json!(0.9)), "{history}");

    let spec = "schema = \"trimtab/v1\"\n[model]\nname = \"serving\"\n[[gate]]\nmetric = \"auc\"\nmin = 0.8\n\
                [serve]\nmodel = \"registry:fraud@champion\"\nrun = [\"python3\", \"serve.py\"]\n[[deploy]]\nenvironment = \"production\"\n";
    world.commit_model("serving", spec);
    world.wait_for("serving", "healthy");
    let answer = || world.get("/models/serving/").2;
    assert!(answer().contains("\"seed\": 1"), "{}", answer());
    assert_eq!(world.json(&["show", "serving@v1"])["metrics"]["auc"], 0.9);

    // Two versions later the alias moves, and only then does what serves.
    register(&tracking, 2, 0.95);
    assert_eq!(register(&tracking, 3, 0.7)["version"], "3");
    alias("2");
    until("the new champion serves", || answer().contains("\"seed\": 2"));
    let head = world.head().unwrap();
    assert!(head.message().unwrap().contains("Trimtab-Reason"), "{:?}", head.message());
    let moved = head.id();

    // One that fails the gate does not.
    alias("3");
    until("the gate was judged", || world.json(&["history", "serving"]).as_array().is_some_and(|v| v.len() == 3));
    assert!(answer().contains("\"seed\": 2"), "{}", answer());

    // Git leads back, whatever the alias says.
    let newest = world.head().unwrap().id();
    world.revert(newest);
    world.revert(moved);
    until("the first champion serves again", || answer().contains("\"seed\": 1"));
    assert_eq!(world.json(&["history", "serving"]).as_array().unwrap().len(), 3, "nothing was taken anew");
}

#[test]
fn clients_see_what_environments_serve_as_aliases_and_cannot_move_them() {
    let mut world = World::new();
    world.start();
    world.commit_model("fraud", &model("fraud", &world.path("count"), ", seed = 5", SERVED));
    world.wait_for("fraud", "healthy");
    let tracking = Tracking::of(&world);
    let found = || tracking.get("registered-models/alias?name=fraud&alias=production")["model_version"].clone();
    assert_eq!((&found()["version"], &found()["tags"][0]["value"]), (&json!("1"), &json!("Ada")), "{}", found());
    let uri = tracking.get("model-versions/get-download-uri?name=fraud&version=1")["artifact_uri"].clone();
    let path = uri.as_str().unwrap().trim_start_matches("mlflow-artifacts:/");
    let file = format!("{}/api/2.0/mlflow-artifacts/artifacts/{path}/model.json", tracking.0);
    let model_file: Value =
        reqwest::blocking::Client::new().get(file).bearer_auth(&tracking.1).send().unwrap().json().unwrap();
    assert_eq!(model_file["seed"], 5);

    // A client takes the next number, the loop the one after.
    assert_eq!(register(&tracking, 9, 0.5)["version"], "2");
    let client = reqwest::blocking::Client::new();
    let alias = json!({"name": "fraud", "alias": "production", "version": "2"});
    let refused = client.post(format!("{}/api/2.0/mlflow/registered-models/alias", tracking.0)).json(&alias);
    let refused = refused.bearer_auth(&tracking.1).send().unwrap();
    assert_eq!(refused.status(), 400, "{}", refused.text().unwrap());
    // Nor does a client take a pipeline's version away, or what it is told by.
    let status = |method: reqwest::Method, path: &str, body: Value| {
        let call = client.request(method, format!("{}/api/2.0/mlflow/{path}", tracking.0)).bearer_auth(&tracking.1);
        call.json(&body).send().unwrap().status().as_u16()
    };
    let of_v1 = json!({"name": "fraud", "version": "1", "key": "trimtab.origin", "value": "client"});
    assert_eq!(status(reqwest::Method::DELETE, "model-versions/delete-tag", of_v1.clone()), 403);
    assert_eq!(status(reqwest::Method::POST, "model-versions/set-tag", of_v1.clone()), 403);
    assert_eq!(status(reqwest::Method::DELETE, "model-versions/delete", of_v1), 400);
    world.commit_model("fraud", &model("fraud", &world.path("count"), ", seed = 6", SERVED));
    until("v3 serves", || found()["version"] == "3");
    let origins: Vec<Value> =
        world.json(&["history", "fraud"]).as_array().unwrap().iter().map(|v| v["origin"].clone()).collect();
    assert_eq!(origins, ["pipeline", "client", "pipeline"]);
}

/// Bytes of everything in a folder.
fn size(folder: &std::path::Path) -> u64 {
    let files = walkdir::WalkDir::new(folder).into_iter().flatten();
    files.filter_map(|f| f.metadata().ok()).filter(std::fs::Metadata::is_file).map(|m| m.len()).sum()
}

#[test]
fn a_run_of_a_million_metrics_stays_small_and_is_found() {
    const CALLS: u64 = 1000;
    let mut world = World::new();
    world.start();
    let tracking = Tracking::of(&world);
    let run = tracking.post("runs/create", &json!({"experiment_id": "0", "run_name": "long"}));
    let id = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    // A training that logs ten curves, a thousand values a call, on one connection as clients do.
    let client = reqwest::blocking::Client::new();
    for call in 0..CALLS {
        let metric = |n: u64| {
            let (key, step) = (format!("curve{}", n % 10), call * 100 + n / 10);
            json!({"key": key, "value": 1.0 / (1.0 + step as f64), "timestamp": 1_700_000_000_000 + step, "step": step})
        };
        let body = json!({"run_id": id, "metrics": (0..1000).map(metric).collect::<Vec<_>>()});
        tracking.send(client.post(format!("{}/api/2.0/mlflow/runs/log-batch", tracking.0)).json(&body));
    }
    let found = |filter: &str| {
        let body = json!({"experiment_ids": ["0"], "filter": filter, "order_by": ["metrics.curve3 DESC"]});
        tracking.post("runs/search", &body)["runs"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((found("metrics.curve3 < 0.00002"), found("metrics.curve3 > 0.00002")), (1, 0));
    // The whole history of a curve, by pages.
    let curve = |tracking: &Tracking| {
        let (mut steps, mut token) = (vec![], String::new());
        loop {
            let at = format!("metrics/get-history?run_id={id}&metric_key=curve7&max_results=25000&page_token={token}");
            let page = tracking.get(&at);
            steps.extend(page["metrics"].as_array().unwrap().iter().map(|m| m["step"].as_u64().unwrap()));
            match page["next_page_token"].as_str() {
                Some(next) => token = next.to_owned(),
                None => return steps,
            }
        }
    };
    let all: Vec<u64> = (0..CALLS * 100).collect();
    assert_eq!(curve(&tracking), all);

    // A stop writes all down. Time, step and number of a value alone are 24 bytes; MLflow's table of metrics has the key and the run's id with each.
    world.kill();
    world.start();
    assert_eq!(curve(&Tracking::of(&world)), all);
    world.stop();
    let bytes = size(&world.state().join("db")) + size(&world.state().join("journal"));
    assert!(bytes < 16_000_000, "{bytes} bytes for a million values");
}

//! A server of MLflow's API, trimtab's or MLflow's own: filled, and looked at as a whole, so that two can be compared.

use serde_json::{Map, Value, json};

pub struct Peer {
    pub url: String,
    pub token: String,
    client: reqwest::blocking::Client,
}

const API: &str = "/api/2.0/mlflow";
const FILES: &str = "/api/2.0/mlflow-artifacts/artifacts";

impl Peer {
    pub fn new(url: &str, token: &str) -> Self {
        let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
        Self { url: url.to_owned(), token: token.to_owned(), client }
    }

    /// The tracking server of a daemon.
    pub fn of(state: &std::path::Path) -> Self {
        let read = |name: &str| std::fs::read_to_string(state.join(name)).unwrap();
        Self::new(&format!("http://{}", read("tracking")), &read("token"))
    }

    pub fn send(&self, request: reqwest::blocking::RequestBuilder) -> Value {
        let answer = request.bearer_auth(&self.token).send().unwrap();
        let (status, text) = (answer.status(), answer.text().unwrap());
        assert!(status.is_success(), "{status}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub fn get(&self, path: &str) -> Value {
        self.send(self.client.get(format!("{}{API}/{path}", self.url)))
    }

    pub fn post(&self, path: &str, body: Value) -> Value {
        self.send(self.client.post(format!("{}{API}/{path}", self.url)).json(&body))
    }

    pub fn patch(&self, path: &str, body: Value) -> Value {
        self.send(self.client.patch(format!("{}{API}/{path}", self.url)).json(&body))
    }

    /// Puts a file below an artifact URI.
    pub fn upload(&self, uri: &str, name: &str, content: &str) {
        let folder = uri.trim_start_matches("mlflow-artifacts:/");
        self.send(self.client.put(format!("{}{FILES}/{folder}/{name}", self.url)).body(content.to_owned()));
    }

    /// An experiment, made when it is not there.
    pub fn experiment(&self, name: &str) -> String {
        let found = self.experiments();
        let there = found.iter().find(|e| e["name"] == name).map(|e| e["experiment_id"].clone());
        let id = there.unwrap_or_else(|| {
            let tags = json!([{"key": "team", "value": "risk"}]);
            self.post("experiments/create", json!({"name": name, "tags": tags}))["experiment_id"].clone()
        });
        id.as_str().unwrap().to_owned()
    }

    /// A run that is over, with metrics of so many steps, a file of its own and one that all have; its id and where its files are.
    pub fn run(&self, experiment: &str, name: &str, steps: usize) -> (String, String) {
        let tags = json!([{"key": "mlflow.user", "value": "ada"}, {"key": "colour", "value": "grün"}]);
        let new =
            json!({"experiment_id": experiment, "run_name": name, "start_time": 1_700_000_000_000i64, "tags": tags});
        let info = self.post("runs/create", new)["run"]["info"].clone();
        let (id, uri) =
            (info["run_id"].as_str().unwrap().to_owned(), info["artifact_uri"].as_str().unwrap().to_owned());
        self.post("runs/log-parameter", json!({"run_id": id, "key": "depth", "value": steps.to_string()}));
        self.steps(&id, 0, steps);
        let dataset = json!({"name": "numbers", "digest": "d1", "source_type": "local", "source": "{}", "schema": "s"});
        let context = json!([{"key": "mlflow.data.context", "value": "training"}]);
        self.post("runs/log-inputs", json!({"run_id": id, "datasets": [{"tags": context, "dataset": dataset}]}));
        self.upload(&uri, "notes/own file.txt", name);
        self.upload(&uri, "common.txt", "the same in all");
        self.post("runs/update", json!({"run_id": id, "status": "FINISHED", "end_time": 1_700_000_009_000i64}));
        (id, uri)
    }

    pub fn steps(&self, run: &str, from: usize, to: usize) {
        let point = |step: usize| json!({"key": "loss", "value": 1.0 / (step + 1) as f64, "timestamp": 1000 + step, "step": step});
        let all: Vec<Value> = (from..to).map(point).collect();
        for metrics in all.chunks(1000) {
            self.post("runs/log-batch", json!({"run_id": run, "metrics": metrics}));
        }
    }

    /// A version of a registered model that a run made, by way of a logged model; its number and the logged model's id.
    pub fn version(&self, name: &str, experiment: &str, run: &str) -> (String, String) {
        let new = json!({"experiment_id": experiment, "name": "model", "source_run_id": run,
            "params": [{"key": "alpha", "value": "1"}], "tags": [{"key": "kind", "value": "tree"}]});
        let info = self.post("logged-models", new)["model"]["info"].clone();
        let id = info["model_id"].as_str().unwrap().to_owned();
        self.post(
            "runs/log-metric",
            json!({"run_id": run, "key": "auc", "value": 0.9, "timestamp": 5, "step": 1, "model_id": id}),
        );
        self.post("runs/outputs", json!({"run_id": run, "models": [{"model_id": id, "step": 1}]}));
        self.upload(info["artifact_uri"].as_str().unwrap(), "MLmodel", &format!("flavors: {{}}\nrun_id: {run}\n"));
        self.patch(&format!("logged-models/{id}"), json!({"model_id": id, "status": "LOGGED_MODEL_READY"}));
        let tags = json!([{"key": "reviewed", "value": "yes"}]);
        let source = format!("models:/{id}");
        let new = json!({"name": name, "source": source, "run_id": run, "model_id": id, "tags": tags, "description": "a tree"});
        let version = self.post("model-versions/create", new)["model_version"]["version"].clone();
        (version.as_str().unwrap().to_owned(), id)
    }

    pub fn alias(&self, name: &str, alias: &str, version: &str) {
        self.post("registered-models/alias", json!({"name": name, "alias": alias, "version": version}));
    }

    /// Experiments, runs and models of all kinds.
    pub fn fill(&self, runs: usize) {
        let (churn, other) = (self.experiment("churn"), self.experiment("other"));
        for n in 0..runs {
            self.run(&churn, &format!("churn {n}"), 5 + n);
        }
        let (long, _) = self.run(&other, "long", 2500);
        let nan = json!({"run_id": long, "key": "odd", "value": "NaN", "timestamp": 1, "step": 0});
        self.post("runs/log-metric", nan);
        let (gone, _) = self.run(&other, "gone", 3);
        self.post("runs/delete", json!({"run_id": gone}));
        let started = json!({"experiment_id": other, "run_name": "goes on", "start_time": 1_700_000_000_500i64});
        let going = self.post("runs/create", started)["run"]["info"]["run_id"].as_str().unwrap().to_owned();
        self.steps(&going, 0, 4);
        let tags = json!([{"key": "owner", "value": "lin"}]);
        self.post("registered-models/create", json!({"name": "churn", "description": "who leaves", "tags": tags}));
        self.version("churn", &other, &long);
        self.version("churn", &other, &long);
        self.version("churn", &other, &long);
        // A number that was given out and is free.
        let body = json!({"name": "churn", "version": "2"});
        self.send(self.client.delete(format!("{}{API}/model-versions/delete", self.url)).json(&body));
        self.alias("churn", "champion", "3");
        let stage = json!({"name": "churn", "version": "1", "stage": "Archived", "archive_existing_versions": false});
        self.post("model-versions/transition-stage", stage);
    }

    /// The run of this name.
    pub fn named(&self, name: &str) -> Value {
        let all: Vec<Value> = self.experiments().iter().flat_map(|e| self.runs_of(e)).collect();
        all.into_iter().find(|r| r["info"]["run_name"] == name).unwrap_or_else(|| panic!("no run {name}"))
    }

    pub fn experiments(&self) -> Vec<Value> {
        list(self.post("experiments/search", json!({"view_type": "ALL", "max_results": 1000})), "experiments")
    }

    pub fn runs_of(&self, experiment: &Value) -> Vec<Value> {
        let search = json!({"experiment_ids": [experiment["experiment_id"]], "run_view_type": "ALL", "max_results": 1000,
            "order_by": ["attributes.start_time ASC", "attributes.run_id ASC"]});
        list(self.post("runs/search", search), "runs")
    }

    pub fn versions(&self, name: &str) -> Vec<Value> {
        let found = self.get(&format!("model-versions/search?filter=name%3D%27{name}%27&max_results=1000"));
        let mut all = list(found, "model_versions");
        all.sort_by_key(|v| v["version"].as_str().unwrap().parse::<u64>().unwrap());
        all
    }

    /// Files below an artifact URI with their contents.
    pub fn files(&self, uri: &str) -> Map<String, Value> {
        let root = uri.trim_start_matches("mlflow-artifacts:/").to_owned();
        let (mut found, mut folders) = (Map::new(), vec![String::new()]);
        while let Some(folder) = folders.pop() {
            let request =
                self.client.get(format!("{}{FILES}", self.url)).query(&[("path", format!("{root}/{folder}"))]);
            for entry in list(self.send(request), "files") {
                let path = format!("{folder}{}", entry["path"].as_str().unwrap());
                if entry["is_dir"] == true {
                    folders.push(format!("{path}/"));
                    continue;
                }
                let file = self.client.get(format!("{}{FILES}/{root}/{path}", self.url)).bearer_auth(&self.token);
                found.insert(path, file.send().unwrap().text().unwrap().into());
            }
        }
        found
    }

    fn run_whole(&self, run: &Value) -> Value {
        let (info, data) = (&run["info"], &run["data"]);
        let id = info["run_id"].as_str().unwrap();
        let mut histories = Map::new();
        for metric in list(data.clone(), "metrics") {
            let key = metric["key"].as_str().unwrap();
            let found = self.get(&format!("metrics/get-history?run_id={id}&metric_key={key}"));
            let value = |m: &Value| json!([m["value"], m["timestamp"], m["step"]]);
            histories.insert(key.to_owned(), list(found, "metrics").iter().map(value).collect());
        }
        json!({
            "id": id, "name": info["run_name"], "user": info["user_id"], "status": info["status"], "start": info["start_time"],
            "end": info["end_time"], "lifecycle": info["lifecycle_stage"], "params": sorted(&data["params"]),
            "tags": sorted(&data["tags"]), "latest": sorted(&data["metrics"]), "histories": histories,
            "inputs": run["inputs"], "outputs": run["outputs"], "files": self.files(info["artifact_uri"].as_str().unwrap()),
        })
    }

    fn logged_whole(&self, model: &Value) -> Value {
        let (info, data) = (&model["info"], &model["data"]);
        let mut metrics = list(data.clone(), "metrics");
        metrics.iter_mut().for_each(|m| m.as_object_mut().unwrap().retain(|k, _| k != "model_id"));
        json!({
            "id": info["model_id"], "name": info["name"], "status": info["status"], "run": info["source_run_id"],
            "created": info["creation_timestamp_ms"], "tags": sorted(&info["tags"]), "params": sorted(&data["params"]),
            "metrics": metrics, "files": self.files(info["artifact_uri"].as_str().unwrap()),
        })
    }

    fn model_whole(&self, model: &Value) -> Value {
        let name = model["name"].as_str().unwrap();
        let version = |v: &Value| {
            json!({"version": v["version"], "created": v["creation_timestamp"], "stage": v["current_stage"], "run": v["run_id"],
                "description": v["description"], "source": v["source"], "tags": sorted(&v["tags"])})
        };
        json!({
            "name": name, "created": model["creation_timestamp"], "description": model["description"],
            "tags": sorted(&model["tags"]), "aliases": model["aliases"],
            "versions": self.versions(name).iter().map(version).collect::<Vec<_>>(),
        })
    }

    /// All that there is, without what another server may give otherwise.
    pub fn whole(&self) -> Value {
        let mut experiments = Map::new();
        for experiment in self.experiments() {
            let search = json!({"experiment_ids": [experiment["experiment_id"]], "max_results": 50});
            let mut logged = list(self.post("logged-models/search", search), "models");
            logged.sort_by_key(|m| m["info"]["model_id"].to_string());
            let runs: Vec<Value> = self.runs_of(&experiment).iter().map(|r| self.run_whole(r)).collect();
            let logged: Vec<Value> = logged.iter().map(|m| self.logged_whole(m)).collect();
            let whole = json!({"tags": sorted(&experiment["tags"]), "lifecycle": experiment["lifecycle_stage"],
                "runs": runs, "logged": logged});
            experiments.insert(experiment["name"].as_str().unwrap().to_owned(), whole);
        }
        let models = list(self.get("registered-models/search?max_results=1000"), "registered_models");
        let models: Vec<Value> = models.iter().map(|m| self.model_whole(m)).collect();
        json!({"experiments": experiments, "models": models})
    }
}

fn list(mut answer: Value, field: &str) -> Vec<Value> {
    match answer[field].take() {
        Value::Array(all) => all,
        _ => vec![],
    }
}

fn sorted(pairs: &Value) -> Vec<Value> {
    let mut all = pairs.as_array().cloned().unwrap_or_default();
    all.sort_by_key(|p| p["key"].to_string());
    all
}

/// Two states are the same; where they are not, the first place is told.
pub fn same(a: &Value, b: &Value) {
    differ("", a, b);
}

fn differ(path: &str, a: &Value, b: &Value) {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let keys: std::collections::BTreeSet<&String> = x.keys().chain(y.keys()).collect();
            keys.into_iter().for_each(|k| differ(&format!("{path}/{k}"), &a[k], &b[k]));
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            x.iter().zip(y).enumerate().for_each(|(n, (x, y))| differ(&format!("{path}/{n}"), x, y));
        }
        _ => assert_eq!(a, b, "at {path}"),
    }
}

/// A daemon mirrors to a peer, which `turn` kills and starts again; the daemon is killed, too. In the end all is there once.
pub fn mirrored_over_everything(peer: &Peer, turn: &mut dyn FnMut(bool)) {
    use crate::support::{SERVED, World, eventually, model};
    // MLflow takes its time.
    let until = |what: &str, holds: &mut dyn FnMut() -> bool| {
        eventually(what, std::time::Duration::from_secs(180), || holds().then_some(()));
    };
    let mut world = World::new();
    let spec = |world: &World, seed: u32| model("fraud", &world.path("count"), &format!(", seed = {seed}"), SERVED);
    let env = [("MIRROR_TOKEN", peer.token.as_str())];
    let up = |world: &mut World| {
        world.start_with(&env);
        world.wait_api();
    };
    up(&mut world);
    world.commit_model("fraud", &spec(&world, 1));
    world.wait_for("fraud", "version=v1");
    // Only now: settings that come are taken up.
    let secret = if peer.token.is_empty() { "" } else { "secret = \"MIRROR_TOKEN\"\n" };
    let settings = format!("schema = \"trimtab/v1\"\n[registry]\nmlflow = \"{}\"\n{secret}", peer.url);
    world.commit("mirror", &[("specs/trimtab.toml", Some(&settings))]);
    let served = |number: &str| {
        let path = format!("{}{API}/registered-models/alias?name=fraud&alias=production", peer.url);
        let answer = peer.client.get(path).bearer_auth(&peer.token).send().ok()?;
        let version = answer.json::<Value>().ok()?["model_version"].clone();
        let is = version["tags"].as_array()?.iter().any(|t| t["key"] == "trimtab.version" && t["value"] == number);
        is.then_some(version)
    };
    until("the first version is mirrored", &mut || served("1").is_some());
    let version = served("1").unwrap();
    let run = peer.get(&format!("runs/get?run_id={}", version["run_id"].as_str().unwrap()))["run"].clone();
    assert_eq!(run["info"]["status"], "FINISHED", "{run}");
    assert!(list(run["data"].clone(), "metrics").iter().any(|m| m["key"] == "score" && m["value"] == 1.0), "{run}");
    assert!(list(run["data"].clone(), "params").contains(&json!({"key": "seed", "value": "1"})), "{run}");
    assert!(list(run["data"].clone(), "tags").iter().any(|t| t["key"] == "trimtab.run"), "{run}");
    let files = peer.files(run["info"]["artifact_uri"].as_str().unwrap());
    assert!(files["v1/model.json"].as_str().unwrap().contains("\"seed\": 1"), "{files:?}");

    // While the other server is away, the loop goes on.
    turn(false);
    world.commit_model("fraud", &spec(&world, 2));
    world.wait_for("fraud", "version=v2");
    let error = || world.json(&["status"])["mirror_error"].as_str().unwrap_or_default().to_owned();
    until("the status says that the mirror is behind", &mut || error().contains("1 version behind"));
    turn(true);
    until("the second version is mirrored", &mut || served("2").is_some());
    until("the status is quiet again", &mut || error().is_empty());
    let kinds: Vec<Value> = world.json(&["events"]).as_array().unwrap().iter().map(|e| e["kind"].clone()).collect();
    assert!(kinds.contains(&json!("mirror_failed")) && kinds.contains(&json!("mirror_recovered")), "{kinds:?}");

    // The daemon dies while it pushes, wherever it is.
    world.commit_model("fraud", &spec(&world, 3));
    world.wait_for("fraud", "version=v3");
    for pause in [0, 30, 80, 150] {
        std::thread::sleep(std::time::Duration::from_millis(pause));
        world.kill();
        up(&mut world);
    }
    until("the third version is mirrored", &mut || served("3").is_some());
    let versions = peer.versions("fraud");
    assert_eq!(versions.len(), 3, "no doubles: {versions:?}");
    let experiment = peer.experiments().into_iter().find(|e| e["name"] == "fraud").unwrap();
    let runs = peer.runs_of(&experiment);
    assert_eq!(runs.len(), 3, "no doubles: {runs:?}");
}

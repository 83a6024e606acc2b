//! What words name, asked of a daemon's stand-in.

use super::{find::*, wire::Tracking};
use crate::{
    api::client::{Client, Endpoint},
    cli::fail::Failure,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

/// Two runs whose ids begin alike, and one that is alone.
const IDS: [&str; 3] =
    ["126f79327bc840b69df07a4bed4d202a", "abcdef10000000000000000000000000", "abcdef20000000000000000000000000"];

fn run(id: &str) -> Value {
    json!({"info": {"run_id": id, "experiment_id": "1", "run_name": format!("run-{}", &id[..7]), "status": "FINISHED",
        "start_time": 1}, "data": {}})
}

fn version(number: usize) -> Value {
    let run = [IDS[0], "", "gone"][number - 1];
    json!({"name": "fraud-detector", "version": number.to_string(), "creation_timestamp": 1, "current_stage": "None",
        "source": "s3://elsewhere", "run_id": run})
}

/// One experiment and one registered model with three versions, of which `champion` is the first.
fn answer(path: &str, body: &Value) -> Option<Value> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let of = |name: &str| query.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v);
    let experiment = json!({"experiment_id": "1", "name": "churn", "last_update_time": 1});
    let is_model = of("name") == "fraud-detector";
    match path.strip_prefix("/api/2.0/mlflow/").unwrap_or(path) {
        "experiments/get-by-name" => (of("experiment_name") == "churn").then(|| json!({"experiment": experiment})),
        "experiments/get" => (of("experiment_id") == "1").then(|| json!({"experiment": experiment})),
        "experiments/search" => Some(json!({"experiments": [experiment]})),
        "runs/get" => IDS.iter().find(|id| **id == of("run_id")).map(|id| json!({"run": run(id)})),
        "runs/search" => {
            let begin = body["filter"].as_str()?.strip_prefix("attributes.run_id LIKE '")?.strip_suffix("%'")?;
            let found: Vec<Value> = IDS.iter().filter(|id| id.starts_with(begin)).map(|id| run(id)).collect();
            Some(json!({"runs": found}))
        }
        "registered-models/get" => {
            let aliases = json!([{"alias": "champion", "version": "1"}]);
            is_model.then(|| json!({"registered_model": {"name": "fraud-detector", "aliases": aliases}}))
        }
        "registered-models/alias" => {
            (is_model && of("alias") == "champion").then(|| json!({"model_version": version(1)}))
        }
        "registered-models/search" => Some(json!({"registered_models": [{"name": "fraud-detector"}]})),
        "model-versions/get" => {
            let number = of("version").parse().ok().filter(|n| is_model && (1..=3).contains(n))?;
            Some(json!({"model_version": version(number)}))
        }
        "model-versions/search" => {
            assert_eq!(of("filter"), "name='fraud-detector'");
            Some(json!({"model_versions": [version(3), version(2), version(1)]}))
        }
        "/api/v1/models/young" => Some(json!({})),
        _ => None,
    }
}

async fn serve(mut stream: UnixStream) {
    let mut text = Vec::new();
    let whole = loop {
        let mut piece = [0; 4096];
        let n = stream.read(&mut piece).await.unwrap();
        text.extend_from_slice(&piece[..n]);
        let said = String::from_utf8_lossy(&text).to_lowercase();
        let Some((head, body)) = said.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|l| l.strip_prefix("content-length:")).map_or(0, |n| n.trim().parse().unwrap());
        if body.len() >= length {
            break String::from_utf8(text).unwrap();
        }
    };
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let (status, body) = match answer(path, &serde_json::from_str(body).unwrap_or_default()) {
        Some(found) => (200, found),
        None => (404, json!({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"})),
    };
    let body = body.to_string();
    let said = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    stream.write_all(said.as_bytes()).await.unwrap();
}

/// Asks the stand-in.
async fn with<T>(ask: impl AsyncFnOnce(Tracking) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon = async {
        loop {
            serve(listener.accept().await.unwrap().0).await;
        }
    };
    tokio::select! {
        told = ask(Tracking(Client::new(Endpoint::Socket(socket)))) => told,
        () = daemon => unreachable!(),
    }
}

fn said(failure: Failure) -> String {
    format!("{failure:?}")
}

#[tokio::test]
async fn a_word_is_an_experiment_a_run_or_a_registered_model() {
    let told = |word: &'static str| with(async move |tracking| meant(&tracking, word).await);
    for word in ["churn", "1"] {
        assert!(matches!(told(word).await, Ok(Meant::Experiment(e)) if e.name == "churn"), "{word}");
    }
    for word in [IDS[0], "126f79", "126f793…", "fraud-detector@v1", "fraud-detector@champion"] {
        assert!(matches!(told(word).await, Ok(Meant::Run(run)) if run.run_id == IDS[0]), "{word}");
    }
    let Ok(Meant::Model(runs)) = told("fraud-detector").await else { panic!("no model") };
    assert_eq!(runs, ["gone", IDS[0]], "in the order of versions, the newest first");
    for (word, why) in [
        ("chrun", "there is no experiment, run or registered model `chrun`; did you mean `churn`?"),
        ("fraud-detecto", "or registered model `fraud-detecto`; did you mean `fraud-detector`?"),
        ("2", "no experiment, run or registered model `2`; there is `churn`, `fraud-detector`"),
        ("126f7", "registered model `126f7`"),
    ] {
        let failure = said(told(word).await.err().unwrap());
        assert!(failure.contains(why), "{word}: {failure}");
    }
}

#[tokio::test]
async fn what_cannot_be_compared_is_told_with_what_can() {
    let told = |word: &'static str| with(async move |tracking| super::find::run(&tracking, word).await);
    assert_eq!(told("fraud-detector@1").await.unwrap().run_id, IDS[0]);
    for (word, why) in [
        (
            "abcdef",
            "the ids of several runs begin with abcdef: write more of one\\n  abcdef10000000000000000000000000  run-",
        ),
        ("fraud-detector@v2", "fraud-detector@v2 names no run that it came from; its source is s3://elsewhere"),
        ("fraud-detector@v3", "the run gone that fraud-detector@v3 came from is not there any more"),
        ("fraud-detector@v9", "fraud-detector has no version `v9`; there is v3, v2, v1, champion (v1)"),
        ("fraud-detector@best", "fraud-detector has no alias `best`; there is v3, v2, v1, champion (v1)"),
        ("fraud-detectr@v1", "there is no registered model `fraud-detectr`; did you mean `fraud-detector`?"),
        ("young@v1", "young has no version yet: `trimtab status young`"),
        ("fraud-detector", "is a model: name a version, as in fraud-detector@v7; there is v3"),
        ("churn", "churn is an experiment: `trimtab runs churn` lists the ids"),
        ("nope", "there is no run `nope`"),
    ] {
        let failure = said(told(word).await.err().unwrap());
        assert!(failure.contains(why), "{word}: {failure}");
    }
}

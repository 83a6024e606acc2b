//! What goes over the wire.

use super::{
    super::burst::{answered_with, asked},
    *,
};
use crate::{
    api::client::{Client, Endpoint},
    tui::tracked::fetch,
};
use serde_json::{Value, json};
use tokio::net::UnixListener;

/// Asks a daemon that gives these answers, one after the other; what it was asked for.
async fn with<T>(answers: Vec<(u16, Value)>, ask: impl AsyncFnOnce(Client) -> T) -> (T, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon = async {
        let mut paths = vec![];
        for (status, body) in answers {
            let (path, stream) = asked(&listener).await;
            paths.push(path);
            answered_with(status, stream, &body).await;
        }
        paths
    };
    tokio::join!(ask(Client::new(Endpoint::Socket(socket))), daemon)
}

fn known() -> (u16, Value) {
    (200, json!({"experiment": {"experiment_id": "7", "name": "fraud"}}))
}

fn document(id: &str) -> Value {
    json!({"info": {"run_id": id, "run_name": "train", "status": "PAUSED", "start_time": 1, "lifecycle_stage": "active"},
        "data": {"metrics": [{"key": "auc", "value": "NaN", "timestamp": 5, "step": 2}], "params": [{"key": "depth", "value": "6"}]},
        "inputs": {}})
}

#[tokio::test]
async fn an_experiment_that_is_not_there_is_no_error_and_a_filter_that_is_none_is_told() {
    let asked_for = Wish { experiment: "a b&c".into(), filter: "auc >".into(), ..Wish::default() };
    let ask = async |client: Client| fetch::runs(&client, asked_for.clone()).await.unwrap();
    let none = json!({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"});
    let (told, paths) = with(vec![(404, none)], ask).await;
    assert!(matches!(told, Told::Runs(_, Ok(found)) if found == Found::default()));
    assert_eq!(paths, ["/api/2.0/mlflow/experiments/get-by-name?experiment_name=a+b%26c"]);
    let words = json!({"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid clause(s)"});
    let (told, _) = with(vec![known(), (400, words)], ask).await;
    assert!(matches!(told, Told::Runs(_, Err(words)) if words == "Invalid clause(s)"));
    let page = json!({"runs": [document("a"), document("b")], "next_page_token": "t"});
    let (told, paths) = with(vec![known(), (200, json!({"runs": [document("a")]})), (200, page)], ask).await;
    let Told::Runs(_, Ok(found)) = told else { panic!("{told:?}") };
    assert_eq!((found.runs.len(), found.next.as_deref(), found.newest), (2, Some("t"), Some(RunId("a".into()))));
    assert_eq!(found.runs[0].status, Status::Unknown, "a word of a newer daemon");
    assert!(found.runs[0].metrics["auc"].value.0.is_nan());
    assert_eq!(paths[1..], ["/api/2.0/mlflow/runs/search"; 2]);
}

#[tokio::test]
async fn experiments_are_asked_for_at_once() {
    let ask = async |client: Client| fetch::experiments(&client).await.unwrap();
    let one = json!({"experiment_id": "7", "name": "fraud", "last_update_time": 5, "lifecycle_stage": "active"});
    let (told, paths) = with(vec![(200, json!({"experiments": [one]}))], ask).await;
    let fraud = Experiment { id: "7".into(), name: "fraud".into(), updated: 5 };
    assert!(matches!(told, Told::Experiments(all) if all == [fraud]));
    assert_eq!(paths, ["/api/2.0/mlflow/experiments/search"]);
    let (told, _) = with(vec![(200, json!({}))], ask).await;
    assert!(matches!(told, Told::Experiments(all) if all.is_empty()), "what is empty is left out");
}

#[tokio::test]
async fn histories_of_one_metric_are_one_call() {
    let newest = Newest { value: Figure(1.0), step: 1, time: 1 };
    let want = |run: &str| Want { run: RunId(run.into()), key: "val/auc".into(), mark: Mark { newest, ended: None } };
    let point =
        |run: &str, step: i64| json!({"key": "val/auc", "value": 0.5, "timestamp": 3, "step": step, "run_id": run});
    let history = json!({"metrics": [point("a", 0), point("a", 1), point("b", 4)]});
    let ask = async |client: Client| fetch::curves(&client, vec![want("a"), want("b")]).await.unwrap();
    let (told, paths) = with(vec![(200, history)], ask).await;
    let Told::Curves(curves) = told else { panic!("{told:?}") };
    let steps: Vec<Vec<i64>> = curves.iter().map(|(_, points)| points.iter().map(|p| p.step).collect()).collect();
    assert_eq!(steps, [vec![0, 1], vec![4]]);
    let query = "run_ids=a&run_ids=b&metric_key=val%2Fauc&max_results=200";
    assert_eq!(paths, [format!("/api/2.0/mlflow/metrics/get-history-bulk-interval?{query}")]);
    let ask = async |client: Client| fetch::whole(&client, vec![RunId("a".into())]).await.unwrap();
    let (told, _) = with(vec![(200, json!({"run": document("a")}))], ask).await;
    assert!(matches!(told, Told::Whole(runs) if runs[0].params["depth"] == "6" && runs[0].tags.is_empty()));
}

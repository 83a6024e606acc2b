use super::*;
use crate::{
    model::tracking::ErrorCode,
    ports::Clock,
    process::SystemClock,
    search::{OnDataset, OrderBy},
    tracking::{NewModel, NewRun, NewVersion, Point},
};
use std::sync::Arc;

struct World {
    _dir: tempfile::TempDir,
    tracker: Tracker,
    run: String,
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::continuing(None));
    let tracker = Tracker::open(Store::open(dir.path()).unwrap(), clock).unwrap();
    let new = NewRun { experiment: "0".into(), ..NewRun::default() };
    let run = tracker.create_run(new).await.unwrap().id().to_owned();
    World { _dir: dir, tracker, run }
}

impl World {
    async fn model(&self, name: &str) -> String {
        let source_run_id = self.run.clone();
        let new =
            NewLoggedModel { experiment: "0".into(), name: name.into(), source_run_id, ..NewLoggedModel::default() };
        self.tracker.create_logged_model(new).await.unwrap().id
    }

    async fn log(&self, model: &str, value: f64, step: i64, dataset: Option<&str>) -> Tracked<()> {
        let point = Point { key: "acc".into(), value, timestamp: 5, step };
        let of_model = ModelPoint {
            key: "acc".into(),
            value,
            timestamp: 5,
            step,
            run_id: self.run.clone(),
            dataset_name: dataset.map(str::to_owned),
            dataset_digest: dataset.map(|_| "d".to_owned()),
        };
        self.tracker.log_metric(&self.run, point, Some((model.to_owned(), of_model))).await
    }

    fn metrics(&self, model: &str) -> Vec<(i64, f64)> {
        let (_, points) = self.tracker.logged_model_with_metrics(model, false).unwrap();
        points.into_iter().map(|p| (p.step, p.value)).collect()
    }

    fn search(&self, query: LoggedQuery) -> (Vec<String>, Option<String>) {
        let query = LoggedQuery { experiments: vec!["0".into()], ..query };
        let (found, next) = self.tracker.search_logged_models(&query).unwrap();
        (found.into_iter().map(|(m, _)| m.name).collect(), next)
    }
}

#[tokio::test]
async fn metrics_belong_to_the_run_and_to_the_model() {
    let w = world().await;
    let id = w.model("m").await;
    w.log(&id, 0.5, 0, Some("iris")).await.unwrap();
    // The same row again, as after a lost answer.
    w.log(&id, 0.5, 0, Some("iris")).await.unwrap();
    w.log(&id, f64::NAN, 1, None).await.unwrap();
    w.log(&id, f64::INFINITY, 2, None).await.unwrap();
    assert_eq!(w.metrics(&id), [(0, 0.5), (1, 0.0), (2, f64::MAX)]);
    assert_eq!(w.log(&id, 0.6, 0, Some("iris")).await.unwrap_err().code, ErrorCode::BadRequest);
    assert_eq!(w.log("m-none", 0.6, 0, None).await.unwrap_err().code, ErrorCode::BadRequest);
    let run = w.tracker.run(&w.run).unwrap();
    assert_eq!(run.metrics().map(|m| m.step).collect::<Vec<_>>(), [2]);
    w.tracker.read_logged_model_again(&id).unwrap();
    assert_eq!(w.metrics(&id), [(0, 0.5), (1, 0.0), (2, f64::MAX)]);
}

#[tokio::test]
async fn params_are_set_once_and_tags_are_not() {
    let w = world().await;
    let id = w.model("m").await;
    let one = |k: &str, v: &str| vec![(k.to_owned(), v.to_owned())];
    w.tracker.log_model_params(&id, one("p", "1")).await.unwrap();
    assert_eq!(w.tracker.log_model_params(&id, one("p", "1")).await.unwrap_err().code, ErrorCode::BadRequest);
    w.tracker.tag_logged_model(&id, one("t", "1")).await.unwrap();
    w.tracker.tag_logged_model(&id, one("t", "2")).await.unwrap();
    w.tracker.finalize_logged_model(&id, ModelStatus::Ready).await.unwrap();
    w.tracker.read_logged_model_again(&id).unwrap();
    let model = w.tracker.logged_model(&id).unwrap();
    assert_eq!((model.status, &*model.tags["t"], &*model.params["p"]), (ModelStatus::Ready, "2", "1"));
    assert_eq!(model.artifact_uri, format!("mlflow-artifacts:/0/models/{id}/artifacts"));
    w.tracker.untag_logged_model(&id, "t").await.unwrap();
    let missing = w.tracker.untag_logged_model(&id, "t").await.unwrap_err();
    assert_eq!(missing.message, format!("No tag with key 't' found for model with ID '{id}'."));
}

#[tokio::test]
async fn deleted_ones_are_shown_to_those_who_ask() {
    let w = world().await;
    let id = w.model("m").await;
    w.tracker.delete_logged_model(&id).await.unwrap();
    assert_eq!(w.tracker.logged_model(&id).unwrap_err().code, ErrorCode::ResourceDoesNotExist);
    assert!(w.tracker.logged_model_with_metrics(&id, true).is_ok());
    assert!(w.search(LoggedQuery::default()).0.is_empty());
}

#[tokio::test]
async fn searches_page_through_one_order() {
    let w = world().await;
    let mut ids = vec![];
    for (name, value) in [("a", 0.3), ("b", 0.1), ("c", 0.2)] {
        let id = w.model(name).await;
        w.log(&id, value, 0, Some(if name == "a" { "iris" } else { "wine" })).await.unwrap();
        ids.push(id);
    }
    let by_acc =
        OrderBy { field_name: "metrics.acc".into(), ascending: true, dataset_name: None, dataset_digest: None };
    let query = |page_token: &str| LoggedQuery {
        max_results: 2,
        order_by: vec![by_acc.clone()],
        page_token: page_token.into(),
        ..LoggedQuery::default()
    };
    let (first, next) = w.search(query(""));
    let next = next.unwrap();
    assert_eq!(first, ["b", "c"]);
    assert_eq!(w.search(query(&next)), (vec!["a".to_owned()], None));
    let other = LoggedQuery { experiments: vec!["0".into()], page_token: next, ..LoggedQuery::default() };
    assert_eq!(w.tracker.search_logged_models(&other).unwrap_err().code, ErrorCode::InvalidParameterValue);
    let on = LoggedQuery { datasets: vec![OnDataset { name: "iris".into(), digest: None }], ..LoggedQuery::default() };
    assert_eq!(w.search(on).0, ["a"]);
}

#[tokio::test]
async fn a_model_lists_the_versions_that_it_became() {
    let w = world().await;
    let id = w.model("m").await;
    w.tracker.create_model(NewModel { name: "reg".into(), ..NewModel::default() }).await.unwrap();
    for _ in 0..2 {
        let new = NewVersion {
            name: "reg".into(),
            source: format!("models:/{id}"),
            model_id: Some(id.clone()),
            ..NewVersion::default()
        };
        let made = w.tracker.create_version(new).await.unwrap();
        assert_eq!(made.version.run_id.as_ref(), Some(&w.run));
        assert_eq!(made.version.location(), format!("mlflow-artifacts:/0/models/{id}/artifacts"));
    }
    let listed = r#"[{"name": "reg", "version": 1}, {"name": "reg", "version": 2}]"#;
    assert_eq!(w.tracker.logged_model(&id).unwrap().tags["mlflow.modelVersions"], listed);
}

#[tokio::test]
async fn names_and_experiments_are_checked() {
    let w = world().await;
    for (experiment, name) in [("0", "a/b"), ("0", "a'b"), ("x", "a")] {
        let new = NewLoggedModel { experiment: experiment.into(), name: name.into(), ..NewLoggedModel::default() };
        let refused = w.tracker.create_logged_model(new).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidParameterValue, "{name}");
    }
    let none = NewLoggedModel { experiment: "99".into(), ..NewLoggedModel::default() };
    assert_eq!(w.tracker.create_logged_model(none).await.unwrap_err().code, ErrorCode::ResourceDoesNotExist);
}

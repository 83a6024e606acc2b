use super::*;
use crate::{
    model::Digest,
    ports::{Claims, Taken},
    process::SystemClock,
    store::Store,
    tracking::NewRun,
};
use std::{collections::BTreeMap, sync::Arc};

struct World {
    dir: tempfile::TempDir,
    tracker: Tracker,
}

fn open(dir: &tempfile::TempDir) -> Tracker {
    let store = Store::open(dir.path()).unwrap();
    Tracker::open(store, Arc::new(SystemClock::continuing(None))).unwrap()
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let tracker = open(&dir);
    World { dir, tracker }
}

fn trace(id: &str, started: i64) -> Trace {
    let tags =
        BTreeMap::from([(NAME.to_owned(), format!("call {}", started % 2)), ("n".to_owned(), started.to_string())]);
    Trace { id: id.into(), started, duration: Some(started * 10), state: TraceState::Ok, tags, ..Trace::default() }
}

impl World {
    fn search(&self, filter: &str, order_by: &[&str], most: i64) -> Tracked<Vec<String>> {
        let order_by: Vec<String> = order_by.iter().map(|o| (*o).to_owned()).collect();
        let mut query = TraceQuery { filter: filter.into(), max_results: most, order_by, page_token: String::new() };
        let mut ids = vec![];
        loop {
            let (page, next) = self.tracker.search_traces(&["0".into(), "1".into()], &query)?;
            assert!(page.len() as i64 <= most);
            ids.extend(page.into_iter().map(|t| t.id));
            match next {
                Some(token) => query.page_token = token,
                None => return Ok(ids),
            }
        }
    }
}

#[tokio::test]
async fn traces_are_found_the_newest_first_and_by_what_is_known_of_them() {
    let mut w = world();
    w.tracker.create_experiment("other", "", vec![]).await.unwrap();
    for n in 1..=9 {
        let experiment = u64::from(n % 3 == 0);
        w.tracker.put_trace(Trace { experiment, ..trace(&format!("tr-{n}"), n) }).await.unwrap();
    }
    w.tracker.put_trace(trace("tr-5b", 5)).await.unwrap();
    let run = NewRun { id: Some("r".into()), experiment: "0".into(), ..NewRun::default() };
    w.tracker.create_run(run).await.unwrap();
    w.tracker.link_traces(&["tr-4".into(), "none".into()], "r").await.unwrap();
    drop(w.tracker);
    w.tracker = open(&w.dir);
    let newest = ["tr-9", "tr-8", "tr-7", "tr-6", "tr-5", "tr-5b", "tr-4", "tr-3", "tr-2", "tr-1"];
    for most in [1, 3, 100] {
        assert_eq!(w.search("", &[], most).unwrap(), newest, "{most}");
    }
    for (filter, order_by, found) in [
        ("timestamp_ms > 7", &[][..], &["tr-9", "tr-8"][..]),
        ("name = 'call 0' AND execution_time < 50", &["timestamp ASC"], &["tr-2", "tr-4"]),
        ("tags.n = '3'", &[], &["tr-3"]),
        ("run_id = 'r'", &[], &["tr-4"]),
        ("status = 'ERROR'", &[], &[]),
        ("request_id = 'tr-5b'", &[], &["tr-5b"]),
    ] {
        assert_eq!(w.search(filter, order_by, 2).unwrap(), found, "{filter}");
    }
    assert!(w.search("span.name = 'x'", &[], 2).unwrap_err().message.contains("not supported"));
    assert_eq!(w.search("", &[], 501).unwrap_err().code.status(), 400);
}

#[tokio::test]
async fn what_is_sent_again_completes_a_trace_and_tags_change_one_at_a_time() {
    let w = world();
    let tracker = &w.tracker;
    let first = tracker.put_trace(trace("tr-1", 5)).await.unwrap();
    assert_eq!(first.tags["mlflow.artifactLocation"], "mlflow-artifacts:/0/traces/tr-1/artifacts");
    let again = Trace {
        tags: BTreeMap::from([("more".to_owned(), "1".to_owned()), (LOCATION.to_owned(), "file:///etc".to_owned())]),
        ..trace("tr-1", 6)
    };
    let both = tracker.put_trace(again).await.unwrap();
    assert_eq!((both.tags["n"].as_str(), both.tags["more"].as_str(), both.started), ("5", "1", 6));
    assert_eq!(both.tags[LOCATION], first.tags[LOCATION], "the server alone says where its files are");
    assert_eq!(w.search("", &[], 10).unwrap(), ["tr-1"], "it stands in one place");

    let set = (0..50).map(|n| tracker.set_trace_tag("tr-1", format!("t{n}"), "x"));
    futures::future::try_join_all(set).await.unwrap();
    let known = tracker.trace("tr-1").unwrap();
    assert_eq!(known.tags.keys().filter(|k| k.starts_with('t')).count(), 50);
    tracker.delete_trace_tag("tr-1", "t0".into()).await.unwrap();
    let gone = tracker.delete_trace_tag("tr-1", "t0".into()).await.unwrap_err();
    assert_eq!(
        (gone.code.status(), gone.message.as_str()),
        (404, "No trace tag with key 't0' for trace with ID 'tr-1'")
    );
    for (key, status) in [(LOCATION, 400), ("mlflow.trace.spansLocation", 400), ("a/../b", 400)] {
        assert_eq!(tracker.set_trace_tag("tr-1", key.into(), "x").await.unwrap_err().code.status(), status, "{key}");
    }
    let ended =
        TraceEnd { ended: 106, state: TraceState::Error, metadata: vec![("m".into(), "1".into())], tags: vec![] };
    let ended = tracker.end_trace("tr-1", ended).await.unwrap();
    assert_eq!((ended.duration, ended.state, ended.metadata["m"].as_str()), (Some(100), TraceState::Error, "1"));
    for bad in ["", "..", "a/b", "a b", "é"] {
        assert_eq!(tracker.put_trace(trace(bad, 1)).await.unwrap_err().code.status(), 400, "{bad}");
    }
    assert_eq!(tracker.put_trace(Trace { experiment: 9, ..trace("tr-2", 1) }).await.unwrap_err().code.status(), 404);
    assert_eq!(tracker.trace("none").unwrap_err().message, "Trace with ID 'none' not found.");
}

#[tokio::test]
async fn deleted_traces_take_their_files_along() {
    let w = world();
    let path = |id: &str| ArtifactPath::new(&format!("0/traces/{id}/artifacts/traces.json")).unwrap();
    for n in 1..=5 {
        let id = format!("tr-{n}");
        w.tracker.put_trace(trace(&id, n)).await.unwrap();
        assert!(w.tracker.check_upload(&path(&id)).is_ok());
        let taken = Taken { digest: Digest::of(b"x"), size: 1, hold: Arc::new(Claims::default()).hold() };
        w.tracker.put_artifact(&path(&id), taken, None).unwrap().await.unwrap();
    }
    assert!(w.tracker.check_upload(&path("tr-9")).is_err());
    let until = |until, most| Unwanted { until: Some(until), most, ..Unwanted::default() };
    assert_eq!(w.tracker.delete_traces(until(4, Some(2))).await.unwrap(), 2);
    assert_eq!(w.search("", &[], 10).unwrap(), ["tr-5", "tr-4", "tr-3"], "the oldest went");
    assert!(w.tracker.artifact_file(&path("tr-1")).is_err() && w.tracker.artifact_file(&path("tr-3")).is_ok());
    let ids = |ids: &[&str]| Unwanted { ids: ids.iter().map(|i| (*i).to_owned()).collect(), ..Unwanted::default() };
    assert_eq!(w.tracker.delete_traces(ids(&["tr-5", "tr-1", "none"])).await.unwrap(), 1);
    assert_eq!(w.tracker.delete_traces(until(i64::MAX, None)).await.unwrap(), 2);
    assert_eq!(w.search("", &[], 10).unwrap(), [""; 0]);
    for which in [Unwanted::default(), Unwanted { until: Some(1), ..ids(&["x"]) }, until(1, Some(0))] {
        assert_eq!(w.tracker.delete_traces(which).await.unwrap_err().code.status(), 400);
    }
}

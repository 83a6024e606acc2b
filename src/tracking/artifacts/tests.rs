use super::*;
use crate::{
    ports::{Claims, Clock},
    process::SystemClock,
    store::Store,
    tracking::NewRun,
};
use std::sync::Arc;

struct World {
    _dir: tempfile::TempDir,
    store: Store,
    tracker: Tracker,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::continuing(None));
    let tracker = Tracker::open(store.clone(), clock).unwrap();
    World { _dir: dir, store, tracker }
}

fn path(text: &str) -> ArtifactPath {
    ArtifactPath::new(text).unwrap()
}

fn taken(size: u64) -> Taken {
    Taken { digest: Digest::of(&size.to_le_bytes()), size, hold: Arc::new(Claims::default()).hold() }
}

impl World {
    async fn put(&self, to: &str, size: u64) -> Tracked<bool> {
        self.tracker.put_artifact(&path(to), taken(size), None)?.await
    }
    fn list(&self, folder: &str) -> Vec<(String, Option<u64>)> {
        let all = self.tracker.list_artifacts(&path(folder)).unwrap();
        all.into_iter().map(|l| (l.name, l.size)).collect()
    }
    fn names(&self, folder: &str) -> Vec<String> {
        self.list(folder).into_iter().map(|(name, _)| name).collect()
    }
}

#[tokio::test]
async fn a_folder_lists_what_stands_in_it_by_name() {
    let w = world();
    for (n, file) in ["a.txt", "a/x", "a/y/z", "a-b", "B", "ünï/模型 1", "zz"].iter().enumerate() {
        w.put(&format!("0/r/artifacts/{file}"), n as u64).await.unwrap();
    }
    w.put("0/r2/artifacts/other", 9).await.unwrap();
    let root = w.list("0/r/artifacts");
    let expected = [("B", Some(4)), ("a", None), ("a-b", Some(3)), ("a.txt", Some(0)), ("zz", Some(6)), ("ünï", None)];
    assert_eq!(root, expected.map(|(n, s)| (n.to_owned(), s)));
    assert_eq!(w.list("0/r/artifacts/a"), [("x".to_owned(), Some(1)), ("y".to_owned(), None)]);
    assert_eq!(w.names("0/r/artifacts/ünï"), ["模型 1"]);
    assert_eq!(w.names(""), ["0"]);
    assert_eq!(w.names("0"), ["r", "r2"]);
    for nothing in ["0/r/artifacts/zz", "0/r/artifacts/none", "9"] {
        assert_eq!(w.names(nothing), [""; 0], "{nothing}");
    }
}

#[tokio::test]
async fn folders_inside_are_not_read() {
    let w = world();
    w.put("0/r/artifacts/sub/0", 1).await.unwrap();
    w.put("0/r/artifacts/tail", 2).await.unwrap();
    let unreadable = Batch::new().put_tracked_bytes(Table::Artifact, "0/r/artifacts/sub/1", b"no record");
    w.store.commit(unreadable).unwrap();
    assert_eq!(w.names("0/r/artifacts"), ["sub", "tail"]);
    assert!(w.tracker.list_artifacts(&path("0/r/artifacts/sub")).is_err());
}

#[tokio::test]
async fn a_file_stands_where_no_folder_is_and_the_reverse() {
    let w = world();
    let coming = w.tracker.put_artifact(&path("0/r/artifacts/a/b"), taken(1), None).unwrap();
    for _ in 0..2 {
        let folder = w.put("0/r/artifacts/a", 2).await.unwrap_err();
        assert_eq!(folder, is_folder("0/r/artifacts/a"));
        let file = w.put("0/r/artifacts/a/b/c", 2).await.unwrap_err();
        assert!(file.message.contains("a file, not a directory: '0/r/artifacts/a/b'"), "{file}");
    }
    coming.await.unwrap();
    assert!(w.put("0/r/artifacts/a", 2).await.is_err() && w.put("0/r/artifacts/a/b/c", 2).await.is_err());
    assert!(!w.put("0/r/artifacts/a/b", 1).await.unwrap(), "the same content");
    assert!(w.put("0/r/artifacts/a/b", 3).await.unwrap(), "another");
    assert_eq!(w.tracker.artifact_file(&path("0/r/artifacts/a/b")).unwrap().size, 3);
    let refused = w.tracker.artifact_file(&path("0/r/artifacts/a")).unwrap_err();
    assert_eq!(refused, is_folder("0/r/artifacts/a"));
    let missing = w.tracker.artifact_file(&path("0/r/artifacts/c")).unwrap_err();
    assert_eq!((missing.message.as_str(), missing.code.status()), ("No such artifact: '0/r/artifacts/c'", 404));
}

#[tokio::test]
async fn what_is_deleted_goes_with_all_in_it_and_with_what_is_on_its_way() {
    let w = world();
    for file in ["d/1", "d/2/3", "d0", "d.x"] {
        w.put(&format!("0/r/artifacts/{file}"), 1).await.unwrap();
    }
    let coming = w.tracker.put_artifact(&path("0/r/artifacts/d/4"), taken(1), None).unwrap();
    w.tracker.delete_artifacts(&path("0/r/artifacts/d")).unwrap().await.unwrap();
    coming.await.unwrap();
    assert_eq!(w.names("0/r/artifacts"), ["d.x", "d0"]);
    w.tracker.delete_artifacts(&path("0/r/artifacts/d.x")).unwrap().await.unwrap();
    w.tracker.delete_artifacts(&path("0/r/artifacts/none")).unwrap().await.unwrap();
    assert_eq!(w.names("0/r/artifacts"), ["d0"]);
    w.put("0/r/artifacts/d", 2).await.unwrap();
}

#[tokio::test]
async fn a_file_goes_only_below_the_files_of_something() {
    let w = world();
    let run = NewRun { id: Some("r".into()), experiment: "0".into(), ..NewRun::default() };
    w.tracker.create_run(run).await.unwrap();
    let said = |p: &str| w.tracker.check_upload(&path(p)).map_err(|e| (e.code.status(), e.message));
    assert_eq!(said("0/r/artifacts/x"), Ok(()));
    assert_eq!(said("0/r/artifacts").unwrap_err().0, 400);
    for nobody in ["0/r2/artifacts/x", "1/r/artifacts/x", "0/r/x/artifacts/x", "1/models/m/artifacts/x"] {
        assert_eq!(said(nobody).unwrap_err().0, 404, "{nobody}");
    }
    let (status, words) = said("0/x").unwrap_err();
    assert!(status == 400 && words.starts_with("Invalid artifact path: '0/x'"), "{words}");
}

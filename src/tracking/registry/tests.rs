use super::*;
use crate::{
    model::tracking::ErrorCode,
    ports::Clock,
    process::SystemClock,
    tracking::{Here, Mark, NewRun, Query, Stand},
};
use std::{collections::BTreeMap, sync::Arc};

struct World {
    dir: tempfile::TempDir,
    tracker: Tracker,
}

fn open(dir: &tempfile::TempDir) -> Tracker {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::continuing(None));
    Tracker::open(Store::open(dir.path()).unwrap(), clock).unwrap()
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let tracker = open(&dir);
    World { dir, tracker }
}

impl World {
    /// The same after the process ended.
    fn again(self) -> Self {
        let Self { dir, tracker } = self;
        drop(tracker);
        // The threads that fold pages hold the store until they see that nobody is left.
        let opened = (0..200).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            Store::open(dir.path()).ok()
        });
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::continuing(None));
        let tracker = Tracker::open(opened.unwrap(), clock).unwrap();
        Self { dir, tracker }
    }

    async fn model(&self, name: &str, tags: &[(&str, &str)]) -> Tracked<ModelView> {
        let tags = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.tracker.create_model(NewModel { name: name.into(), tags, ..NewModel::default() }).await
    }

    async fn version(&self, name: &str, source: &str) -> Tracked<VersionView> {
        let new = NewVersion { name: name.into(), source: source.into(), ..NewVersion::default() };
        self.tracker.create_version(new).await
    }

    fn source(&self, source: &str, run: Option<&str>, model: Option<&str>) -> Tracked<GivenSource> {
        let owned = |t: Option<&str>| t.map(str::to_owned);
        let given = GivenSource { source: source.into(), run_id: owned(run), model_id: owned(model) };
        self.tracker.given_source(given, &[])
    }

    fn versions(&self, filter: &str) -> Vec<(String, u64)> {
        let query = Query { filter: filter.into(), max_results: 100, ..Query::default() };
        let (found, _) = self.tracker.search_versions(&query, &|_| true).unwrap();
        found.into_iter().map(|v| (v.name, v.version.number)).collect()
    }
}

fn code<T>(answer: Tracked<T>) -> Option<ErrorCode> {
    answer.err().map(|e| e.code)
}

#[tokio::test]
async fn numbers_count_up_and_are_not_given_again() {
    let w = world();
    w.model("m", &[]).await.unwrap();
    for n in 1..=3 {
        assert_eq!(w.version("m", "s3://b/x").await.unwrap().version.number, n);
    }
    // A version tells what making it changed of its model.
    let model = w.tracker.registered_model("m").unwrap();
    assert_eq!(model.model.last, 3);
    let w = w.again();
    assert_eq!(w.tracker.registered_model("m").unwrap(), model);
    w.tracker.delete_version("m", "3").await.unwrap();
    let w = w.again();
    assert_eq!(w.version("m", "s3://b/x").await.unwrap().version.number, 4);
    assert_eq!(code(w.tracker.model_version("m", "3")), Some(ErrorCode::ResourceDoesNotExist));
    // A model that is made anew begins anew.
    w.tracker.delete_model("m").await.unwrap();
    w.model("m", &[]).await.unwrap();
    assert_eq!(w.version("m", "s3://b/x").await.unwrap().version.number, 1);
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let w = world();
    w.model("m", &[("k", "v")]).await.unwrap();
    w.version("m", "s3://b/1").await.unwrap();
    w.version("m", "s3://b/2").await.unwrap();
    w.tracker.set_alias("m", "champion", "1").await.unwrap();
    w.tracker.move_version("m", "2", "production", false).await.unwrap();
    w.tracker.tag_version("m", "1", "t", "1").await.unwrap();
    w.tracker.describe_version("m", "1", None).await.unwrap();
    w.tracker.rename_model("m", "m").await.unwrap();
    w.tracker.rename_model("m", "n").await.unwrap();
    let before = (w.tracker.registered_model("n").unwrap(), w.tracker.model_version("n", "1").unwrap());
    let w = w.again();
    assert_eq!((w.tracker.registered_model("n").unwrap(), w.tracker.model_version("n", "1").unwrap()), before);
    assert_eq!(code(w.tracker.registered_model("m")), Some(ErrorCode::ResourceDoesNotExist));
    assert_eq!(before.1.aliases, ["champion"]);
    assert_eq!(before.1.version.description, None);
}

#[tokio::test]
async fn an_alias_points_to_one_version_and_goes_with_it() {
    let w = world();
    w.model("m", &[]).await.unwrap();
    w.version("m", "s3://b/1").await.unwrap();
    w.version("m", "s3://b/2").await.unwrap();
    w.tracker.set_alias("m", "a", "1").await.unwrap();
    w.tracker.set_alias("m", "a", "2").await.unwrap();
    assert_eq!(w.tracker.version_by_alias("m", "a").unwrap().version.number, 2);
    assert_eq!(w.tracker.version_by_alias("m", "Latest").unwrap().version.number, 2);
    assert_eq!(code(w.tracker.set_alias("m", "a", "9").await), Some(ErrorCode::ResourceDoesNotExist));
    for bad in ["", "latest", "LATEST", "v1", "V22", "a b", "a/b", &"x".repeat(256)] {
        assert_eq!(code(w.tracker.set_alias("m", bad, "1").await), Some(ErrorCode::InvalidParameterValue), "{bad}");
    }
    w.tracker.delete_version("m", "2").await.unwrap();
    let gone = w.tracker.version_by_alias("m", "a").unwrap_err();
    assert_eq!((gone.code, &*gone.message), (ErrorCode::InvalidParameterValue, "Registered model alias a not found."));
    w.tracker.delete_alias("m", "a").await.unwrap();
}

#[tokio::test]
async fn stages_archive_what_was_in_them() {
    let w = world();
    w.model("m", &[]).await.unwrap();
    for _ in 0..3 {
        w.version("m", "s3://b/x").await.unwrap();
    }
    w.tracker.move_version("m", "1", "Production", false).await.unwrap();
    w.tracker.move_version("m", "2", "PRODUCTION", true).await.unwrap();
    let latest = w.tracker.registered_model("m").unwrap().latest;
    let stages: Vec<_> = latest.iter().map(|v| (v.number, v.stage)).collect();
    assert_eq!(stages, [(1, Stage::Archived), (2, Stage::Production), (3, Stage::None)]);
    let asked = w.tracker.latest_versions("m", &["production".into()]).unwrap();
    assert_eq!(asked.iter().map(|v| v.version.number).collect::<Vec<_>>(), [2]);
    assert!(w.tracker.latest_versions("m", &["x".into()]).is_err());
    assert!(w.tracker.move_version("m", "1", "Archived", true).await.is_err());
}

#[tokio::test]
async fn sources_have_to_be_the_owners() {
    let w = world();
    let new = NewRun { experiment: "0".into(), ..NewRun::default() };
    let run = w.tracker.create_run(new).await.unwrap().id().to_owned();
    w.model("m", &[]).await.unwrap();
    w.version("m", "s3://b/1").await.unwrap();
    let own = format!("mlflow-artifacts:/0/{run}/artifacts/model");
    let good = [
        (format!("runs:/{run}/model"), Some(&*run)),
        (own.clone(), Some(&*run)),
        ("s3://b/x".into(), None),
        ("s3://b//x/".into(), Some("nope")),
        ("models:/m/1".into(), None),
        ("models:/m/latest".into(), None),
    ];
    for (source, run) in good {
        w.source(&source, run, None).unwrap_or_else(|e| panic!("{source}: {e}"));
    }
    let bad = [
        (format!("runs:/{run}/model"), None),
        (format!("runs:/{run}/model"), Some("other")),
        (format!("runs://host/{run}/model"), Some(&*run)),
        (own.clone(), None),
        (format!("{own}/../../../other"), Some(&*run)),
        (own.replace("/artifacts", "/artifacts2"), Some(&*run)),
        ("s3://b/../x".into(), None),
        ("s3://b/%2e%2e/x".into(), None),
        ("s3://b/%252e%252e%252fx".into(), None),
        ("s3://b".into(), None),
        ("/etc/passwd".into(), None),
        ("file:///etc/passwd".into(), Some(&*run)),
        ("etc".into(), None),
        ("http://h/x".into(), None),
        ("mlflow-artifacts://h/x".into(), Some(&*run)),
        ("models:/m-1".into(), None),
        ("models://h/m/1".into(), None),
        ("models:/".into(), None),
    ];
    for (source, run) in bad {
        let refused = w.source(&source, run, None).map(|_| ()).map_err(|e| e.code);
        assert_eq!(refused, Err(ErrorCode::InvalidParameterValue), "{source}");
    }
    assert_eq!(w.source("models:/m/latest", None, None).unwrap().source, "models:/m/1");
    assert_eq!(code(w.source("models:/m/9", None, None)), Some(ErrorCode::ResourceDoesNotExist));
    assert_eq!(w.tracker.download_uri("m", "1").unwrap(), "s3://b/1");
    let copy = w.version("m", "models:/m/1").await.unwrap();
    assert_eq!(copy.version.location(), "s3://b/1");
}

#[tokio::test]
async fn prompts_are_found_by_those_who_ask() {
    let w = world();
    w.model("m", &[]).await.unwrap();
    w.model("p", &[("mlflow.prompt.is_prompt", "true")]).await.unwrap();
    let taken = w.model("p", &[]).await.unwrap_err();
    assert!(taken.message.contains("already taken by a prompt"), "{taken}");
    w.version("m", "s3://b/1").await.unwrap();
    let tags = vec![("mlflow.prompt.is_prompt".to_owned(), "true".to_owned())];
    let prompt = NewVersion { name: "p".into(), source: "dummy-source".into(), tags, ..NewVersion::default() };
    w.tracker.create_version(prompt).await.unwrap();
    assert_eq!(w.versions(""), [("m".to_owned(), 1)]);
    assert_eq!(w.versions("tags.`mlflow.prompt.is_prompt` = 'true'"), [("p".to_owned(), 1)]);
}

#[tokio::test]
async fn names_that_are_none_are_refused() {
    let w = world();
    for bad in ["", " ", "a/b", "a:b", ".", "..", "a/../b"] {
        assert_eq!(code(w.model(bad, &[]).await), Some(ErrorCode::InvalidParameterValue), "{bad}");
    }
    w.model("m", &[]).await.unwrap();
    assert_eq!(code(w.model("m", &[]).await), Some(ErrorCode::ResourceAlreadyExists));
    assert_eq!(code(w.version("x", "s3://b/1").await), Some(ErrorCode::ResourceDoesNotExist));
    assert_eq!(code(w.tracker.model_version("m", "1.0")), Some(ErrorCode::InvalidParameterValue));
}

fn theirs(created: i64, description: &str, tags: &[(&str, &str)], aliases: &[(&str, u64)]) -> RegisteredModel {
    RegisteredModel {
        name: "m".into(),
        created,
        updated: created,
        description: description.into(),
        tags: tags.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        aliases: numbers(aliases),
        served: BTreeMap::new(),
        last: 0,
    }
}

fn numbers(aliases: &[(&str, u64)]) -> BTreeMap<String, u64> {
    aliases.iter().map(|(alias, number)| ((*alias).to_owned(), *number)).collect()
}

fn mark() -> Mark {
    Mark::new(crate::model::Digest::of(b"what they said"), Stand::Whole)
}

fn their_version(number: u64, created: i64, tags: &[(&str, &str)]) -> ModelVersion {
    ModelVersion {
        number,
        created,
        updated: created,
        description: None,
        stage: Stage::None,
        source: "s3://b/theirs".into(),
        storage: None,
        run_id: None,
        run_link: String::new(),
        tags: tags.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
    }
}

#[tokio::test]
async fn a_model_that_was_made_here_keeps_all_that_it_has() {
    let w = world();
    let exists = Some(ErrorCode::ResourceAlreadyExists);
    w.model("m", &[("k", "MINE")]).await.unwrap();
    w.tracker.describe_model("m", "mine").await.unwrap();
    w.version("m", "s3://b/mine").await.unwrap();
    let before = w.tracker.registered_model("m").unwrap();
    let given = theirs(5, "theirs", &[("k", "theirs"), ("only", "theirs")], &[("champion", 1)]);
    assert_eq!(w.tracker.model_here(&given).unwrap().0, Here::Other { lacks: true });
    assert_eq!(code(w.tracker.bring_model(given.clone(), &mark()).await), exists);
    assert_eq!(code(w.tracker.bring_version("m", their_version(1, 6, &[]), &mark()).await), exists);
    assert_eq!(code(w.tracker.version_mark("m", 1, 6)), exists);
    assert_eq!(w.tracker.registered_model("m").unwrap(), before);

    // Nor is one a copy that was made in the place of a copy, with a version of its number.
    w.tracker.delete_model("m").await.unwrap();
    w.tracker.bring_model(given.clone(), &mark()).await.unwrap();
    w.tracker.bring_version("m", their_version(1, 6, &[]), &mark()).await.unwrap();
    assert_eq!(w.tracker.model_here(&given).unwrap().0, Here::Copy);
    w.tracker.delete_model("m").await.unwrap();
    w.model("m", &[]).await.unwrap();
    w.version("m", "s3://b/mine").await.unwrap();
    let w = w.again();
    assert_eq!(code(w.tracker.bring_model(given, &mark()).await), exists);
    assert_eq!(code(w.tracker.bring_version("m", their_version(1, 6, &[]), &mark()).await), exists);
    assert_eq!(w.tracker.model_version("m", "1").unwrap().version.source, "s3://b/mine");
}

#[tokio::test]
async fn a_copy_follows_its_origin_but_for_what_was_changed_here() {
    let w = world();
    w.tracker.bring_model(theirs(5, "one", &[("k", "1"), ("own", "1")], &[]), &mark()).await.unwrap();
    w.tracker.bring_version("m", their_version(1, 6, &[("k", "1"), ("own", "1")]), &mark()).await.unwrap();
    let w = w.again();
    w.tracker.tag_model("m", "own", "MINE").await.unwrap();
    w.tracker.tag_model("m", "new", "MINE").await.unwrap();
    w.tracker.tag_version("m", "1", "own", "MINE").await.unwrap();
    w.tracker.bring_model(theirs(5, "two", &[("k", "2"), ("own", "2")], &[]), &mark()).await.unwrap();
    w.tracker.bring_version("m", their_version(1, 6, &[("k", "2"), ("own", "2")]), &mark()).await.unwrap();
    let w = w.again();
    let model = w.tracker.registered_model("m").unwrap().model;
    assert_eq!(model.description, "two");
    let said = |(k, v): (&String, &String)| format!("{k}={v}");
    assert_eq!(model.tags.iter().map(said).collect::<Vec<_>>(), ["k=2", "new=MINE", "own=MINE"]);
    let version = w.tracker.model_version("m", "1").unwrap().version;
    assert_eq!(version.tags.iter().map(said).collect::<Vec<_>>(), ["k=2", "own=MINE"]);
}

#[tokio::test]
async fn aliases_of_a_copy_follow_and_those_that_cannot_are_left() {
    let w = world();
    w.tracker.bring_model(theirs(5, "", &[], &[("a", 1), ("b", 1)]), &mark()).await.unwrap();
    for number in 1..=2 {
        w.tracker.bring_version("m", their_version(number, 6, &[]), &mark()).await.unwrap();
    }
    let copies = [1, 2].into();
    let to = numbers(&[("a", 1), ("b", 1), ("c", 3)]);
    let left = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let expected = Aliases { moved: true, left: left(&["c"]) };
    assert_eq!(w.tracker.foresee_aliases("m", &to, &copies).unwrap(), expected);
    assert_eq!(w.tracker.bring_aliases("m", &to, &copies).await.unwrap(), expected);
    // What cannot be brought is no change for ever.
    let expected = Aliases { moved: false, left: left(&["c"]) };
    assert_eq!(w.tracker.bring_aliases("m", &to, &copies).await.unwrap(), expected);
    // One moved here, both there, and one is gone there.
    w.tracker.set_alias("m", "a", "2").await.unwrap();
    w.tracker.set_alias("m", "mine", "1").await.unwrap();
    let to = numbers(&[("b", 2)]);
    assert_eq!(w.tracker.bring_aliases("m", &to, &copies).await.unwrap(), Aliases { moved: true, left: vec![] });
    let now = |w: &World| w.tracker.registered_model("m").unwrap().model.aliases;
    assert_eq!(now(&w), numbers(&[("a", 2), ("b", 2), ("mine", 1)]));
    let to = numbers(&[("b", 2), ("mine", 2)]);
    let expected = Aliases { moved: false, left: left(&["mine"]) };
    assert_eq!(w.tracker.bring_aliases("m", &to, &copies).await.unwrap(), expected);
    assert_eq!(now(&w.again()), numbers(&[("a", 2), ("b", 2), ("mine", 1)]));
}

#[test]
fn a_version_without_tags_is_kept_as_earlier_daemons_read_it() {
    let version = ModelVersion { tags: Default::default(), ..their_version(1, 5, &[]) };
    let text = serde_json::to_string(&version).unwrap();
    assert!(text.contains(r#""tags":{}"#), "{text}");
    assert_eq!(serde_json::from_str::<ModelVersion>(&text.replace("{}", "[]")).unwrap(), version);
}

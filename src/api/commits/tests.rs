use super::{consequences::row, rows};
use crate::{
    api::types::Outcome,
    model::{EventKind::*, *},
    ports::Change,
    reconcile::{Did, Past},
};

fn revision(commit: &str) -> Revision {
    Revision {
        commit: ObjectId(commit.into()),
        tree: ObjectId("7".into()),
        author: "Ada".into(),
        email: "ada@example.com".into(),
        summary: "fraud: deeper trees".into(),
        time: WallMs(0),
    }
}

fn past(commit: &str, message: &str, events: Vec<Event>) -> Past {
    let change =
        Change { revision: revision(commit), before: ObjectId("6".into()), merged: vec![], message: message.into() };
    let did = Did { change, models: vec!["fraud".into()], models_changed: 1, others: vec![] };
    Past { did: did.into(), bot: false, events, cut: false }
}

fn event(seq: u64, model: Option<&str>, environment: Option<&str>, kind: EventKind, message: &str) -> Event {
    let name = |n: &str| Name::new(n).unwrap();
    Event {
        seq,
        at: WallMs(0),
        kind,
        model: model.map(name),
        environment: environment.map(name),
        commit: Some(ObjectId("4f1c2ab".into())),
        author: Some("Ada".into()),
        message: message.into(),
    }
}

/// What these events of one model come down to.
fn told(events: &[(EventKind, &str)]) -> (String, Option<Outcome>) {
    let place = |message: &str| {
        let first = message.split_once(": ").map(|(place, _)| place.to_owned());
        first.filter(|p| ["staging", "production"].contains(&p.as_str()))
    };
    let all = events
        .iter()
        .enumerate()
        .map(|(at, (kind, message))| event(at as u64 + 1, Some("fraud"), place(message).as_deref(), *kind, message));
    let row = row(&past("4f1c2ab", "", all.collect()));
    let told: Vec<&str> = row.consequences.iter().map(|c| c.words.as_str()).collect();
    (told.join(" | "), row.consequences.first().map(|c| c.outcome))
}

#[test]
fn events_are_folded_into_the_words_of_how_it_ended() {
    const STARTED: (EventKind, &str) = (RunStarted, "training b3:77e1: train.params.depth 6 → 8");
    const TRAINED: (EventKind, &str) = (VersionRegistered, "v7 registered, trained in 4m 02s: auc 0.98");
    type Row<'a> = (&'a [(EventKind, &'a str)], &'a str, Option<Outcome>);
    let table: &[Row] = &[
        (&[], "", None),
        (&[(SourceMoved, "fraud: deeper trees")], "", None),
        (&[STARTED], "training", Some(Outcome::Going)),
        (&[STARTED, (RunSucceeded, "train succeeded in 4m 02s"), TRAINED], "trained v7 (4m 02s)", Some(Outcome::Done)),
        (&[STARTED, (VersionRegistered, "v7 registered, trained in 2s: ")], "trained v7 (2s)", Some(Outcome::Done)),
        (
            &[STARTED, (RunFailed, "stage train: exit 1\nTraceback\nout of cheese")],
            "training failed: stage train: exit 1: out of cheese",
            Some(Outcome::Failed),
        ),
        // The next attempt takes the place of the failure.
        (&[STARTED, (RunFailed, "exit 1"), STARTED], "training", Some(Outcome::Going)),
        (
            &[STARTED, TRAINED, (GateFailed, "v7: gate failed: mae ≤ 4: 4.31")],
            "trained v7 (4m 02s), gate failed: mae ≤ 4: 4.31",
            Some(Outcome::Failed),
        ),
        (
            &[
                STARTED,
                TRAINED,
                (RolloutStarted, "staging: v6 → v7"),
                (Promoted, "staging: v6 → v7 (all traffic)"),
                (RolloutStarted, "production: v6 → v7"),
                (RolloutStep, "production: v7 at 25 %, step 2 of 4"),
            ],
            "trained v7 (4m 02s), production v7 at 25 %, staging v6 → v7",
            Some(Outcome::Going),
        ),
        (
            &[TRAINED, (Promoted, "production: nothing → v7 (all traffic)")],
            "trained v7 (4m 02s), production v7",
            Some(Outcome::Done),
        ),
        (
            &[(RolledBack, "production: v4 → v3 (served before, nothing trained)")],
            "production v4 → v3, nothing trained",
            Some(Outcome::Done),
        ),
        (&[(Promoted, "production: v4 → v4 (all traffic)")], "production v4 → v4", Some(Outcome::Done)),
        (
            &[TRAINED, (RolloutAborted, "production: v7 rejected: error_rate 0.31 > 0.01; v6 serves on")],
            "trained v7 (4m 02s), production v7 rejected: error_rate 0.31 > 0.01; v6 serves on",
            Some(Outcome::Failed),
        ),
        (
            &[(RolloutAborted, "production: rollout of v7 ended: Git asks for something else")],
            "production rollout of v7 ended: Git asks for something else",
            Some(Outcome::Done),
        ),
        (
            &[
                (ReplicaDied, "production: replica 0 of v7 died: exit 1"),
                (ReplicaRecovered, "production: replica 0 of v7 is ready again"),
            ],
            "",
            None,
        ),
        (
            &[(SpecBroken, "unknown key `parms`"), (SpecFixed, "the spec is valid again")],
            "the spec is valid again",
            Some(Outcome::Done),
        ),
        (&[(SpecTakenUp, "production: 1 → 2 replicas")], "production: 1 → 2 replicas", Some(Outcome::Done)),
        (
            &[(LockCommitted, "lock committed: train → b3:77e1 (PSI(amount) 0.31 > 0.20)"), STARTED],
            "data pinned: PSI(amount) 0.31 > 0.20, training",
            Some(Outcome::Going),
        ),
        (&[(Retired, "spec deleted: traffic off, replicas stopped, 7 versions kept")], "retired", Some(Outcome::Done)),
    ];
    for (events, words, outcome) in table {
        assert_eq!(told(events), ((*words).to_owned(), *outcome), "{events:?}");
    }
}

#[test]
fn of_many_models_those_that_failed_come_first_and_the_rest_is_counted() {
    let name = |n: u64| format!("m{n:04}");
    let mut events: Vec<Event> = (1..=40).map(|n| event(n, Some(&name(n)), None, RunStarted, "training")).collect();
    events.push(event(41, Some(&name(33)), None, RunFailed, "exit 1"));
    let mut past = past("4f1c2ab", "", events);
    let models = (1..=50).map(name).collect();
    past.did = Did { models, models_changed: 10_000, ..Did::clone(&past.did) }.into();
    let row = row(&past);
    let told: Vec<String> = row.consequences.iter().filter_map(|c| c.model.as_ref().map(Name::to_string)).collect();
    assert_eq!(told, ["m0033", "m0001", "m0002", "m0003", "m0004", "m0005", "m0006", "m0007"]);
    assert!(row.more);
    assert_eq!((row.models.len(), row.models_changed), (8, 10_000));
}

#[test]
fn what_is_about_no_model_stands_by_itself() {
    let held = event(1, None, None, RetireHeld, "9 of 10 models would be retired: run `trimtab sync --prune`");
    let row = row(&past("4f1c2ab", "", vec![held]));
    assert_eq!((row.consequences[0].model.as_ref(), row.consequences[0].outcome), (None, Outcome::Failed));
}

#[test]
fn a_commit_names_the_newest_that_reverts_it() {
    let all = [
        past(
            "c3",
            "Revert \"a\"\n\nThis reverts commit a1.\nThis reverts commit b2, reversing\nchanges made to a1.\n",
            vec![],
        ),
        past("b2", "b", vec![]),
        past("a1", "This reverts commit c3.", vec![]),
    ];
    let by: Vec<Option<String>> = rows(&all).into_iter().map(|r| r.reverted_by.map(|c| c.0.to_string())).collect();
    assert_eq!(by, [None, Some("c3".into()), Some("c3".into())], "an older commit reverts none that is newer");
}

use super::*;

fn event(message: &str) -> NewEvent {
    NewEvent {
        at: WallMs(1),
        kind: EventKind::SourceMoved,
        model: Some(Name::new("fraud").unwrap()),
        environment: None,
        commit: None,
        author: None,
        message: message.into(),
    }
}

fn model(name: &str) -> ObservedModel {
    ObservedModel::new(Name::new(name).unwrap())
}

#[test]
fn what_was_committed_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = Store::open(dir.path()).unwrap();
        let done =
            store.commit(Batch::new().put_model(&model("fraud")).event(event("one")).event(event("two"))).unwrap();
        assert_eq!(done.events.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2]);
    }
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.models().unwrap(), [model("fraud")]);
    assert_eq!(store.events(1, 10).unwrap().len(), 1);
    assert_eq!(store.events_of_model(&Name::new("fraud").unwrap(), 10).unwrap().len(), 2);
    let done = store.commit(Batch::new().event(event("three"))).unwrap();
    assert_eq!(done.events[0].seq, 3);
}

#[test]
fn a_commit_has_its_first_events_and_its_newest() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let of = |commit: &str, n: u64| NewEvent { commit: Some(ObjectId(commit.into())), ..event(&n.to_string()) };
    let batch = (1..=10).fold(Batch::new(), |b, n| b.event(of("ab", n)).event(of("abc", n)));
    store.commit(batch).unwrap();
    let told = |commit: &str, limit| {
        let (events, cut) = store.events_of_commit(&ObjectId(commit.into()), limit).unwrap();
        (events.iter().map(|e| e.message.clone()).collect::<Vec<_>>().join(" "), cut)
    };
    assert_eq!(told("ab", 100), ("1 2 3 4 5 6 7 8 9 10".into(), false));
    assert_eq!(told("ab", 10), ("1 2 3 4 5 6 7 8 9 10".into(), false));
    assert_eq!(told("abc", 8), ("1 2 3 4 7 8 9 10".into(), true));
    assert_eq!(told("abc", 2), ("1 10".into(), true));
    assert_eq!(told("none", 10), (String::new(), false));
}

#[test]
fn a_second_daemon_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Store::open(dir.path()).unwrap();
    let error = Store::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
}

#[test]
fn many_writers_share_flushes_and_every_one_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    // Every group is one record of the journal, with one flush.
    let groups = || journal::Journal::open(&dir.path().join("journal")).unwrap().1.len();
    let before = groups();
    std::thread::scope(|s| {
        for writer in 0..16 {
            let store = store.clone();
            s.spawn(move || {
                for n in 0..50 {
                    store.commit(Batch::new().put_fact(&format!("{writer}-{n}"), &n).event(event("x"))).unwrap();
                }
            });
        }
    });
    let seqs: Vec<u64> = store.events(0, usize::MAX).unwrap().iter().map(|e| e.seq).collect();
    assert_eq!(seqs, (1..=800).collect::<Vec<_>>());
    assert_eq!(store.fact::<u32>("15-49").unwrap(), Some(49));
    let flushes = groups() - before;
    assert!((1..=200).contains(&flushes), "{flushes} flushes for 800 batches");
}

#[test]
fn whoever_commits_the_order_is_that_of_the_calls_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut expected = vec![];
    {
        let store = Store::open(dir.path()).unwrap();
        let mut next = |store: &Store| {
            expected.push(expected.len().to_string());
            store.submit(Batch::new().event(event(expected.last().unwrap())))
        };
        // One at a time, past the number after which the caller commits itself.
        (0..40).for_each(|_| drop(runtime.block_on(next(&store)).unwrap()));
        // Several of whose futures nobody asks, and one that is awaited.
        (0..5).for_each(|_| drop(next(&store)));
        runtime.block_on(next(&store)).unwrap();
        (0..40).for_each(|_| drop(runtime.block_on(next(&store)).unwrap()));
        let many: Vec<_> = (0..40).map(|_| next(&store)).collect();
        // Asked in the other order.
        many.into_iter().rev().for_each(|one| drop(runtime.block_on(one).unwrap()));
        let seen: Vec<String> = store.events(0, usize::MAX).unwrap().into_iter().map(|e| e.message).collect();
        drop(next(&store));
        assert_eq!(seen, expected[..expected.len() - 1]);
    }
    let store = Store::open(dir.path()).unwrap();
    let seen: Vec<String> = store.events(0, usize::MAX).unwrap().into_iter().map(|e| e.message).collect();
    assert_eq!(seen, expected, "the last was nobody's any more when the store closed");
}

#[test]
fn a_group_that_was_refused_whole_takes_no_number() {
    let dir = tempfile::tempdir().unwrap();
    let create =
        || Batch { ops: vec![batch::Op::Create(b"v".to_vec(), record::encode(&1u8).unwrap())], ..Batch::new() };
    let store = Store::open(dir.path()).unwrap();
    store.commit(create()).unwrap();
    assert!(matches!(store.commit(create()), Err(StoreError::Immutable(_))));
    store.commit(Batch::new().put_fact("after", &2u8)).unwrap();
    let groups = journal::Journal::open(&dir.path().join("journal")).unwrap().1;
    assert_eq!(groups.iter().map(|g| g.seq).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_backup_taken_while_running_restores_every_record() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(dir.path()).unwrap();
    for n in 0..200 {
        store.commit(Batch::new().put_model(&model(&format!("m{n}"))).event(event("x"))).unwrap();
    }
    let file = dir.path().join("backup");
    store.backup(&file).unwrap();
    restore(&file, other.path()).unwrap();
    let restored = Store::open(other.path()).unwrap();
    assert_eq!(restored.models().unwrap(), store.models().unwrap());
    assert_eq!(restored.events(0, 1000).unwrap(), store.events(0, 1000).unwrap());
    assert!(matches!(restore(&file, dir.path()), Err(StoreError::Locked { .. })));

    let mut bytes = std::fs::read(&file).unwrap();
    bytes.truncate(bytes.len() - 3);
    std::fs::write(&file, &bytes).unwrap();
    assert!(matches!(restore(&file, &other.path().join("x")), Err(StoreError::Damaged { .. })));
}

/// Killed after each step of a restore: the backup's records are in force from the next opening, and nothing of the old ones.
#[test]
fn a_restore_cut_short_is_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup");
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let expected = {
        let store = Store::open(&new).unwrap();
        store.commit(Batch::new().put_model(&model("restored")).event(event("x"))).unwrap();
        store.backup(&file).unwrap();
        store.models().unwrap()
    };
    for steps in 0..4 {
        let state = dir.path().join(format!("cut{steps}"));
        drop(Store::open(&old).unwrap().commit(Batch::new().put_model(&model("lost"))));
        copy_folder(&old, &state);
        restore(&file, &state).unwrap();
        // Back to how it was on disk after that many steps.
        std::fs::rename(state.join("journal"), state.join("restored")).unwrap();
        if steps < 3 {
            std::fs::copy(old.join("durable"), state.join("durable")).unwrap();
        }
        if steps < 2 {
            std::fs::rename(state.join("journal.before-restore"), state.join("journal")).unwrap();
        }
        if steps < 1 {
            std::fs::rename(state.join("db.before-restore"), state.join("db")).unwrap();
        }
        assert_eq!(Store::open(&state).unwrap().models().unwrap(), expected, "after {steps} steps");
    }
}

/// As a kill leaves it: the next snapshot of sled's page table begun, not finished.
#[test]
fn a_snapshot_that_a_kill_cut_short_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let expected = {
        let store = Store::open(dir.path()).unwrap();
        store.commit(Batch::new().put_model(&model("a"))).unwrap();
        store.models().unwrap()
    };
    for bytes in [&b""[..], b"half"] {
        let unfinished = dir.path().join("db/snap.0FFFFFFFFFFFFFFF.generating");
        std::fs::write(&unfinished, bytes).unwrap();
        assert_eq!(Store::open(dir.path()).unwrap().models().unwrap(), expected);
        assert!(!unfinished.exists());
    }
}

/// Damage in sled's files is said at the start, or did not touch a record; it never panics and never invents.
#[test]
fn flipped_bytes_in_the_database_are_said_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let expected = {
        let store = Store::open(dir.path()).unwrap();
        for n in 0..100 {
            store.commit(Batch::new().put_model(&model(&format!("m{n:03}")))).unwrap();
        }
        store.models().unwrap()
    };
    let db = dir.path().join("db/db");
    let good = std::fs::read(&db).unwrap();
    let mut said = 0;
    for n in 0..40 {
        let mut bad = good.clone();
        let at = (n * 7919) % good.len();
        bad[at..(at + 16).min(good.len())].iter_mut().for_each(|b| *b ^= 0x5a);
        std::fs::write(&db, &bad).unwrap();
        let copy = tempfile::tempdir().unwrap();
        copy_folder(dir.path(), copy.path());
        match Store::open(copy.path()).and_then(|s| s.models()) {
            Ok(models) => assert!(models.iter().all(|m| expected.contains(m)), "offset {at}"),
            Err(e) => {
                assert!(e.to_string().contains("restore") || matches!(e, StoreError::Io { .. }), "{e}");
                said += 1;
            }
        }
    }
    std::fs::write(&db, &good).unwrap();
    assert_eq!(Store::open(dir.path()).unwrap().models().unwrap(), expected);
    assert!(said > 0, "no damage was noticed at all");
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from).into_iter().map(Result::unwrap) {
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(target).unwrap();
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A run that succeeded at this steady time.
fn run(key: u32, started: u64) -> Run {
    let name = |text: &str| Name::new(text).unwrap();
    let key = Digest::of(&key.to_le_bytes());
    Run {
        id: RunId::new(&name("fraud"), &name("train"), key, 1),
        model: name("fraud"),
        stage: name("train"),
        fingerprint: key,
        key,
        attempt: 1,
        command: Command::Shell("true".into()),
        status: RunStatus::Succeeded,
        started: WallMs(0),
        started_steady: SteadyMs(started),
        ended: None,
        duration: None,
        exit_code: Some(0),
        metrics: Default::default(),
        outputs: Some(Manifest::default()),
    }
}

#[test]
fn a_run_is_forgotten_with_every_way_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let fraud = Name::new("fraud").unwrap();
    // The first was taken up again by a later daemon, and so stands twice in the order.
    for run in [run(1, 10), run(2, 20), run(1, 30)] {
        store.commit(Batch::new().put_run(&run)).unwrap();
    }
    let all = store.all_runs(&fraud).unwrap();
    assert_eq!(all.iter().map(|r| r.started_steady.0).collect::<Vec<_>>(), [30, 20]);
    store.commit(store.forget_runs(&fraud, &all[..1]).unwrap()).unwrap();
    assert_eq!(store.all_runs(&fraud).unwrap(), [run(2, 20)]);
    assert_eq!(store.run_by_key(&run(1, 0).key).unwrap(), None);
    assert_eq!(store.run_by_key(&run(2, 0).key).unwrap(), Some(run(2, 20)));
    assert_eq!(store.all::<RunId>(&key::runs_of_model(&fraud)).unwrap().len(), 1);
}

//! Real remotes over HTTP.

use crate::{
    forge::{Forge, config},
    support::World,
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use trimtab::{
    model::*,
    ports::*,
    source::{GitSource, SourceConfig},
};

fn head(source: &GitSource) -> Revision {
    match source.fetch(None).unwrap() {
        Fetched::Head { revision, .. } => revision,
        other => panic!("{other:?}"),
    }
}

fn lock(head: &Revision, model: usize) -> BotCommit {
    BotCommit {
        files: vec![FileChange {
            path: format!("specs/models/m{model}/trimtab.lock"),
            content: FileContent::Bytes(b"lock".to_vec()),
        }],
        message: format!("lock: m{model}"),
        name: "trimtab".into(),
        email: "bot@example.com".into(),
        decided_on: head.commit.clone(),
        guard: format!("specs/models/m{model}"),
    }
}

#[test]
fn the_right_password_reads_and_pushes_and_the_wrong_one_is_said_without_being_shown() {
    let w = World::new();
    let forge = Forge::start(&w);
    let source = forge.open(&w, "s3cret");
    let first = head(&source);
    assert_eq!(source.list(&first.tree, "specs").unwrap().len(), 3);
    assert!(matches!(source.push(&lock(&first, 0)).unwrap(), Pushed::Done(_)));
    assert_eq!(w.head().unwrap().summary().unwrap(), Some("lock: m0"));
    assert_eq!(source.push(&lock(&first, 0)).unwrap(), Pushed::AlreadyThere);
    let error = forge.open(&w, "wr0ng-pass").fetch(None).unwrap_err();
    assert_eq!(error.reason, Some(SourceReason::Authentication));
    assert!(error.message.contains("TRIMTAB_GIT_TOKEN") && !error.message.contains("wr0ng-pass"), "{error}");
}

#[test]
fn a_server_that_repeats_the_password_in_any_form_gives_it_to_nobody() {
    const SECRET: &str = "p@ss/wr0ng?>";
    let w = World::new();
    let forge = Forge::start(&w);
    forge.refuse_with(&format!("no: {SECRET} or p%40ss%2Fwr0ng%3F%3E or "));
    let error = forge.open(&w, SECRET).fetch(None).unwrap_err();
    assert_eq!(error.reason, Some(SourceReason::Authentication), "{error}");
    assert!(error.message.contains("no: *** or *** or Basic "), "{error}");
    assert!(!error.message.contains("wr0ng") && !error.message.contains("d3Iwb"), "{error}");
}

#[test]
fn locks_pushed_at_once_by_many_all_arrive_and_a_person_wins() {
    let w = World::new();
    let forge = Forge::start(&w);
    let source = Arc::new(forge.open(&w, "s3cret"));
    let first = head(&source);
    std::thread::scope(|s| {
        for model in 0..4 {
            let (source, first) = (source.clone(), first.clone());
            s.spawn(move || assert!(matches!(source.push(&lock(&first, model)).unwrap(), Pushed::Done(_))));
        }
        // People push meanwhile.
        for n in 0..5 {
            w.commit("readme", &[("README.md", Some(&n.to_string()))]);
            std::thread::sleep(Duration::from_millis(40));
        }
    });
    let log =
        Command::new("git").args(["log", "--format=%s", "main"]).current_dir(w.path("models.git")).output().unwrap();
    let log = String::from_utf8(log.stdout).unwrap();
    for model in 0..4 {
        assert_eq!(log.matches(&format!("lock: m{model}\n")).count(), 1, "{log}");
    }
    assert_eq!(log.matches("readme").count(), 5, "{log}");
    w.commit("m9 by hand", &[("specs/models/m9/model.toml", Some("x"))]);
    assert_eq!(source.push(&lock(&first, 9)).unwrap(), Pushed::Superseded);
}

#[test]
fn a_remote_that_says_nothing_is_given_up_and_one_that_is_not_there_is_said() {
    let w = World::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let fetch = |url: String| {
        let config = SourceConfig { timeout: Duration::from_secs(1), ..config(&w, &url, "s") };
        GitSource::open(&config).unwrap().fetch(None)
    };
    let error = fetch(format!("http://{address}/x.git")).unwrap_err();
    assert!(
        error.message.contains("did not answer within 1 s") && error.reason == Some(SourceReason::Timeout),
        "{error}"
    );
    drop(silent);
    let error = fetch(format!("http://{address}/y.git")).unwrap_err();
    assert!(error.message.contains(&address.to_string()) && error.reason == Some(SourceReason::Unreachable), "{error}");
}

#[test]
fn a_remote_with_20_000_branches_is_asked_for_one() {
    let w = World::new();
    let head = w.head().unwrap().id();
    let packed: String = (0..20_000).map(|n| format!("{head} refs/heads/b{n:05}\n")).collect();
    fs::write(w.path("models.git/packed-refs"), format!("# pack-refs with: peeled fully-peeled sorted \n{packed}"))
        .unwrap();
    let forge = Forge::start(&w);
    let named = forge.open(&w, "s3cret");
    for _ in 0..2 {
        assert_eq!(self::head(&named).commit.0.as_ref(), head.to_string());
    }
    let asked = listings(&forge);
    assert_eq!(asked.len(), 2, "{asked:?}");
    for (prefixes, answered) in asked {
        assert!(!prefixes.is_empty() && prefixes.iter().all(|p| p.contains("refs/heads/main")), "{prefixes:?}");
        assert!(answered < 1_000, "{answered} bytes");
    }
    // Without a name the default branch is asked for once.
    let config = SourceConfig { branch: None, state: w.path("other"), ..config(&w, &forge.url, "s3cret") };
    let unnamed = GitSource::open(&config).unwrap();
    for _ in 0..3 {
        assert_eq!(self::head(&unnamed).commit.0.as_ref(), head.to_string());
    }
    let long = listings(&forge).iter().filter(|(_, answered)| *answered > 1_000).count();
    assert_eq!((long, listings(&forge).len()), (1, 2 + 1 + 3));
}

/// The names that the server was asked to list, by their beginnings, and the bytes of its answer.
fn listings(forge: &Forge) -> Vec<(Vec<String>, u64)> {
    let of = |(_, asked, answered): (String, String, u64)| {
        let prefixes = asked.lines().filter_map(|l| Some(l.split_once("ref-prefix ")?.1.to_owned())).collect();
        asked.contains("command=ls-refs").then_some((prefixes, answered))
    };
    forge.requests().into_iter().filter_map(of).collect()
}

/// Before the first `times` pushes are taken, the branch moves by somebody else's commit.
fn overtaken(w: &World, times: u32) {
    let hook = w.path("models.git/hooks/pre-receive");
    let count = w.path("overtaken");
    let script = format!(
        "#!/bin/sh\nn=$(cat {count} 2>/dev/null || echo 0)\n[ $n -lt {times} ] || exit 0\necho $((n + 1)) > {count}\n\
         unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES\n\
         id=$(git -c user.name=Eve -c user.email=e@x commit-tree -p main -m race 'main^{{tree}}') && git update-ref refs/heads/main $id\n",
        count = count.display()
    );
    fs::create_dir_all(w.path("models.git/hooks")).unwrap();
    fs::write(&hook, script).unwrap();
    fs::set_permissions(hook, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_push_that_others_overtake_is_made_anew_with_a_pause_and_not_for_ever() {
    static PAUSES: AtomicU32 = AtomicU32::new(0);
    let w = World::new();
    let forge = Forge::start(&w);
    let random = || {
        PAUSES.fetch_add(1, Ordering::SeqCst);
        0
    };
    let source = GitSource::open(&SourceConfig { random, ..config(&w, &forge.url, "s3cret") }).unwrap();
    let pushes = || forge.requests().iter().filter(|(path, ..)| path.ends_with("/git-receive-pack")).count();
    let first = head(&source);
    overtaken(&w, 3);
    assert!(matches!(source.push(&lock(&first, 0)).unwrap(), Pushed::Done(_)));
    assert_eq!((pushes(), PAUSES.load(Ordering::SeqCst)), (4, 3));
    assert_eq!(w.head().unwrap().summary().unwrap(), Some("lock: m0"));
    overtaken(&w, u32::MAX);
    let error = source.push(&lock(&first, 1)).unwrap_err();
    assert!(error.retryable && error.message.contains("12 times"), "{error}");
    assert_eq!((pushes(), PAUSES.load(Ordering::SeqCst)), (4 + 12, 3 + 11));
}

#[test]
fn a_branch_that_is_gone_and_a_lock_that_a_power_cut_left_are_no_end() {
    let w = World::new();
    let forge = Forge::start(&w);
    let first = head(&forge.open(&w, "s3cret"));
    let mirror = fs::read_dir(w.state().join("sources")).unwrap().next().unwrap().unwrap().path();
    for lock in ["refs/heads/main.lock", "packed-refs.lock", "HEAD.lock"] {
        fs::write(mirror.join(lock), "").unwrap();
    }
    w.commit("second", &[("README.md", Some("2"))]);
    let source = forge.open(&w, "s3cret");
    assert_eq!(head(&source).summary, "second");
    let main = w.head().unwrap().id();
    w.repo.find_reference("refs/heads/main").unwrap().delete().unwrap();
    assert_eq!(source.fetch(Some(&first.commit)).unwrap(), Fetched::BranchGone);
    assert_eq!(source.fetch(None).unwrap(), Fetched::Empty);
    w.repo.reference("refs/heads/main", main, true, "back").unwrap();
    assert_eq!(head(&source).summary, "second");
}

#[test]
fn a_push_that_the_remote_declines_is_told_as_such() {
    let w = World::new();
    let forge = Forge::start(&w);
    let source = forge.open(&w, "s3cret");
    let first = head(&source);
    let hook = w.path("models.git/hooks/pre-receive");
    fs::create_dir_all(w.path("models.git/hooks")).unwrap();
    fs::write(&hook, "#!/bin/sh\necho 'main is protected' >&2\nexit 1\n").unwrap();
    fs::set_permissions(hook, fs::Permissions::from_mode(0o755)).unwrap();
    let error = source.push(&lock(&first, 0)).unwrap_err();
    assert_eq!(error.reason, Some(SourceReason::PushDeclined), "{error}");
    assert!(error.message.contains("main is protected") && error.message.contains("push = false"), "{error}");
}

/// Commits that wait while one is pushed share the next push; where the remote wants only some of them, these get through.
#[test]
fn what_shares_a_push_with_a_commit_that_the_remote_declines_gets_through() {
    let w = World::new();
    let forge = Forge::start(&w);
    let source = Arc::new(forge.open(&w, "s3cret"));
    let first = head(&source);
    let hook = w.path("models.git/hooks/pre-receive");
    fs::create_dir_all(w.path("models.git/hooks")).unwrap();
    // Pushes wait until all are there.
    let script = format!(
        "#!/bin/sh\nuntil [ -e {} ]; do sleep 0.05; done\nread old new name\n\
         if git diff --name-only $old $new | grep -q /m3/; then echo 'm3 is protected' >&2; exit 1; fi\n",
        w.path("go").display()
    );
    fs::write(&hook, script).unwrap();
    fs::set_permissions(hook, fs::Permissions::from_mode(0o755)).unwrap();
    std::thread::scope(|s| {
        let pushes = (0..6).map(|model| {
            let (source, first) = (source.clone(), first.clone());
            s.spawn(move || source.push(&lock(&first, model)))
        });
        let pushes: Vec<_> = pushes.collect();
        fs::write(w.path("go"), "").unwrap();
        for (model, push) in pushes.into_iter().enumerate() {
            match push.join().unwrap() {
                Ok(Pushed::Done(revision)) if model != 3 => assert_eq!(revision.summary, format!("lock: m{model}")),
                Err(e) if model == 3 => assert!(e.message.contains("m3 is protected"), "{e}"),
                other => panic!("{model}: {other:?}"),
            }
        }
    });
    assert_eq!(source.push(&lock(&first, 0)).unwrap(), Pushed::AlreadyThere);
}

//! Shims with real children: their end, their log, their adoption.

use crate::support::eventually;
use std::{collections::BTreeMap, fs, path::Path, time::Duration};
use trimtab::process::{self, Handle, Identity, ShimSpec, State};

fn spec(dir: &Path, script: &str) -> ShimSpec {
    ShimSpec {
        argv: vec!["/bin/sh".into(), "-c".into(), script.into()],
        env: BTreeMap::from([("PATH".into(), std::env::var("PATH").unwrap())]),
        mask: vec![],
        cwd: dir.to_owned(),
        log: dir.join("log"),
        log_limit: 1 << 20,
        timeout_ms: Some(60_000),
        memory: None,
        grace_ms: 200,
    }
}

fn spawn(dir: &Path, spec: &ShimSpec) -> Handle {
    process::spawn(Path::new(env!("CARGO_BIN_EXE_trimtab")), &dir.join("shim"), spec).unwrap()
}

fn end(handle: &Handle) -> process::ExitRecord {
    match handle.wait(|| false) {
        Some(State::Ended(record)) => record,
        other => panic!("{other:?}"),
    }
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap_or_default()
}

/// The processes whose ids the script wrote, once it has written all of them.
fn written(dir: &Path, names: &[&str]) -> Vec<Identity> {
    let one = |name: &&str| {
        let pid = eventually(name, Duration::from_secs(30), || {
            fs::read_to_string(dir.join(name)).ok()?.strip_suffix('\n')?.parse().ok()
        });
        Identity::of(pid).expect("the process runs")
    };
    names.iter().map(one).collect()
}

fn gone(process: &Identity) -> bool {
    (0..1000).any(|_| {
        let gone = !process.is_alive();
        if !gone {
            std::thread::sleep(Duration::from_millis(5));
        }
        gone
    })
}

/// Ignores SIGTERM, with one child in its group and one in a session of its own.
const FAMILY: &str = "trap '' TERM; sleep 600 & echo $! > a; setsid sleep 600 & echo $! > b; echo $$ > c; wait; wait";

#[test]
fn an_exit_is_kept_and_a_folder_runs_its_child_once() {
    let dir = tempfile::tempdir().unwrap();
    let one = spec(dir.path(), "echo ran >> count; echo out; echo err >&2; exit 7");
    assert_eq!(end(&spawn(dir.path(), &one)).code, Some(7));
    assert_eq!(end(&spawn(dir.path(), &one)).code, Some(7));
    let adopted = process::adopt(&dir.path().join("shim")).unwrap();
    assert!(matches!(adopted.state(), State::Ended(r) if r.code == Some(7) && !r.succeeded()));
    assert_eq!(fs::read_to_string(dir.path().join("count")).unwrap(), "ran\n");
    let log = log(dir.path());
    assert!(log.contains("out\n") && log.contains("err\n"), "{log}");
}

#[test]
fn many_that_start_the_same_folder_at_once_share_one_child() {
    let dir = tempfile::tempdir().unwrap();
    let one = spec(dir.path(), "echo ran >> count; sleep 0.3");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert!(end(&spawn(dir.path(), &one)).succeeded()));
        }
    });
    assert_eq!(fs::read_to_string(dir.path().join("count")).unwrap(), "ran\n");
}

#[test]
fn a_timeout_ends_the_whole_family() {
    let dir = tempfile::tempdir().unwrap();
    let handle = spawn(dir.path(), &ShimSpec { timeout_ms: Some(1_000), ..spec(dir.path(), FAMILY) });
    let family = written(dir.path(), &["a", "b", "c"]);
    let record = end(&handle);
    assert!(record.timed_out && !record.succeeded(), "{record:?}");
    assert!(family.iter().all(gone));
}

#[test]
fn a_stop_asks_first_and_then_ends_the_whole_family() {
    let dir = tempfile::tempdir().unwrap();
    let handle = spawn(dir.path(), &spec(dir.path(), FAMILY));
    let family = written(dir.path(), &["a", "b", "c"]);
    handle.stop();
    let record = end(&handle);
    assert!(record.stopped && !record.timed_out, "{record:?}");
    assert!(family.iter().all(gone));
}

#[test]
fn a_shim_killed_from_outside_leaves_no_orphan() {
    let dir = tempfile::tempdir().unwrap();
    let handle = spawn(dir.path(), &spec(dir.path(), FAMILY));
    let family = written(dir.path(), &["a", "b", "c"]);
    Identity::of(handle.pid().unwrap()).unwrap().signal(9);
    assert_eq!(handle.wait(|| false), Some(State::Lost));
    assert!(gone(&family[2]), "the child ends with its shim");
    handle.kill();
    assert!(family.iter().all(gone));
}

#[test]
fn secrets_never_reach_the_log_or_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let secret = "s3cr3t-välue-1234";
    let mut one =
        spec(dir.path(), "printf 'a %s b\\n' \"$KEY\"; printf 's3cr3t-'; sleep 0.1; printf 'välue-1234 c\\n'");
    one.env.insert("KEY".into(), secret.into());
    one.mask = vec![secret.into()];
    assert!(end(&spawn(dir.path(), &one)).succeeded());
    assert_eq!(log(dir.path()), "a *** b\n*** c\n");
    for file in fs::read_dir(dir.path().join("shim")).unwrap() {
        let text = String::from_utf8_lossy(&fs::read(file.unwrap().path()).unwrap()).into_owned();
        assert!(!text.contains("1234"), "{text}");
    }
}

#[test]
fn the_environment_is_what_was_given() {
    let dir = tempfile::tempdir().unwrap();
    assert!(end(&spawn(dir.path(), &spec(dir.path(), "env"))).succeeded());
    let log = log(dir.path());
    let names: Vec<&str> = log.lines().filter_map(|l| l.split_once('=')).map(|(n, _)| n).collect();
    assert!(names.iter().all(|n| ["PATH", "PWD", "TRIMTAB_SHIM", "SHLVL", "_", "OLDPWD"].contains(n)), "{names:?}");
}

#[test]
fn a_long_log_keeps_its_newest_part() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = spec(dir.path(), "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done");
    one.log_limit = 64 * 1024;
    assert!(end(&spawn(dir.path(), &one)).succeeded());
    let log = log(dir.path());
    assert!(log.ends_with("line 19999\n") && log.len() <= 64 * 1024);
    let older = fs::read_to_string(dir.path().join("log.1")).unwrap();
    let both = older + &log;
    // The first line may be cut where an older part was let go.
    let kept: Vec<u32> = both.lines().skip(1).map(|l| l.strip_prefix("line ").unwrap().parse().unwrap()).collect();
    assert!(kept.len() > 5_000, "most of two parts: {}", kept.len());
    assert_eq!(kept, (20_000 - kept.len() as u32..20_000).collect::<Vec<_>>(), "no line lost");
}

#[test]
fn a_command_that_does_not_exist_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let one = ShimSpec { argv: vec!["no-such-program".into()], ..spec(dir.path(), "") };
    let error = process::spawn(Path::new(env!("CARGO_BIN_EXE_trimtab")), &dir.path().join("shim"), &one).unwrap_err();
    assert!(error.message.contains("cannot start `no-such-program`"), "{error}");
}

/// As on a disk where even what was reserved cannot be written: the run is not lost, and its end is there once it can be written.
#[test]
fn an_end_that_cannot_be_written_yet_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let handle = spawn(dir.path(), &spec(dir.path(), "until [ -e go ]; do sleep 0.02; done; : > over; exit 7"));
    let place = dir.path().join("shim/exit.json");
    fs::create_dir(&place).unwrap();
    fs::write(dir.path().join("go"), "").unwrap();
    eventually("the child ends", Duration::from_secs(30), || dir.path().join("over").exists().then_some(()));
    let shim = handle.pid().unwrap();
    let children = format!("/proc/{shim}/task/{shim}/children");
    eventually("it is reaped", Duration::from_secs(30), || {
        fs::read_to_string(&children).unwrap().is_empty().then_some(())
    });
    assert_eq!(handle.state(), State::Running);
    fs::remove_dir(&place).unwrap();
    assert_eq!(end(&handle).code, Some(7));
}

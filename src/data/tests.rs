use super::*;
use std::{
    io::{Read, Write},
    net::TcpListener,
};

fn datasets(dir: &Path) -> LocalDatasets {
    fs::create_dir_all(dir.join("data")).unwrap();
    let artifacts = Arc::new(crate::artifact::FileStore::open(&dir.join("state")).unwrap());
    let config = DatasetsConfig {
        idle: Duration::from_millis(500),
        longest: Duration::from_secs(2),
        ..DatasetsConfig::new(dir.join("state"), dir.join("data"))
    };
    LocalDatasets::new(config, artifacts)
}

fn dataset(source: DataSource) -> DatasetSpec {
    DatasetSpec { name: Name::new("d").unwrap(), owner: None, description: None, source }
}

fn path(p: &str) -> DatasetSpec {
    dataset(DataSource::Path(p.into()))
}

#[test]
fn the_same_content_is_the_same_snapshot_and_new_content_another() {
    let dir = tempfile::tempdir().unwrap();
    let all = datasets(dir.path());
    fs::write(dir.path().join("data/x.csv"), "a,b\n1,2\n").unwrap();
    let first = all.snapshot(&path("x.csv"), WallMs(1), &Cancel::default()).unwrap();
    assert_eq!(first.digest, all.snapshot(&path("x.csv"), WallMs(2), &Cancel::default()).unwrap().digest);
    assert_eq!(fs::read_to_string(all.locate(&first).unwrap()).unwrap(), "a,b\n1,2\n");
    fs::write(dir.path().join("data/x.csv"), "a,b\n1,3\n").unwrap();
    let second = all.snapshot(&path("x.csv"), WallMs(3), &Cancel::default()).unwrap();
    assert_ne!(first.digest, second.digest);
    assert_eq!(fs::read_to_string(all.locate(&first).unwrap()).unwrap(), "a,b\n1,2\n", "the old snapshot stands");
}

#[test]
fn a_file_and_a_folder_that_holds_it_are_two_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let all = datasets(dir.path());
    fs::create_dir_all(dir.path().join("data/folder")).unwrap();
    fs::write(dir.path().join("data/folder/x.csv"), "1").unwrap();
    let folder = all.snapshot(&path("folder"), WallMs(1), &Cancel::default()).unwrap();
    let file = all.snapshot(&path("folder/x.csv"), WallMs(1), &Cancel::default()).unwrap();
    assert_eq!(folder.manifest, file.manifest);
    assert_ne!(folder.digest, file.digest);
    assert_eq!(folder.digest, folder.manifest.digest(), "folders keep the names that they have in locks");
    assert_eq!(fs::read_to_string(all.locate(&file).unwrap()).unwrap(), "1");
    assert_eq!(fs::read_to_string(all.locate(&folder).unwrap().join("x.csv")).unwrap(), "1");
}

#[test]
fn an_unchanged_file_is_read_again_only_when_its_content_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let all = datasets(dir.path());
    let file = dir.path().join("data/x.csv");
    fs::write(&file, "1").unwrap();
    let first = all.snapshot(&path("x.csv"), WallMs(1), &Cancel::default()).unwrap();
    drop(all);
    let hex = first.manifest.files[0].digest.hex();
    let stored = dir.path().join("state/artifacts").join(&hex[..2]).join(&hex[2..]);
    // What was noted of the file is believed without a reading: here it is made to be something else.
    let noted = dir.path().join("state/data-cache.json");
    let artifacts = crate::artifact::FileStore::open(&dir.path().join("state")).unwrap();
    let other = artifacts.put_bytes(b"2", "x.csv").unwrap().digest.hex();
    let text = fs::read_to_string(&noted).unwrap();
    fs::write(&noted, text.replace(&hex, &other)).unwrap();
    let snapshot = datasets(dir.path()).snapshot(&path("x.csv"), WallMs(2), &Cancel::default()).unwrap();
    assert_eq!(snapshot.manifest.files[0].digest.hex(), other);
    fs::write(&noted, text).unwrap();
    let again = datasets(dir.path());
    fs::remove_file(&stored).unwrap();
    let snapshot = again.snapshot(&path("x.csv"), WallMs(3), &Cancel::default()).unwrap();
    assert_eq!(fs::read_to_string(again.locate(&snapshot).unwrap()).unwrap(), "1");
}

#[test]
fn many_may_save_the_cache_at_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("data")).unwrap();
    let file = dir.path().join("cache.json");
    fs::write(dir.path().join("x"), "1").unwrap();
    let cache = StatCache::open(&file);
    let stat = cache::Stat::of(&dir.path().join("x")).unwrap();
    let entry = FileEntry { path: "x".into(), size: 1, digest: Digest::of(b"1"), executable: false };
    std::thread::scope(|scope| {
        for i in 0..8 {
            let (cache, stat, entry) = (&cache, &stat, &entry);
            scope.spawn(move || {
                for j in 0..20 {
                    cache.put(Path::new(&format!("/{i}/{j}")), stat.clone(), entry.clone());
                    cache.save();
                }
            });
        }
    });
    assert!(!file.with_extension("part").exists());
    let again = StatCache::open(&file);
    assert!((0..8).all(|i| (0..20).all(|j| again.get(Path::new(&format!("/{i}/{j}")), &stat).is_some())));
}

#[test]
fn links_out_of_the_root_are_refused_and_missing_data_says_where_it_was_sought() {
    let dir = tempfile::tempdir().unwrap();
    let all = datasets(dir.path());
    std::os::unix::fs::symlink("/etc", dir.path().join("data/etc")).unwrap();
    std::os::unix::fs::symlink("etc/passwd", dir.path().join("data/chained")).unwrap();
    fs::create_dir_all(dir.path().join("data/folder")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("data/folder/inner")).unwrap();
    for bad in ["etc/passwd", "chained", "folder"] {
        let e = all.snapshot(&path(bad), WallMs(1), &Cancel::default()).unwrap_err();
        assert!(e.message.contains("symbolic link") && !e.retryable, "{bad}: {e}");
    }
    let e = all.snapshot(&path("none.csv"), WallMs(1), &Cancel::default()).unwrap_err();
    assert!(e.message.contains("none.csv") && e.message.contains("--data"), "{e}");
}

/// Serves one request: the pieces of its answer, with a pause after each. Then it says nothing until the client gives up, unless `ends`.
fn serve(pieces: &'static [&'static [u8]], pause: Duration, ends: bool) -> DatasetSpec {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        for piece in pieces {
            let _ = stream.write_all(piece);
            std::thread::sleep(pause);
        }
        if !ends {
            let _ = stream.read(&mut [0; 1]);
        }
    });
    dataset(DataSource::Url(format!("http://{address}/set.csv")))
}

#[test]
fn downloads_that_fail_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let all = datasets(dir.path());
    let get = |answer| all.snapshot(&serve(answer, Duration::ZERO, true), WallMs(1), &Cancel::default());
    let good = get(&[b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n1,2"]).unwrap();
    assert_eq!(good.manifest.files[0].path, "set.csv");
    assert_eq!(good.manifest.files[0].digest, Digest::of(b"1,2"));
    assert!(get(&[b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"]).unwrap_err().message.contains("404"));
    assert!(get(&[b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1,2"]).is_err(), "cut short");
}

#[test]
fn a_server_that_falls_silent_is_given_up_and_one_that_is_slow_is_not() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n";
    let dir = tempfile::tempdir().unwrap();
    let all = datasets(dir.path());
    for silent in [&[][..], &[HEAD], &[HEAD, b"1,2"]] {
        let begun = std::time::Instant::now();
        let e = all.snapshot(&serve(silent, Duration::ZERO, false), WallMs(1), &Cancel::default()).unwrap_err();
        assert!(e.retryable && e.message.contains("127.0.0.1") && e.message.contains("sent nothing for 500ms"), "{e}");
        assert!(begun.elapsed() < all.config.longest);
    }
    let slow = serve(&[HEAD, b"1,2\n", b"3,4\n", b"5,6\n"], Duration::from_millis(300), true);
    assert_eq!(
        all.snapshot(&slow, WallMs(1), &Cancel::default()).unwrap().manifest.size(),
        12,
        "longer in all than the limit of one wait"
    );
    let trickle =
        serve(&[HEAD, b"1", b"1", b"1", b"1", b"1", b"1", b"1", b"1", b"1"], Duration::from_millis(300), false);
    let e = all.snapshot(&trickle, WallMs(1), &Cancel::default()).unwrap_err();
    assert!(e.retryable && e.message.contains("not done after 2s"), "{e}");
}

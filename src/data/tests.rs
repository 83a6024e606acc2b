use super::*;
use std::{
    io::{Read, Write},
    net::TcpListener,
};

fn datasets(dir: &Path) -> LocalDatasets {
    fs::create_dir_all(dir.join("data")).unwrap();
    let artifacts = Arc::new(crate::artifact::FileStore::open(&dir.join("state")).unwrap());
    let config = DatasetsConfig { state: dir.join("state"), root: dir.join("data"), timeout: Duration::from_secs(2) };
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
    let first = all.snapshot(&path("x.csv"), WallMs(1)).unwrap();
    assert_eq!(first.digest, all.snapshot(&path("x.csv"), WallMs(2)).unwrap().digest);
    assert_eq!(fs::read_to_string(all.locate(&first).unwrap()).unwrap(), "a,b\n1,2\n");
    fs::write(dir.path().join("data/x.csv"), "a,b\n1,3\n").unwrap();
    let second = all.snapshot(&path("x.csv"), WallMs(3)).unwrap();
    assert_ne!(first.digest, second.digest);
    assert_eq!(fs::read_to_string(all.locate(&first).unwrap()).unwrap(), "a,b\n1,2\n", "the old snapshot stands");
}

#[test]
fn an_unchanged_file_is_not_read_again_unless_its_content_was_removed() {
    let dir = tempfile::tempdir().unwrap();
    let all = datasets(dir.path());
    fs::write(dir.path().join("data/x.csv"), "1").unwrap();
    fs::write(dir.path().join("data/y.csv"), "2").unwrap();
    let digest = |all: &LocalDatasets, name| all.snapshot(&path(name), WallMs(1)).unwrap().manifest.files[0].digest;
    let (x, y) = (digest(&all, "x.csv"), digest(&all, "y.csv"));
    drop(all);
    // What is remembered is made to differ from what a second reading would find.
    let known = dir.path().join("state/data-cache.json");
    fs::write(&known, fs::read_to_string(&known).unwrap().replace(&x.hex(), &y.hex())).unwrap();
    assert_eq!(digest(&datasets(dir.path()), "x.csv"), y);
    let stored = dir.path().join("state/artifacts").join(&y.hex()[..2]);
    fs::remove_dir_all(&stored).unwrap();
    assert_eq!(digest(&datasets(dir.path()), "x.csv"), x);
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
        let e = all.snapshot(&path(bad), WallMs(1)).unwrap_err();
        assert!(e.message.contains("symbolic link") && !e.retryable, "{bad}: {e}");
    }
    let e = all.snapshot(&path("none.csv"), WallMs(1)).unwrap_err();
    assert!(e.message.contains("none.csv") && e.message.contains("--data"), "{e}");
}

/// Serves one answer to one request.
fn serve(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(answer);
        if answer.is_empty() {
            // Says nothing until the client gives up.
            let _ = stream.read(&mut [0; 1]);
        }
    });
    format!("http://{address}/set.csv")
}

#[test]
fn downloads_that_fail_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let all = datasets(dir.path());
    let get = |answer| all.snapshot(&dataset(DataSource::Url(serve(answer))), WallMs(1));
    let good = get(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n1,2").unwrap();
    assert_eq!(good.manifest.files[0].path, "set.csv");
    assert_eq!(good.manifest.files[0].digest, Digest::of(b"1,2"));
    assert!(get(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").unwrap_err().message.contains("404"));
    assert!(get(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1,2").is_err(), "cut short");
    assert!(get(b"").unwrap_err().message.contains("127.0.0.1"), "hangs");
}

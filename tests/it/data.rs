//! Datasets through the whole loop.

use crate::support::{SERVED, TRAIN, World, model};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A web server of a folder's files; ends with the test.
struct Files {
    server: Child,
    url: String,
}

impl Files {
    fn serve(folder: &Path) -> Self {
        let mut command = Command::new("python3");
        command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"]).arg(folder);
        let mut server = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let port = said.split_whitespace().skip_while(|w| *w != "port").nth(1).unwrap();
        Self { server, url: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

fn dataset(name: &str, source: &str) -> String {
    format!("schema = \"trimtab/v1\"\n[dataset]\nname = \"{name}\"\n[source]\n{source}\n")
}

#[test]
fn data_of_a_web_server_is_trained_on_and_new_data_enters_by_a_refresh() {
    let mut w = World::new();
    let count = w.path("count");
    fs::create_dir_all(w.path("web")).unwrap();
    fs::write(w.path("web/n.csv"), "1,2\n").unwrap();
    let files = Files::serve(&w.path("web"));
    let numbers = dataset("numbers", &format!("url = \"{}/n.csv\"", files.url));
    w.commit("data", &[("specs/datasets/numbers.toml", Some(&numbers))]);
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    assert!(w.get("/models/fraud/x").2.contains("\"data\": 4"));
    w.wait_for("fraud", "synced");

    assert!(w.trimtab(&["refresh", "fraud"]).status.success());
    assert_eq!(w.trained("count").len(), 1, "the same content is the same snapshot");
    fs::write(w.path("web/n.csv"), "1,2\n3,4\n").unwrap();
    assert!(w.trimtab(&["refresh", "fraud"]).status.success());
    w.wait_for("fraud", "version=v2");
    assert!(w.get("/models/fraud/x").2.contains("\"data\": 8"));

    // The server is gone: what was taken from it is not needed again.
    drop(files);
    w.revert(w.head().unwrap().id());
    w.wait_for("fraud", "version=v1");
    let out = w.trimtab(&["refresh", "fraud"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("cannot download http://127.0.0.1"), "{said}");
    assert_eq!(w.trained("count").len(), 2);
}

/// What a run sees is part of what it is named by: a folder of one file is not that file.
#[test]
fn a_dataset_that_becomes_a_folder_of_its_one_file_is_trained_on_anew() {
    let mut w = World::new();
    let count = w.path("count");
    fs::create_dir_all(w.path("data/folder")).unwrap();
    fs::write(w.path("data/folder/n.csv"), "1,2\n").unwrap();
    let of = |path: &str| dataset("numbers", &format!("path = \"{path}\""));
    let train = TRAIN.replace(
        "data = open(os.environ[\"TRIMTAB_INPUT_TRAIN\"]).read()",
        "place = os.environ[\"TRIMTAB_INPUT_TRAIN\"]\n\
         data = \"folder\" if os.path.isdir(place) else open(place).read()",
    );
    w.commit("data", &[("specs/datasets/numbers.toml", Some(&of("folder/n.csv")))]);
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.commit("fraud: either", &[("specs/models/fraud/train.py", Some(&train))]);
    w.start();
    w.wait_for("fraud", "version=v1");
    assert!(w.get("/models/fraud/x").2.contains("\"data\": 4"));
    w.wait_for("fraud", "synced");
    let change = w.commit("data", &[("specs/datasets/numbers.toml", Some(&of("folder")))]);
    w.wait_for("fraud", "version=v2");
    assert!(w.get("/models/fraud/x").2.contains("\"data\": 6"));
    w.revert(change);
    w.wait_for("fraud", "version=v1");
    assert_eq!(w.trained("count").len(), 2);
}

/// More datasets that hang than are read at once: what comes after them has its turn all the same.
#[test]
fn datasets_that_hang_hold_up_no_other_however_many_they_are() {
    const HANG: usize = 20;
    let mut w = World::new();
    let count = w.path("count");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut files: Vec<(String, String)> = (0..HANG)
        .flat_map(|n| {
            let url = format!("url = \"http://{}/{n}.csv\"", server.local_addr().unwrap());
            let spec = model(&format!("m{n}"), &count, ", seed = 0", "");
            [
                (format!("specs/datasets/d{n}.toml"), dataset(&format!("d{n}"), &url)),
                (format!("specs/models/m{n}/model.toml"), spec.replace("\"numbers\"", &format!("\"d{n}\""))),
                (format!("specs/models/m{n}/train.py"), TRAIN.to_owned()),
            ]
        })
        .collect();
    files.sort();
    let files: Vec<(&str, Option<&str>)> = files.iter().map(|(p, t)| (p.as_str(), Some(t.as_str()))).collect();
    w.commit("hang", &files);
    w.start();
    // The server takes the connections of a whole turn, and says nothing.
    let _held: Vec<_> = (0..16).map(|_| server.accept().unwrap()).collect();
    let begun = Instant::now();
    w.commit_model("zulu", &model("zulu", &count, ", seed = 1", SERVED));
    w.wait_for("zulu", "healthy");
    assert!(begun.elapsed() < Duration::from_secs(40), "sooner than the others are given up: {:?}", begun.elapsed());
}

#[test]
fn a_download_that_nothing_asks_for_any_more_is_ended() {
    let mut w = World::new();
    let count = w.path("count");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let slow = dataset("slow", &format!("url = \"http://{}/x.csv\"", server.local_addr().unwrap()));
    w.commit("data", &[("specs/datasets/slow.toml", Some(&slow))]);
    let good = model("fraud", &count, ", seed = 1", SERVED);
    w.commit_model("fraud", &good.replace("\"numbers\"", "\"slow\""));
    w.start();
    let (mut download, _) = server.accept().unwrap();
    download.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    w.commit_model("fraud", &good);
    let begun = Instant::now();
    // It would trickle on for ever.
    while download.write_all(b"1").is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(40));
        std::thread::sleep(Duration::from_millis(20));
    }
    w.wait_for("fraud", "healthy");
}

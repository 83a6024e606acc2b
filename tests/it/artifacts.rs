//! Files that MLflow's clients upload: kept through kills, listed, served in part, refused where they do not belong.

use crate::support::{World, eventually};
use reqwest::{Method, StatusCode, blocking::Body, header};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

const PROXY: &str = "/api/2.0/mlflow-artifacts";

struct Client {
    address: String,
    token: String,
    http: reqwest::blocking::Client,
}

fn start(w: &mut World) -> Client {
    let (address, token) = w.start_tcp();
    let http = reqwest::blocking::Client::builder().no_proxy().timeout(Duration::from_secs(120)).build().unwrap();
    Client { address, token, http }
}

impl Client {
    fn ask(&self, method: Method, path: &str) -> reqwest::blocking::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.address)).bearer_auth(&self.token)
    }
    /// A new run's root.
    fn run(&self) -> String {
        let (_, made) = self.json(Method::POST, "/api/2.0/mlflow/runs/create", &json!({"experiment_id": "0"}));
        let uri = made["run"]["info"]["artifact_uri"].as_str().unwrap();
        uri.strip_prefix("mlflow-artifacts:/").unwrap().to_owned()
    }
    fn put(&self, path: &str, body: impl Into<Body>) -> StatusCode {
        self.ask(Method::PUT, &format!("{PROXY}/artifacts/{path}")).body(body).send().unwrap().status()
    }
    fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let answer = self.ask(Method::GET, &format!("{PROXY}/artifacts/{path}")).send().unwrap();
        (answer.status().as_u16(), answer.bytes().unwrap().to_vec())
    }
    fn json(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.ask(method, path).json(body).send().unwrap();
        (answer.status().as_u16(), answer.json().unwrap_or_default())
    }
    fn list(&self, folder: &str) -> Value {
        self.json(Method::GET, &format!("{PROXY}/artifacts?path={folder}"), &json!({})).1
    }
    /// A call whose path no library tidies up: its status and body.
    fn raw(&self, method: &str, path: &str) -> (u16, String) {
        let host = self.address.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        let token = &self.token;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
             content-length: 1\r\n\r\nx"
        )
        .unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        (said.split(' ').nth(1).unwrap().parse().unwrap(), said)
    }
}

/// Bytes that nothing else has.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..size).map(next).collect()
}

#[test]
fn what_was_uploaded_is_listed_served_and_deleted_and_survives_a_kill() {
    let mut w = World::new();
    let c = start(&mut w);
    let run = c.run();
    let large = noise(50 * 1024 * 1024, 1);
    assert_eq!(c.put(&format!("{run}/model/weights.bin"), large.clone()), 200);
    assert_eq!(c.put(&format!("{run}/model/MLmodel"), "flavors: {}"), 200);
    assert_eq!(c.put(&format!("{run}/%E6%A8%A1%20%23a.txt"), "no"), 400, "as in MLflow");
    assert_eq!(c.put(&format!("{run}/%E6%A8%A1%20a.txt"), "yes"), 200);
    assert_eq!(c.put(&format!("{run}/empty"), ""), 200);
    w.kill();
    let c = start(&mut w);

    assert_eq!(
        c.list(&run),
        json!({"files": [{"path": "empty", "is_dir": false, "file_size": 0}, {"path": "model", "is_dir": true},
            {"path": "模 a.txt", "is_dir": false, "file_size": 3}]})
    );
    let size = large.len();
    assert_eq!(
        c.list(&format!("{run}/model"))["files"][1],
        json!({"path": "weights.bin", "is_dir": false, "file_size": size})
    );
    assert_eq!(c.list(&format!("{run}/model/MLmodel")), json!({}));
    assert_eq!(c.list("7"), json!({}));
    let id = run.split('/').nth(1).unwrap();
    let of_run = |path: &str| {
        c.json(Method::GET, &format!("/api/2.0/mlflow/artifacts/list?run_id={id}&path={path}"), &json!({}))
    };
    let (status, listed) = of_run("model");
    assert_eq!((status, &listed["root_uri"]), (200, &json!(format!("mlflow-artifacts:/{run}"))));
    assert_eq!(listed["files"][0], json!({"path": "model/MLmodel", "is_dir": false, "file_size": 11}));
    let shown = c.ask(Method::GET, &format!("/get-artifact?run_id={id}&path=model/MLmodel")).send().unwrap();
    assert_eq!((shown.status().as_u16(), shown.text().unwrap()), (200, "flavors: {}".into()));
    let uploaded = format!("/ajax-api/2.0/mlflow/upload-artifact?run_uuid={id}&path=a/note");
    assert_eq!(c.ask(Method::POST, &uploaded).body("seen").send().unwrap().status(), 200);
    assert_eq!(c.get(&format!("{run}/a/note")), (200, b"seen".to_vec()));
    assert_eq!(c.ask(Method::DELETE, &format!("{PROXY}/artifacts/{run}/a")).send().unwrap().status(), 200);
    assert!(c.get(&format!("{run}/model/weights.bin")) == (200, large.clone()));
    assert_eq!(c.get(&format!("{run}/empty")), (200, vec![]));
    assert_eq!(c.get(&format!("{run}/model")).0, 400);
    let (status, said) = c.get(&format!("{run}/none"));
    assert_eq!(
        (status, String::from_utf8(said).unwrap().contains(&format!("No such artifact: '{run}/none'"))),
        (404, true)
    );

    let whole = format!("{PROXY}/artifacts/{run}/model/weights.bin");
    let head = c.ask(Method::HEAD, &whole).send().unwrap();
    let of = |answer: &reqwest::blocking::Response, name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(of(&head, "content-length"), size.to_string());
    assert_eq!(of(&head, "content-disposition"), "attachment; filename=weights.bin");
    assert_eq!(of(&head, "x-content-type-options"), "nosniff");
    let tag = of(&head, "etag");
    let part = c.ask(Method::GET, &whole).header(header::RANGE, "bytes=1000000-1999999").send().unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(of(&part, "content-range"), format!("bytes 1000000-1999999/{size}"));
    assert!(part.bytes().unwrap() == large[1_000_000..2_000_000]);
    assert_eq!(c.ask(Method::GET, &whole).header(header::IF_NONE_MATCH, tag).send().unwrap().status(), 304);
    let beyond = c.ask(Method::GET, &whole).header(header::RANGE, format!("bytes={size}-")).send().unwrap();
    assert_eq!((beyond.status().as_u16(), of(&beyond, "content-range")), (416, format!("bytes */{size}")));

    // What is no more named by anything goes at the next clean-up, and nothing else.
    let stored = |w: &World| {
        walkdir::WalkDir::new(w.state().join("artifacts"))
            .into_iter()
            .flatten()
            .filter(|e| e.file_type().is_file())
            .count()
    };
    eventually("a clean-up", Duration::from_secs(30), || w.trimtab(&["gc"]).status.success().then_some(()));
    let before = stored(&w);
    assert!(c.get(&format!("{run}/model/weights.bin")) == (200, large));
    assert_eq!(c.json(Method::DELETE, &format!("{PROXY}/artifacts/{run}/model"), &json!({})), (200, json!({})));
    assert_eq!(c.json(Method::DELETE, &format!("{PROXY}/artifacts/{run}/model"), &json!({})), (200, json!({})));
    assert_eq!(c.get(&format!("{run}/model/MLmodel")).0, 404);
    assert!(w.trimtab(&["gc"]).status.success());
    assert_eq!(stored(&w), before - 2);
    assert_eq!(c.get(&format!("{run}/%E6%A8%A1%20a.txt")), (200, b"yes".to_vec()));
}

#[test]
fn many_upload_at_once_and_one_that_breaks_off_leaves_nothing() {
    let mut w = World::new();
    let c = start(&mut w);
    let run = c.run();
    std::thread::scope(|s| {
        for thread in 0..8 {
            let (c, run) = (&c, &run);
            s.spawn(move || {
                for n in 0..20 {
                    let path = format!("{run}/{thread}/{n}");
                    assert_eq!(c.put(&path, noise(10_000 + n, thread * 100 + n as u64)), 200);
                    // All to the same place, too: the last one stands.
                    assert_eq!(c.put(&format!("{run}/shared"), format!("{thread} {n}")), 200);
                }
            });
        }
    });
    for thread in 0..8 {
        assert_eq!(c.list(&format!("{run}/{thread}"))["files"].as_array().unwrap().len(), 20);
    }
    assert_eq!(c.get(&format!("{run}/3/7")), (200, noise(10_007, 307)));
    assert_eq!(c.put(&format!("{run}/3"), "x"), 400, "a folder is there");
    assert_eq!(c.put(&format!("{run}/shared/x"), "x"), 400, "a file is there");

    let tmp = w.state().join("artifacts/tmp");
    let arriving = || std::fs::read_dir(&tmp).unwrap().count();
    let host = c.address.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let token = &c.token;
    write!(
        stream,
        "PUT {PROXY}/artifacts/{run}/cut HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-length: 9000000\r\n\r\n"
    )
    .unwrap();
    stream.write_all(&vec![1; 3_000_000]).unwrap();
    eventually("the file is on its way", Duration::from_secs(10), || (arriving() > 0).then_some(()));
    drop(stream);
    eventually("nothing is left", Duration::from_secs(10), || (arriving() == 0).then_some(()));
    assert_eq!(c.get(&format!("{run}/cut")).0, 404);
}

#[test]
fn paths_that_lead_elsewhere_and_callers_without_a_token_are_refused() {
    let mut w = World::new();
    let c = start(&mut w);
    let run = c.run();
    for method in ["PUT", "GET", "DELETE"] {
        for bad in [
            "../x",
            "%2e%2e/x",
            "%252e%252e%252fx",
            "..%2fx",
            "a/%2E%2e/x",
            "a%5c..%5cx",
            "%2fetc%2fpasswd",
            "/etc/passwd",
            "a%00",
            "C:/x",
            "file:x",
            "a%23",
        ] {
            let (status, said) = c.raw(method, &format!("{PROXY}/artifacts/{run}/{bad}"));
            // What is absolute is so at the beginning alone.
            let inside = ["%2fetc%2fpasswd", "/etc/passwd", "C:/x", "file:x"].contains(&bad);
            assert!(inside || status == 400 && said.contains("Invalid path"), "{method} {bad}: {said}");
            let (status, said) = c.raw(method, &format!("{PROXY}/artifacts/{bad}"));
            assert!(status == 400 && said.contains("Invalid path"), "{method} {bad}: {said}");
        }
    }
    for bad in ["%2e%2e", "/etc", "a/../../b", "%252e%252e"] {
        assert_eq!(c.raw("GET", &format!("{PROXY}/artifacts?path={bad}")).0, 400, "{bad}");
        let id = run.split('/').nth(1).unwrap();
        let of_run = format!("/api/2.0/mlflow/artifacts/list?run_id={id}&path={bad}");
        assert_eq!(c.raw("GET", &of_run).0, 400, "{bad}");
    }
    for nobody in ["x", "0/x", "0/artifacts/x", "artifacts/a/b"] {
        let (status, said) = c.raw("PUT", &format!("{PROXY}/artifacts/{nobody}"));
        assert!(status == 400 && said.contains("Invalid artifact path"), "{nobody}: {said}");
    }
    let (status, said) = c.raw("PUT", &format!("{PROXY}/artifacts/{}/x", run.replace('0', "1")));
    assert!(status == 404 && said.contains("RESOURCE_DOES_NOT_EXIST"), "{said}");
    assert_eq!(c.raw("PUT", &format!("{PROXY}/artifacts/{run}/x/")).0, 400);
    let out = c.http.put(format!("{}{PROXY}/artifacts/{run}/x", c.address)).body("x").send().unwrap();
    assert_eq!(out.status(), 401);
    assert_eq!(c.list(&run), json!({}));
    let outside = ["etc", "passwd", "x"].iter().any(|n| w.path(n).exists() || w.state().join(n).exists());
    assert!(!outside);
}

#[test]
fn large_files_come_in_parts_to_signed_addresses() {
    let mut w = World::new();
    let c = start(&mut w);
    let run = c.run();
    let content = noise(12_000_000, 9);
    let chunks: Vec<&[u8]> = content.chunks(5_000_000).collect();
    let call = |what: &str, body: Value| c.json(Method::POST, &format!("{PROXY}/mpu/{what}/{run}/sub"), &body);
    let (status, made) = call("create", json!({"path": "/home/ada/big.bin", "num_parts": 3}));
    assert_eq!(status, 200, "{made}");
    let upload = made["upload_id"].as_str().unwrap();
    let url = |n: usize| made["credentials"][n]["url"].as_str().unwrap().to_owned();
    let put = |url: &str, body: &[u8]| c.http.put(url).body(body.to_vec()).send().unwrap();
    let mut parts = vec![];
    for n in [2, 0, 1] {
        let answer = put(&url(n), chunks[n]);
        assert_eq!(answer.status(), 200);
        parts.push(json!({"part_number": n + 1, "etag": answer.headers()["etag"].to_str().unwrap(), "url": url(n)}));
    }
    // Parts survive the daemon.
    w.kill();
    let c = start(&mut w);
    let forged = url(0).replace("/1?", "/2?");
    let old = url(0).split("/api").next().unwrap().to_owned();
    assert_eq!(put(&forged.replace(&old, &c.address), b"evil").status(), 403);
    assert_eq!(put(&format!("{}{PROXY}/parts/x/1", c.address), b"evil").status(), 403);
    let call = |what: &str, folder: &str, parts: &[Value]| {
        let body = json!({"path": "/home/ada/big.bin", "upload_id": upload, "parts": parts});
        c.json(Method::POST, &format!("{PROXY}/mpu/{what}/{run}/{folder}"), &body)
    };
    assert_eq!(call("complete", "elsewhere", &parts).0, 404, "it belongs to its path");
    assert_eq!(call("complete", "sub", &parts[..1]).0, 400, "the second part is missing");
    for _ in 0..2 {
        assert_eq!(call("complete", "sub", &parts), (200, json!({})));
        assert!(c.get(&format!("{run}/sub/big.bin")) == (200, content.clone()));
    }
    assert_eq!(put(&url(0).replace(&old, &c.address), b"late").status(), 404);
    assert_eq!(std::fs::read_dir(w.state().join("artifacts/tmp")).unwrap().count(), 0);

    let (_, made) = c.json(Method::POST, &format!("{PROXY}/mpu/create/{run}"), &json!({"path": "b", "num_parts": 1}));
    let body = json!({"path": "b", "upload_id": made["upload_id"]});
    assert_eq!(put(made["credentials"][0]["url"].as_str().unwrap(), b"x").status(), 200);
    assert_eq!(c.json(Method::POST, &format!("{PROXY}/mpu/abort/{run}"), &body), (200, json!({})));
    assert_eq!(put(made["credentials"][0]["url"].as_str().unwrap(), b"x").status(), 404);
    assert_eq!(c.raw("GET", &format!("{PROXY}/presigned/{run}/b")).0, 501);
}

//! The router process: real binary, real sockets; replicas are servers of this process.

mod choice;
mod fast_path;
mod guard;
mod streams;

use crate::{
    load::{Client, Load},
    support::eventually,
};
use axum::{Router as Replica, body::Body, http::HeaderMap, routing};
use futures::StreamExt;
use http_body_util::BodyExt;
use std::{
    convert::Infallible,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::sync::Notify;
use trimtab::{
    model::{Digest, Name, Release, VersionNumber},
    route::{Identity, ReleaseRoute, Route, RouteError, RouterClient, RouterSettings, Started},
};

fn name(s: &str) -> Name {
    Name::new(s).unwrap()
}

fn release(number: u32) -> Release {
    Release { version: VersionNumber(number), serve: Digest::of(b"") }
}

fn route(generation: u64, shares: &[(u32, u32, &[SocketAddr])]) -> Route {
    let releases = shares.iter().map(|(number, weight, replicas)| ReleaseRoute {
        release: release(*number),
        weight: *weight,
        replicas: replicas.to_vec(),
    });
    Route::new(name("prod"), name("m"), generation, true, releases.collect())
}

/// A router process and its folder; ended with this.
struct Router {
    dir: TempDir,
    child: Child,
    identity: Identity,
}

fn launch(exe: &Path, dir: &Path) -> (Child, Started) {
    let mut child = Command::new(exe)
        .arg("internal-router")
        .arg(dir)
        .env("TRIMTAB_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

impl Router {
    fn start() -> Self {
        let settings = RouterSettings::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        Self::with(RouterSettings { body_limit: 1 << 20, timeout_ms: 5_000, ..settings })
    }
    fn with(settings: RouterSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        settings.save(dir.path()).unwrap();
        let (child, started) = launch(exe(), dir.path());
        let Started::Ready(identity) = started else { panic!("{started:?}") };
        Self { dir, child, identity }
    }
    fn control(&self) -> RouterClient {
        RouterClient::new(self.dir.path())
    }
    fn client(&self) -> Client {
        Client::new(self.identity.address)
    }
}
impl Drop for Router {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_trimtab"))
}

/// Serves on a free port until the runtime ends.
async fn replica(app: Replica) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn echo() -> SocketAddr {
    let show = |method: http::Method, uri: http::Uri, headers: HeaderMap, body: String| async move {
        let headers: Vec<String> =
            headers.iter().map(|(k, v)| format!("{k}: {}", v.to_str().unwrap_or_default())).collect();
        format!("{method} {uri}\n{}\n\n{body}", headers.join("\n"))
    };
    replica(Replica::new().fallback(routing::any(show))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_are_exact_and_measured() {
    let router = Router::start();
    let (a, b) = (echo().await, echo().await);
    router.control().put_route(&route(1, &[(1, 90_000, &[a]), (2, 10_000, &[b])])).await.unwrap();
    let clients = (0..4).map(|_| {
        let mut client = router.client();
        async move {
            let mut second = 0;
            for _ in 0..500 {
                let answer = client.get("/models/m/predict").await.unwrap();
                assert_eq!(answer.status, 200);
                second += u64::from(answer.version.as_deref() == Some("v2"));
            }
            second
        }
    });
    let second: u64 = futures::future::join_all(clients).await.iter().sum();
    assert!((180..=220).contains(&second), "10 % of 2,000 within 1 %: {second}");
    let stats = router.control().stats(&name("prod"), &name("m")).await.unwrap();
    let by = |n| stats.releases.iter().find(|r| r.release == release(n)).unwrap();
    assert_eq!((by(1).epoch.requests, by(2).epoch.requests), (2_000 - second, second));
    assert_eq!((by(1).epoch.errors, by(1).in_flight, by(2).recent.requests > 0), (0, 0, true));
    assert!(by(1).epoch.p99_ms >= by(1).epoch.p50_ms && by(1).epoch.p50_ms > 0.0);
    // A changed weight begins a new measurement; a changed set of replicas does not.
    router.control().put_route(&route(2, &[(1, 90_000, &[a, b]), (2, 20_000, &[b])])).await.unwrap();
    let stats = router.control().stats(&name("prod"), &name("m")).await.unwrap();
    let requests: Vec<u64> = stats.releases.iter().map(|r| r.epoch.requests).collect();
    assert_eq!(requests, [2_000 - second, 0]);
    assert!(router.control().stats_since(stats.now_ms + 1).await.unwrap().releases.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_sees_its_own_path_and_the_clients_headers() {
    let router = Router::start();
    let a = echo().await;
    router.control().put_route(&route(1, &[(7, 100_000, &[a])])).await.unwrap();
    let request = http::Request::post("/environments/prod/models/m/v2/x?y=1%20")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("x-mine", "2")
        .header("x-forwarded-for", "10.1.1.1")
        .body("payload".to_owned().into())
        .unwrap();
    let answer = router.client().call(request).await.unwrap();
    let text = answer.text();
    assert_eq!(answer.version.as_deref(), Some("v7"));
    assert!(text.starts_with("POST /v2/x?y=1%20\n") && text.ends_with("\n\npayload"), "{text}");
    for header in [
        "x-mine: 2",
        "x-forwarded-for: 10.1.1.1, 127.0.0.1",
        "x-forwarded-prefix: /environments/prod/models/m",
        "x-forwarded-host: router.test",
        "host: router.test",
    ] {
        assert!(text.contains(header), "{header} in {text}");
    }
    assert!(!text.contains("x-hop"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_to_do() {
    let router = Router::start();
    let mut client = router.client();
    for (path, status, word) in [
        ("/", 404, "/models/NAME/"),
        ("/models/nobody/x", 404, "`nobody` is not deployed"),
        ("/environments/prod/models/m/", 404, "in environment `prod`"),
    ] {
        let answer = client.get(path).await.unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers["content-type"], "application/json");
        assert!(answer.text().contains(word) && answer.text().contains("help"), "{}", answer.text());
    }
    router.control().put_route(&route(1, &[(1, 100_000, &[])])).await.unwrap();
    let answer = client.get("/models/m/").await.unwrap();
    assert_eq!((answer.status, &answer.headers["retry-after"]), (503, &"1".parse().unwrap()));
    let closed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    router.control().put_route(&route(2, &[(1, 100_000, &[closed])])).await.unwrap();
    let answer = client.post("/models/m/", "x").await.unwrap();
    assert_eq!((answer.status, answer.version.as_deref()), (503, Some("v1")));
    let stats = router.control().stats(&name("prod"), &name("m")).await.unwrap();
    assert_eq!((stats.releases[0].epoch.requests, stats.releases[0].epoch.errors), (1, 1));
    let a = echo().await;
    router.control().put_route(&route(3, &[(1, 100_000, &[a])])).await.unwrap();
    let answer = client.post("/models/m/", vec![b'x'; (1 << 20) + 1]).await.unwrap();
    assert_eq!(answer.status, 413, "{}", answer.text());
    let stale = router.control().put_route(&route(2, &[])).await;
    assert!(matches!(stale, Err(RouteError::Stale { current: 3 })), "{stale:?}");
    router.control().put_route(&route(4, &[])).await.unwrap();
    assert_eq!(router.client().get("/models/m/").await.unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_replicas_are_passed_over() {
    let router = Router::start();
    let closed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let a = echo().await;
    router.control().put_route(&route(1, &[(1, 100_000, &[closed, a])])).await.unwrap();
    let load = Load::start(router.identity.address, "/models/m/x", 3);
    tokio::task::block_in_place(|| load.more(500));
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:?}", report.failures);
}

/// Answers a few requests on each connection, then closes it without a word.
fn closes_often() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let mut reader = BufReader::new(stream);
                for _ in 0..5 {
                    let (mut length, mut line) = (0usize, String::new());
                    loop {
                        line.clear();
                        if reader.read_line(&mut line).unwrap_or(0) == 0 {
                            return;
                        }
                        if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
                            length = n.trim().parse().unwrap();
                        }
                        if line == "\r\n" {
                            break;
                        }
                    }
                    reader.read_exact(&mut vec![0; length]).unwrap();
                    writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_closes_idle_connections_fails_no_repeatable_request() {
    let router = Router::start();
    router.control().put_route(&route(1, &[(1, 100_000, &[closes_often()])])).await.unwrap();
    let mut client = router.client();
    for _ in 0..500 {
        assert_eq!(client.get("/models/m/x").await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_both_ways() {
    let router = Router::start();
    let first = Arc::new(Notify::new());
    let seen = first.clone();
    // Sends each chunk back as it comes, and tells of the first.
    let back = move |body: Body| async move {
        let stream = body.into_data_stream().map(move |chunk| {
            seen.notify_one();
            Ok::<_, Infallible>(chunk.unwrap())
        });
        Body::from_stream(stream)
    };
    let a = replica(Replica::new().fallback(routing::post(back))).await;
    router.control().put_route(&route(1, &[(1, 100_000, &[a])])).await.unwrap();
    let (mut chunks, receiver) = futures::channel::mpsc::channel::<Result<hyper::body::Frame<_>, Infallible>>(1);
    let stream = tokio::net::TcpStream::connect(router.identity.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("/models/m/").header("host", "h");
    let request = request.body(http_body_util::StreamBody::new(receiver)).unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    let frame = |s: &'static str| Ok(hyper::body::Frame::data(hyper::body::Bytes::from_static(s.as_bytes())));
    chunks.try_send(frame("one")).unwrap();
    // The replica has the first chunk, and the client its echo, while the request is still being sent.
    first.notified().await;
    let mut body = answer.await.unwrap().unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    chunks.try_send(frame("two")).unwrap();
    drop(chunks);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_the_last_request() {
    let router = Router::start();
    let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (b, f) = (begun.clone(), finish.clone());
    let slow = move || async move {
        b.notify_one();
        f.notified().await;
        "done"
    };
    let a = replica(Replica::new().fallback(routing::any(slow))).await;
    let control = router.control();
    control.put_route(&route(1, &[(1, 100_000, &[a])])).await.unwrap();
    let mut client = router.client();
    let request = tokio::spawn(async move { client.get("/models/m/").await });
    begun.notified().await;
    control.put_route(&route(2, &[])).await.unwrap();
    assert_eq!(control.drained(a, Duration::from_millis(50)).await.unwrap(), 1);
    let waiting = tokio::spawn(async move { control.drained(a, Duration::from_secs(10)).await });
    finish.notify_one();
    assert_eq!(waiting.await.unwrap().unwrap(), 0);
    assert_eq!(request.await.unwrap().unwrap().text(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_replicas_time_out() {
    let settings = RouterSettings::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let router = Router::with(RouterSettings { timeout_ms: 100, ..settings });
    let a = replica(Replica::new().fallback(routing::any(futures::future::pending::<&str>))).await;
    router.control().put_route(&route(1, &[(1, 100_000, &[a])])).await.unwrap();
    let answer = router.client().get("/models/m/").await.unwrap();
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert_eq!(router.control().stats(&name("prod"), &name("m")).await.unwrap().releases[0].epoch.errors, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_survive_a_kill_and_damage_of_one_file() {
    let mut router = Router::start();
    let a = echo().await;
    let mut other = route(1, &[(3, 100_000, &[a])]);
    other.model = name("other");
    router.control().put_routes(vec![route(1, &[(1, 100_000, &[a])]), other.clone()]).await.unwrap();
    let mode = |file: &str| std::fs::metadata(router.dir.path().join(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("router.sock"), mode("handover.sock")), (0o600, 0o600));
    router.child.kill().unwrap();
    router.child.wait().unwrap();
    std::fs::write(router.dir.path().join("routes/prod/m.json"), "{").unwrap();
    let (child, started) = launch(exe(), router.dir.path());
    router.child = child;
    let Started::Ready(again) = started else { panic!("{started:?}") };
    assert_eq!(again.address, router.identity.address, "the same port again");
    assert_eq!(router.client().get("/models/other/").await.unwrap().version.as_deref(), Some("v3"));
    assert_eq!(router.control().routes().await.unwrap(), [other]);
    router.control().put_routes(vec![]).await.unwrap();
    assert_eq!(std::fs::read_dir(router.dir.path().join("routes/prod")).unwrap().count(), 1, "the damaged file stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_among_ten_thousand_routes_is_one_small_file() {
    let router = Router::start();
    let a = echo().await;
    let all = (0..10_000u32).map(|n| Route { model: name(&format!("m{n}")), ..route(1, &[(1, 100_000, &[a])]) });
    // Written beforehand, as a router's own files: what is measured is a change.
    let folder = router.dir.path().join("routes/prod");
    std::fs::create_dir_all(&folder).unwrap();
    for r in all {
        std::fs::write(folder.join(format!("{}.json", r.model)), serde_json::to_vec(&r).unwrap()).unwrap();
    }
    let (child, started) = launch(exe(), router.dir.path());
    let _second = Router { dir: tempfile::tempdir().unwrap(), child, identity: router.identity.clone() };
    assert!(matches!(started, Started::Ready(_)), "{started:?}");
    let control = router.control();
    assert_eq!(control.routes().await.unwrap().len(), 10_000);
    let stamp = |n: u32| std::fs::metadata(folder.join(format!("m{n}.json"))).unwrap().modified().unwrap();
    let before = (stamp(5), stamp(6));
    control.put_route(&Route { model: name("m5"), ..route(2, &[(2, 100_000, &[a])]) }).await.unwrap();
    assert_eq!(Client::new(router.identity.address).get("/models/m5/").await.unwrap().version.as_deref(), Some("v2"));
    assert!(stamp(5) > before.0 && stamp(6) == before.1);
}

/// The same program under another digest.
fn another_binary(dir: &Path) -> PathBuf {
    let path = dir.join("trimtab-next");
    std::fs::copy(exe(), &path).unwrap();
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"next").unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_router_takes_over_without_a_failed_request() {
    let mut router = Router::start();
    let a = echo().await;
    router.control().put_route(&route(1, &[(1, 100_000, &[a])])).await.unwrap();
    let load = Load::start(router.identity.address, "/models/m/x", 6);
    let mut exe = another_binary(router.dir.path());
    tokio::task::block_in_place(|| {
        for _ in 0..3 {
            load.more(300);
            let (child, started) = launch(&exe, router.dir.path());
            let Started::Ready(next) = started else { panic!("{started:?}") };
            assert_eq!(next.address, router.identity.address);
            assert_ne!((next.pid, &next.exe), (router.identity.pid, &router.identity.exe));
            let mut old = std::mem::replace(&mut router.child, child);
            router.identity = next;
            load.more(300);
            let begun = Instant::now();
            let status = eventually("the old router ends", Duration::from_secs(20), || old.try_wait().unwrap());
            assert!(status.success(), "{status} after {:?}", begun.elapsed());
            exe = if exe == super::router::exe() {
                another_binary(router.dir.path())
            } else {
                super::router::exe().into()
            };
        }
        load.more(300);
    });
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:#?}", report.failures);
    assert_eq!(router.control().identity().await.unwrap(), router.identity);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    RouterSettings::new(address).save(dir.path()).unwrap();
    let (mut child, started) = launch(exe(), dir.path());
    let Started::Failed(reason) = started else { panic!("{started:?}") };
    assert!(reason.contains(&format!("port {} is in use by another program", address.port())), "{reason}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

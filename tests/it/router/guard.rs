//! What the router keeps from replicas, and keeps clients from: limits, failing replicas, slow and vanished clients; and what it notes.

use super::*;
use trimtab::{
    model::RequestLimit,
    route::{AccessLog, Ejection},
};

fn settings() -> RouterSettings {
    RouterSettings::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

/// Answers when it is told to; counts who is there.
async fn gated() -> (SocketAddr, Arc<tokio::sync::Semaphore>, Arc<std::sync::atomic::AtomicU32>) {
    let (open, inside) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(std::sync::atomic::AtomicU32::new(0)));
    let (o, i) = (open.clone(), inside.clone());
    let answer = move || async move {
        i.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        o.acquire().await.unwrap().forget();
        i.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        "done"
    };
    (replica(Replica::new().fallback(routing::any(answer))).await, open, inside)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_past_the_limit_wait_and_past_the_queue_are_refused() {
    let router = Router::start();
    let (a, open, inside) = gated().await;
    let limit = Some(RequestLimit { concurrent: 2, queue: 3 });
    router.control().put_route(&Route { limit, ..route(1, &[(1, 100_000, &[a])]) }).await.unwrap();
    let all: Vec<_> = (0..10)
        .map(|_| {
            let mut client = router.client();
            tokio::spawn(async move { client.get("/models/m/").await.unwrap() })
        })
        .collect();
    let refused = || all.iter().filter(|t| t.is_finished()).count();
    tokio::task::block_in_place(|| {
        eventually("five are refused", Duration::from_secs(10), || (refused() == 5).then_some(()));
    });
    assert_eq!(inside.load(std::sync::atomic::Ordering::SeqCst), 2);
    open.add_permits(5);
    let mut answers = vec![];
    for task in all {
        answers.push(task.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 5, "those under way and those in the queue");
    for answer in answers.iter().filter(|a| a.status != 200) {
        assert_eq!((answer.status, &answer.headers["retry-after"]), (503, &"1".parse().unwrap()), "{}", answer.text());
    }
    open.add_permits(1);
    assert_eq!(router.client().get("/models/m/").await.unwrap().status, 200, "all places are free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_gives_its_place_to_the_next() {
    let router = Router::start();
    let (a, open, inside) = gated().await;
    let limit = Some(RequestLimit { concurrent: 1, queue: 1 });
    router.control().put_route(&Route { limit, ..route(1, &[(1, 100_000, &[a])]) }).await.unwrap();
    // Half-open: the client is gone while its request is worked on.
    let mut gone = std::net::TcpStream::connect(router.identity.address).unwrap();
    gone.write_all(b"GET /models/m/ HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    let here = |n: u32| {
        tokio::task::block_in_place(|| {
            let count = || (inside.load(std::sync::atomic::Ordering::SeqCst) >= n).then_some(());
            eventually("it is there", Duration::from_secs(10), count);
        });
    };
    here(1);
    let mut client = router.client();
    let waits = tokio::spawn(async move { client.get("/models/m/").await });
    drop(gone);
    here(2);
    open.add_permits(2);
    assert_eq!(waits.await.unwrap().unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_fails_in_a_row_is_passed_over_for_a_while() {
    let router = Router::start();
    let sick = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let s = sick.clone();
    let answer = move || async move {
        let is_sick = s.load(std::sync::atomic::Ordering::SeqCst);
        if is_sick { (http::StatusCode::INTERNAL_SERVER_ERROR, "sick") } else { (http::StatusCode::OK, "well") }
    };
    let (bad, good) = (replica(Replica::new().fallback(routing::any(answer))).await, echo().await);
    let ejection = Ejection { failures: 3, base_ms: 1_000, max_ms: 2_000 };
    let base = Route { ejection, ..route(1, &[(1, 100_000, &[bad, good])]) };
    router.control().put_route(&base).await.unwrap();
    let mut client = router.client();
    let mut codes = vec![];
    for _ in 0..40 {
        codes.push(client.get("/models/m/").await.unwrap().status);
    }
    assert_eq!(codes.iter().filter(|c| **c == 500).count(), 3, "{codes:?}");
    assert!(codes[6..].iter().all(|c| *c == 200), "{codes:?}");
    sick.store(false, std::sync::atomic::Ordering::SeqCst);
    let until = Instant::now() + Duration::from_secs(5);
    while client.get("/models/m/").await.unwrap().text() != "well" {
        assert!(Instant::now() < until, "it comes back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let metrics = router.control().metrics().await.unwrap();
    let series = "trimtab_router_ejections_total{environment=\"prod\",model=\"m\",version=\"v1\"} 1";
    assert!(metrics.contains(series), "{metrics}");
    // The only one is never passed over: its word is better than none.
    sick.store(true, std::sync::atomic::Ordering::SeqCst);
    router.control().put_route(&Route { ejection, ..route(2, &[(1, 100_000, &[bad])]) }).await.unwrap();
    for _ in 0..10 {
        assert_eq!(client.get("/models/m/").await.unwrap().status, 500);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hangs_is_passed_over_and_its_calls_are_seen_before_they_time_out() {
    let router = Router::start();
    let hangs = replica(Replica::new().fallback(routing::any(futures::future::pending::<&str>))).await;
    let ejection = Ejection { failures: 2, base_ms: 60_000, max_ms: 60_000 };
    let base = Route { ejection, timeout_ms: Some(1_000), ..route(1, &[(1, 100_000, &[hangs, echo().await])]) };
    router.control().put_route(&base).await.unwrap();
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let mut client = router.client();
            tokio::spawn(async move { client.get("/models/m/").await.unwrap().status })
        })
        .collect();
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let stats = router.control().stats(&name("prod"), &name("m")).await.unwrap().releases.remove(0);
        let open: u64 = stats.open.iter().filter(|b| b.up_to >= 300.0).map(|b| b.requests).sum();
        if open == 2 {
            assert_eq!((stats.epoch.requests, stats.epoch.errors), (2, 0), "those of the other replica: {stats:?}");
            break;
        }
        assert!(Instant::now() < until, "{stats:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut codes = futures::future::join_all(calls).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    codes.sort_unstable();
    assert_eq!(codes, [200, 200, 504, 504], "by the route's own time");
    let mut client = router.client();
    for _ in 0..20 {
        assert_eq!(client.get("/models/m/").await.unwrap().status, 200, "twice in a row too late: passed over");
    }
    let stats = router.control().stats(&name("prod"), &name("m")).await.unwrap().releases.remove(0);
    assert!(stats.open.is_empty() && stats.epoch.errors == 2, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_release_answers_while_the_one_with_all_traffic_cannot() {
    let router = Router::start();
    let gone = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let (warm, previewed) = (echo().await, echo().await);
    let base = route(1, &[(3, 100_000, &[gone]), (4, 0, &[previewed]), (2, 0, &[warm])]);
    router.control().put_route(&Route { preview: Some(release(4)), ..base }).await.unwrap();
    let mut client = router.client();
    for n in 0..10 {
        // Not idempotent: but a connection that is refused has done nothing.
        let answer = client.post("/models/m/x", "x").await.unwrap();
        assert_eq!((answer.status, answer.version.as_deref()), (200, Some("v2")), "{n}: {}", answer.text());
    }
    let stats = router.control().stats(&name("prod"), &name("m")).await.unwrap();
    let of = |n| stats.releases.iter().find(|r| r.release == release(n)).unwrap();
    assert_eq!((of(2).recent.stood_in, of(3).epoch.requests, of(4).epoch.requests), (10, 0, 0), "{stats:?}");
    let metrics = router.control().metrics().await.unwrap();
    let series = "trimtab_router_stood_in_total{environment=\"prod\",model=\"m\",version=\"v2\"} 10";
    assert!(metrics.contains(series), "{metrics}");
    // Without it, nobody answers.
    let alone = route(2, &[(3, 100_000, &[gone]), (4, 0, &[previewed])]);
    router.control().put_route(&Route { preview: Some(release(4)), ..alone }).await.unwrap();
    assert_eq!(client.get("/models/m/x").await.unwrap().status, 503);
}

/// What the router sends on a connection on which exactly this was sent, until it closes it.
fn raw(router: &Router, parts: &[&[u8]], pause: Duration) -> (String, Duration) {
    let begun = Instant::now();
    let mut stream = std::net::TcpStream::connect(router.identity.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            std::thread::sleep(pause);
        }
        if stream.write_all(part).is_err() {
            break;
        }
    }
    let mut answer = vec![];
    // A reset after the answer is as good as an end.
    let _ = stream.read_to_end(&mut answer);
    (String::from_utf8_lossy(&answer).into_owned(), begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_cut() {
    let router = Router::with(RouterSettings { header_timeout_ms: 500, stall_ms: 700, ..settings() });
    let a = echo().await;
    router.control().put_route(&route(1, &[(1, 100_000, &[a])])).await.unwrap();
    let pause = Duration::from_millis(100);
    tokio::task::block_in_place(|| {
        let within = |took: Duration| assert!(took < Duration::from_secs(8), "{took:?}");
        // Nothing at all; half a head; a head byte by byte.
        let (answer, took) = raw(&router, &[], pause);
        assert_eq!(answer, "");
        within(took);
        let (answer, took) = raw(&router, &[b"GET /models/m/ HTTP/1.1\r\nho"], pause);
        assert!(!answer.contains(" 200 "), "{answer}");
        within(took);
        let head = b"GET /models/m/ HTTP/1.1\r\nx-slow: 0123456789012345678901234567890123456789\r\n\r\n";
        let bytes: Vec<&[u8]> = head.chunks(1).collect();
        let (answer, took) = raw(&router, &bytes, pause);
        assert!(!answer.contains(" 200 "), "{answer}");
        within(took.saturating_sub(pause * 70));
        // A small body that is held and one that is streamed: neither arrives.
        for length in [1_000, 100_000] {
            let head = format!("POST /models/m/ HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n");
            let (answer, took) = raw(&router, &[head.as_bytes(), b"x", b"x"], pause);
            assert!(answer.starts_with("HTTP/1.1 408 "), "{length}: {answer}");
            within(took);
        }
        // A steady one that is slow, but not too slow, is served.
        let mut parts: Vec<&[u8]> =
            vec![b"POST /models/m/ HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 1000\r\n\r\n"];
        let body = [b'y'; 100];
        parts.extend([&body[..]; 10]);
        let (answer, _) = raw(&router, &parts, pause);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("yyy"), "{answer}");
    });
    assert_eq!(router.client().get("/models/m/").await.unwrap().status, 200);
}

/// Answers 413 once it has the head of a call, and closes, whatever is on its way.
fn refuses_bodies() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).unwrap();
            }
            let answer = b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 8\r\nconnection: close\r\n\r\ntoo much";
            reader.get_mut().write_all(answer).unwrap();
        }
    });
    address
}

/// Reads an answer with a `content-length`.
fn answer(stream: &mut impl BufRead) -> (String, Vec<u8>) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_body_that_is_refused_on_its_way_reaches_a_client_that_sends_on() {
    let router = Router::with(RouterSettings { body_limit: 8 << 20, ..settings() });
    router.control().put_route(&route(1, &[(1, 100_000, &[refuses_bodies()])])).await.unwrap();
    tokio::task::block_in_place(|| {
        let connect = || {
            let stream = std::net::TcpStream::connect(router.identity.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            BufReader::new(stream)
        };
        // By the replica, and by the router itself; each on the connection of the one before, as the body ended.
        let mut stream = connect();
        for (path, size, status) in
            [("m", 1 << 20, 413), ("m", 4 << 20, 413), ("nobody", 1 << 20, 404), ("m", 9 << 20, 413)]
        {
            let head = format!("POST /models/{path}/x HTTP/1.1\r\nhost: h\r\ncontent-length: {size}\r\n\r\n");
            stream.get_mut().write_all(head.as_bytes()).unwrap();
            for _ in 0..size >> 16 {
                stream.get_mut().write_all(&[b'x'; 1 << 16]).unwrap();
            }
            let (head, body) = answer(&mut stream);
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head} {body:?}");
        }
        // One that has no end: the answer is there at once, the end of the connection soon.
        let mut stream = connect();
        stream
            .get_mut()
            .write_all(b"POST /models/m/x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
            .unwrap();
        let mut writer = stream.get_ref().try_clone().unwrap();
        let begun = Instant::now();
        let sending = std::thread::spawn(move || while writer.write_all(b"1\r\nx\r\n").is_ok() {});
        let (head, body) = answer(&mut stream);
        assert!(head.starts_with("HTTP/1.1 413 ") && body == b"too much", "{head}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        sending.join().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answer_is_cut() {
    let router = Router::with(RouterSettings { stall_ms: 700, ..settings() });
    let endless =
        || async { Body::from_stream(futures::stream::repeat_with(|| Ok::<_, Infallible>(vec![b'x'; 64 << 10]))) };
    let a = replica(Replica::new().fallback(routing::any(endless))).await;
    router.control().put_route(&route(1, &[(1, 100_000, &[a])])).await.unwrap();
    let mut stream = std::net::TcpStream::connect(router.identity.address).unwrap();
    stream.write_all(b"GET /models/m/ HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let mut begun = false;
    loop {
        let stats = router.control().stats(&name("prod"), &name("m")).await.unwrap();
        begun |= stats.releases[0].epoch.requests == 1;
        if begun && stats.releases[0].in_flight == 0 {
            break;
        }
        assert!(Instant::now() < until, "still held: {stats:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_heads_are_refused() {
    let router = Router::with(RouterSettings { header_limit: 8 << 10, ..settings() });
    let a = echo().await;
    router.control().put_route(&route(1, &[(1, 100_000, &[a])])).await.unwrap();
    let ask = |size: usize| {
        let request = http::Request::get("/models/m/").header("x-large", "x".repeat(size));
        request.body(http_body_util::Full::default()).unwrap()
    };
    assert_eq!(router.client().call(ask(6 << 10)).await.unwrap().status, 200);
    assert_eq!(router.client().call(ask(9 << 10)).await.unwrap().status, 431);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_have_ids_and_a_sample_is_noted() {
    let access_log = AccessLog { share: 50_000, max_bytes: 600 };
    let router = Router::with(RouterSettings { access_log, ..settings() });
    let a = echo().await;
    router.control().put_route(&route(1, &[(1, 100_000, &[a])])).await.unwrap();
    let mut client = router.client();
    let mut ids = std::collections::BTreeSet::new();
    for n in 0..20 {
        let answer = client.get(&format!("/models/m/{n}?secret=1")).await.unwrap();
        let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
        assert!(answer.text().contains(&format!("x-request-id: {id}")), "the replica sees it: {}", answer.text());
        assert!(ids.insert(id));
    }
    let request = http::Request::get("/models/nobody").header("x-request-id", "mine-7");
    let answer = client.call(request.body(http_body_util::Full::default()).unwrap()).await.unwrap();
    assert_eq!((answer.status, &answer.headers["x-request-id"]), (404, &"mine-7".parse().unwrap()));
    let read = |file: &str| std::fs::read_to_string(router.dir.path().join(file)).unwrap_or_default();
    tokio::task::block_in_place(|| {
        let last = || read("access.log").contains("/models/m/19").then_some(());
        eventually("the last of the sample is noted", Duration::from_secs(10), last);
    });
    let (now, before) = (read("access.log"), read("access.log.1"));
    assert!(now.len() <= 600 && before.len() <= 600 && !before.is_empty() && !now.contains("secret"));
    for line in now.lines().chain(before.lines()) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(ids.contains(line["id"].as_str().unwrap()), "{line}");
        assert_eq!((line["status"].as_u64(), line["version"].as_str()), (Some(200), Some("v1")), "{line}");
        assert_eq!((line["peer"].as_str(), line["method"].as_str()), (Some("127.0.0.1"), Some("GET")), "{line}");
        assert!(line["ms"].as_f64().unwrap() > 0.0 && line["at"].as_i64().unwrap() > 1_700_000_000_000, "{line}");
    }
}

/// Reads a call and hangs up.
fn hangs_up() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Broken already when the router has gone.
            let _ = stream.unwrap().read(&mut [0; 4096]);
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_breaks_off_each_call_fails_no_repeatable_request_and_is_seen_to_fail() {
    let router = Router::start();
    let (good, bad) = (echo().await, [hangs_up(), hangs_up(), hangs_up()]);
    router.control().put_route(&route(1, &[(1, 50_000, &[good]), (2, 50_000, &bad)])).await.unwrap();
    let mut client = router.client();
    for n in 0..40 {
        let answer = client.get("/models/m/x").await.unwrap();
        assert_eq!((answer.status, answer.version.as_deref()), (200, Some("v1")), "{n}: {}", answer.text());
    }
    let stats = router.control().stats(&name("prod"), &name("m")).await.unwrap();
    let of = stats.releases.iter().find(|r| r.release == release(2)).unwrap();
    // Of twenty; the second attempt chooses by weight too.
    assert!(of.epoch.errors >= 5 && of.epoch.requests == of.epoch.errors, "{:?}", of.epoch);
}

//! Plain requests take the fast path: nobody may see which one was taken.

use super::*;
use nix::sys::socket::{setsockopt, sockopt};
use trimtab::model::RequestLimit;

/// A client that says exactly what it is told to.
struct Wire(BufReader<std::net::TcpStream>);

impl Wire {
    fn to(router: &Router) -> Self {
        let stream = std::net::TcpStream::connect(router.identity.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }
    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }
    fn bytes(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }
    /// The head of the next answer and its body, however that is framed.
    fn answer(&mut self, has_body: bool) -> (String, Vec<u8>) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let line = self.line();
            assert!(!line.is_empty(), "the connection ended: {head}");
            head += &line;
        }
        let length = head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![];
        if let Some(length) = length.filter(|_| has_body) {
            body = self.bytes(length);
        } else if head.to_lowercase().contains("transfer-encoding: chunked") {
            loop {
                let line = self.line();
                let size = usize::from_str_radix(line.trim().split(';').next().unwrap(), 16).unwrap();
                if size == 0 {
                    break;
                }
                body.extend(self.bytes(size));
                assert_eq!(self.line(), "\r\n");
            }
            while self.line() != "\r\n" {}
        }
        (head, body)
    }
    fn asks(&mut self, text: &str) -> (String, String) {
        self.send(text);
        let (head, body) = self.answer(!text.starts_with("HEAD"));
        (head, String::from_utf8(body).unwrap())
    }
}

/// A replica that is given the first line of each call and the connection to answer on; what it says last is whether that goes on.
fn plays(part: impl Fn(&str, &mut std::net::TcpStream) -> bool + Send + Sync + 'static) -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, part) = (listener.local_addr().unwrap(), Arc::new(part));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let part = part.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                loop {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        if reader.read_line(&mut head).unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    if !part(head.lines().next().unwrap(), reader.get_mut()) {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Answers each call with these bytes, and closes if told so.
fn says(answer: Vec<u8>, closes: bool) -> SocketAddr {
    plays(move |_, stream| stream.write_all(&answer).is_ok() && !closes)
}

/// Headers without those that differ from call to call.
fn lasting(text: &str) -> Vec<String> {
    let changes = |line: &&str| !["x-request-id", "date"].iter().any(|name| line.to_lowercase().starts_with(name));
    let mut lines: Vec<String> = text.lines().filter(changes).map(str::to_owned).collect();
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_say_the_same_on_either_side() {
    let router = Router::start();
    let a = echo().await;
    router.control().put_route(&route(1, &[(1, 100_000, &[a])])).await.unwrap();
    tokio::task::block_in_place(|| {
        for head in [
            "GET /models/m HTTP/1.1\r\nHost: h:1\r\nAccept: */*\r\nX-Mine: a\r\nX-Mine: b\r\n",
            "POST /environments/prod/models/m/predict?a=b&c HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\nx-forwarded-for: 1.1.1.1\r\nx-forwarded-host: evil\r\n",
            "PUT /models/m/ HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\nx-trimtab-shadow: 1\r\nx-request-id: mine\r\n",
            "DELETE /models/m/x HTTP/1.1\r\nhost: h\r\nconnection: keep-alive\r\nkeep-alive: timeout=5\r\nx-trimtab-version: v9\r\n",
        ] {
            let body = if head.contains("content-length") { "body" } else { "" };
            // A client that takes trailers is not on the fast path; that it does is not passed on.
            let [(head, text), (other_head, other)] = ["", "te: trailers\r\n"].map(|more| {
                let mut wire = Wire::to(&router);
                wire.asks(&format!("{head}{more}\r\n{body}"))
            });
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert_eq!(lasting(&head), lasting(&other_head));
            assert_eq!(lasting(&text), lasting(&other));
            assert!(text.ends_with(&format!("\n\n{body}")), "{text}");
            assert!(head.contains("x-request-id: ") && head.to_lowercase().contains("\r\ndate: "), "{head}");
        }
        // What is no model's is refused in the same words.
        for path in ["/models/nobody/x", "/nothing"] {
            let [one, other] = ["", "te: trailers\r\n"]
                .map(|more| Wire::to(&router).asks(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n{more}\r\n")));
            assert!(one.0.starts_with("HTTP/1.1 404 "), "{}", one.0);
            assert_eq!((lasting(&one.0), &one.1), (lasting(&other.0), &other.1));
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_whatever_is_asked_on_it() {
    let router = Router::start();
    let a = echo().await;
    router.control().put_route(&route(1, &[(1, 100_000, &[a])])).await.unwrap();
    tokio::task::block_in_place(|| {
        let mut wire = Wire::to(&router);
        let plain = |n: u32| format!("GET /models/m/{n} HTTP/1.1\r\nhost: h\r\n\r\n");
        for n in 0..3 {
            let (_, text) = wire.asks(&plain(n));
            assert!(text.starts_with(&format!("GET /{n}\n")), "{text}");
        }
        // Its body comes behind its head: at once, and after a while.
        for pause in [0, 20, 300] {
            wire.send("POST /models/m/late HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\n");
            std::thread::sleep(Duration::from_millis(pause));
            let (_, text) = wire.asks("body");
            assert!(text.starts_with("POST /late\n") && text.ends_with("\n\nbody"), "{text}");
        }
        let (head, text) = wire.asks("HEAD /models/m/x HTTP/1.1\r\nhost: h\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 ") && text.is_empty(), "{head}");
        let chunked = "POST /models/m/c HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert!(wire.asks(chunked).1.ends_with("\n\nabc"));
        assert!(wire.asks(&plain(7)).1.starts_with("GET /7\n"));
        // Several at once are answered in their order, be they plain or not.
        for first in [plain(1), "HEAD /models/m/x HTTP/1.1\r\nhost: h\r\n\r\n".to_owned()] {
            let mut wire = Wire::to(&router);
            assert!(wire.asks(&plain(0)).1.starts_with("GET /0\n"));
            wire.send(&format!("{first}{}{}", plain(2), plain(3)));
            wire.answer(!first.starts_with("HEAD"));
            for n in 2..4 {
                let text = wire.answer(true).1;
                assert!(text.starts_with(format!("GET /{n}\n").as_bytes()), "{}", String::from_utf8_lossy(&text));
            }
        }
        // Another while the first is still worked on.
        let mut wire = Wire::to(&router);
        wire.send(&plain(1));
        wire.send(&plain(2));
        for n in 1..3 {
            assert!(wire.answer(true).1.starts_with(format!("GET /{n}\n").as_bytes()));
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_every_kind_come_whole() {
    let router = Router::start();
    let large = vec![b'x'; 3 << 20];
    let chunks: Vec<u8> =
        large.chunks(70_000).flat_map(|c| [format!("{:X};a=b\r\n", c.len()).as_bytes(), c, b"\r\n"].concat()).collect();
    let head = |more: &str| format!("HTTP/1.1 200 OK\r\n{more}\r\n").into_bytes();
    let known = format!("content-length: {}\r\n", large.len());
    let replicas = [
        (says([head(&known), large.clone()].concat(), false), &large[..]),
        (
            says(
                [head("Transfer-Encoding: chunked\r\n"), chunks, b"0\r\nx-trailer: 1\r\n\r\n".to_vec()].concat(),
                false,
            ),
            &large,
        ),
        // Without a length, until the end of the connection.
        (says([head(""), large.clone()].concat(), true), &large),
        (says([b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), b"old".to_vec()].concat(), true), b"old"),
        (
            says(
                [
                    b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_vec(),
                    head("content-length: 2\r\n"),
                    b"ok".to_vec(),
                ]
                .concat(),
                false,
            ),
            b"ok",
        ),
        (says(b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n".to_vec(), false), b""),
        // More than was announced: not the client's.
        (
            says(
                [head("content-length: 2\r\n"), b"okHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother".to_vec()]
                    .concat(),
                false,
            ),
            b"ok",
        ),
    ];
    for (generation, (address, body)) in (1..).zip(&replicas) {
        router.control().put_route(&route(generation, &[(1, 100_000, &[*address])])).await.unwrap();
        tokio::task::block_in_place(|| {
            let mut wire = Wire::to(&router);
            for _ in 0..3 {
                wire.send("GET /models/m/x HTTP/1.1\r\nhost: h\r\n\r\n");
                let answer = wire.answer(true);
                // Trailers and all: nothing but the answer came.
                assert!(answer.1 == *body, "{generation}: {} {} bytes", answer.0, answer.1.len());
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_or_cut_and_counts_against_the_release() {
    let router = Router::start();
    let head = |more: &str| format!("HTTP/1.1 200 OK\r\n{more}\r\n").into_bytes();
    let told = [
        b"nonsense\r\n\r\n".to_vec(),
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_vec(),
        head("content-length: 1\r\ncontent-length: 2\r\n"),
        head("content-length: 3\r\ntransfer-encoding: chunked\r\n"),
        format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(100_000)).into_bytes(),
        b"".to_vec(),
    ];
    let mut generation = 0;
    for answer in told {
        generation += 1;
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
        let address = says(answer, true);
        router.control().put_route(&route(generation, &[(1, 100_000, &[address])])).await.unwrap();
        let (head, text) = tokio::task::block_in_place(|| {
            let mut wire = Wire::to(&router);
            let refused = wire.asks("POST /models/m/x HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n");
            // Its connection goes on.
            assert!(wire.asks("GET /models/nobody HTTP/1.1\r\nhost: h\r\n\r\n").0.starts_with("HTTP/1.1 404 "));
            refused
        });
        assert!(head.starts_with("HTTP/1.1 502 ") && head.contains("x-trimtab-version: v1"), "{shown:?}: {head}");
        assert!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["help"].is_string(), "{text}");
    }
    let cut = [
        [head("content-length: 10\r\n"), b"half".to_vec()].concat(),
        [head("transfer-encoding: chunked\r\n"), b"5\r\nhello\r\n".to_vec()].concat(),
        [head("transfer-encoding: chunked\r\n"), b"5\r\nhel".to_vec()].concat(),
    ];
    for answer in cut {
        generation += 1;
        let address = says(answer, true);
        let one = route(generation, &[(generation as u32, 100_000, &[address])]);
        router.control().put_route(&one).await.unwrap();
        tokio::task::block_in_place(|| {
            let mut wire = Wire::to(&router);
            wire.send("GET /models/m/x HTTP/1.1\r\nhost: h\r\n\r\n");
            let mut all = vec![];
            wire.0.read_to_end(&mut all).unwrap();
            let all = String::from_utf8_lossy(&all).into_owned();
            assert!(all.starts_with("HTTP/1.1 200 ") && !all.ends_with("0\r\n\r\n"), "{all}");
        });
        let stats = router.control().stats(&name("prod"), &name("m")).await.unwrap();
        let measured = stats.releases.iter().find(|r| r.release == release(generation as u32)).unwrap();
        assert_eq!((measured.epoch.requests, measured.epoch.errors), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_says_unasked_is_told_to_nobody() {
    // One worker: all requests share its connections.
    let settings = RouterSettings::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let router = Router::with(RouterSettings { workers: 1, ..settings });
    let (told, tells) = std::sync::mpsc::channel();
    let (told, tells) = (std::sync::Mutex::new(told), std::sync::Mutex::new(tells));
    let a = plays(move |line, stream| {
        if line.contains("/first") {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").unwrap();
            std::thread::sleep(Duration::from_millis(50));
            stream.write_all(b"hello, and more than was said").unwrap();
            tells.lock().unwrap().recv().unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nSTALE!");
        } else {
            told.lock().unwrap().send(()).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nown").unwrap();
        }
        true
    });
    router.control().put_route(&route(1, &[(1, 100_000, &[a])])).await.unwrap();
    tokio::task::block_in_place(|| {
        let ask = |path: &str| Wire::to(&router).asks(&format!("GET /models/m/{path} HTTP/1.1\r\nhost: h\r\n\r\n")).1;
        assert_eq!(ask("first"), "hello");
        assert_eq!(ask("second"), "own");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_leaves_says_so_in_its_last_answers_and_sends_them_whole() {
    let router = Router::start();
    let size = 3 << 20;
    let a = plays(move |_, stream| {
        std::thread::sleep(Duration::from_millis(700));
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n").as_bytes()).unwrap();
        stream.write_all(&vec![b'x'; size]).is_ok()
    });
    router.control().put_route(&route(1, &[(1, 100_000, &[a])])).await.unwrap();
    let mut wire = Wire::to(&router);
    wire.send("GET /models/m/x HTTP/1.1\r\nhost: h\r\n\r\n");
    let held = || async { router.control().stats(&name("prod"), &name("m")).await.unwrap().releases[0].in_flight == 1 };
    while !held().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    router.control().shutdown().await.unwrap();
    tokio::task::block_in_place(|| {
        // Another behind it, which is not answered, and not before the first was sent in part.
        wire.send("GET /models/m/x HTTP/1.1\r\nhost: h\r\n\r\n");
        std::thread::sleep(Duration::from_millis(1_200));
        let mut all = vec![];
        wire.0.read_to_end(&mut all).unwrap();
        let head = String::from_utf8_lossy(&all[..200]).into_owned();
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("\r\nconnection: close\r\n"), "{head}");
        let body = all.len() - head.find("\r\n\r\n").unwrap() - 4;
        assert_eq!(body, size);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_its_time_for_an_answer_holds_up_nobody_else() {
    let router = Router::start();
    let large = [&b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n"[..], &[b'x'; 60_000]].concat();
    let a = plays(move |line, stream| {
        let answer =
            if line.contains("/large") { &large[..] } else { b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" };
        stream.write_all(answer).is_ok()
    });
    let limited = Route { limit: Some(RequestLimit { concurrent: 1, queue: 4 }), ..route(1, &[(1, 100_000, &[a])]) };
    router.control().put_route(&limited).await.unwrap();
    tokio::task::block_in_place(|| {
        let mut slow = Wire::to(&router);
        setsockopt(slow.0.get_ref(), sockopt::RcvBuf, &2048).unwrap();
        // More than fits into what lies between.
        for _ in 0..120 {
            slow.send("GET /models/m/large HTTP/1.1\r\nhost: h\r\n\r\n");
            std::thread::sleep(Duration::from_millis(5));
        }
        let begun = Instant::now();
        assert_eq!(Wire::to(&router).asks("GET /models/m/x HTTP/1.1\r\nhost: h\r\n\r\n").1, "ok");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_request_along() {
    let router = Router::start();
    let (begun, left) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, leaves) = (begun.clone(), left.clone());
    /// Told when the request that holds it is dropped.
    struct Held(Arc<Notify>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let waits = move || {
        let (begins, held) = (begins.clone(), Held(leaves.clone()));
        async move {
            let _held = held;
            begins.notify_one();
            std::future::pending::<String>().await
        }
    };
    let a = replica(Replica::new().fallback(routing::any(waits))).await;
    router.control().put_route(&route(1, &[(1, 100_000, &[a])])).await.unwrap();
    let mut wire = Wire::to(&router);
    wire.send("GET /models/m/x HTTP/1.1\r\nhost: h\r\n\r\n");
    begun.notified().await;
    drop(wire);
    tokio::time::timeout(Duration::from_secs(10), left.notified()).await.unwrap();
    let none = || async {
        router.control().stats(&name("prod"), &name("m")).await.unwrap().releases.iter().all(|r| r.in_flight == 0)
    };
    let until = Instant::now() + Duration::from_secs(10);
    while !none().await {
        assert!(Instant::now() < until, "it is held for ever");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

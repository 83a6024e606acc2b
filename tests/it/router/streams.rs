//! What is passed through as it comes: HTTP/2, events, WebSockets.

use super::*;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken_on_the_same_port() {
    let router = Router::start();
    let a = echo().await;
    router.control().put_route(&route(1, &[(1, 100_000, &[a])])).await.unwrap();
    let stream = tokio::net::TcpStream::connect(router.identity.address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let all = (0..50).map(|n| {
        let mut sender = sender.clone();
        async move {
            let uri = format!("http://name.test/models/m/x?n={n}");
            let request = http::Request::post(uri).body(Full::new(Bytes::from(format!("body {n}")))).unwrap();
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
            assert_eq!(answer.headers()["x-trimtab-version"], "v1");
            let text = answer.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8_lossy(&text).into_owned();
            assert!(text.starts_with(&format!("POST /x?n={n}\n")) && text.ends_with(&format!("body {n}")), "{text}");
            assert!(text.contains("\nhost: name.test") && text.contains("x-forwarded-host: name.test"), "{text}");
        }
    });
    futures::future::join_all(all).await;
    // A router that leaves lets the connection go once its requests have ended.
    router.control().shutdown().await.unwrap();
    tokio::task::block_in_place(|| {
        let closed = || sender.is_closed().then_some(());
        eventually("the connection is let go", Duration::from_secs(15), closed);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn events_pass_one_by_one() {
    let router = Router::start();
    let (next, wait) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
    let wait = Arc::new(std::sync::Mutex::new(Some(wait)));
    let events = move || async move {
        let wait = wait.lock().unwrap().take().unwrap();
        let stream = futures::stream::unfold(wait, |mut wait| async move {
            let event = wait.recv().await?;
            Some((Ok::<_, Infallible>(format!("data: {event}\n\n")), wait))
        });
        ([("content-type", "text/event-stream")], Body::from_stream(stream))
    };
    let a = replica(Replica::new().fallback(routing::get(events))).await;
    router.control().put_route(&route(1, &[(1, 100_000, &[a])])).await.unwrap();
    let stream = tokio::net::TcpStream::connect(router.identity.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("/models/m/events").header("host", "h").body(Full::<Bytes>::default()).unwrap();
    let mut answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    for event in ["one", "two", "three"] {
        next.send(event).unwrap();
        let part = tokio::time::timeout(Duration::from_secs(5), answer.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(part.into_data().unwrap(), format!("data: {event}\n\n"));
    }
    drop(next);
    assert!(answer.frame().await.is_none());
}

/// Agrees to any protocol, then sends back what it gets, in capitals.
async fn shouts() -> SocketAddr {
    let answer = |mut request: axum::extract::Request| async move {
        let headers = request.headers();
        assert_eq!(
            (&headers["connection"], &headers["upgrade"]),
            (&"upgrade".parse().unwrap(), &"shout".parse().unwrap())
        );
        assert_eq!(headers["sec-websocket-key"], "k");
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut io = TokioIo::new(upgraded.await.unwrap());
            let mut buffer = [0; 100];
            loop {
                let n = io.read(&mut buffer).await.unwrap();
                if n == 0 {
                    break;
                }
                io.write_all(&buffer[..n].to_ascii_uppercase()).await.unwrap();
            }
        });
        let headers = [("connection", "upgrade"), ("upgrade", "shout"), ("sec-websocket-accept", "a")];
        (http::StatusCode::SWITCHING_PROTOCOLS, headers)
    };
    replica(Replica::new().fallback(routing::get(answer))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_protocol_is_passed_through_and_holds_the_replica() {
    let router = Router::start();
    let a = shouts().await;
    let control = router.control();
    control.put_route(&route(1, &[(1, 100_000, &[a])])).await.unwrap();
    let address = router.identity.address;
    let mut stream = tokio::task::block_in_place(|| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = "GET /models/m/ws HTTP/1.1\r\nhost: h\r\nconnection: keep-alive, Upgrade\r\nupgrade: shout\r\nsec-websocket-key: k\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("sec-websocket-accept: a"), "{head}");
        assert!(head.contains("upgrade: shout") && head.contains("x-trimtab-version: v1"), "{head}");
        stream
    });
    let mut say = |text: &[u8]| {
        tokio::task::block_in_place(|| {
            stream.write_all(text).unwrap();
            let mut back = vec![0; text.len()];
            stream.read_exact(&mut back).unwrap();
            back
        })
    };
    assert_eq!(say(b"hello"), b"HELLO");
    // The route leaves; what was begun goes on, and is counted until it ends.
    control.put_route(&route(2, &[])).await.unwrap();
    assert_eq!(control.drained(a, Duration::from_millis(50)).await.unwrap(), 1);
    assert_eq!(say(b"still here"), b"STILL HERE");
    drop(stream);
    assert_eq!(control.drained(a, Duration::from_secs(10)).await.unwrap(), 0);
}

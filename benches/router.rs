//! Requests through the router, split 90/10, beside the same replicas called directly and, where it is installed, beside nginx
//! on as many cores. One element is one request; 16 keep-alive connections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot run says so by panicking"
)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, service::service_fn};
use hyper_util::rt::TokioIo;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    convert::Infallible,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, TcpStream};
use trimtab::{
    model::{Digest, Name, Release, VersionNumber},
    route::{ReleaseRoute, Route, RouterClient, RouterSettings, Started},
};

const CONNECTIONS: u64 = 16;
const ANSWER: &[u8] = br#"{"outputs":[{"name":"y","shape":[1],"datatype":"FP64","data":[0.5]}]}"#;

/// Ended with the bench.
struct Process(Child);
impl Drop for Process {
    fn drop(&mut self) {
        // Killed, nginx would leave its workers behind. Fails when it has ended by itself.
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

async fn replica() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("nodelay");
            let answer = service_fn(|request: Request<hyper::body::Incoming>| async move {
                let _body = request.into_body().collect().await;
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(ANSWER))))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    address
}

/// `n` requests on one connection.
async fn call(address: SocketAddr, path: &'static str, n: u64) {
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("nodelay");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
    tokio::spawn(connection);
    for _ in 0..n {
        let body = Full::new(Bytes::from_static(b"{\"inputs\":[]}"));
        let request = Request::post(path).header("host", "bench").body(body).expect("a request");
        sender.ready().await.expect("a ready connection");
        let response = sender.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.expect("a body");
    }
}

async fn load(address: SocketAddr, path: &'static str, requests: u64) -> Duration {
    let begun = Instant::now();
    let each = requests.div_ceil(CONNECTIONS);
    let all = (0..CONNECTIONS).map(|_| tokio::spawn(call(address, path, each)));
    for done in futures::future::join_all(all).await {
        done.expect("all answered");
    }
    begun.elapsed().mul_f64(requests as f64 / (each * CONNECTIONS) as f64)
}

async fn router(dir: &Path, replicas: [SocketAddr; 2]) -> (Process, SocketAddr) {
    RouterSettings::new((Ipv4Addr::LOCALHOST, 0).into()).save(dir).expect("settings");
    let mut child = Command::new(env!("CARGO_BIN_EXE_trimtab"))
        .arg("internal-router")
        .arg(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a router");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
    let Ok(Started::Ready(identity)) = serde_json::from_str(&line) else { panic!("the router did not start: {line}") };
    let name = |s| Name::new(s).expect("a name");
    let releases = [(1, 90_000, replicas[0]), (2, 10_000, replicas[1])].map(|(number, weight, address)| ReleaseRoute {
        release: Release { version: VersionNumber(number), serve: Digest::of(b"") },
        weight,
        replicas: vec![address],
    });
    let route = Route::new(name("production"), name("m"), 1, true, releases.into());
    RouterClient::new(dir).put_route(&route).await.expect("a route");
    (Process(child), identity.address)
}

/// nginx with the same split, keep-alive and workers; `None` when it is not installed.
async fn nginx(dir: &Path, replicas: [SocketAddr; 2]) -> Option<(Process, SocketAddr)> {
    let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?.local_addr().ok()?;
    let config = format!(
        "worker_processes 2; daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; keepalive_requests 100000000;\n\
         split_clients \"$request_id\" $pool {{ 90% a; * b; }}\n\
         upstream a {{ server {}; keepalive 64; keepalive_requests 100000000; }}\n\
         upstream b {{ server {}; keepalive 64; keepalive_requests 100000000; }}\n\
         server {{ listen {port}; location /models/m/ {{ proxy_pass http://$pool/; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; }} }} }}",
        replicas[0],
        replicas[1],
        dir = dir.display(),
    );
    let file = dir.join("nginx.conf");
    std::fs::write(&file, config).ok()?;
    let child = Command::new("nginx").arg("-c").arg(&file).arg("-p").arg(dir).stderr(Stdio::null()).spawn().ok()?;
    let child = Process(child);
    for _ in 0..200 {
        if TcpStream::connect(port).await.is_ok() {
            return Some((child, port));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

fn bench(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a folder");
    let replicas = runtime.block_on(async { [replica().await, replica().await] });
    let (_router, routed) = runtime.block_on(router(dir.path(), replicas));
    let nginx = runtime.block_on(nginx(dir.path(), replicas));
    let mut cases = vec![("direct", replicas[0], "/predict"), ("router", routed, "/models/m/predict")];
    cases.extend(nginx.iter().map(|(_, address)| ("nginx", *address, "/models/m/predict")));
    let mut group = c.benchmark_group("router");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    for (name, address, path) in cases {
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter_custom(|n| {
                runtime.block_on(load(address, path, n.max(CONNECTIONS))).mul_f64(n as f64 / n.max(CONNECTIONS) as f64)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);

//! Requests through the router beside nginx on as many cores: the same two backends, split 90/10, the same load, one run.
//!
//! Needs `nginx` and `wrk` (Debian packages). Both proxies keep connections to the backends and write no access log. Rounds alternate, so
//! that what else the machine does meets both; a core's requests are those of the processor time that the proxy itself took.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot run says so by panicking"
)]

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, SysconfVar, sysconf},
};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use trimtab::{
    model::{Digest, Name, Release, VersionNumber},
    route::{AccessLog, ReleaseRoute, Route, RouterClient, RouterSettings, Started},
};

const ROUNDS: usize = 5;
const SECONDS: u32 = 5;
const CONNECTIONS: u32 = 64;
const OPEN: usize = 1_000;
const PATH: &str = "/models/m/predict";
const ANSWER: &str =
    r#"{"outputs":[{"name":"y","shape":[1],"datatype":"FP64","data":[0.5]}],"model_name":"m","id":"1"}"#;

/// Ended with the bench.
struct Process(Child);
impl Drop for Process {
    fn drop(&mut self) {
        // Killed, nginx would leave its workers behind. Fails when it has ended by itself.
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}
impl Process {
    /// Itself and its children.
    fn all(&self) -> Vec<u32> {
        let pid = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        std::iter::once(pid).chain(children.split_whitespace().filter_map(|p| p.parse().ok())).collect()
    }
    /// Seconds of processor time so far.
    fn processor(&self) -> f64 {
        let ticks = |pid: &u32| -> u64 {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split_whitespace().collect();
            fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
        };
        let hertz = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap();
        self.all().iter().map(ticks).sum::<u64>() as f64 / hertz as f64
    }
    /// Resident megabytes.
    fn memory(&self) -> f64 {
        let kib = |pid: &u32| -> u64 {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        self.all().iter().map(kib).sum::<u64>() as f64 * 1024.0 / 1e6
    }
}

fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// nginx with this inside `http`, listening there.
fn nginx(dir: &Path, name: &str, workers: usize, http: &str, listens: SocketAddr) -> Process {
    let dir = dir.join(name);
    std::fs::create_dir(&dir).unwrap();
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temp: String = temp.iter().map(|t| format!("{t}_temp_path {}/{t};\n", dir.display())).collect();
    let config = format!(
        "worker_processes {workers}; daemon off; pid {dir}/pid; error_log {dir}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 100000000;\n{temp}{http} }}",
        dir = dir.display()
    );
    let file = dir.join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let child = Command::new(program).arg("-c").arg(&file).arg("-p").arg(&dir).stderr(Stdio::null()).spawn();
    let process = Process(child.expect("nginx is installed"));
    for _ in 0..500 {
        if TcpStream::connect(listens).is_ok() {
            return process;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nginx does not listen: see {}", dir.display());
}

fn router(dir: &Path, workers: usize, backends: [SocketAddr; 2]) -> (Process, SocketAddr) {
    let access_log = AccessLog { share: 0, ..AccessLog::default() };
    let settings = RouterSettings { access_log, workers, ..RouterSettings::new((Ipv4Addr::LOCALHOST, 0).into()) };
    settings.save(dir).unwrap();
    let mut router = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    let router = router.arg("internal-router").arg(dir).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = router.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let Ok(Started::Ready(identity)) = serde_json::from_str(&line) else { panic!("the router did not start: {line}") };
    let name = |s| Name::new(s).unwrap();
    let releases = [(1, 90_000, backends[0]), (2, 10_000, backends[1])].map(|(number, weight, address)| ReleaseRoute {
        release: Release { version: VersionNumber(number), serve: Digest::of(b"") },
        weight,
        replicas: vec![address],
    });
    let route = Route::new(name("production"), name("m"), 1, true, releases.into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(RouterClient::new(dir).put_route(&route)).unwrap();
    (Process(child), identity.address)
}

/// One round of load.
#[derive(Debug, Clone, Copy)]
struct Round {
    per_second: f64,
    per_core: f64,
    p50_ms: f64,
    p99_ms: f64,
}

fn milliseconds(text: &str) -> f64 {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap());
    number.parse::<f64>().unwrap() * [("us", 0.001), ("ms", 1.0), ("s", 1000.0)].iter().find(|u| u.0 == unit).unwrap().1
}

fn load(process: &Process, address: SocketAddr) -> Round {
    let before = process.processor();
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{SECONDS}s"), "--latency"]);
    let out = wrk.arg(format!("http://{address}{PATH}")).output().expect("wrk is installed");
    let took = process.processor() - before;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let word = |line: &str, at: usize| {
        let line = text.lines().map(str::trim).find(|l| l.contains(line)).unwrap_or_else(|| panic!("{text}"));
        line.split_whitespace().nth(at).unwrap().to_owned()
    };
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let requests: f64 = word("requests in", 0).parse().unwrap();
    Round {
        per_second: word("Requests/sec:", 1).parse().unwrap(),
        per_core: requests / took,
        p50_ms: milliseconds(&word("50%", 1)),
        p99_ms: milliseconds(&word("99%", 1)),
    }
}

/// Resident megabytes while so many connections are open, each of which had its answer.
fn with_open(process: &Process, address: SocketAddr) -> f64 {
    let open: Vec<TcpStream> = (0..OPEN)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(format!("GET {PATH} HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes()).unwrap();
            let mut answer = vec![];
            while !answer.ends_with(ANSWER.as_bytes()) {
                let mut part = [0; 1024];
                let n = stream.read(&mut part).unwrap();
                assert!(n > 0, "{}", String::from_utf8_lossy(&answer));
                answer.extend_from_slice(&part[..n]);
            }
            stream
        })
        .collect();
    let memory = process.memory();
    drop(open);
    memory
}

fn median(rounds: &[Round], of: fn(&Round) -> f64) -> String {
    let mut all: Vec<f64> = rounds.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    format!("{:.1} ({:.1} to {:.1})", all[all.len() / 2], all[0], all[all.len() - 1])
}

fn main() {
    trimtab::process::raise_file_limit(None);
    let cores = std::thread::available_parallelism().unwrap().get();
    let dir = tempfile::tempdir().unwrap();
    let backends = [free(), free()];
    let server = format!(
        "server {{ listen {}; listen {}; location / {{ default_type application/json; return 200 '{ANSWER}'; }} }}",
        backends[0], backends[1]
    );
    let _backends = nginx(dir.path(), "backends", 1, &server, backends[0]);
    let front = free();
    let proxy = format!(
        "split_clients \"$request_id\" $pool {{ 90% a; * b; }}\n\
         upstream a {{ server {}; keepalive 64; keepalive_requests 100000000; }}\n\
         upstream b {{ server {}; keepalive 64; keepalive_requests 100000000; }}\n\
         server {{ listen {front}; location /models/m/ {{ proxy_pass http://$pool/; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header X-Request-ID $request_id; }} }}",
        backends[0], backends[1],
    );
    let nginx = nginx(dir.path(), "nginx", cores, &proxy, front);
    let (router, routed) = router(&dir.path().join("router"), cores, backends);
    let all = [("nginx", &nginx, front), ("trimtab", &router, routed)];
    let mut rounds = [vec![], vec![]];
    for _ in 0..ROUNDS {
        for ((_, process, address), rounds) in all.iter().zip(&mut rounds) {
            rounds.push(load(process, *address));
        }
    }
    println!(
        "{cores} cores, shared with wrk and the backends; {CONNECTIONS} connections; medians of {ROUNDS} rounds of {SECONDS} s"
    );
    for ((name, process, address), rounds) in all.iter().zip(&rounds) {
        println!("{name}");
        println!("  requests/s                  {}", median(rounds, |r| r.per_second));
        println!("  requests/s of a core of it  {}", median(rounds, |r| r.per_core));
        println!("  p50 ms                      {}", median(rounds, |r| r.p50_ms));
        println!("  p99 ms                      {}", median(rounds, |r| r.p99_ms));
        println!("  MB after the load           {:.1}", process.memory());
        println!("  MB with {OPEN} connections    {:.1}", with_open(process, *address));
    }
}

//! The tracking server beside a real `mlflow server` under the same load: requests a second with 1 and 8 keep-alive connections, memory, and
//! the time from start to the first answer. Every answer of ours comes after its flush.
//!
//! `TRIMTAB_TEST_MLFLOW` names a Python with mlflow; `TRIMTAB_TEST_POSTGRES` a database for a second `mlflow server`, as
//! `postgresql://user:password@host/name`. Without the first, ours is measured alone, and says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot run says so by panicking"
)]

use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, runtime::Runtime};

/// How long one figure is measured.
const WINDOW: Duration = Duration::from_secs(4);
/// How long one call is waited for: MLflow's sort of 100,000 runs was seen to take over five minutes.
const LONGEST: Duration = Duration::from_secs(60);
/// Runs of the experiment that searches sort, and of the one whose runs they return.
const MANY: usize = 100_000;
const SOME: usize = 1000;
const SORTED: &str = "search that sorts 100,000 by a metric";

struct Server {
    name: &'static str,
    child: Child,
    address: SocketAddr,
    authorization: Option<String>,
    started: Duration,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its own process group: a Python server has children. Fails when it has ended by itself.
        let group = Pid::from_raw(self.child.id() as i32);
        let _ = killpg(group, Signal::SIGTERM);
        // MLflow's server ends no sooner than the search that it is at.
        let patience = Instant::now() + Duration::from_secs(10);
        while Instant::now() < patience && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

impl Server {
    async fn connect(&self) -> Option<Sender> {
        let stream = TcpStream::connect(self.address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(sender)
    }

    async fn ask(&self, sender: &mut Sender, ask: &Ask) -> Bytes {
        let body = Bytes::from(ask.body.as_ref().map(Value::to_string).unwrap_or_default());
        let request = Request::builder()
            .method(if ask.body.is_some() { "POST" } else { "GET" })
            .uri(format!("/api/2.0/mlflow/{}", ask.path))
            .header("host", self.address.to_string())
            .header("content-type", "application/json");
        let request = self.authorization.iter().fold(request, |r, a| r.header("authorization", a));
        sender.ready().await.expect("a ready connection");
        let answer = sender.send_request(request.body(Full::new(body)).expect("a request")).await.expect("an answer");
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(status, 200, "{} {}: {}", self.name, ask.path, String::from_utf8_lossy(&body));
        body
    }

    async fn value(&self, ask: Ask) -> Value {
        let mut sender = self.connect().await.expect("a connection");
        serde_json::from_slice(&self.ask(&mut sender, &ask).await).expect("JSON")
    }

    /// Answers a second; 0 when a call was not answered within [`LONGEST`].
    async fn rate(self: &Arc<Self>, connections: usize, next: Arc<dyn Fn(u64) -> Ask + Send + Sync>) -> f64 {
        let (counter, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let begun = Instant::now();
        let one = |_| {
            let (this, counter, answered, next) = (self.clone(), counter.clone(), answered.clone(), next.clone());
            tokio::spawn(async move {
                let mut sender = this.connect().await.expect("a connection");
                while begun.elapsed() < WINDOW {
                    let ask = next(counter.fetch_add(1, Ordering::Relaxed));
                    if tokio::time::timeout(LONGEST, this.ask(&mut sender, &ask)).await.is_err() {
                        break;
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        for done in futures::future::join_all((0..connections).map(one)).await {
            done.expect("all answered");
        }
        answered.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
    }

    /// MiB of the whole process group, each page that processes share counted once in all.
    fn memory(&self) -> f64 {
        let group = self.child.id().to_string();
        let mut kib = 0.0;
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            // After the name in brackets: state, parent, group.
            if stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(2)) != Some(&group) {
                continue;
            }
            let status = std::fs::read_to_string(entry.path().join("smaps_rollup")).unwrap_or_default();
            let line = status.lines().find_map(|l| l.strip_prefix("Pss:")).unwrap_or("0");
            kib += line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
        }
        kib / 1024.0
    }
}

struct Ask {
    path: String,
    /// `None`: a GET.
    body: Option<Value>,
}

fn post(path: &str, body: Value) -> Ask {
    Ask { path: path.into(), body: Some(body) }
}

fn free_port() -> SocketAddr {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a free port")
}

/// Starts a program and waits for its first answer.
fn start(runtime: &Runtime, name: &'static str, mut command: Command, address: SocketAddr) -> Server {
    let begun = Instant::now();
    let child = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a server");
    let mut server = Server { name, child, address, authorization: None, started: Duration::ZERO };
    let healthy = async {
        loop {
            if let Some(mut sender) = server.connect().await {
                let request = Request::get("/health").header("host", address.to_string()).body(Full::default());
                if sender.send_request(request.expect("a request")).await.is_ok_and(|a| a.status() == 200) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), healthy).await });
    waited.expect("an answer within two minutes");
    server.started = begun.elapsed();
    server
}

fn trimtab(runtime: &Runtime, dir: &Path) -> Server {
    let repo = git2::Repository::init_bare(dir.join("models.git")).expect("a repository");
    let mut builder = repo.treebuilder(None).expect("a tree");
    let blob = repo.blob(b"schema = \"trimtab/v1\"\n").expect("a blob");
    builder.insert("trimtab.toml", blob, 0o100_644).expect("an entry");
    let tree = repo.find_tree(builder.write().expect("a tree")).expect("a tree");
    let who = git2::Signature::now("bench", "bench@example.com").expect("a signature");
    repo.commit(Some("HEAD"), &who, &who, "specs", &tree, &[]).expect("a commit");
    let (address, state) = (free_port(), dir.join("state"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.arg("daemon").arg("--repo").arg(dir.join("models.git")).args(["--path", ".", "--router", "127.0.0.1:0"]);
    command.arg("--state").arg(&state).arg("--tracking").arg(address.to_string());
    let mut server = start(runtime, "trimtab", command, address);
    let token = std::fs::read_to_string(state.join("token")).expect("a token");
    server.authorization = Some(format!("Bearer {token}"));
    server
}

fn mlflow(runtime: &Runtime, name: &'static str, python: &str, dir: &Path, database: &str) -> Server {
    let address = free_port();
    let mut command = Command::new(python);
    command.args(["-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--backend-store-uri", database]);
    command.arg("--port").arg(address.port().to_string()).arg("--artifacts-destination").arg(dir.join("artifacts"));
    // With it Python compiles all of MLflow at each start.
    command.env_remove("PYTHONDONTWRITEBYTECODE").current_dir(dir);
    start(runtime, name, command, address)
}

/// What is there before anything is measured.
struct Ground {
    run: String,
    some: String,
    many: String,
}

async fn experiment(server: &Server, name: &str) -> String {
    let made = server.value(post("experiments/create", json!({ "name": name }))).await;
    made["experiment_id"].as_str().expect("an id").to_owned()
}

/// Runs with two params, three metrics and a tag each.
async fn runs(server: &Arc<Server>, experiment: &str, count: usize) {
    let next = AtomicU64::new(0);
    let one = async || {
        let mut sender = server.connect().await.expect("a connection");
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count as u64 {
                return;
            }
            let create =
                json!({"experiment_id": experiment, "start_time": n, "run_name": format!("run-{n}"), "user_id": "ada"});
            let made: Value =
                serde_json::from_slice(&server.ask(&mut sender, &post("runs/create", create)).await).expect("JSON");
            let metric = |key: &str, value: f64| json!({"key": key, "value": value, "timestamp": n, "step": 0});
            // In no order.
            let auc = (n.wrapping_mul(2_654_435_761) % 1_000_003) as f64 / 1e6;
            let batch = json!({"run_id": made["run"]["info"]["run_id"],
                "metrics": [metric("auc", auc), metric("loss", 1.0 - auc), metric("rows", 1e6)],
                "params": [{"key": "depth", "value": (n % 12).to_string()}, {"key": "rate", "value": "0.05"}],
                "tags": [{"key": "team", "value": "risk"}]});
            server.ask(&mut sender, &post("runs/log-batch", batch)).await;
        }
    };
    futures::future::join_all((0..16).map(|_| one())).await;
}

async fn ground(server: &Arc<Server>, count: usize) -> Ground {
    let some = experiment(server, "some").await;
    let many = experiment(server, "many").await;
    runs(server, &some, SOME).await;
    runs(server, &many, count).await;
    let run = server.value(post("runs/create", json!({ "experiment_id": some }))).await;
    server.value(post("registered-models/create", json!({ "name": "fraud" }))).await;
    let run = run["run"]["info"]["run_id"].as_str().expect("an id").to_owned();
    Ground { run, some, many }
}

/// Fills an `mlflow server`'s SQLite with the runs that its API would take an hour for.
const FILL: &str = r#"
import sqlite3, sys, uuid
db, experiment, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
c = sqlite3.connect(db, timeout=60)
c.execute("pragma synchronous=off")
def rows():
    for n in range(count):
        run = uuid.uuid4().hex
        auc = (n * 2654435761 % 1000003) / 1e6
        yield n, run, auc
runs, tags, params, metrics, latest = [], [], [], [], []
for n, run, auc in rows():
    runs.append((run, f"run-{n}", "UNKNOWN", "", "", "ada", "RUNNING", n, "", "active", f"mlflow-artifacts:/{experiment}/{run}/artifacts", experiment))
    tags += [("team", "risk", run), ("mlflow.runName", f"run-{n}", run)]
    params += [("depth", str(n % 12), run), ("rate", "0.05", run)]
    for k, v in (("auc", auc), ("loss", 1 - auc), ("rows", 1e6)):
        metrics.append((k, v, n, run, 0, 0)); latest.append((k, v, n, 0, 0, run))
c.executemany("insert into runs(run_uuid,name,source_type,source_name,entry_point_name,user_id,status,start_time,source_version,lifecycle_stage,artifact_uri,experiment_id) values(?,?,?,?,?,?,?,?,?,?,?,?)", runs)
c.executemany("insert into tags(key,value,run_uuid) values(?,?,?)", tags)
c.executemany("insert into params(key,value,run_uuid) values(?,?,?)", params)
c.executemany("insert into metrics(key,value,timestamp,run_uuid,step,is_nan) values(?,?,?,?,?,?)", metrics)
c.executemany("insert into latest_metrics(key,value,timestamp,step,is_nan,run_uuid) values(?,?,?,?,?,?)", latest)
c.commit()
"#;

type Load = (&'static str, f64, Arc<dyn Fn(u64) -> Ask + Send + Sync>);

/// What is measured, with the factor that is aimed at.
fn loads(ground: &Ground) -> Vec<Load> {
    let (run, some, many) = (ground.run.clone(), ground.some.clone(), ground.many.clone());
    let get = format!("runs/get?run_id={run}");
    let create = some.clone();
    let (metric, batch, version) = (run.clone(), run.clone(), run);
    let point = |key: String, n: u64| json!({"key": key, "value": n as f64 * 0.5, "timestamp": n, "step": n});
    vec![
        (
            "create run",
            50.0,
            Arc::new(move |n| {
                post(
                    "runs/create",
                    json!({"experiment_id": create, "start_time": n, "run_name": "r", "tags": [{"key": "a", "value": "b"}]}),
                )
            }),
        ),
        (
            "log metric",
            50.0,
            Arc::new(move |n| {
                post(
                    "runs/log-metric",
                    json!({"run_id": metric, "key": "loss", "value": n as f64, "timestamp": n, "step": n}),
                )
            }),
        ),
        ("get run", 50.0, Arc::new(move |_| Ask { path: get.clone(), body: None })),
        (
            "create model version",
            50.0,
            Arc::new(move |_| {
                post(
                    "model-versions/create",
                    json!({"name": "fraud", "source": format!("runs:/{version}/model"), "run_id": version}),
                )
            }),
        ),
        (
            "log batch of 100 metrics",
            20.0,
            Arc::new(move |n| {
                let metrics: Vec<Value> = (0..100).map(|m| point(format!("m{m}"), n)).collect();
                post("runs/log-batch", json!({"run_id": batch, "metrics": metrics}))
            }),
        ),
        (
            "search that returns 1,000 runs",
            50.0,
            Arc::new(move |_| {
                post(
                    "runs/search",
                    json!({"experiment_ids": [some], "filter": "params.rate = '0.05'", "max_results": 1000}),
                )
            }),
        ),
        (
            SORTED,
            50.0,
            Arc::new(move |_| {
                post(
                    "runs/search",
                    json!({"experiment_ids": [many], "order_by": ["metrics.auc DESC"], "max_results": 100}),
                )
            }),
        ),
    ]
}

/// Rates by load and connections, and MiB after all.
struct Measured {
    name: &'static str,
    rates: BTreeMap<(usize, usize), f64>,
    memory: f64,
    started: Duration,
}

/// Whether a load is asked for: `cargo bench` hands on its own flags and what follows `--`, a part of a name.
fn is_wanted(load: &str) -> bool {
    let mut parts = std::env::args().skip(1).filter(|a| !a.starts_with("--")).peekable();
    parts.peek().is_none() || parts.any(|part| load.contains(&part))
}

fn measure(runtime: &Runtime, server: Server, ground: impl AsyncFnOnce(&Arc<Server>) -> Ground) -> Measured {
    let server = Arc::new(server);
    let ground = runtime.block_on(ground(&server));
    let mut rates = BTreeMap::new();
    for (place, (what, _, next)) in loads(&ground).into_iter().enumerate() {
        if !is_wanted(what) {
            continue;
        }
        for connections in [1, 8] {
            // A server that is still at work on the call before says nothing about this one.
            let silent = rates.get(&(place, 1)) == Some(&0.0);
            let rate = if silent { 0.0 } else { runtime.block_on(server.rate(connections, next.clone())) };
            eprintln!("{}: {what}, {connections} connections: {rate:.1}/s", server.name);
            rates.insert((place, connections), rate);
        }
    }
    Measured { name: server.name, rates, memory: server.memory(), started: server.started }
}

fn main() {
    // On one thread: what hands a connection from core to core here would be measured with the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let dir = tempfile::tempdir().expect("a folder");
    let mut all = vec![];
    let ours = dir.path().join("trimtab");
    std::fs::create_dir_all(&ours).expect("a folder");
    let many = if is_wanted(SORTED) { MANY } else { 0 };
    all.push(measure(&runtime, trimtab(&runtime, &ours), async |s| ground(s, many).await));
    trimtab::deploy::local::stop_everything(&ours.join("state"));
    let python = std::env::var("TRIMTAB_TEST_MLFLOW").ok();
    if let Some(python) = &python {
        let theirs = dir.path().join("mlflow");
        std::fs::create_dir_all(&theirs).expect("a folder");
        let file = theirs.join("mlflow.db");
        let database = format!("sqlite:///{}", file.display());
        // The first start makes the tables; the second is what users see each day.
        drop(mlflow(&runtime, "mlflow (sqlite)", python, &theirs, &database));
        let server = mlflow(&runtime, "mlflow (sqlite)", python, &theirs, &database);
        let fill = async |server: &Arc<Server>| {
            let ground = ground(server, 0).await;
            let mut command = Command::new(python);
            command.arg("-c").arg(FILL).arg(&file).arg(&ground.many).arg(many.to_string());
            assert!(command.status().expect("Python").success(), "the database was not filled");
            ground
        };
        all.push(measure(&runtime, server, fill));
        if let Ok(database) = std::env::var("TRIMTAB_TEST_POSTGRES") {
            drop(mlflow(&runtime, "mlflow (PostgreSQL)", python, &theirs, &database));
            let server = mlflow(&runtime, "mlflow (PostgreSQL)", python, &theirs, &database);
            // Its API alone: the search that sorts has few runs there, and is not compared.
            all.push(measure(&runtime, server, async |s| ground(s, 0).await));
        }
    } else {
        println!("TRIMTAB_TEST_MLFLOW names no Python with mlflow: trimtab is measured alone");
    }
    report(&all);
}

fn report(all: &[Measured]) {
    let whats = loads(&Ground { run: String::new(), some: String::new(), many: String::new() });
    for (place, (what, aim, _)) in whats.iter().enumerate() {
        for connections in [1, 8] {
            let Some(ours) = all[0].rates.get(&(place, connections)) else { continue };
            print!("{what:38} {connections} conn");
            for m in all {
                let rate = m.rates[&(place, connections)];
                if rate == 0.0 {
                    let times = ours * LONGEST.as_secs_f64();
                    print!("   {} no answer within {LONGEST:?} (over {times:.0} x, aim {aim:.0} x)", m.name);
                    continue;
                }
                print!("   {} {rate:9.1}/s", m.name);
                if m.name != "trimtab" {
                    print!(" ({:.0} x, aim {aim:.0} x)", ours / rate);
                }
            }
            println!();
        }
    }
    for m in all {
        println!(
            "{:20} {:7.1} MiB after all of it, {:7.1} ms from start to first answer",
            m.name,
            m.memory,
            m.started.as_secs_f64() * 1000.0
        );
    }
}

//! What happens to the world: people who commit and steer, and processes that are killed.

use crate::{
    callers::{Broken, Gone, now_ns},
    random::Random,
    release::{Committed, How, SMOKE, fit},
    support::{TRAIN, World, eventually},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::SocketAddr,
    os::fd::AsFd,
    path::PathBuf,
    time::{Duration, Instant},
};
use trimtab::{model::StrategyKind, process::Identity, route::RouterClient};

/// Until the last commit is served, healthy and in sync.
const SETTLED: Duration = Duration::from_secs(120);

/// What was done, by name.
#[derive(Debug, Default)]
pub struct Done(pub BTreeMap<&'static str, u64>);
impl Done {
    fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }
}

pub struct Soak {
    world: World,
    random: Random,
    kills_router: bool,
    /// Releases so far; each has its number for a seed.
    releases: u64,
    committed: Committed,
    /// The newest release that is good.
    good: Committed,
    pub done: Done,
    pub broken: Broken,
}

impl Soak {
    /// A world in which a first good release is served.
    pub fn new(mut random: Random, kills_router: bool) -> Self {
        let world = World::new();
        let (count, notes) = (world.path("count"), world.path("notes"));
        let first = Committed::new(&count, &notes, 1, How::Good, StrategyKind::AtOnce, &mut random);
        let (committed, good, done, broken) = (first.clone(), first.clone(), Done::default(), Broken::default());
        let mut soak = Self { world, random, kills_router, releases: 1, committed, good, done, broken };
        soak.commit(first, "a first release");
        soak.world.start();
        soak.world.wait_for("fraud", "version=v1");
        soak.world.wait_for("fraud", "healthy");
        soak
    }

    pub fn router(&self) -> SocketAddr {
        let url = self.world.json(&["status"])["router"].as_str().unwrap().to_owned();
        url.strip_prefix("http://").unwrap().parse().unwrap()
    }

    fn notes(&self) -> PathBuf {
        self.world.path("notes")
    }

    pub fn read_notes(&mut self) {
        self.broken.read(&self.notes());
    }

    pub fn events(&self) -> Vec<Value> {
        self.world.json(&["events", "--limit", "10000"]).as_array().unwrap().clone()
    }

    /// One thing, and then a while in which the world goes on.
    pub fn act(&mut self) {
        // More than one commit to a rollout, but not so many that none ever gets to its end.
        let people = !self.is_busy() || self.random.once_in(6);
        match self.random.below(if people { 16 } else { 8 }) {
            0 => self.kill_daemon(),
            1 if self.random.once_in(2) => self.restart(),
            1 => self.upgrade(),
            2 if self.kills_router && self.random.once_in(2) => self.kill_router(),
            2 | 3 => self.kill_replica(),
            4..8 => self.steer(),
            8..11 => self.release(How::Good),
            11..14 => {
                let how = How::bad(&mut self.random);
                self.release(how);
            }
            14 => {
                self.done.count("reverted by a person");
                self.commit(self.good.clone(), "Revert");
            }
            _ => {
                self.done.count("specs edited");
                let edited = self.committed.edited(&mut self.random);
                self.commit(edited, "run otherwise");
            }
        }
        // How long is a part of the course, not a wait for something.
        std::thread::sleep(Duration::from_millis(100 + self.random.below(1_000)));
    }

    fn release(&mut self, how: How) {
        let way = fit(how, &mut self.random);
        self.release_by(how, way);
    }

    fn release_by(&mut self, how: How, way: StrategyKind) {
        self.done.count(match how {
            How::Good => "good releases committed",
            _ => "bad releases committed",
        });
        self.releases += 1;
        let (count, notes) = (self.world.path("count"), self.notes());
        let new = Committed::new(&count, &notes, self.releases, how, way, &mut self.random);
        if how == How::Good {
            self.good = new.clone();
        }
        self.commit(new, &format!("{} by {}", how.word(), way.word()));
    }

    fn commit(&mut self, what: Committed, message: &str) {
        let at = |file: &str| format!("specs/models/fraud/{file}");
        self.world.commit(
            message,
            &[
                (&at("model.toml"), Some(&what.spec)),
                (&at("serve.py"), Some(&what.serve)),
                (&at("train.py"), Some(TRAIN)),
                (&at("smoke.py"), Some(SMOKE)),
            ],
        );
        self.committed = what;
    }

    fn status(&self) -> Value {
        self.world.json(&["status", "fraud"])
    }

    /// Whether something is trained or rolled out, or Git was not yet looked at.
    fn is_busy(&self) -> bool {
        let status = self.status();
        let (summary, here) = (&status["summary"], &status["summary"]["environments"][0]);
        let behind = summary["sync"] != "Synced" && here["rejected"].is_null();
        behind || !summary["training"].is_null() || !here["rollout"].is_null()
    }

    fn kill_daemon(&mut self) {
        self.done.count("kills of the daemon");
        // A replica that ends while nobody is there to see it, now and then.
        let victim = self.random.once_in(3).then(|| self.victim()).flatten();
        self.world.kill();
        if let Some(victim) = victim {
            self.kill(victim);
        }
        std::thread::sleep(Duration::from_millis(self.random.below(1_500)));
        self.world.start();
    }

    fn restart(&mut self) {
        self.done.count("restarts of the daemon");
        assert_eq!(self.world.stop(), Some(0), "{}", self.world.log());
        self.world.start();
    }

    /// The daemon of another binary, which replaces the router too.
    fn upgrade(&mut self) {
        self.done.count("upgrades to another binary");
        let exe = self.world.path(&format!("trimtab-{}", self.done.0["upgrades to another binary"]));
        std::fs::copy(&self.world.exe, &exe).unwrap();
        let mut file = std::fs::OpenOptions::new().append(true).open(&exe).unwrap();
        file.write_all(b"\n").unwrap();
        drop(file);
        assert_eq!(self.world.stop(), Some(0), "{}", self.world.log());
        self.world.exe = exe;
        self.world.start();
    }

    /// A replica that serves, of a release of which others that live serve too: its process and version.
    fn victim(&mut self) -> Option<(Identity, String)> {
        let status = self.status();
        let ready: Vec<&Value> = status["replicas"][0]["replicas"].as_array()?.iter().collect();
        let ready: Vec<&&Value> = ready.iter().filter(|r| r["ready"] == true).collect();
        let processes = serving(&self.world);
        let alive = |r: &Value| processes.get(r["address"].as_str()?.rsplit_once(':')?.1).cloned();
        let all: Vec<(&Value, Identity)> = ready.iter().filter_map(|r| Some((&r["release"], alive(r)?))).collect();
        let several: Vec<&(&Value, Identity)> =
            all.iter().filter(|(release, _)| all.iter().filter(|(other, _)| other == release).count() > 1).collect();
        let (release, process) = (!several.is_empty()).then(|| *self.random.of(&several))?;
        Some((process.clone(), format!("v{}", release["version"])))
    }

    fn kill_replica(&mut self) {
        if let Some(victim) = self.victim() {
            self.kill(victim);
        }
    }

    fn kill(&mut self, (process, version): (Identity, String)) {
        self.done.count("kills of replicas");
        let from = now_ns();
        end(&process);
        self.broken.killed(version, from);
    }

    fn kill_router(&mut self) {
        self.done.count("kills of the router");
        let router = RouterClient::new(&self.world.state().join("router"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pid = runtime.block_on(router.identity()).unwrap().pid;
        let (address, from) = (self.router(), now_ns());
        end(&Identity::of(pid as i32).unwrap());
        eventually("the router again", Duration::from_secs(30), || {
            let mut stream = std::net::TcpStream::connect(address).ok()?;
            stream.write_all(b"GET /models/fraud/x HTTP/1.1\r\nhost: soak\r\nconnection: close\r\n\r\n").ok()?;
            let mut head = [0; 12];
            stream.read_exact(&mut head).ok()?;
            (&head == b"HTTP/1.1 200").then_some(())
        });
        self.broken.router.push(Gone { from, to: now_ns() });
    }

    /// A person's word; often there is nothing to say it to, which trimtab then says.
    fn steer(&mut self) {
        let rollout = self.status()["summary"]["environments"][0]["rollout"].clone();
        let Some(version) = rollout["to"].as_u64() else { return };
        let paused = rollout["phase"].as_str().is_some_and(|phase| phase != "starting" && phase != "step");
        // Whoever sends all traffic to what ends at calls has nobody left who could answer.
        let may_promote = !self.asked_for(version).starts_with(How::Crashing.word());
        let (verb, what) = match self.random.below(6) {
            _ if paused => ("resume", "rollouts resumed"),
            0 | 1 => ("pause", "rollouts paused"),
            2 => ("abort", "rollouts aborted"),
            3 if may_promote => ("promote", "rollouts promoted"),
            _ => return,
        };
        if self.world.trimtab(&["rollout", verb, "fraud"]).status.success() {
            self.done.count(what);
        }
    }

    /// The message of the commit that asked for a version.
    fn asked_for(&self, version: u64) -> String {
        let versions = self.world.json(&["history", "fraud"]);
        let found = versions.as_array().unwrap().iter().find(|v| v["number"] == version).unwrap();
        found["summary"].as_str().unwrap().to_owned()
    }

    /// A last good release; says what is wrong if it does not come to be served, healthy and in sync.
    pub fn settle(&mut self) -> Result<(), String> {
        self.release_by(How::Good, StrategyKind::AtOnce);
        let wanted = format!("\"seed\": {},", self.releases);
        let until = Instant::now() + SETTLED;
        loop {
            let status = self.status();
            let summary = &status["summary"];
            let good = summary["health"] == "Healthy" && summary["sync"] == "Synced";
            let (answered, _, body) = self.world.get("/models/fraud/x");
            if good && answered == 200 && body.contains(&wanted) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!(
                    "not within {SETTLED:?}: {}, {}: {}; {answered} {body}",
                    summary["health"], summary["sync"], summary["message"]
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Kills a process and waits until it is gone.
fn end(process: &Identity) {
    let Some(fd) = process.pidfd() else { return };
    process.signal(libc::SIGKILL);
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
}

/// The processes that serve, by port.
fn serving(world: &World) -> BTreeMap<String, Identity> {
    let state = world.state();
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let at = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if !at.starts_with(&state) || !String::from_utf8_lossy(&read("cmdline")).contains("serve.py") {
            continue;
        }
        let environ = String::from_utf8_lossy(&read("environ")).into_owned();
        let port = environ.split('\0').find_map(|v| v.strip_prefix("PORT=")).map(str::to_owned);
        let process = Identity::of(pid).filter(Identity::is_alive);
        found.extend(port.zip(process));
    }
    found
}

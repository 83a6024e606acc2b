//! Nothing lost: the daemon is killed again and again while commits, trainings, canaries, lock commits and reverts go on.

use crate::support::{SERVE, TRAIN, World, model};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

const CANARY: &str = "[serve]\nrun = [\"python3\", \"serve.py\"]\n[[deploy]]\nenvironment = \"production\"\nstrategy = \"canary\"\n\
    steps = [{ weight = 20, hold = \"100ms\" }, { weight = 60, hold = \"100ms\" }]\n";
const KILLS: u64 = 200;

/// A small generator, so that a failing seed can be run again.
struct Random(u64);
impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
}

const NAMES: [&str; 2] = ["fraud", "churn"];

/// As the common script, but it notes what tells its fingerprint from others of the model too: the data that it read.
fn script() -> String {
    let noted =
        "str(params[\"seed\"]) + \"/\" + open(os.environ[\"TRIMTAB_INPUT_TRAIN\"]).read().replace(\"\\n\", \";\")";
    TRAIN.replace("str(params[\"seed\"])", noted)
}

/// What people did so far, and what the daemon said was so.
struct History {
    world: World,
    random: Random,
    seed: u64,
    /// Of each model: commits that were not reverted, with the seed that each asked for.
    commits: BTreeMap<&'static str, Vec<(git2::Oid, u64)>>,
    versions: BTreeMap<&'static str, BTreeMap<String, Value>>,
    runs: BTreeMap<&'static str, BTreeMap<String, Value>>,
    events: BTreeMap<u64, Value>,
    reverts: usize,
    /// Refreshes asked for, and answered.
    asked: usize,
    refreshes: usize,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut new = Self {
            world: World::new(),
            random: Random(seed),
            seed,
            commits: BTreeMap::new(),
            versions: BTreeMap::new(),
            runs: BTreeMap::new(),
            events: BTreeMap::new(),
            reverts: 0,
            asked: 0,
            refreshes: 0,
        };
        NAMES.iter().for_each(|name| new.change(name, 0));
        new
    }

    fn change(&mut self, name: &'static str, n: u64) {
        let (count, at) = (self.world.path(&format!("count-{name}")), |f: &str| format!("specs/models/{name}/{f}"));
        let spec = model(name, &count, &format!(", seed = {n}, sleep = 0.{n}"), CANARY);
        let files =
            [(&*at("model.toml"), Some(&*spec)), (&at("train.py"), Some(&script())), (&at("serve.py"), Some(SERVE))];
        let id = self.world.commit(&format!("{name}: {n}"), &files);
        self.commits.entry(name).or_default().push((id, n));
    }

    /// A person's `git revert` of the newest change of a model.
    fn revert(&mut self, name: &'static str) {
        let commits = self.commits.get_mut(name).unwrap();
        if commits.len() > 1 {
            self.world.revert(commits.pop().unwrap().0);
            self.reverts += 1;
        }
    }

    /// The data changes, and a person asks for it; the daemon may die over it.
    fn refresh(&mut self, name: &str) {
        let lines = 1 + self.random.next(4) as usize;
        std::fs::write(self.world.path("data/numbers.csv"), "1,2\n".repeat(lines)).unwrap();
        self.world.wait_api();
        self.asked += 1;
        self.refreshes += usize::from(self.world.trimtab(&["refresh", name]).status.success());
    }

    fn act(&mut self) {
        let name = NAMES[self.random.next(2) as usize];
        match self.random.next(5) {
            0 | 1 => {
                let n = self.random.next(6);
                // A commit that changes nothing has no revert.
                if self.commits[name].last().is_some_and(|(_, newest)| *newest != n) {
                    self.change(name, n);
                }
            }
            2 | 3 => self.revert(name),
            _ => self.refresh(name),
        }
    }

    /// What a command says, when the daemon answers.
    fn said(&self, args: &[&str]) -> Vec<Value> {
        let out = self.world.trimtab(&[args, &["--json"]].concat());
        if out.status.success() { serde_json::from_slice(&out.stdout).unwrap() } else { vec![] }
    }

    /// What the daemon said was so must stay so: versions, runs that ended, events.
    fn note(&mut self) {
        for name in NAMES {
            let versions = self.said(&["history", name]).into_iter().map(|v| (text(&v, "fingerprint"), lasting(v)));
            self.versions.entry(name).or_default().extend(versions.collect::<Vec<_>>());
            let runs = self.said(&["runs", name, "--stages"]).into_iter().filter(|r| state(r) != "running");
            let runs: Vec<_> = runs.map(|r| (text(&r, "id"), r)).collect();
            self.runs.entry(name).or_default().extend(runs);
        }
        let events = self.said(&["events", "--limit", "200"]).into_iter().map(|e| (e["seq"].as_u64().unwrap(), e));
        self.events.extend(events.collect::<Vec<_>>());
    }

    fn check(&self) {
        let (w, seed) = (&self.world, self.seed);
        for name in NAMES {
            let now: Vec<(String, Value)> =
                self.said(&["history", name]).into_iter().map(|v| (text(&v, "fingerprint"), lasting(v))).collect();
            let versions: BTreeMap<String, Value> = now.iter().cloned().collect();
            assert_eq!(versions.len(), now.len(), "{name}: one version for each fingerprint (seed {seed})");
            kept(&self.versions[name], &versions, &format!("{name}: versions (seed {seed})"));
            let runs: BTreeMap<String, Value> =
                self.said(&["runs", name, "--stages"]).into_iter().map(|r| (text(&r, "id"), r)).collect();
            kept(&self.runs[name], &runs, &format!("{name}: runs (seed {seed})"));
            self.trained_once(name, &runs);
        }
        let events: BTreeMap<u64, Value> =
            self.said(&["events", "--limit", "10000"]).into_iter().map(|e| (e["seq"].as_u64().unwrap(), e)).collect();
        assert!(events.keys().copied().eq(1..=events.len() as u64), "events have no gap (seed {seed})");
        kept(&self.events, &events, &format!("events (seed {seed})"));
        let subjects = git(&w.path("models.git"), &["log", "--format=%s", "main"]);
        // One for the first data of each model, and at most one for each refresh, whether the daemon died over it or not.
        let locks = subjects.lines().filter(|l| l.starts_with("lock: ")).count();
        let most = NAMES.len() + self.asked;
        assert!((NAMES.len() + 1..=most).contains(&locks), "{locks} lock commits (seed {seed})\n{subjects}");
        let trees = git(&w.path("models.git"), &["log", "--format=%T", "main"]);
        let trees: Vec<&str> = trees.lines().collect();
        assert!(trees.windows(2).all(|t| t[0] != t[1]), "every commit changed something (seed {seed})\n{subjects}");
    }

    /// Every execution has a run of its own, and for one fingerprint none follows one that succeeded. A second one is there only where
    /// the first was cancelled, by an event that says so.
    fn trained_once(&self, name: &str, runs: &BTreeMap<String, Value>) {
        let executed = self.world.trained(&format!("count-{name}"));
        let distinct: BTreeSet<&String> = executed.iter().map(|(run, _)| run).collect();
        assert_eq!(
            distinct.len(),
            executed.len(),
            "{name}: no run was executed twice: {executed:?} (seed {})",
            self.seed
        );
        let events = self.said(&["events", "--limit", "10000"]);
        let cancelled = events.iter().filter(|e| e["kind"] == "run_cancelled" && e["model"] == *name).count();
        let mut of_content: BTreeMap<&String, Vec<&str>> = BTreeMap::new();
        for (run, content) in &executed {
            of_content.entry(content).or_default().push(runs.get(run).map_or("unknown", state));
        }
        let all = format!("{name}: {of_content:#?} (seed {})", self.seed);
        for ended in of_content.values() {
            let (last, before) = ended.split_last().unwrap();
            assert!(before.iter().all(|s| *s == "cancelled"), "trained again with no cancel before: {all}");
            assert!(["succeeded", "cancelled"].contains(last), "{all}");
        }
        let again: usize = of_content.values().map(|ended| ended.len() - 1).sum();
        assert!(again <= cancelled, "{again} trained again, {cancelled} cancelled: {all}");
        assert!(of_content.values().filter(|ended| ended.contains(&"succeeded")).count() > 2, "{all}");
    }
}

#[test]
fn two_hundred_kills_lose_nothing_and_train_nothing_twice() {
    let seed = std::env::var("TRIMTAB_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_260_101);
    let mut h = History::new(seed);
    for round in 0..KILLS {
        h.world.start_with(&[]);
        // Killed at any moment of its life, its very start included.
        std::thread::sleep(Duration::from_millis(h.random.next(260)));
        if round % 4 == 0 {
            h.act();
        }
        if round % 5 == 0 {
            // However slow the machine is, some of them live long enough to answer.
            h.world.wait_api();
            h.note();
        }
        h.world.kill();
    }
    h.world.start();
    for name in NAMES {
        h.world.wait_for(name, "synced");
        h.world.wait_for(name, "healthy");
        let (body, newest) = (h.world.get(&format!("/models/{name}/x")).2, h.commits[name].last().unwrap().1);
        assert!(body.contains(&format!("\"seed\": {newest},")), "{name} serves what Git says: {body} (seed {seed})");
    }
    let noted =
        (h.versions.values().map(BTreeMap::len).sum::<usize>(), h.runs.values().map(BTreeMap::len).sum::<usize>());
    let noted = (noted.0, noted.1, h.events.len(), h.reverts, h.refreshes);
    eprintln!("acknowledged versions, runs, events; reverts and refreshes: {noted:?}");
    assert!(noted.0 > 2 && noted.1 > 2 && noted.2 > 50 && noted.3 > 3 && noted.4 > 0, "{noted:?} (seed {seed})");
    h.check();
    only_what_status_says(&h.world);
    assert_eq!(h.world.stop(), Some(0));
    trimtab::deploy::local::stop_everything(&h.world.state());
    no_orphans(&h.world);
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap().to_owned()
}

fn state(run: &Value) -> &str {
    run["status"]["state"].as_str().unwrap()
}

/// A version without where it serves, which is no part of it, and without its gates, which are judged again when they change.
fn lasting(mut version: Value) -> Value {
    let fields = version.as_object_mut().unwrap();
    fields.retain(|key, _| !["serves", "gates"].contains(&key.as_str()));
    version
}

/// Everything that was said before is said now, unchanged.
fn kept<K: Ord + std::fmt::Debug>(before: &BTreeMap<K, Value>, now: &BTreeMap<K, Value>, what: &str) {
    for (key, value) in before {
        assert_eq!(Some(value), now.get(key), "{what}: {key:?}");
    }
}

fn git(at: &Path, args: &[&str]) -> String {
    let out = std::process::Command::new("git").args(args).current_dir(at).output().unwrap();
    String::from_utf8(out.stdout).unwrap()
}

/// The replicas that live are those that `status` names, each once, and no training lives: before anything is cleaned up.
fn only_what_status_says(w: &World) {
    let said = || -> Vec<String> {
        let replicas = |name: &&str| -> Vec<String> {
            let status = w.json(&["status", name]);
            let all = status["replicas"].as_array().unwrap().iter().flat_map(|e| e["replicas"].as_array().unwrap());
            all.map(|r| r["address"].as_str().unwrap_or("none yet").to_owned()).collect()
        };
        let mut all: Vec<String> = NAMES.iter().flat_map(replicas).collect();
        all.sort();
        all
    };
    let live = || {
        let mut replicas = Vec::new();
        let mut others = Vec::new();
        for (pid, line) in processes(w) {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let environ = String::from_utf8_lossy(&environ).into_owned();
            let port = environ.split('\0').find_map(|v| v.strip_prefix("PORT="));
            match port {
                Some(port) if line.contains("serve.py") => replicas.push(format!("127.0.0.1:{port}")),
                _ => others.push(line),
            }
        }
        replicas.sort();
        (replicas, others)
    };
    let mut newest = (vec![], (vec![], vec![]));
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while std::time::Instant::now() < until {
        newest = (said(), live());
        let (said, (replicas, others)) = &newest;
        let shims = others.iter().filter(|l| l.contains("internal-shim")).count();
        let rest = others.iter().filter(|l| !l.contains("internal-")).all(|l| l.contains(" daemon "));
        if said.len() >= NAMES.len() && said == replicas && shims == replicas.len() && rest {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("status and what lives differ: {newest:#?}");
}

/// Processes that name this world's folder or work in it, zombies left out: id and command line.
fn processes(w: &World) -> Vec<(u32, String)> {
    let here = w.dir.path().display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let cwd = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if pid != std::process::id() && !line.is_empty() && (line.contains(&here) || cwd.starts_with(&here)) {
            found.push((pid, line));
        }
    }
    found
}

fn no_orphans(w: &World) {
    let until = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let left = processes(w);
        if left.is_empty() {
            return;
        }
        assert!(std::time::Instant::now() < until, "processes are left: {left:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

//! Nothing lost: the daemon is killed again and again while commits, trainings, canaries, lock commits and reverts go on.

use crate::support::{World, model};
use std::{
    collections::{BTreeMap, BTreeSet},
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

#[test]
fn two_hundred_kills_lose_nothing_and_train_nothing_twice() {
    let seed = std::env::var("TRIMTAB_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_260_101);
    let mut random = Random(seed);
    let mut w = World::new();
    let names = ["fraud", "churn"];
    let spec = |w: &World, name: &str, n: u64| {
        model(name, &w.path(&format!("count-{name}")), &format!(", seed = {n}, sleep = 0.05"), CANARY)
    };
    for name in names {
        w.commit_model(name, &spec(&w, name, 0));
    }
    let mut acknowledged: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut last_event = 0;
    let mut newest_seed = BTreeMap::from([("fraud", 0), ("churn", 0)]);
    for round in 0..KILLS {
        w.start_with(&[]);
        // Killed at any moment of its life, its very start included.
        std::thread::sleep(Duration::from_millis(random.next(260)));
        if round % 4 == 0 {
            let name = names[random.next(2) as usize];
            let n = random.next(6);
            w.commit_model(name, &spec(&w, name, n));
            newest_seed.insert(name, n);
        }
        if round % 5 == 0 {
            note(&w, &names, &mut acknowledged, &mut last_event);
        }
        w.kill();
    }
    w.start();
    for name in names {
        w.wait_for(name, "healthy");
        let body = w.get(&format!("/models/{name}/x")).2;
        assert!(
            body.contains(&format!("\"seed\": {},", newest_seed[name])),
            "{name} serves what Git says: {body} (seed {seed})"
        );
    }
    check(&w, &names, &acknowledged, last_event, seed);
    assert_eq!(w.stop(), Some(0));
    trimtab::deploy::local::stop_everything(&w.state());
    no_orphans(&w);
}

/// What the daemon said was so must stay so.
fn note(w: &World, names: &[&str], acknowledged: &mut BTreeMap<String, BTreeSet<String>>, last_event: &mut u64) {
    for name in names {
        let out = w.trimtab(&["history", name, "--json"]);
        let Ok(versions) = serde_json::from_slice::<serde_json::Value>(&out.stdout) else { continue };
        for v in versions.as_array().into_iter().flatten() {
            acknowledged.entry((*name).into()).or_default().insert(v["fingerprint"].as_str().unwrap().to_owned());
        }
    }
    let out = w.trimtab(&["events", "--json", "--limit", "1"]);
    if let Ok(events) = serde_json::from_slice::<serde_json::Value>(&out.stdout)
        && let Some(seq) = events[0]["seq"].as_u64()
    {
        *last_event = (*last_event).max(seq);
    }
}

fn check(w: &World, names: &[&str], acknowledged: &BTreeMap<String, BTreeSet<String>>, last_event: u64, seed: u64) {
    for name in names {
        let versions = w.json(&["history", name]);
        let prints: Vec<String> =
            versions.as_array().unwrap().iter().map(|v| v["fingerprint"].as_str().unwrap().to_owned()).collect();
        let distinct: BTreeSet<String> = prints.iter().cloned().collect();
        assert_eq!(distinct.len(), prints.len(), "{name}: one version for each fingerprint (seed {seed})");
        if let Some(before) = acknowledged.get(*name) {
            assert!(before.is_subset(&distinct), "{name}: every acknowledged version is there (seed {seed})");
        }
        // A run is named by content and attempt; executed twice it would be counted twice under one name.
        let runs: Vec<String> = w.trained(&format!("count-{name}")).into_iter().map(|(run, _)| run).collect();
        let once: BTreeSet<&String> = runs.iter().collect();
        assert_eq!(once.len(), runs.len(), "{name}: no run was executed twice: {runs:?} (seed {seed})");
    }
    let events = w.json(&["events", "--limit", "10000"]);
    let seqs: Vec<u64> = events.as_array().unwrap().iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert!(seqs.windows(2).all(|p| p[1] == p[0] + 1), "events have no gap (seed {seed})");
    assert!(seqs.last().copied().unwrap_or(0) >= last_event, "every acknowledged event is there (seed {seed})");
    let log = std::process::Command::new("git")
        .args(["log", "--format=%s", "main"])
        .current_dir(w.path("models.git"))
        .output()
        .unwrap();
    let locks = String::from_utf8(log.stdout).unwrap().lines().filter(|l| l.starts_with("lock: ")).count();
    assert_eq!(locks, names.len(), "one lock commit for each model (seed {seed})");
}

/// Processes that name this world's folder, zombies left out.
fn no_orphans(w: &World) {
    let until = std::time::Instant::now() + Duration::from_secs(20);
    let here = w.dir.path().display().to_string();
    loop {
        let mut left = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry.file_name().to_string_lossy().into_owned();
            if pid.parse::<u32>().is_err() || pid == std::process::id().to_string() {
                continue;
            }
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let cwd = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&here) || cwd.starts_with(&here) {
                left.push(format!("{pid} {}", String::from_utf8_lossy(&line).replace('\0', " ")));
            }
        }
        if left.is_empty() {
            return;
        }
        assert!(std::time::Instant::now() < until, "processes are left: {left:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

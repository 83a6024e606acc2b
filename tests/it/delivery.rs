//! Each strategy through the binary: real processes behind the real router, and a release that is bad in its way.

use crate::support::{World, eventually, model, until};
use std::time::Duration;

const SERVE: &str =
    "[serve]\nrun = [\"python3\", \"serve.py\"]\ndrain = \"1s\"\n[[deploy]]\nenvironment = \"production\"\n";
const LONG: Duration = Duration::from_secs(60);

/// A world in which v1 of `fraud` has all traffic, deployed by these lines.
fn served(deploy: &str) -> World {
    let mut w = World::new();
    commit(&w, 1, deploy);
    w.start();
    w.wait_for("fraud", "version=v1");
    w
}

/// Asks for the model of a seed; 666 answers every call with 500.
fn commit(w: &World, seed: u32, deploy: &str) {
    w.commit_model(
        "fraud",
        &model("fraud", &w.path("count"), &format!(", seed = {seed}"), &format!("{SERVE}{deploy}")),
    );
}

fn production(w: &World) -> serde_json::Value {
    w.json(&["status", "fraud"])["summary"]["environments"][0].clone()
}

/// Calls until the newest release is rejected; returns the reason. Every answer that is not `v1` is handed to `other`.
fn rejected(w: &World, mut other: impl FnMut(u16, &str)) -> String {
    let reason = eventually("the rejection", LONG, || {
        for _ in 0..10 {
            let (status, version, _) = w.get("/models/fraud/x");
            if version != "v1" {
                other(status, &version);
            }
        }
        production(w)["rejected"].as_str().map(str::to_owned)
    });
    until("stable has all", || production(w)["routed"] == 1);
    for _ in 0..20 {
        let (status, version, _) = w.get("/models/fraud/x");
        assert_eq!((status, version.as_str()), (200, "v1"));
    }
    reason
}

#[test]
fn blue_green_is_previewed_then_takes_all_by_a_persons_word() {
    let deploy = "strategy = \"blue_green\"\ngate = \"manual\"\nkeep_warm = \"10m\"\n";
    let w = served(deploy);
    commit(&w, 2, deploy);
    until("the gate", || production(&w)["rollout"]["phase"] == "the step is done and waits for a person");
    for _ in 0..20 {
        assert_eq!(w.get("/models/fraud/x").1, "v1");
        assert_eq!(w.get("/previews/production/models/fraud/x").1, "v2");
    }
    assert!(w.trimtab(&["rollout", "resume", "fraud"]).status.success());
    w.wait_for("fraud", "version=v2");
    assert_eq!(w.get("/models/fraud/x").1, "v2");
    let replicas = w.json(&["status", "fraud"])["replicas"][0]["replicas"].clone();
    let of = |v: u32| replicas.as_array().unwrap().iter().filter(|r| r["release"]["version"] == v).count();
    assert_eq!((of(1), of(2)), (1, 1), "the old one stays warm: {replicas}");
    assert_eq!(w.get("/previews/production/models/fraud/x").0, 404, "nothing is previewed any more");
}

#[test]
fn a_shadow_that_answers_otherwise_is_rejected_and_no_caller_ever_saw_it() {
    let deploy = "strategy = \"shadow\"\nhold = \"30s\"\n[[deploy.analysis]]\nmetric = \"agreement\"\nmin = 0.9\n";
    let w = served(deploy);
    commit(&w, 2, deploy);
    let reason = rejected(&w, |status, version| panic!("{version} answered {status}"));
    assert!(reason.starts_with("agreement 0.0000 < 0.9 over "), "{reason}");
}

#[test]
fn a_shadow_that_agrees_takes_over() {
    let deploy = "strategy = \"shadow\"\nhold = \"1s\"\ntolerance = 100\n[[deploy.analysis]]\nmetric = \"agreement\"\nmin = 0.9\n";
    let w = served(deploy);
    commit(&w, 2, deploy);
    eventually("v2", LONG, || {
        let all_good = (0..10).all(|_| w.get("/models/fraud/x").0 == 200);
        assert!(all_good);
        (production(&w)["routed"] == 2).then_some(())
    });
}

#[test]
fn an_experiment_compares_with_fresh_replicas_of_stable_and_rejects_what_is_worse() {
    let deploy = "strategy = \"experiment\"\nweight = 20\nhold = \"30s\"\n\
        [[deploy.analysis]]\nmetric = \"error_rate\"\nno_worse_than = \"stable\"\nmin_requests = 5\n";
    let w = served(deploy);
    commit(&w, 666, deploy);
    let mut failed = 0;
    let reason = rejected(&w, |status, version| {
        assert_eq!((status, version), (500, "v2"));
        failed += 1;
    });
    assert!(reason.contains("error_rate 1.0000 worse than stable's 0.0000 over "), "{reason}");
    assert!(failed > 0);
}

#[test]
fn a_recreated_release_never_stands_beside_the_old_one() {
    let deploy = "strategy = \"recreate\"\n";
    let mut w = World::new();
    let serve = format!(
        "import fcntl, sys\nheld = open({:?}, 'w')\ntry: fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)\n\
         except OSError: sys.exit('the other one is still here')\n{}",
        w.path("held").display().to_string(),
        crate::support::SERVE
    );
    let spec = |w: &World, seed: u32| {
        model("fraud", &w.path("count"), &format!(", seed = {seed}"), &format!("{SERVE}{deploy}"))
    };
    let files = |w: &World, seed: u32| {
        let spec = spec(w, seed);
        w.commit(
            "fraud",
            &[
                ("specs/models/fraud/model.toml", Some(&spec)),
                ("specs/models/fraud/train.py", Some(crate::support::TRAIN)),
                ("specs/models/fraud/serve.py", Some(&serve)),
            ],
        );
    };
    files(&w, 1);
    w.start();
    w.wait_for("fraud", "version=v1");
    files(&w, 2);
    w.wait_for("fraud", "version=v2");
    w.wait_for("fraud", "healthy");
    let replicas = w.json(&["status", "fraud"])["replicas"][0]["replicas"].clone();
    assert_eq!(replicas.as_array().unwrap().len(), 1, "{replicas}");
    assert_eq!((&replicas[0]["restarts"], &replicas[0]["death"]), (&0.into(), &serde_json::Value::Null), "{replicas}");
}

#[test]
fn a_command_of_the_version_decides_with_its_figure() {
    let smoke = "[[deploy.analysis]]\nname = \"smoke\"\nrun = [\"python3\", \"-c\", \"\"\"\n\
        import os, urllib.request\n\
        try: urllib.request.urlopen(os.environ['TRIMTAB_PREVIEW'] + 'x'); print(1)\n\
        except urllib.error.HTTPError: print(0)\n\"\"\"]\nmin = 1\n";
    let deploy = format!("strategy = \"blue_green\"\nhold = \"1s\"\n{smoke}");
    let w = served(&deploy);
    commit(&w, 666, &deploy);
    let reason = rejected(&w, |status, version| panic!("{version} answered {status}"));
    assert_eq!(reason, "smoke 0.0000 < 1");
    commit(&w, 3, &deploy);
    w.wait_for("fraud", "version=v3");
}

#[test]
fn a_rejected_release_is_reverted_in_git_with_the_evidence_and_nothing_trains() {
    let deploy = "strategy = \"canary\"\nsteps = [{ weight = 50, hold = \"30s\" }]\non_failure = \"revert\"\n\
        [[deploy.analysis]]\nmetric = \"error_rate\"\nmax = 0.1\nmin_requests = 5\n";
    let w = served(deploy);
    until("the lock", || w.json(&["events"]).to_string().contains("lock_committed"));
    let before = w.head().unwrap().tree_id();
    commit(&w, 666, deploy);
    let asked = w.head().unwrap().id();
    let reverted = eventually("the revert", LONG, || {
        w.get("/models/fraud/x");
        let head = w.head().unwrap();
        (head.id() != asked && head.message().unwrap().starts_with("Revert ")).then(|| head.id())
    });
    let head = w.head().unwrap();
    assert_eq!((head.id(), head.tree_id()), (reverted, before));
    let message = head.message().unwrap();
    for part in [
        &format!("This reverts commit {asked}.") as &str,
        "v2 was rejected in production: error_rate 1.0000 > 0.1 over ",
        "\nMeasured:\n  error_rate ≤ 10.00 %: ",
        "\nTrimtab-Rejected: v2\n",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    w.wait_for("fraud", "version=v1");
    w.wait_for("fraud", "healthy");
    assert_eq!(w.trained("count").len(), 2);
    let log = w.json(&["events"]).to_string();
    assert!(log.contains("revert_committed"), "{log}");
}

#[test]
fn where_trimtab_may_not_push_the_reason_is_on_the_screen() {
    let deploy = "strategy = \"canary\"\nsteps = [{ weight = 50, hold = \"30s\" }]\non_failure = \"revert\"\n\
        [[deploy.analysis]]\nmetric = \"error_rate\"\nmax = 0.1\nmin_requests = 5\n";
    let mut w = World::new();
    w.commit("settings", &[("specs/trimtab.toml", Some("schema = \"trimtab/v1\"\n[bot]\npush = false\n"))]);
    commit(&w, 1, deploy);
    w.start();
    w.wait_for("fraud", "version=v1");
    commit(&w, 666, deploy);
    rejected(&w, |_, _| ());
    until("the reason", || {
        let status = w.json(&["status", "fraud"]);
        let said = status["summary"]["message"].as_str().unwrap_or_default();
        said.contains("not reverted by trimtab: trimtab may not push to this source")
    });
}

const SLO: &str = "[monitor]\nslo = { availability = 0.99, latency_p99 = \"30s\" }\n";

#[test]
fn a_release_that_burns_its_objective_with_all_traffic_is_taken_back_at_once() {
    let deploy = format!("keep_warm = \"10m\"\n{SLO}");
    let w = served(&deploy);
    commit(&w, 666, &deploy);
    let mut failed = 0;
    let reason = rejected(&w, |status, version| {
        assert_eq!((status, version), (500, "v2"));
        failed += 1;
    });
    assert!(reason.starts_with("availability 0.99 is broken: 100.00 % of ") && failed >= 3, "{failed}: {reason}");
    until("it is said", || w.json(&["status", "fraud"])["summary"]["health"] == "Degraded");
    let log = w.json(&["events"]).to_string();
    assert!(log.contains("v2 taken back: availability 0.99 is broken") && log.contains("v1 takes over"), "{log}");
    let restarts = w.json(&["status", "fraud"])["replicas"][0]["replicas"][0]["restarts"].clone();
    assert_eq!(restarts, 0, "the warm release took over");
    commit(&w, 3, &deploy);
    w.wait_for("fraud", "version=v3");
    w.wait_for("fraud", "healthy");
}

#[test]
fn what_is_taken_back_is_reverted_in_git_once_the_release_before_is_up_again() {
    let deploy = format!("keep_warm = \"0s\"\non_failure = \"revert\"\n{SLO}");
    let w = served(&deploy);
    until("the lock", || w.json(&["events"]).to_string().contains("lock_committed"));
    let before = w.head().unwrap().tree_id();
    commit(&w, 666, &deploy);
    rejected(&w, |_, _| ());
    let message = eventually("the revert", LONG, || {
        let head = w.head().unwrap();
        head.message().unwrap().starts_with("Revert ").then(|| head.message().unwrap().to_owned())
    });
    assert_eq!(w.head().unwrap().tree_id(), before);
    assert!(message.contains("v2 was rejected in production: availability 0.99 is broken: "), "{message}");
    w.wait_for("fraud", "healthy");
    assert_eq!((w.get("/models/fraud/x").1.as_str(), w.trained("count").len()), ("v1", 2));
}

#[test]
fn calls_past_the_limit_wait_and_then_are_told_to_come_back() {
    let w = served("limit = { concurrent = 1, queue = 1 }\n");
    let url = format!("{}/models/fraud/slow", w.json(&["status"])["router"].as_str().unwrap());
    let call = || {
        let url = url.clone();
        let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
        std::thread::spawn(move || client.get(url).send().unwrap())
    };
    let calls: Vec<_> = (0..6).map(|_| call()).collect();
    let answers: Vec<_> = calls.into_iter().map(|c| c.join().unwrap()).collect();
    assert!(answers.iter().all(|a| a.status() != 503 || a.headers().contains_key("retry-after")), "{answers:?}");
    let calls: Vec<u16> = answers.iter().map(|a| a.status().as_u16()).collect();
    let of = |status: u16| calls.iter().filter(|s| **s == status).count();
    assert!(of(200) >= 2 && of(503) >= 1 && of(200) + of(503) == 6, "{calls:?}");
}

/// Commits a release that serves well but for seed 13, which does this at its first call.
fn commit_unlucky(w: &World, does: &str, seed: u32, rest: &str) {
    let first = "        ready = self.path";
    let line = format!("        if self.path != \"/v2/health/ready\" and b'\"seed\": 13' in model: {does}");
    let serve = crate::support::SERVE.replace(first, &format!("{line}\n{first}"));
    let spec = model("fraud", &w.path("count"), &format!(", seed = {seed}"), rest);
    let files = [("model.toml", &*spec), ("train.py", crate::support::TRAIN), ("serve.py", &*serve)];
    let paths = files.map(|(name, _)| format!("specs/models/fraud/{name}"));
    let all: Vec<(&str, Option<&str>)> = paths.iter().zip(files).map(|(p, (_, text))| (&**p, Some(text))).collect();
    w.commit("fraud", &all);
}

#[test]
fn an_objective_that_a_healthy_release_does_not_keep_is_said() {
    let w = served("[monitor]\nslo = { latency_p99 = \"500ms\", watch = \"0s\" }\n");
    let said = |args: &[&str], what: &str| {
        let out = String::from_utf8(w.trimtab(args).stdout).unwrap();
        out.lines().find(|l| l.contains(what)).map(str::to_owned)
    };
    assert_eq!(said(&["status"], "is not kept"), None);
    let line = eventually("an objective that is not kept", LONG, || {
        assert_eq!(w.get("/models/fraud/slow").0, 200);
        said(&["status"], "is not kept")
    });
    assert!(line.contains("Synced") && line.contains("Healthy"), "{line}");
    assert!(line.contains("production: latency_p99 500ms is not kept"), "{line}");
    assert!(said(&["status", "fraud"], "! latency_p99 500ms is not kept").is_some());
}

#[test]
fn a_release_that_dies_at_calls_once_it_has_all_traffic_is_taken_back() {
    let mut w = World::new();
    let does = "os._exit(3)";
    let rest = format!("{SERVE}keep_warm = \"10m\"\n[monitor]\nslo = {{ latency_p99 = \"30s\" }}\n");
    let ask = |w: &World, seed: u32| commit_unlucky(w, does, seed, &rest);
    ask(&w, 1);
    w.start();
    w.wait_for("fraud", "version=v1");
    ask(&w, 13);
    w.wait_for("fraud", "version=v2");
    let stood_in = std::cell::Cell::new(false);
    let seen = || {
        let many = production(&w)["stood_in"].as_u64().unwrap();
        stood_in.set(stood_in.get() || many > 0);
    };
    let reason = eventually("the rejection", LONG, || {
        for _ in 0..10 {
            // Each of its replicas dies at the first call that it gets: what is warm answers that one, too, and those until the next is up.
            let (status, version, _) = w.get("/models/fraud/x");
            assert_eq!((status, version.as_str()), (200, "v1"));
        }
        seen();
        production(&w)["rejected"].as_str().map(str::to_owned)
    });
    assert!(reason.starts_with("its replica died ") && reason.contains("exit 3"), "{reason}");
    assert!(stood_in.get(), "it is seen that a warm version answers");
    until("stable has all", || production(&w)["routed"] == 1);
}

/// Calls all the time, so many at once, until dropped; what came of each call, and how long it took.
struct Callers {
    answers: std::sync::mpsc::Receiver<(u16, String, Duration)>,
    over: std::sync::Arc<std::sync::atomic::AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}
impl Callers {
    fn start(w: &World, many: usize) -> Self {
        let url = format!("{}/models/fraud/x", w.json(&["status"])["router"].as_str().unwrap());
        let (sender, answers) = std::sync::mpsc::channel();
        let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let one = |_| {
            let (url, sender, over) = (url.clone(), sender.clone(), over.clone());
            std::thread::spawn(move || {
                let client = reqwest::blocking::Client::builder().no_proxy().timeout(None).build().unwrap();
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let begun = std::time::Instant::now();
                    let answer = client.get(&url).send().unwrap();
                    let version = answer.headers().get("x-trimtab-version").map(|v| v.to_str().unwrap().to_owned());
                    let status = answer.status().as_u16();
                    answer.bytes().unwrap();
                    // Nobody listens once the test is over.
                    let _ = sender.send((status, version.unwrap_or_default(), begun.elapsed()));
                    std::thread::sleep(Duration::from_millis(20));
                }
            })
        };
        Self { threads: (0..many).map(one).collect(), answers, over }
    }
    /// What was answered so far.
    fn answers(&self) -> Vec<(u16, String, Duration)> {
        self.answers.try_iter().collect()
    }
}
impl Drop for Callers {
    fn drop(&mut self) {
        self.over.store(true, std::sync::atomic::Ordering::Relaxed);
        self.threads.drain(..).for_each(|t| t.join().unwrap());
    }
}

/// A canary whose replica gets ready, and at its first call stops as a whole; how it was rejected, how long that took, and the answers meanwhile.
fn hung_canary(lines: &str) -> (String, Duration, Vec<(u16, String, Duration)>) {
    let mut w = World::new();
    let does = "os.kill(os.getpid(), signal.SIGSTOP)";
    let rest = format!("{SERVE}strategy = \"canary\"\nsteps = [{{ weight = 50, hold = \"5m\" }}]\n{lines}");
    let ask = |w: &World, seed: u32| commit_unlucky(w, does, seed, &rest);
    ask(&w, 1);
    w.start();
    w.wait_for("fraud", "version=v1");
    let callers = Callers::start(&w, 12);
    ask(&w, 13);
    eventually("the canary", LONG, || (production(&w)["rollout"]["weight"] == 50.0).then_some(()));
    let begun = std::time::Instant::now();
    let reason = eventually("the rejection", LONG, || production(&w)["rejected"].as_str().map(str::to_owned));
    let took = begun.elapsed();
    until("stable has all", || production(&w)["routed"] == 1);
    drop(callers.answers());
    let mut answers = vec![];
    eventually("callers are served", LONG, || {
        answers.extend(callers.answers());
        (answers.iter().rev().take(100).filter(|(status, version, _)| *status == 200 && version == "v1").count() == 100)
            .then_some(())
    });
    (reason, took, answers)
}

#[test]
fn a_canary_that_hangs_is_measured_by_the_calls_that_wait_for_it() {
    // Long before a call times out, and before its health is in doubt.
    let lines = "[[deploy.analysis]]\nmetric = \"latency_p50\"\nmax = \"200ms\"\nmin_requests = 5\n";
    let (reason, took, _) = hung_canary(lines);
    assert!(reason.starts_with("latency_p50 ") && reason.contains(" ms > 200 ms over "), "{reason}");
    assert!(took < Duration::from_secs(6), "{took:?}: {reason}");
}

#[test]
fn calls_to_a_canary_that_hangs_fail_in_the_time_that_the_spec_gives_them() {
    let lines = "timeout = \"1s\"\n[[deploy.analysis]]\nmetric = \"error_rate\"\nmax = 0.1\nmin_requests = 5\n";
    let (reason, took, answers) = hung_canary(lines);
    assert!(reason.starts_with("error_rate ") && reason.contains(" > 0.1 over "), "{reason}");
    assert!(took < Duration::from_secs(10), "{took:?}: {reason}");
    for (status, version, took) in answers {
        assert!(status == 200 && version == "v1" || status == 504 && version == "v2", "{status} by {version}");
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}

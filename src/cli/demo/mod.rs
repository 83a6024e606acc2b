//! `trimtab demo`: the whole story, on a real dataset, in a scratch folder, through the same daemon that everybody runs.

mod leftovers;
mod load;
mod repo;

use super::{
    fail::{Failure, Outcome},
    global::Global,
    text::visible,
};
use crate::{
    api::{
        client::{Client, Endpoint},
        types::*,
    },
    deploy::local::stop_everything,
    model::*,
};
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use load::Load;
use repo::Repo;
use serde::Serialize;
use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep the scratch folder
    #[arg(long)]
    keep: bool,
    /// Print the story even on a terminal, instead of ending in the terminal UI
    #[arg(long)]
    no_tui: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Story {
    versions: Vec<VersionBrief>,
    trainings: usize,
    requests: u64,
    failed_requests: u64,
    /// Why the newest of them failed.
    failure: Option<String>,
    trainings_after_revert: usize,
    revert_to_traffic_ms: u64,
    first_version_ms: u64,
    change_to_production_ms: u64,
    folder: Option<PathBuf>,
}

const MODEL: &str = "tumour";
/// Longest wait for one chapter; the first builds a Python environment.
const PATIENCE: Duration = Duration::from_secs(900);
/// Answers in a row from one version that count as "all traffic".
const ALL_TRAFFIC: u64 = 40;

/// The daemon of the demo; stopped with everything that it started when dropped.
struct Stage {
    daemon: Child,
    state: PathBuf,
}
impl Drop for Stage {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.daemon.id() as i32);
        // It may be gone already.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.daemon.wait();
        stop_everything(&self.state);
        leftovers::forget();
    }
}

pub fn run(global: &Global, args: &Args) -> Outcome {
    let python = Command::new("python3").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !python.is_ok_and(|s| s.success()) {
        return Err(Failure::new(
            "the demo trains with Python, and python3 is not here: install it (Debian: apt-get install python3 python3-venv)",
        ));
    }
    let scratch = tempfile::Builder::new().prefix("trimtab-demo-").tempdir()?;
    let folder = if args.keep { scratch.keep() } else { scratch.path().to_owned() };
    let tell = Teller::new(global.json);
    super::fail::before_exit(leftovers::clear);
    let listening = leftovers::on_signals()?;
    let (story, stage) = play(&folder, args, &tell)?;
    let tui = !global.json && !args.no_tui && std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if global.json {
        global.print(&story)?;
    } else {
        tell.end(&story);
    }
    if tui {
        drop(listening);
        let global = Global { state: stage.state.clone(), api: None, json: false };
        super::tui::open(&global, &super::tui::Args::default(), None)?;
    }
    drop(stage);
    Ok(ExitCode::SUCCESS)
}

/// Environments are shared between demos: the second is quick.
fn share_environments(state: &Path) -> Result<(), Failure> {
    let home = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let Some(cache) = home.map(|h| h.join("trimtab/env")) else { return Ok(()) };
    std::fs::create_dir_all(&cache)?;
    std::os::unix::fs::symlink(cache, state.join("env"))?;
    Ok(())
}

fn start(folder: &Path, repo: &Repo) -> Result<Stage, Failure> {
    let state = folder.join("state");
    std::fs::create_dir_all(folder.join("data/data"))?;
    std::fs::create_dir_all(&state)?;
    share_environments(&state)?;
    std::fs::write(folder.join("data/data/breast_cancer.csv"), repo::DATA)?;
    let log = std::fs::File::create(folder.join("daemon.log"))?;
    let daemon = Command::new(std::env::current_exe()?)
        .args(["daemon", "--branch", "main", "--router", "127.0.0.1:0", "--repo"])
        .arg(&repo.path)
        .arg("--data")
        .arg(folder.join("data"))
        .arg("--state")
        .arg(&state)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    Ok(Stage { daemon, state })
}

fn play(folder: &Path, args: &Args, tell: &Teller) -> Result<(Story, Stage), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let repo = Repo::create(&folder.join("models.git"))?;
    tell.chapter("A Git repository with one model spec, a real dataset (569 tumours), and a daemon that watches it.");
    let mut stage = start(folder, &repo)?;
    leftovers::note(stage.daemon.id(), stage.state.clone(), (!args.keep).then(|| folder.to_owned()));
    let client = Client::new(Endpoint::Socket(stage.state.join("trimtab.sock")));
    let actor = Actor { runtime: &runtime, client: &client, tell, log: folder.join("daemon.log") };
    actor.daemon_up(&mut stage)?;

    let began = Instant::now();
    actor.until_live("v1", "Checking data, building the environment, training")?;
    let first_version_ms = ms(began);
    tell.chapter(&format!("v1 was trained from the commit and serves, {} after the start.", Millis(first_version_ms)));

    let fleet: Fleet = actor.get("/api/v1/fleet")?;
    let router = fleet.router.ok_or_else(|| Failure::new("the router does not run"))?;
    let mut load = Load::start(format!("{router}/models/{MODEL}/v2/models/{MODEL}/infer"), request());
    let began = Instant::now();
    let change = repo.change()?;
    tell.chapter(&format!("Ada commits a change ({}): deeper trees. Callers go on calling.", &change.to_string()[..7]));
    actor.until_live("v2", "Training v2, then staging, then a canary of 10 %, 50 %, 100 %")?;
    let change_to_production_ms = ms(began);
    tell.chapter(&format!("v2 has all traffic, {} after the commit.", Millis(change_to_production_ms)));

    let trainings = actor.trainings()?;
    let began = Instant::now();
    repo.revert(change)?;
    let revert_to_traffic_ms = until_all_traffic(&load, "v1", began)?;
    actor.until_live("v1", "Rolling back")?;
    load.stop();
    let (requests, failed_requests) = load.counts();
    tell.chapter(&format!("`git revert`: v1 serves again after {revert_to_traffic_ms} ms, and nothing was trained."));
    let failure = load.failure();
    if let Some(why) = &failure {
        tell.chapter(&format!("A request failed: {why}"));
    }
    let total = actor.trainings()?;
    let story = Story {
        versions: actor.get(&format!("/api/v1/models/{MODEL}/versions"))?,
        trainings: total,
        requests,
        failed_requests,
        failure,
        trainings_after_revert: total - trainings,
        revert_to_traffic_ms,
        first_version_ms,
        change_to_production_ms,
        folder: args.keep.then(|| folder.to_owned()),
    };
    Ok((story, stage))
}

fn ms(since: Instant) -> u64 {
    since.elapsed().as_millis() as u64
}

/// One tumour of the dataset as a request of the Open Inference Protocol.
fn request() -> String {
    let row = repo::DATA.lines().nth(1).unwrap_or_default();
    let values: Vec<&str> = row.split(',').collect();
    let values = &values[..values.len().saturating_sub(1)];
    format!(
        r#"{{"inputs":[{{"name":"input","datatype":"FP64","shape":[1,{}],"data":[{}]}}]}}"#,
        values.len(),
        values.join(",")
    )
}

/// Milliseconds from `began` until the first of many answers in a row by `version`.
fn until_all_traffic(load: &Load, version: &str, began: Instant) -> Result<u64, Failure> {
    let mut first = None;
    loop {
        let (newest, in_a_row) = load.newest();
        if newest == version {
            let first = *first.get_or_insert_with(|| ms(began));
            if in_a_row >= ALL_TRAFFIC {
                return Ok(first);
            }
        } else {
            first = None;
        }
        if began.elapsed() > PATIENCE {
            return Err(Failure::new("the revert did not arrive; see daemon.log (--keep)"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Actor<'a> {
    runtime: &'a tokio::runtime::Runtime,
    client: &'a Client,
    tell: &'a Teller,
    log: PathBuf,
}

impl Actor<'_> {
    fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        Ok(self.runtime.block_on(self.client.get(path))?)
    }

    /// Waits until the API answers; a daemon that died says why.
    fn daemon_up(&self, stage: &mut Stage) -> Result<(), Failure> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            if self.get::<Fleet>("/api/v1/fleet").is_ok() {
                return Ok(());
            }
            if stage.daemon.try_wait()?.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        Err(Failure::new(format!("the daemon did not start: {}", said.lines().last().unwrap_or("it said nothing"))))
    }

    /// How often a training was begun.
    fn trainings(&self) -> Result<usize, Failure> {
        let events: Vec<Event> = self.get("/api/v1/events?after=0&limit=10000")?;
        Ok(events.iter().filter(|e| e.kind == EventKind::RunStarted).count())
    }

    /// Waits until a version has all traffic, and tells what happens meanwhile.
    fn until_live(&self, version: &str, doing: &str) -> Result<(), Failure> {
        let bar = self.tell.bar(doing);
        let done = self.runtime.block_on(async {
            let mut events = self.client.events(Some(0)).await?;
            let task = async {
                loop {
                    if let Ok(d) = self.client.get::<ModelDetail>(&format!("/api/v1/models/{MODEL}")).await {
                        let live = d.summary.environments.last().filter(|e| e.rollout.is_none());
                        // What the router confirmed: the decision alone moves no traffic.
                        if live.is_some_and(|e| e.routed.is_some_and(|v| v.to_string() == version)) {
                            return Ok(());
                        }
                        if d.summary.health == Health::Degraded
                            && d.pipeline.as_ref().is_some_and(|p| p.state != PipelineState::Running)
                        {
                            let why = crate::plan::render::gist(&d.summary.message);
                            return Err(Failure::new(format!("the training failed: {why}")));
                        }
                        self.tell.progress(&bar, doing, &d);
                    }
                    // That the router has moved has no event of its own: it is looked for at least this often.
                    const LOOK: Duration = Duration::from_millis(100);
                    if let Ok(None) = tokio::time::timeout(LOOK, events.next()).await {
                        return Err(Failure::new("the daemon is gone; see daemon.log (--keep)"));
                    }
                }
            };
            tokio::time::timeout(PATIENCE, task).await.unwrap_or_else(|_| {
                Err(Failure::new(format!("no {version} within {} minutes", PATIENCE.as_secs() / 60)))
            })
        });
        bar.finish_and_clear();
        done
    }
}

/// Tells the story on standard output, and progress on standard error.
struct Teller {
    quiet: bool,
}
impl Teller {
    fn new(quiet: bool) -> Self {
        Self { quiet }
    }
    fn chapter(&self, text: &str) {
        if !self.quiet {
            println!("• {text}");
        }
    }
    fn bar(&self, doing: &str) -> ProgressBar {
        let style = ProgressStyle::with_template("  {spinner} {msg} ({elapsed})")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::new_spinner().with_style(style).with_message(doing.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }
    fn progress(&self, bar: &ProgressBar, doing: &str, d: &ModelDetail) {
        let stage = d.pipeline.iter().flat_map(|p| &p.stages).find(|s| s.state == "running");
        let text = stage.map_or_else(
            || d.summary.message.lines().next().unwrap_or_default().to_owned(),
            |s| format!("stage {} runs", s.name),
        );
        bar.set_message(format!("{doing}: {}", visible(&text)));
    }
    fn end(&self, story: &Story) {
        println!();
        for v in &story.versions {
            let metrics: Vec<String> =
                v.metrics.iter().filter(|(k, _)| *k != "rows").map(|(k, m)| format!("{k} {m:.4}")).collect();
            let serves: Vec<&str> = v.serves.iter().map(Name::as_str).collect();
            println!("  {:<4} {}   {}   {}", v.number, v.fingerprint.short(), metrics.join("  "), serves.join(", "));
        }
        println!(
            "\n{} requests, {} failed. {} trainings, {} of them after the revert.",
            story.requests, story.failed_requests, story.trainings, story.trainings_after_revert
        );
        match &story.folder {
            Some(folder) => println!(
                "Kept in {}: `trimtab daemon --repo models.git --data data --state state` there goes on.",
                folder.display()
            ),
            None => println!("Yours: `trimtab init`, `trimtab new NAME`, commit, `trimtab daemon`."),
        }
    }
}

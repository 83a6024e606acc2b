//! `trimtab run`: a model's pipeline once, without a daemon, as a CI job would.

use super::{
    check,
    fail::{Failure, Outcome},
    global::Global,
    text::visible_lines,
};
use crate::{
    artifact::FileStore,
    data::{DatasetsConfig, LocalDatasets},
    model::*,
    plan::{fingerprint, gates},
    ports::*,
    process::SystemClock,
    source::Worktree,
    train::{LocalTrainer, TrainerConfig},
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    model: Name,
    /// Folder of specs
    #[arg(long, default_value = ".")]
    path: PathBuf,
    /// Folder that holds datasets with a `path`; the specs' own when left out
    #[arg(long, env = "TRIMTAB_DATA")]
    data: Option<PathBuf>,
    /// Take the data as it is now, whatever the lock pins
    #[arg(long)]
    new_data: bool,
}

/// Shows stages as they go; keeps finished runs beside the run folders, so that stages are cached from one call to the next.
struct Screen {
    bars: MultiProgress,
    by_stage: Mutex<BTreeMap<Name, ProgressBar>>,
    cache: PathBuf,
    runs: PathBuf,
}

impl PipelineObserver for Screen {
    fn cached(&self, key: &Digest) -> Option<Run> {
        serde_json::from_slice(&std::fs::read(self.cache.join(key.hex())).ok()?).ok()
    }
    /// Nothing of an earlier call is taken up but what succeeded.
    fn is_over(&self, run: &RunId) -> bool {
        self.runs.join(&run.0).exists()
    }
    fn recorded(&self, _: &RunId) -> Option<Run> {
        None
    }
    fn record(&self, run: &Run) -> PortResult<()> {
        if run.status != RunStatus::Succeeded {
            return Ok(());
        }
        let failed = |e: std::io::Error| PortError::retryable(e.to_string());
        std::fs::create_dir_all(&self.cache).map_err(failed)?;
        let bytes = serde_json::to_vec(run).map_err(|e| PortError::permanent(e.to_string()))?;
        crate::process::shim::write_whole(&self.cache.join(run.key.hex()), &bytes).map_err(failed)
    }
    fn progress(&self, stages: &[StageProgress]) {
        let mut bars = self.by_stage.lock().unwrap_or_else(PoisonError::into_inner);
        for s in stages {
            let bar = bars.entry(s.name.clone()).or_insert_with(|| {
                let style = ProgressStyle::with_template("{spinner} {prefix:<16} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner());
                let bar = self.bars.add(ProgressBar::new_spinner().with_style(style).with_prefix(s.name.to_string()));
                bar.enable_steady_tick(Duration::from_millis(120));
                bar
            });
            let took = s.duration.map_or(String::new(), |d| format!(" in {d}"));
            let text = format!("{}{took}", s.state);
            if matches!(s.state.as_str(), "cached" | "succeeded" | "failed") {
                bar.finish_with_message(text)
            } else {
                bar.set_message(text)
            }
        }
    }
}

/// Stages live under shims of their own, which a Ctrl-C at the terminal does not reach: it is handed on.
fn stopped_by_a_signal() -> std::io::Result<Cancel> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let cancel = Cancel::default();
    std::thread::spawn({
        let cancel = cancel.clone();
        move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            cancel.cancel("interrupted");
        }
    });
    Ok(cancel)
}

/// One call at a time for a model: the next finds what this one made. Ends with the file.
fn alone(cache: &Path, model: &Name) -> std::io::Result<File> {
    std::fs::create_dir_all(cache)?;
    let lock = File::create(cache.join(format!("{model}.lock")))?;
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => {
            eprintln!("another `trimtab run {model}` is under way in this state folder: waiting for its end");
            lock.lock()?;
        }
        Err(TryLockError::Error(e)) => return Err(e),
        Ok(()) => {}
    }
    Ok(lock)
}

pub fn run(global: &Global, args: &Args) -> Outcome {
    let loaded = check::load(&args.path)?;
    let state = loaded.state();
    if let Some(found) = state.broken.get(&args.model) {
        eprint!("{}", crate::spec::render::text(found));
        return Err(Failure::new(format!("the spec of {} is broken", args.model)));
    }
    let known: Vec<&str> = state.models.keys().map(Name::as_str).collect();
    let model =
        state.models.get(&args.model).cloned().ok_or_else(|| {
            Failure::new(format!("there is no model `{}`; there are: {}", args.model, known.join(", ")))
        })?;
    std::fs::create_dir_all(&global.state)?;
    let folder = global.state.canonicalize()?;
    let root = if args.path.join("models").is_dir() { args.path.clone() } else { args.path.join("specs") };
    let clock = Arc::new(SystemClock::continuing(None));
    let files = FileStore::open(&folder)?;
    let _sharing = files.share()?;
    let artifacts: Arc<dyn ArtifactStore> = Arc::new(files);
    let data = DatasetsConfig::new(folder.clone(), args.data.clone().unwrap_or_else(|| root.clone()));
    let datasets: Arc<dyn Datasets> = Arc::new(LocalDatasets::new(data, artifacts.clone()));
    let now = clock.now();
    let take = |(input, dataset): (&Name, &Name)| {
        let spec = model
            .datasets
            .get(dataset)
            .ok_or_else(|| PortError::permanent(format!("there is no dataset `{dataset}`")))?;
        Ok((input.clone(), datasets.snapshot(spec, now.wall, &Cancel::default())?))
    };
    let snapshots: BTreeMap<Name, Snapshot> = model.spec.data.iter().map(take).collect::<PortResult<_>>()?;
    for (input, snapshot) in &snapshots {
        let locked = model.locked(input).filter(|locked| *locked != snapshot.digest && !args.new_data);
        if let Some(locked) = locked {
            return Err(Failure::new(format!(
                "{input}: trimtab.lock pins {}, but {} is {} now: bring that data back, or run with --new-data",
                locked.short(),
                snapshot.dataset,
                snapshot.digest.short()
            )));
        }
    }
    let digests = snapshots.iter().map(|(i, s)| (i.clone(), s.digest)).collect();
    let print = fingerprint(&model, &digests);
    let exe = std::env::current_exe()?;
    let trainer = LocalTrainer::new(TrainerConfig {
        state: folder.clone(),
        exe,
        clock: clock.clone(),
        source: Arc::new(Worktree::new(&root)),
        artifacts,
        datasets,
        tracker: None,
    });
    let cache = folder.join("run-cache");
    let _alone = alone(&cache, &args.model)?;
    let screen = Screen { bars: MultiProgress::new(), by_stage: Mutex::default(), cache, runs: folder.join("runs") };
    let revision = state.revision.as_deref().cloned().ok_or_else(|| Failure::new("no specs"))?;
    // The attempt number keeps the runs of a call apart from those of a daemon on the same folder.
    let attempt = u32::try_from(now.wall.0 / 1000 % i64::from(u32::MAX / 32)).unwrap_or(1).max(1);
    let job = PipelineJob { model: model.clone(), revision, fingerprint: print, attempt, snapshots };
    let outcome =
        trainer.execute(&job, &screen, &stopped_by_a_signal()?).map_err(|e| Failure::new(visible_lines(&e.message)))?;
    let results = gates::judge(&model.spec.gates, &outcome.metrics, None);
    let failed = gates::failures(&results);
    if global.json {
        global.print(&serde_json::json!({
            "model": args.model, "fingerprint": print, "metrics": outcome.metrics, "gates": results, "stages": outcome.stages,
            "artifact": outcome.artifact, "duration_ms": outcome.duration,
        }))?;
    } else {
        println!("{} {}", args.model, print.short());
        outcome.metrics.iter().for_each(|(k, v)| println!("  {k} = {v}"));
        results.iter().for_each(|g| println!("  gate {} {}", if g.passed { "✓" } else { "✗" }, g.condition));
    }
    if failed.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(Failure::new(format!("gate failed: {}", failed.join("; "))))
    }
}

//! Stages in the order of what they need, in parallel where they can.

use super::{
    TrainerConfig,
    stage::{Done, Input, Stage},
    workspace,
};
use crate::{model::*, ports::*, spec::pipeline::needs};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, mpsc},
};

/// Runs all stages of a job; the first failure stops what runs and starts no more.
pub fn execute(
    config: &TrainerConfig,
    job: &PipelineJob,
    observer: &dyn PipelineObserver,
    cancel: &Cancel,
) -> PortResult<PipelineOutcome> {
    let stages = &job.model.spec.stages;
    let progress = Progress::new(stages, observer);
    let mut done: Vec<Option<Done>> = vec![None; stages.len()];
    let mut failure: Option<PortError> = None;
    // A failed stage stops its siblings without telling the caller's own cancel.
    let stop = Cancel::default();
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        let mut begun = vec![false; stages.len()];
        let mut running = 0usize;
        loop {
            if cancel.is_cancelled() {
                stop.cancel(cancel.reason());
            }
            for i in 0..stages.len() {
                let ready = !begun[i]
                    && failure.is_none()
                    && !stop.is_cancelled()
                    && needs(stages, i).iter().all(|n| done[*n].is_some());
                if !ready {
                    continue;
                }
                begun[i] = true;
                running += 1;
                let inputs = inputs(job, stages, &stages[i], &done);
                let (send, progress, stop) = (send.clone(), &progress, stop.clone());
                scope.spawn(move || {
                    let stage = Stage { config, job, spec: &stages[i], inputs };
                    let result = stage.run(observer, &stop, &|run| progress.set(i, "running", Some(run), None));
                    // The receiver lives as long as the scope.
                    let _ = send.send((i, result));
                });
            }
            if running == 0 {
                break;
            }
            let Ok((i, result)) = wait(&receive, cancel, &stop) else { break };
            running -= 1;
            match result {
                Ok(d) => {
                    let state = if d.cached { "cached" } else { "succeeded" };
                    progress.set(i, state, Some(&d.run.id), d.run.duration);
                    done[i] = Some(d);
                }
                Err(e) => {
                    progress.set(i, if stop.is_cancelled() { "cancelled" } else { "failed" }, None, None);
                    stop.cancel(&format!("stage {} failed", stages[i].name));
                    failure.get_or_insert(e);
                }
            }
        }
    });
    if cancel.is_cancelled() {
        return Err(cancel.error());
    }
    if let Some(e) = failure {
        return Err(e);
    }
    outcome(config, job, &done, cancel)
}

/// The next stage that ended; hands a cancel on meanwhile.
fn wait<T>(receive: &mpsc::Receiver<T>, cancel: &Cancel, stop: &Cancel) -> Result<T, ()> {
    const ASK: std::time::Duration = std::time::Duration::from_millis(200);
    loop {
        match receive.recv_timeout(ASK) {
            Ok(x) => return Ok(x),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(()),
            Err(mpsc::RecvTimeoutError::Timeout) if cancel.is_cancelled() => stop.cancel(cancel.reason()),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    }
}

fn inputs(
    job: &PipelineJob,
    stages: &[StageSpec],
    stage: &StageSpec,
    done: &[Option<Done>],
) -> BTreeMap<String, Input> {
    let find = |name: &String| {
        if let Some(snapshot) = job.snapshots.iter().find(|(n, _)| n.as_str() == name).map(|(_, s)| s.clone()) {
            return Some((name.clone(), Input::Data(snapshot)));
        }
        let maker = stages
            .iter()
            .position(|s| if name == "artifact" { s.name.as_str() == "train" } else { s.outputs.contains(name) })?;
        let all = &done.get(maker)?.as_ref()?.outputs;
        if name == "artifact" {
            return Some((name.clone(), Input::Made { files: all.clone(), path: None }));
        }
        let files =
            all.files.iter().filter(|f| f.path == *name || f.path.starts_with(&format!("{name}/"))).cloned().collect();
        Some((name.clone(), Input::Made { files: Manifest { files }, path: Some(name.clone()) }))
    };
    stage.inputs.iter().filter_map(find).collect()
}

struct Progress<'a> {
    stages: Mutex<Vec<StageProgress>>,
    observer: &'a dyn PipelineObserver,
}
impl<'a> Progress<'a> {
    fn new(stages: &[StageSpec], observer: &'a dyn PipelineObserver) -> Self {
        let one =
            |s: &StageSpec| StageProgress { name: s.name.clone(), run: None, state: "waiting".into(), duration: None };
        Self { stages: Mutex::new(stages.iter().map(one).collect()), observer }
    }
    fn set(&self, i: usize, state: &str, run: Option<&RunId>, duration: Option<Millis>) {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(s) = stages.get_mut(i) {
            s.state = state.to_owned();
            s.run = run.cloned().or(s.run.take());
            s.duration = duration;
        }
        self.observer.progress(&stages);
    }
}

/// The artifact is what `train` left, and what stages after it made of it.
fn outcome(
    config: &TrainerConfig,
    job: &PipelineJob,
    done: &[Option<Done>],
    cancel: &Cancel,
) -> PortResult<PipelineOutcome> {
    let stages = &job.model.spec.stages;
    let train = stages.iter().position(|s| s.name.as_str() == "train").unwrap_or(0);
    let mut files: BTreeMap<String, FileEntry> = BTreeMap::new();
    let (mut metrics, mut outcomes) = (BTreeMap::new(), Vec::new());
    let now = config.clock.now().steady;
    let ran = done.iter().flatten().filter(|d| !d.cached);
    // Stages run beside each other; one that a daemon before this one started began when it began.
    let began = ran.map(|d| d.run.started_steady).min().unwrap_or(now);
    let (mut python, mut packages) = (None, Vec::new());
    for (i, d) in done.iter().enumerate() {
        let Some(d) = d else { continue };
        if i >= train {
            files.extend(d.outputs.files.iter().map(|f| (f.path.clone(), f.clone())));
        }
        metrics.extend(d.run.metrics.clone());
        let took = d.run.duration.unwrap_or_default();
        outcomes.push(StageOutcome {
            name: d.run.stage.clone(),
            run: d.run.id.clone(),
            cached: d.cached,
            duration: took,
        });
        if i == train {
            (python, packages) = d.venv.clone().map_or((None, vec![]), |(p, l)| (Some(p), l));
        }
    }
    // Of the model: another may have this very fingerprint, at this very time. Of the attempt: so may a `trimtab run` beside the daemon.
    let scratch = |what: &str| {
        let id = RunId::of_pipeline(&job.model.spec.name, &job.fingerprint);
        config.state.join("runs").join(format!("{id}.{}-{what}", job.attempt))
    };
    let code = scratch("code");
    if code.exists() {
        // Left behind by a daemon that was killed, perhaps while it removed it.
        std::fs::remove_dir_all(&code).map_err(workspace::io(&code))?;
    }
    workspace::checkout(config.source.as_ref(), &job.revision.tree, &job.model.code_path, &code)?;
    let code_files = config.artifacts.put_folder(&code)?;
    std::fs::remove_dir_all(&code).map_err(workspace::io(&code))?;
    // A train stage taken from the cache still says which environment serves it.
    if python.is_none()
        && let Some(file) = stages.get(train).and_then(|s| s.python.as_ref())
    {
        let requirements = code_files.files.iter().find(|f| f.path == *file);
        if let Some(entry) = requirements {
            let place = scratch("requirements");
            std::fs::write(&place, config.artifacts.read(&entry.digest)?).map_err(workspace::io(&place))?;
            let venv =
                super::python::environment(&config.state, &config.exe, &place, &place.with_extension("log"), cancel)?;
            std::fs::remove_file(&place).map_err(workspace::io(&place))?;
            (python, packages) = (Some(venv.digest), venv.packages);
        }
    }
    let host = nix::unistd::gethostname().map(|h| h.to_string_lossy().into_owned()).unwrap_or_default();
    let artifact = Manifest { files: files.into_values().collect() };
    Ok(PipelineOutcome {
        artifact,
        code_files,
        metrics,
        stages: outcomes,
        python,
        packages,
        host,
        duration: Millis(now.since(began)),
    })
}

//! One stage: its cache key, its process, its end.

use super::{
    TrainerConfig, metrics, python, run_folder,
    workspace::{self, io},
};
use crate::{
    model::*,
    ports::*,
    process::{self, ExitRecord, Mask, ShimSpec, State, environment},
    spec::pipeline::variable,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// A run's log is kept up to this many bytes, and as many before.
pub const LOG_LIMIT: u64 = 64 * 1024 * 1024;
const GRACE_MS: u64 = 10_000;
/// A run's metrics are read up to this many bytes.
const MAX_METRICS_BYTES: u64 = 64 * 1024 * 1024;
/// Attempts before that are looked through for one whose outputs could not be taken up yet.
const LOOKED_BACK: usize = 1000;
/// Characters of a refused name that the log tells.
const LONGEST_TOLD: usize = 100;

/// What a stage gets from outside: the name of an input and its content.
#[derive(Debug, Clone)]
pub enum Input {
    Data(Snapshot),
    /// Files that another stage made; `path` is the output's own path in them.
    Made {
        files: Manifest,
        path: Option<String>,
    },
}

/// A stage that is ready to run.
pub struct Stage<'a> {
    pub config: &'a TrainerConfig,
    pub job: &'a PipelineJob,
    pub spec: &'a StageSpec,
    pub inputs: BTreeMap<String, Input>,
}

/// A stage that succeeded.
#[derive(Debug, Clone)]
pub struct Done {
    pub run: Run,
    pub outputs: Manifest,
    pub cached: bool,
    pub venv: Option<(Digest, Vec<String>)>,
}

impl Stage<'_> {
    /// The content that the stage is a function of.
    pub fn key(&self) -> Digest {
        let inputs: BTreeMap<&String, Digest> = self
            .inputs
            .iter()
            .map(|(name, input)| match input {
                Input::Data(s) => (name, s.digest),
                Input::Made { files, .. } => (name, files.digest()),
            })
            .collect();
        let python = self.spec.python.as_ref().and_then(|p| self.job.model.python.get(p));
        let content =
            ("stage/v1", &self.spec.run, self.job.model.code, python, &self.spec.params, inputs, &self.spec.outputs);
        // Plain data with string keys: serialising cannot fail.
        Digest::of(&serde_json::to_vec(&content).unwrap_or_default())
    }

    /// Runs it, with its retries; `started` is told of each attempt.
    pub fn run(&self, observer: &dyn PipelineObserver, cancel: &Cancel, started: &dyn Fn(&RunId)) -> PortResult<Done> {
        let key = self.key();
        if let Some(run) = observer.cached(&key)
            && let Some(outputs) = run.outputs.clone()
            && outputs.files.iter().all(|f| self.config.artifacts.has(&f.digest))
        {
            return Ok(Done { run, outputs, cached: true, venv: None });
        }
        let id = |attempt| RunId::new(&self.job.model.spec.name, &self.spec.name, key, attempt);
        let not_over = |from: u32| (from..=u32::MAX).find(|n| !observer.is_over(&id(*n))).unwrap_or(u32::MAX);
        let first = not_over((self.job.attempt - 1) * (self.spec.retries + 1) + 1);
        let untaken = (1..first).rev().take(LOOKED_BACK).find(|n| self.untaken(&id(*n)).exists());
        let (mut attempt, mut left) = (untaken.unwrap_or(first), self.spec.retries);
        loop {
            let id = id(attempt);
            started(&id);
            match self.attempt(&id, key, attempt, observer, cancel) {
                // What it made is not made again because there was, say, no room for it.
                Err(e) if self.untaken(&id).exists() => return Err(e),
                Err(_) if !cancel.is_cancelled() && left > 0 => {
                    left -= 1;
                    attempt = not_over(attempt + 1);
                }
                other => return other,
            }
        }
    }

    /// Is there while a run succeeded whose outputs could not be taken up yet.
    fn untaken(&self, id: &RunId) -> PathBuf {
        run_folder(&self.config.state, id).join("untaken")
    }

    fn attempt(
        &self,
        id: &RunId,
        key: Digest,
        attempt: u32,
        observer: &dyn PipelineObserver,
        cancel: &Cancel,
    ) -> PortResult<Done> {
        let now = self.config.clock.now();
        let mut run = Run {
            id: id.clone(),
            model: self.job.model.spec.name.clone(),
            stage: self.spec.name.clone(),
            fingerprint: self.job.fingerprint,
            key,
            attempt,
            command: self.spec.run.clone(),
            status: RunStatus::Running,
            started: now.wall,
            started_steady: now.steady,
            ended: None,
            duration: None,
            exit_code: None,
            metrics: BTreeMap::new(),
            outputs: None,
        };
        // One that is taken up began when it began.
        if let Some(before) = observer.recorded(id) {
            (run.started, run.started_steady) = (before.started, before.started_steady);
        }
        observer.record(&run)?;
        let folder = run_folder(&self.config.state, id);
        let result = self.tracked(&run).and_then(|told| self.process(&folder, &run, told, cancel));
        run.ended = Some(self.config.clock.now().wall);
        let logged = take_metrics(&folder, &environment::known_secrets(&self.spec.secrets));
        run.metrics = logged.values;
        let result =
            result.and_then(|(exit, venv)| self.judge(&mut run, &folder, &exit, cancel).map(|outputs| (outputs, venv)));
        run.status = match &result {
            Ok(_) => RunStatus::Succeeded,
            Err(_) if cancel.is_cancelled() => RunStatus::Cancelled { reason: cancel.reason().to_owned() },
            Err(e) => RunStatus::Failed { reason: e.message.clone() },
        };
        run.outputs = result.as_ref().ok().map(|(outputs, _)| outputs.clone());
        self.track_end(&mut run, &logged.series)?;
        observer.record(&run)?;
        let (outputs, venv) = result?;
        Ok(Done { run, outputs, cached: false, venv })
    }

    /// Has the run tracked; the variables that its process logs by.
    fn tracked(&self, run: &Run) -> PortResult<BTreeMap<String, String>> {
        let Some(tracker) = &self.config.tracker else { return Ok(BTreeMap::new()) };
        tracker.begin(&self.as_tracked(run))
    }

    fn as_tracked<'a>(&'a self, run: &'a Run) -> TrackedRun<'a> {
        TrackedRun { run, revision: &self.job.revision, params: &self.spec.params }
    }

    /// What the process logged by itself counts as if it stood in its file of metrics, which comes first.
    fn track_end(&self, run: &mut Run, series: &[LoggedMetric]) -> PortResult<()> {
        let Some(tracker) = &self.config.tracker else { return Ok(()) };
        let all = tracker.end(&self.as_tracked(run), series)?;
        let secrets = environment::known_secrets(&self.spec.secrets);
        let good = |(name, value): &(String, f64)| {
            value.is_finite() && metrics::is_name(name) && hidden(&secrets, name).is_none()
        };
        for (name, value) in all.into_iter().filter(good) {
            run.metrics.entry(name).or_insert(value);
        }
        Ok(())
    }

    /// Starts the process or finds it again, and waits for its end.
    #[expect(clippy::type_complexity, reason = "an exit and what is recorded of the environment")]
    fn process(
        &self,
        folder: &Path,
        run: &Run,
        told: BTreeMap<String, String>,
        cancel: &Cancel,
    ) -> PortResult<(ExitRecord, Option<(Digest, Vec<String>)>)> {
        fs::create_dir_all(folder).map_err(io(folder))?;
        let log = folder.join("log");
        let code = folder.join("code");
        let shim = folder.join("shim");
        workspace::checkout(self.config.source.as_ref(), &self.job.revision.tree, &self.job.model.code_path, &code)?;
        let venv = match &self.spec.python {
            Some(file) => {
                Some(python::environment(&self.config.state, &self.config.exe, &code.join(file), &log, cancel)?)
            }
            None => None,
        };
        let handle = match process::adopt(&shim) {
            Some(handle) if handle.state() != State::Lost => handle,
            lost => {
                if let Some(lost) = lost {
                    lost.kill();
                    // The machine went down under it: what it wrote is not trusted.
                    fs::remove_dir_all(&shim).map_err(io(&shim))?;
                }
                let spec = self.shim_spec(folder, run, told, venv.as_ref())?;
                process::spawn(&self.config.exe, &shim, &spec)?
            }
        };
        let exit = match handle.wait(|| cancel.is_cancelled()) {
            None => {
                handle.stop();
                handle.wait(|| false);
                return Err(cancel.error());
            }
            Some(State::Ended(exit)) => exit,
            Some(_) => {
                // Its descendants have nobody else to end them.
                handle.kill();
                return Err(PortError::retryable(format!(
                    "stage {}: its process was killed from outside",
                    self.spec.name
                )));
            }
        };
        Ok((exit, venv.map(|v| (v.digest, v.packages))))
    }

    fn shim_spec(
        &self,
        folder: &Path,
        run: &Run,
        told: BTreeMap<String, String>,
        venv: Option<&python::Venv>,
    ) -> PortResult<ShimSpec> {
        let out = folder.join("out");
        if out.exists() {
            fs::remove_dir_all(&out).map_err(io(&out))?;
        }
        fs::create_dir_all(&out).map_err(io(&out))?;
        let mut env = environment::clean(&self.spec.secrets)?;
        env.variables.extend(told);
        let mut set = |name: &str, value: String| drop(env.variables.insert(name.to_owned(), value));
        for (name, input) in &self.inputs {
            let place = self.place(folder, name, input)?;
            set(&format!("TRIMTAB_INPUT_{}", variable(name)), place.display().to_string());
        }
        for (name, value) in &self.spec.params {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            set(&format!("TRIMTAB_PARAM_{}", variable(name)), text);
        }
        let params = folder.join("params.json");
        let text = serde_json::to_vec_pretty(&self.spec.params).unwrap_or_default();
        fs::write(&params, text).map_err(io(&params))?;
        let metrics = folder.join("metrics.jsonl");
        fs::write(&metrics, "").map_err(io(&metrics))?;
        set("TRIMTAB_PARAMS", params.display().to_string());
        set("TRIMTAB_OUTPUT", out.display().to_string());
        set("TRIMTAB_METRICS", metrics.display().to_string());
        set("TRIMTAB_MODEL", run.model.to_string());
        set("TRIMTAB_RUN_ID", run.id.to_string());
        set("PYTHONUNBUFFERED", "1".into());
        if let Some(venv) = venv {
            let path = env.variables.get("PATH").cloned().unwrap_or_default();
            env.variables.insert("PATH".into(), format!("{}:{path}", venv.bin.display()));
            env.variables.insert("VIRTUAL_ENV".into(), venv.bin.with_file_name("").display().to_string());
        }
        Ok(ShimSpec {
            argv: argv(&self.spec.run, venv.map(|v| v.bin.as_path())),
            env: env.variables,
            mask: env.secrets,
            cwd: folder.join("code"),
            log: folder.join("log"),
            log_limit: LOG_LIMIT,
            timeout_ms: self.spec.timeout.map(|t| t.0),
            memory: self.spec.memory,
            grace_ms: GRACE_MS,
        })
    }

    /// Where the process finds an input.
    fn place(&self, folder: &Path, name: &str, input: &Input) -> PortResult<PathBuf> {
        match input {
            Input::Data(snapshot) => self.config.datasets.locate(snapshot),
            Input::Made { files, path } => {
                let place = workspace::input_place(folder, name);
                if let Some(parent) = place.parent() {
                    fs::create_dir_all(parent).map_err(io(parent))?;
                }
                self.config.artifacts.materialise(files, &place, Lay::Copied)?;
                Ok(path.as_ref().map_or(place.clone(), |p| place.join(p)))
            }
        }
    }

    /// Takes up metrics and outputs of a process that ended.
    fn judge(&self, run: &mut Run, folder: &Path, exit: &ExitRecord, cancel: &Cancel) -> PortResult<Manifest> {
        run.exit_code = exit.code;
        run.duration = Some(Millis(exit.ran_ms));
        let secrets = environment::known_secrets(&self.spec.secrets);
        let name = &self.spec.name;
        if cancel.is_cancelled() {
            return Err(cancel.error());
        }
        if exit.stopped {
            return Err(PortError::retryable(format!("stage {name}: stopped from outside")));
        }
        if !exit.succeeded() {
            let tail = workspace::tail(&folder.join("log"), 20);
            return Err(PortError::permanent(format!("stage {name}: {}\n{tail}", exit.describe())));
        }
        let out = folder.join("out");
        let missing = workspace::missing_outputs(&out, &self.spec.outputs);
        if !missing.is_empty() {
            return Err(PortError::permanent(format!(
                "stage {name}: it left no {} in TRIMTAB_OUTPUT",
                missing.join(", ")
            )));
        }
        let untaken = self.untaken(&run.id);
        let outputs = self.config.artifacts.put_folder(&out).map_err(|e| {
            if e.retryable {
                // Empty, so that it needs no room; without it the run is made again.
                let _ = fs::File::create(&untaken);
            }
            let message = Mask::hide(&secrets, &e.message);
            PortError { message, ..e }
        })?;
        // There is none where all went well at once.
        let _ = fs::remove_file(&untaken);
        // It would show wherever the version does.
        if let Some(told) = outputs.files.iter().find_map(|f| hidden(&secrets, &f.path)) {
            return Err(PortError::permanent(format!("stage {name}: the name of its output `{told}` holds a secret")));
        }
        if name.as_str() == "train" && outputs.files.is_empty() {
            return Err(PortError::permanent("stage train: it left nothing in TRIMTAB_OUTPUT, so there is no model"));
        }
        Ok(outputs)
    }
}

/// A text without the secrets, if it holds any.
fn hidden(secrets: &[String], text: &str) -> Option<String> {
    let without = Mask::hide(secrets, text);
    (without != text).then_some(without)
}

/// Takes up the metrics that a run left; what is left out is noted in its log.
fn take_metrics(folder: &Path, secrets: &[String]) -> metrics::Metrics {
    let (log, file) = (folder.join("log"), folder.join("metrics.jsonl"));
    // It never began.
    if fs::symlink_metadata(&file).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return metrics::Metrics::default();
    }
    let read = workspace::read_own(&file, MAX_METRICS_BYTES);
    let text = read.unwrap_or_else(|e| {
        workspace::note(&log, &format!("the file of metrics cannot be read: {e}; left out"));
        vec![]
    });
    let mut found = metrics::parse(&String::from_utf8_lossy(&text));
    let mut told: Vec<String> = found.bad_names.iter().map(|n| Mask::hide(secrets, n)).collect();
    found.values.retain(|name, _| {
        let hides = hidden(secrets, name);
        told.extend(hides.clone());
        hides.is_none()
    });
    if found.bad > 0 {
        workspace::note(&log, &format!("{} metrics were no finite numbers in JSON lines; left out", found.bad));
    }
    if found.too_many > 0 {
        workspace::note(&log, &format!("{} metrics were past the first 1,000 names; left out", found.too_many));
    }
    for name in told {
        let name: String = name.chars().take(LONGEST_TOLD).collect();
        let name = visible(&name);
        workspace::note(&log, &format!("the metric `{name}` was left out: a name has letters, digits and _./ -"));
    }
    found.series.retain(|m| found.values.contains_key(&m.name));
    found
}

/// The arguments to execute; a program that the environment has is taken from there.
fn argv(command: &Command, bin: Option<&Path>) -> Vec<String> {
    match command {
        Command::Shell(line) => vec!["/bin/sh".into(), "-c".into(), line.clone()],
        Command::Argv(args) => {
            let mut args = args.clone();
            if let (Some(first), Some(bin)) = (args.first_mut(), bin) {
                let inside = bin.join(&first);
                if !first.contains('/') && inside.exists() {
                    *first = inside.display().to_string();
                }
            }
            args
        }
    }
}

//! One replica's life: start, become ready, stay healthy, come back after a death, drain, end.

use super::{
    Key, Shared,
    folder::{self, Adopted, Record},
    lock, probe,
};
use crate::{
    model::*,
    ports::{PortError, PortResult},
    process::{self, ShimSpec},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{OnceCell, mpsc, watch};

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(10);
const HEALTH_EVERY: Duration = Duration::from_secs(2);
/// Failed checks after which a replica gets no traffic, and after which it is started anew.
const UNWELL: u32 = 2;
const HOPELESS: u32 = 5;
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Ready for this long: a later death is a first one again.
const STABLE: Duration = Duration::from_secs(60);
const LOG_LIMIT: u64 = 16 << 20;

/// What a replica is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Run,
    /// Out of the traffic: end once nothing is held any more.
    Leave,
    /// It ends: only a new process can take its place.
    Stopping,
}

/// What a replica tells its supervisor.
#[derive(Debug)]
pub enum Note {
    Status(ReplicaStatus),
    Ended(Release, u32),
}

/// How to start a process of the release; not known for one that was adopted and is no longer wanted.
#[derive(Clone)]
pub struct Recipe {
    pub version: Arc<Version>,
    pub serve: ServeSpec,
    /// Filled by the first replica of the release.
    pub prepared: Arc<OnceCell<()>>,
}

/// A replica task.
pub struct Replica {
    pub shared: Arc<Shared>,
    pub key: Key,
    pub release: Release,
    pub index: u32,
    pub recipe: Option<Recipe>,
    pub mode: watch::Sender<Mode>,
    pub notes: mpsc::UnboundedSender<Note>,
    pub restarts: u32,
}

/// A process that runs.
struct Live {
    record: Record,
    dir: PathBuf,
    handle: process::Handle,
}
impl From<Adopted> for Live {
    fn from(a: Adopted) -> Self {
        Self { record: a.record, dir: a.dir, handle: a.handle }
    }
}

enum End {
    Left,
    Died { reason: String, ready_for: Duration },
}

impl Replica {
    /// Runs until it left. `routed`: the router sends requests to the adopted process now.
    pub async fn run(mut self, adopted: Option<Adopted>, routed: bool) {
        let mut live = adopted.map(|a| Ok(a.into()));
        let mut routed = routed;
        let mut deaths = 0u32;
        loop {
            let started = match live.take() {
                Some(live) => live,
                None => self.start().await,
            };
            let end = match started {
                Ok(live) => {
                    let end = self.serve(&live, std::mem::take(&mut routed)).await;
                    lock(&self.shared.ports).remove(&live.record.address.port());
                    let dir = live.dir;
                    // Its log stays; what is left behind otherwise is found by the next daemon.
                    let _ = tokio::task::spawn_blocking(move || folder::remove(&dir)).await;
                    end
                }
                Err(e) => End::Died { reason: e.message, ready_for: Duration::ZERO },
            };
            let End::Died { reason, ready_for } = end else { break };
            if ready_for >= STABLE {
                deaths = 0;
            }
            deaths += 1;
            self.restarts += 1;
            tracing::warn!(model = %self.key.1, environment = %self.key.0, version = %self.release.version, "a replica died: {reason}");
            self.note(None, false, Some(reason));
            if self.recipe.is_none() || self.pause(deaths).await {
                break;
            }
        }
        let _ = self.notes.send(Note::Ended(self.release, self.index));
    }

    /// The time before the next try. True: it shall leave instead.
    async fn pause(&self, deaths: u32) -> bool {
        let wait = BACKOFF_FIRST.saturating_mul(1 << (deaths - 1).min(12)).min(BACKOFF_MAX);
        tokio::select! {
            () = tokio::time::sleep(wait) => false,
            () = self.told_to_leave() => true,
        }
    }

    async fn told_to_leave(&self) {
        // Errors only when the sender is gone, and this task owns one.
        let _ = self.mode.subscribe().wait_for(|m| *m != Mode::Run).await;
    }
    async fn told_to_run(&self) {
        let _ = self.mode.subscribe().wait_for(|m| *m == Mode::Run).await;
    }

    fn note(&self, live: Option<&Live>, ready: bool, message: Option<String>) {
        let status = ReplicaStatus {
            release: self.release,
            index: self.index,
            address: live.map(|l| l.record.address.to_string()),
            ready,
            restarts: self.restarts,
            message,
        };
        // The supervisor is gone only when the daemon ends.
        let _ = self.notes.send(Note::Status(status));
    }

    async fn serve(&mut self, live: &Live, routed: bool) -> End {
        let ended = probe::ended(live.handle.pidfd());
        tokio::pin!(ended);
        let path = self.recipe.as_ref().map_or("/".to_owned(), |r| r.serve.ready.clone());
        if !routed {
            self.note(Some(live), false, Some("starting".into()));
            tokio::select! {
                () = &mut ended => return self.died(live, Duration::ZERO),
                () = self.told_to_leave() => return self.stop(live).await,
                answer = self.ready(live, &path) => if let Err(reason) = answer {
                    self.end(live).await;
                    return End::Died { reason, ready_for: Duration::ZERO };
                }
            }
        }
        self.note(Some(live), true, None);
        let since = Instant::now();
        let mut failed = 0u32;
        // An adopted replica is looked at right away.
        let mut next = if routed { Duration::ZERO } else { self.health_interval() };
        loop {
            tokio::select! {
                () = &mut ended => return self.died(live, since.elapsed()),
                () = self.told_to_leave() => {
                    tokio::select! {
                        () = &mut ended => return End::Left,
                        () = self.told_to_run() => continue,
                        () = self.drained(live) => {}
                    }
                    if self.claim_stop() {
                        return self.stop(live).await;
                    }
                }
                () = tokio::time::sleep(next), if self.recipe.is_some() => {
                    next = self.health_interval();
                    match probe::healthy(live.record.address, &path).await {
                        Ok(()) => {
                            if failed >= UNWELL {
                                self.note(Some(live), true, None);
                            }
                            failed = 0;
                        }
                        Err(reason) => {
                            failed += 1;
                            if failed == UNWELL {
                                self.note(Some(live), false, Some(reason.clone()));
                            }
                            if failed >= HOPELESS {
                                self.end(live).await;
                                return End::Died { reason, ready_for: since.elapsed() };
                            }
                        }
                    }
                }
            }
        }
    }

    /// Every two seconds, less often when there are many; spread, so that checks do not come in bursts.
    fn health_interval(&self) -> Duration {
        let many = Duration::from_millis(10 * lock(&self.shared.ports).len() as u64);
        let spread = Digest::of(format!("{}{}{}", self.key.0, self.key.1, self.index).as_bytes());
        let spread = spread.hex().bytes().next().map_or(0, u32::from) % 50;
        HEALTH_EVERY.max(many) * (100 + spread) / 125
    }

    async fn ready(&self, live: &Live, path: &str) -> Result<(), String> {
        let limit =
            self.recipe.as_ref().map_or(Duration::from_secs(30), |r| Duration::from_millis(r.serve.ready_timeout.0));
        let until = Instant::now() + limit;
        let mut wait = Duration::from_millis(10);
        loop {
            let Err(reason) = probe::healthy(live.record.address, path).await else { return Ok(()) };
            if Instant::now() + wait > until {
                return Err(format!("not ready within {}: {reason}", Millis(limit.as_millis() as u64)));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 3 / 2).min(Duration::from_millis(250));
        }
    }

    /// Until the router holds no request of it, or the drain time is over. A router that is gone holds none.
    async fn drained(&self, live: &Live) {
        let limit = Duration::from_millis(live.record.drain_ms);
        match self.shared.router.drained(live.record.address, limit).await {
            Ok(0) => {}
            Ok(held) => tracing::warn!(model = %self.key.1, "{held} requests were still held after the drain time"),
            Err(e) => tracing::warn!(model = %self.key.1, "stopping without word from the router: {e}"),
        }
    }

    /// From here on the process cannot be taken back into the traffic. False: it already was.
    fn claim_stop(&self) -> bool {
        self.mode.send_if_modified(|m| {
            let leaves = *m == Mode::Leave;
            if leaves {
                *m = Mode::Stopping;
            }
            leaves
        })
    }

    async fn stop(&self, live: &Live) -> End {
        self.claim_stop();
        self.note(Some(live), false, Some("stopping".into()));
        self.end(live).await;
        End::Left
    }

    /// SIGTERM, SIGKILL after the grace time (by the shim), and the shim itself if it hangs.
    async fn end(&self, live: &Live) {
        live.handle.stop();
        if tokio::time::timeout(GRACE + Duration::from_secs(5), probe::ended(live.handle.pidfd())).await.is_err() {
            live.handle.kill();
            probe::ended(live.handle.pidfd()).await;
        }
    }

    fn died(&self, live: &Live, ready_for: Duration) -> End {
        let how = match live.handle.state() {
            process::State::Ended(record) => record.describe(),
            _ => {
                // Its descendants have nobody else to end them.
                live.handle.kill();
                "killed together with its shim".into()
            }
        };
        let log =
            folder::replica_log(&self.shared.config.state_dir, &self.key.0, &self.key.1, &self.release, self.index);
        let reason = match folder::last_line(&log) {
            Some(line) => format!("{how}; last output: {line}"),
            None => how,
        };
        End::Died { reason, ready_for }
    }

    async fn start(&self) -> PortResult<Live> {
        let recipe = self.recipe.clone().ok_or_else(|| PortError::permanent("this replica is no longer wanted"))?;
        let _turn = self.shared.starting.acquire().await;
        let (shared, key, release, index) = (self.shared.clone(), self.key.clone(), self.release, self.index);
        let folder = folder::release_dir(&shared.config.state_dir, &key, &release);
        let prepared = recipe.prepared.clone();
        let (to_lay_out, layout_folder) = (recipe.clone(), folder.clone());
        prepared
            .get_or_try_init(|| blocking(&shared, move |shared| lay_out(shared, &to_lay_out, &layout_folder)))
            .await?;
        blocking(&shared, move |shared| launch(shared, &key, release, index, &recipe, &folder)).await
    }
}

async fn blocking<T: Send + 'static>(
    shared: &Arc<Shared>,
    f: impl FnOnce(&Shared) -> PortResult<T> + Send + 'static,
) -> PortResult<T> {
    let shared = shared.clone();
    tokio::task::spawn_blocking(move || f(&shared)).await.map_err(|e| PortError::retryable(e.to_string()))?
}

/// Code and artifact of a release. What is there is whole.
fn lay_out(shared: &Shared, recipe: &Recipe, folder: &Path) -> PortResult<()> {
    std::fs::create_dir_all(folder)
        .map_err(|e| PortError::retryable(format!("cannot make {}: {e}", folder.display())))?;
    let version = &recipe.version;
    for (manifest, name, writable) in [(&version.code_files, "code", true), (&version.artifact, "artifact", false)] {
        let to = folder.join(name);
        if !to.is_dir() {
            shared.config.artifacts.materialise(manifest, &to, writable)?;
        }
    }
    Ok(())
}

fn launch(
    shared: &Shared,
    key: &Key,
    release: Release,
    index: u32,
    recipe: &Recipe,
    folder: &Path,
) -> PortResult<Live> {
    let Recipe { version, serve, .. } = recipe;
    let mut environment = process::environment::clean(&serve.secrets)?;
    let variables = &mut environment.variables;
    if let Some(python) = &version.python {
        let bin = (shared.config.python_bin)(python)?;
        let path = variables.get("PATH").map_or(String::new(), |p| format!(":{p}"));
        variables.insert("PATH".into(), format!("{}{path}", bin.display()));
        if let Some(venv) = bin.parent() {
            variables.insert("VIRTUAL_ENV".into(), venv.display().to_string());
        }
    }
    let address =
        probe::free_port(shared).map_err(|e| PortError::retryable(format!("no free port for a replica: {e}")))?;
    let set = [
        ("PORT", address.port().to_string()),
        ("TRIMTAB_ARTIFACT", folder.join("artifact").display().to_string()),
        ("TRIMTAB_MODEL", key.1.to_string()),
        ("TRIMTAB_ENVIRONMENT", key.0.to_string()),
        ("TRIMTAB_VERSION", release.version.to_string()),
        ("PYTHONUNBUFFERED", "1".into()),
    ];
    variables.extend(set.map(|(name, value)| (name.to_owned(), value)));
    let argv = match &serve.run {
        Command::Argv(argv) => argv.clone(),
        Command::Shell(line) => vec!["sh".into(), "-c".into(), line.clone()],
    };
    let spec = ShimSpec {
        argv,
        env: environment.variables,
        mask: environment.secrets,
        cwd: folder.join("code"),
        log: folder::replica_log(&shared.config.state_dir, &key.0, &key.1, &release, index),
        log_limit: LOG_LIMIT,
        timeout_ms: None,
        memory: serve.memory,
        grace_ms: GRACE.as_millis() as u64,
    };
    let record = Record { release, index, address, drain_ms: serve.drain.0 };
    let started = folder::intend(folder, &record).and_then(|dir| {
        let handle = process::spawn(&shared.config.exe, &dir, &spec).inspect_err(|_| folder::remove(&dir))?;
        Ok(Live { record, dir, handle })
    });
    started.inspect_err(|_| {
        lock(&shared.ports).remove(&address.port());
    })
}

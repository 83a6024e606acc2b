//! One replica's life: start, become ready, stay healthy, come back after a death, drain, end.

use super::{
    Key, PythonOf, Shared,
    folder::{self, Adopted, Record},
    launch::launch,
    layout::Layout,
    lock, probe,
};
use crate::{
    model::*,
    ports::{Cancel, PortError, PortResult},
    process,
};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};

/// Between SIGTERM and SIGKILL.
pub const GRACE: Duration = Duration::from_secs(10);
const HEALTH_EVERY: Duration = Duration::from_secs(2);
/// After a failed check the next one comes sooner.
const RECHECK: Duration = Duration::from_millis(500);
/// Failed checks after which a replica gets no traffic.
const UNWELL: u32 = 2;
/// Unwell for this long, it is started anew: one that works on a long call and does nothing else meanwhile may come back.
const HOPELESS: Duration = Duration::from_secs(15);
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Ready for this long: a later death is a first one again.
const STABLE: Duration = Duration::from_secs(60);
/// Ready for this long: what went wrong before is over, for people.
const SETTLED: Duration = Duration::from_secs(10);
/// After so many health checks the files that it runs from are looked at.
const FILES_EVERY: u32 = 4;
/// How long the router may take to be told of a replica's successor.
const SUCCESSION: Duration = Duration::from_secs(10);
/// Another reason for not being ready is told after this long at the earliest.
const TELL_EVERY: Duration = Duration::from_secs(1);

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
    /// Shared by the replicas of the release.
    pub layout: Arc<Layout>,
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
    pub past: Past,
}

/// What happened to a replica before.
#[derive(Debug, Default)]
pub struct Past {
    restarts: u32,
    was_ready: bool,
    death: Option<Death>,
    drift: Option<String>,
}

/// A process that runs.
pub struct Live {
    pub record: Record,
    pub dir: PathBuf,
    pub handle: process::Handle,
    /// Of the release's layout when it started.
    pub generation: u64,
}
impl From<Adopted> for Live {
    fn from(a: Adopted) -> Self {
        Self { record: a.record, dir: a.dir, handle: a.handle, generation: 0 }
    }
}

enum End {
    Left,
    /// This one took its place and its traffic.
    Replaced(Live),
    Died {
        reason: String,
        ready_for: Duration,
    },
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
                None => self.start(true).await,
            };
            let end = match started {
                Ok(live) => {
                    let end = self.serve(&live, std::mem::take(&mut routed)).await;
                    self.forget(live).await;
                    end
                }
                Err(e) => End::Died { reason: e.message, ready_for: Duration::ZERO },
            };
            let (reason, ready_for) = match end {
                End::Left => break,
                End::Replaced(successor) => {
                    (live, routed) = (Some(Ok(successor)), true);
                    continue;
                }
                End::Died { reason, ready_for } => (reason, ready_for),
            };
            if ready_for >= STABLE {
                deaths = 0;
            }
            deaths += 1;
            self.past.restarts += 1;
            tracing::warn!(model = %self.key.1, environment = %self.key.0, version = %self.release.version, "a replica died: {reason}");
            let was_ready = self.past.was_ready;
            self.past.death = Some(Death { reason: reason.clone(), in_a_row: deaths, was_ready });
            self.note(None, false, Some(reason));
            if self.recipe.is_none() || self.pause(deaths).await {
                break;
            }
        }
        let _ = self.notes.send(Note::Ended(self.release, self.index));
    }

    /// Its log stays; what is left behind otherwise is found by the next daemon.
    async fn forget(&self, ended: Live) {
        lock(&self.shared.ports).remove(&ended.record.address.port());
        let _ = tokio::task::spawn_blocking(move || folder::remove(&ended.dir)).await;
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
            restarts: self.past.restarts,
            message,
            death: self.past.death.clone(),
            drift: self.past.drift.clone(),
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
                answer = self.ready(live, &path, true) => if let Err(reason) = answer {
                    self.end(live).await;
                    return End::Died { reason, ready_for: Duration::ZERO };
                }
            }
        }
        self.past.was_ready = true;
        self.note(Some(live), true, None);
        let since = Instant::now();
        let (mut failed, mut checks, mut unwell_since) = (0u32, 0u32, None);
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
                            (failed, unwell_since) = (0, None);
                            if since.elapsed() >= SETTLED && (self.past.death.take().is_some() | self.past.drift.take().is_some()) {
                                self.note(Some(live), true, None);
                            }
                            checks += 1;
                            if checks.is_multiple_of(FILES_EVERY) && let Some(successor) = self.heal(live).await {
                                return End::Replaced(successor);
                            }
                        }
                        Err(unwell) if unwell.local => {}
                        Err(probe::Unwell { reason, .. }) => {
                            failed += 1;
                            next = RECHECK;
                            if failed == UNWELL {
                                self.note(Some(live), false, Some(reason.clone()));
                            }
                            if unwell_since.get_or_insert_with(Instant::now).elapsed() >= HOPELESS {
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

    /// Waits until it is ready; `tell`: says why it is not, while it takes long.
    async fn ready(&self, live: &Live, path: &str, tell: bool) -> Result<(), String> {
        let limit =
            self.recipe.as_ref().map_or(Duration::from_secs(30), |r| Duration::from_millis(r.serve.ready_timeout.0));
        let until = Instant::now() + limit;
        let mut wait = Duration::from_millis(10);
        let (mut told, mut tell_at) = (String::new(), Instant::now() + TELL_EVERY);
        loop {
            let asked = probe::healthy(live.record.address, path);
            tokio::pin!(asked);
            let answer = tokio::select! {
                answer = &mut asked => answer,
                // What takes a connection and then does nothing is told before the question is given up; a better reason follows at once.
                () = tokio::time::sleep_until(tell_at.into()), if tell && told.is_empty() => {
                    told = format!("{path} does not answer");
                    self.note(Some(live), false, Some(format!("starting: {told}")));
                    asked.await
                }
            };
            let Err(probe::Unwell { reason, local }) = answer else { return Ok(()) };
            if tell && reason != told && Instant::now() > tell_at {
                self.note(Some(live), false, Some(format!("starting: {reason}")));
                (told, tell_at) = (reason.clone(), Instant::now() + TELL_EVERY);
            }
            if !local && Instant::now() + wait > until {
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

    /// When files of the release were changed, or had been when this process started, another takes its place once it is ready: one
    /// replica after another. What cannot be healed is told, and this one serves on.
    async fn heal(&mut self, live: &Live) -> Option<Live> {
        let layout = self.recipe.as_ref()?.layout.clone();
        let _turn = layout.turn.try_lock().ok()?;
        if let Err(e) = self.lay_out().await {
            if self.past.drift.as_ref().is_none_or(|d| !d.ends_with(&e.message)) {
                tracing::error!(model = %self.key.1, environment = %self.key.0, "a release cannot be laid out anew: {e}");
                self.past.drift = Some(format!("cannot be laid out anew: {e}"));
                self.note(Some(live), true, None);
            }
            return None;
        }
        if layout.generation() == live.generation {
            return None;
        }
        let successor = self.start(false).await.inspect_err(|e| tracing::warn!(model = %self.key.1, "{e}")).ok()?;
        let path = self.recipe.as_ref()?.serve.ready.clone();
        let ended = probe::ended(successor.handle.pidfd());
        let ready = tokio::select! {
            () = ended => Err("it ended".to_owned()),
            ready = self.ready(&successor, &path, false) => ready,
        };
        if let Err(reason) = ready {
            tracing::warn!(model = %self.key.1, environment = %self.key.0, "a replica could not be replaced: {reason}");
            self.end(&successor).await;
            self.forget(successor).await;
            self.note(Some(live), true, None);
            return None;
        }
        self.note(Some(&successor), true, None);
        self.unrouted(live).await;
        self.drained(live).await;
        self.end(live).await;
        Some(successor)
    }

    /// Until the router sends it nothing more.
    async fn unrouted(&self, live: &Live) {
        const LOOK: Duration = Duration::from_millis(20);
        let until = Instant::now() + SUCCESSION;
        let address = live.record.address;
        let routed = || {
            let routes = lock(&self.shared.routes);
            let releases = routes.get(&self.key).into_iter().flat_map(|r| &r.releases);
            releases.into_iter().any(|r| r.replicas.contains(&address))
        };
        while routed() && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Checks what the release is run from, and lays out what is not there as it should be.
    async fn lay_out(&mut self) -> PortResult<()> {
        let recipe = self.recipe.clone().ok_or_else(|| PortError::permanent("this replica is no longer wanted"))?;
        let folder = folder::release_dir(&self.shared.config.state_dir, &self.key, &self.release);
        let changed = blocking(&self.shared, move |shared| {
            recipe.layout.ensure(shared.config.artifacts.as_ref(), &recipe.version, &folder)
        });
        if let Some(file) = changed.await? {
            let what = format!("{file} was changed on disk: laid out anew, its replicas are replaced");
            tracing::warn!(model = %self.key.1, environment = %self.key.0, version = %self.release.version, "{what}");
            self.past.drift = Some(what);
        }
        Ok(())
    }

    /// `alone`: nothing serves in its place meanwhile, so it is told what takes long.
    async fn start(&mut self, alone: bool) -> PortResult<Live> {
        let recipe = self.recipe.clone().ok_or_else(|| PortError::permanent("this replica is no longer wanted"))?;
        let shared = self.shared.clone();
        {
            let _turn = shared.starting.acquire().await;
            self.lay_out().await?;
        }
        let (key, release, index) = (self.key.clone(), self.release, self.index);
        let folder = folder::release_dir(&shared.config.state_dir, &key, &release);
        // Without a turn: one that is built holds up nobody else.
        let bin = self.python(&recipe, folder.clone(), alone).await?;
        let _turn = shared.starting.acquire().await;
        blocking(&shared, move |shared| launch(shared, &key, release, index, &recipe, bin.as_deref(), &folder)).await
    }

    /// The programs of the release's Python environment, which is built where it is not there. `tell`: how that goes.
    async fn python(&self, recipe: &Recipe, folder: PathBuf, tell: bool) -> PortResult<Option<PathBuf>> {
        let saved = matches!(recipe.serve.run, Serving::Runtime(Runtime::Mlflow(_)));
        if recipe.version.python.is_none() && !saved {
            return Ok(None);
        }
        let (version, serve, cancel) = (recipe.version.clone(), recipe.serve.clone(), Cancel::default());
        let (heeded, log) = (cancel.clone(), folder.join("python.log"));
        let told = log.clone();
        let find = blocking(&self.shared, move |shared| {
            let of = PythonOf { version: &version, serve: &serve, folder: &folder, log: &log, cancel: &heeded };
            (shared.config.python_bin)(&of)
        });
        tokio::pin!(find);
        loop {
            tokio::select! {
                found = &mut find => return found,
                () = self.told_to_leave() => break cancel.cancel("the replica is no longer wanted"),
                () = tokio::time::sleep(TELL_EVERY) => if tell {
                    let line = folder::last_line(&told).map_or(String::new(), |line| format!(": {line}"));
                    self.note(None, false, Some(format!("starting: its Python environment is built{line}")));
                },
            }
        }
        find.await
    }
}

async fn blocking<T: Send + 'static>(
    shared: &Arc<Shared>,
    f: impl FnOnce(&Shared) -> PortResult<T> + Send + 'static,
) -> PortResult<T> {
    let shared = shared.clone();
    tokio::task::spawn_blocking(move || f(&shared)).await.map_err(|e| PortError::retryable(e.to_string()))?
}

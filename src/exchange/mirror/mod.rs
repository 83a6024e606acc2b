//! Keeps another MLflow server up with the versions of the loop: their train runs, files, and which of them environments serve.
//!
//! What is to be done follows from the registry here and a fact for each version that is there. A thread of its own does it; while the other
//! server is away, it tries again later and later, and nobody waits for it.

mod push;

use crate::{
    mlflow::{Login, Remote, RemoteError, Trouble, check_url},
    model::{EventKind, MirrorSettings, MirrorTrouble, Name, WallMs, tracking::TrackingError},
    ports::{ArtifactStore, PortError},
    store::{Batch, NewEvent, Store, StoreError},
    tracking::{ModelVersion, Tracker},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

/// The fact that tells what is wrong.
pub const TROUBLE: &str = "mirror";
/// Between two looks when nothing moves.
const PAUSE: Duration = Duration::from_secs(10);
/// Between two tries, at most.
const LONGEST: Duration = Duration::from_secs(60);

/// What the mirror works with.
pub struct Mirror {
    pub store: Store,
    pub tracker: Tracker,
    pub artifacts: Arc<dyn ArtifactStore>,
    /// As Git has them now.
    pub settings: Box<dyn Fn() -> MirrorSettings + Send>,
    /// Commits, and tells who follows events.
    pub commit: Box<dyn Fn(Batch) -> Result<(), StoreError> + Send>,
}

/// A version that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct There {
    /// Its number at the other server.
    version: String,
}

/// Why something could not be mirrored.
#[derive(Debug)]
enum Failed {
    /// Nothing can be, for now.
    All(String),
    /// This alone; the rest can.
    One(String),
}

impl From<RemoteError> for Failed {
    fn from(e: RemoteError) -> Self {
        match e.trouble {
            Trouble::Unreachable | Trouble::Denied | Trouble::Foreign => Self::All(e.message),
            Trouble::Missing | Trouble::Exists | Trouble::Refused => Self::One(e.message),
        }
    }
}
impl From<TrackingError> for Failed {
    fn from(e: TrackingError) -> Self {
        Self::One(e.message)
    }
}
impl From<PortError> for Failed {
    fn from(e: PortError) -> Self {
        Self::One(e.message)
    }
}
impl From<StoreError> for Failed {
    fn from(e: StoreError) -> Self {
        Self::All(e.to_string())
    }
}

type Done<T> = Result<T, Failed>;

/// How one look ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Look {
    /// Versions and aliases that are not there yet.
    behind: usize,
    error: Option<String>,
}

impl Mirror {
    /// Mirrors until `moved` has no sender any more; each message says that something may have moved.
    pub fn run(self, moved: &Receiver<()>) {
        let mut tries = 0u32;
        loop {
            let settings = (self.settings)();
            let look = self.look(&settings);
            self.tell(&settings, &look);
            tries = if look.error.is_some() { tries.saturating_add(1) } else { 0 };
            let pause = match tries {
                0 => PAUSE,
                n => Duration::from_secs(1 << n.min(6)).min(LONGEST),
            };
            if !self.wait(moved, pause, tries > 0, &settings) {
                return;
            }
        }
    }

    /// Waits for the next look: news end it, but for tries that wait for a server; other settings always do. `false` at the end.
    fn wait(&self, moved: &Receiver<()>, pause: Duration, failing: bool, before: &MirrorSettings) -> bool {
        let until = Instant::now() + pause;
        loop {
            match moved.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
                Ok(()) if !failing || (self.settings)() != *before => return true,
                Ok(()) => {}
            }
        }
    }

    /// Pushes what is not there yet.
    fn look(&self, settings: &MirrorSettings) -> Look {
        let Some(url) = &settings.mlflow else { return Look::default() };
        let mut look = Look::default();
        let remote = match remote(url, settings.secret.as_deref()) {
            Ok(remote) => remote,
            Err(error) => return Look { behind: self.waiting(url), error: Some(error) },
        };
        for model in self.tracker.mirrored_models() {
            match self.model(&remote, &model) {
                Ok(()) => {}
                Err(Failed::One(error)) => look.error = look.error.or(Some(format!("{model}: {error}"))),
                Err(Failed::All(error)) => {
                    look.error = Some(error);
                    break;
                }
            }
        }
        if look.error.is_some() {
            look.behind = self.waiting(url);
        }
        look
    }

    /// The versions of a model, oldest first, then what environments serve.
    fn model(&self, remote: &Remote, name: &str) -> Done<()> {
        let mut failed = None;
        for version in self.tracker.mirrored_versions(name)? {
            if self.there(remote.url(), name, version.number)?.is_some() {
                continue;
            }
            match self.push(remote, name, &version) {
                Ok(there) => {
                    let fact = fact(remote.url(), &format!("{name}/{}", version.number));
                    self.store.commit(Batch::new().put_fact(&fact, &there))?;
                }
                Err(Failed::One(error)) => failed = failed.or(Some(format!("version {}: {error}", version.number))),
                Err(all) => return Err(all),
            }
        }
        self.aliases(remote, name)?;
        failed.map_or(Ok(()), |error| Err(Failed::One(error)))
    }

    fn there(&self, url: &str, name: &str, number: u64) -> Done<Option<There>> {
        Ok(self.store.fact(&fact(url.trim_end_matches('/'), &format!("{name}/{number}")))?)
    }

    /// Has the aliases of environments be there as they are here.
    fn aliases(&self, remote: &Remote, name: &str) -> Done<()> {
        let served = self.tracker.registered_model(name)?.model.served;
        let fact = fact(remote.url(), &format!("{name}/aliases"));
        let told: BTreeMap<String, u64> = self.store.fact(&fact)?.unwrap_or_default();
        let mut now = told.clone();
        for (alias, number) in served.iter().filter(|(alias, number)| told.get(*alias) != Some(number)) {
            let Some(there) = self.there(remote.url(), name, *number)? else { continue };
            remote.set_alias(name, alias, &there.version)?;
            now.insert(alias.clone(), *number);
        }
        for alias in told.keys().filter(|alias| !served.contains_key(*alias)) {
            remote.drop_alias(name, alias)?;
            now.remove(alias);
        }
        if now != told {
            self.store.commit(Batch::new().put_fact(&fact, &now))?;
        }
        Ok(())
    }

    /// Versions that are not there.
    fn waiting(&self, url: &str) -> usize {
        let missing = |name: &String, v: &ModelVersion| !matches!(self.there(url, name, v.number), Ok(Some(_)));
        let of = |name: String| {
            let versions = self.tracker.mirrored_versions(&name).unwrap_or_default();
            versions.iter().filter(|v| missing(&name, v)).count()
        };
        self.tracker.mirrored_models().into_iter().map(of).sum()
    }

    /// Keeps what is wrong where the status finds it, with an event when that changes.
    fn tell(&self, settings: &MirrorSettings, look: &Look) {
        // Without an address nothing is known: at the start the settings are not read yet.
        let Some(url) = &settings.mlflow else { return };
        let noted: Option<MirrorTrouble> = self.store.fact(TROUBLE).ok().flatten().flatten();
        let before = noted.filter(|t| t.url == *url);
        let trouble = |error: &String| MirrorTrouble { url: url.clone(), error: error.clone(), behind: look.behind };
        let now = look.error.as_ref().map(trouble);
        if before == now {
            return;
        }
        let batch = Batch::new().put_fact(TROUBLE, &now);
        let event = |kind, message: String| NewEvent {
            at: WallMs(self.tracker.now()),
            kind,
            model: None::<Name>,
            environment: None,
            commit: None,
            author: None,
            message,
        };
        let batch = match (&before, &now) {
            (Some(old), Some(new)) if old.error == new.error => batch,
            (_, Some(new)) => batch.event(event(EventKind::MirrorFailed, format!("the mirror {}", new.sentence()))),
            (Some(old), None) => batch.event(event(EventKind::MirrorRecovered, format!("{} is up to date", old.url))),
            (None, None) => batch,
        };
        if let Err(e) = (self.commit)(batch) {
            tracing::warn!("how the mirror stands cannot be kept: {e}");
        }
    }
}

/// The other server; why it cannot be asked.
fn remote(url: &str, secret: Option<&str>) -> Result<Remote, String> {
    check_url(url)?;
    let login = match secret {
        None => Login::Nobody,
        Some(variable) => {
            let value = std::env::var(variable).ok().filter(|v| !v.is_empty());
            let value =
                value.ok_or_else(|| format!("the variable {variable} of the daemon's environment is not set"))?;
            match value.split_once(':') {
                Some((user, password)) => Login::Password { user: user.to_owned(), password: password.to_owned() },
                None => Login::Token(value),
            }
        }
    };
    Remote::new(url, login, 1).map_err(|e| e.message)
}

/// A fact about what is at an address.
fn fact(url: &str, of: &str) -> String {
    format!("mirror/{}/{of}", &crate::model::Digest::of(url.as_bytes()).hex()[..16])
}

//! Brings experiments, runs and models in from another server. Each thing is marked as what it was brought, so that the next import skips
//! what is the same and goes on with what was cut off, wherever that was.

mod files;
mod lineage;
mod models;
mod runs;

use crate::{
    mlflow::{Passing, Remote, RemoteError, Trouble, wire},
    model::{
        Brought, Digest, ImportFailure, ImportKind, ImportNote, ImportProgress, ImportReport,
        tracking::{ErrorCode, Experiment, Lifecycle, TrackingError},
    },
    ports::{ArtifactStore, PortError},
    tracking::{ArtifactPath, Here, Mark, Stand, Tracker},
};
use futures::executor::block_on;
use serde::Serialize;
use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// What is to be brought; all of it when nothing is named.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    pub experiments: Vec<String>,
    /// With the runs and logged models that their versions came from.
    pub models: Vec<String>,
    /// Only say what would be brought.
    pub dry_run: bool,
}

/// Why an import ended early.
#[derive(Debug)]
pub enum Stop {
    Remote(RemoteError),
    Here(TrackingError),
    Files(PortError),
    /// What was asked for is not there.
    Unknown(String),
    /// Nobody listens any more.
    Alone,
}

impl From<RemoteError> for Stop {
    fn from(e: RemoteError) -> Self {
        Self::Remote(e)
    }
}
impl From<TrackingError> for Stop {
    fn from(e: TrackingError) -> Self {
        Self::Here(e)
    }
}
impl From<PortError> for Stop {
    fn from(e: PortError) -> Self {
        Self::Files(e)
    }
}
impl Passing for Stop {
    fn passes(&self) -> bool {
        matches!(self, Self::Remote(e) if e.passes())
    }
}

impl Stop {
    /// What is wrong with one thing alone: the others can be brought.
    fn of_one(&self) -> Option<&str> {
        match self {
            Self::Remote(e) if matches!(e.trouble, Trouble::Missing | Trouble::Refused | Trouble::Exists) => {
                Some(&e.message)
            }
            Self::Here(e) if !matches!(e.code, ErrorCode::TemporarilyUnavailable | ErrorCode::InternalError) => {
                Some(&e.message)
            }
            _ => None,
        }
    }

    /// As the last line of the answer tells it.
    pub fn told(&self) -> ImportProgress {
        let (error, reason) = match self {
            Self::Remote(e) if e.trouble == Trouble::Unreachable => (e.message.clone(), ImportFailure::Unreachable),
            Self::Remote(e) if e.trouble == Trouble::Denied => (e.message.clone(), ImportFailure::Denied),
            Self::Remote(e) => (e.message.clone(), ImportFailure::Other),
            Self::Here(e) => (e.message.clone(), ImportFailure::Other),
            Self::Files(e) => (e.message.clone(), ImportFailure::Other),
            Self::Unknown(what) => (what.clone(), ImportFailure::Other),
            Self::Alone => ("nobody listens any more".into(), ImportFailure::Other),
        };
        ImportProgress::Failed { error, reason }
    }
}

type Done<T> = Result<T, Stop>;

/// Things that are brought at once: a server of MLflow answers few calls a second, and files come beside them.
const WORKERS: usize = 4;
/// Notes that a report lists.
const NOTES: usize = 1000;

/// One import.
pub struct Import<'a> {
    pub remote: &'a Remote,
    pub tracker: &'a Tracker,
    pub artifacts: &'a dyn ArtifactStore,
    pub wish: &'a Wish,
    /// Is told of the progress; `false` when nobody listens any more.
    pub tell: &'a (dyn Fn(ImportProgress) -> bool + Sync),
    report: Mutex<ImportReport>,
    replaced: AtomicBool,
}

/// Names what another server said of a thing.
fn digest(document: &impl Serialize) -> Digest {
    Digest::of(&serde_json::to_vec(document).unwrap_or_default())
}

fn lifecycle(word: &str) -> Lifecycle {
    if word == "deleted" { Lifecycle::Deleted } else { Lifecycle::Active }
}

fn pairs(all: &[wire::Pair]) -> impl Iterator<Item = (String, String)> {
    all.iter().map(|p| (p.key.clone(), p.value.clone()))
}

/// How a thing is to be brought.
struct Plan {
    mark: Mark,
    /// Nothing was said of it that is not here; files may have come.
    same: bool,
    first: bool,
}

impl Plan {
    /// `over`: the other server changes it no more.
    fn new(known: Option<Mark>, content: Digest, over: bool) -> Self {
        let Some(known) = known else {
            return Self { mark: Mark::new(content, Stand::Coming), same: false, first: true };
        };
        let unchanged = known.content == content;
        let stand = match known.stand {
            Stand::Whole if unchanged && over => Stand::Whole,
            Stand::Coming if unchanged => Stand::Coming,
            _ => Stand::ComingAgain,
        };
        Self { same: stand == Stand::Whole, first: stand == Stand::Coming, mark: Mark::new(content, stand) }
    }

    /// Whether files that are here may be older ones.
    fn again(&self) -> bool {
        self.mark.stand == Stand::ComingAgain
    }

    fn brought(&self, changed: bool) -> Brought {
        match (self.first, changed) {
            (true, _) => Brought::New,
            (false, true) => Brought::Changed,
            (false, false) => Brought::Same,
        }
    }

    fn whole(&self) -> Mark {
        Mark { stand: Stand::Whole, ..self.mark.clone() }
    }
}

impl<'a> Import<'a> {
    pub fn new(
        remote: &'a Remote,
        tracker: &'a Tracker,
        artifacts: &'a dyn ArtifactStore,
        wish: &'a Wish,
        tell: &'a (dyn Fn(ImportProgress) -> bool + Sync),
    ) -> Self {
        let report = Mutex::new(ImportReport { dry_run: wish.dry_run, ..ImportReport::default() });
        Self { remote, tracker, artifacts, wish, tell, report, replaced: AtomicBool::new(false) }
    }

    /// Brings what is wished. Blocks until all of it is durable.
    pub fn run(&self) -> Done<ImportReport> {
        let everything = self.remote.experiments()?;
        let chosen = self.chosen_experiments(&everything)?;
        self.found(ImportKind::Experiment, chosen.len())?;
        for experiment in &chosen {
            let Some(home) = self.experiment(experiment)? else { continue };
            self.runs(experiment, home)?;
            self.logged_models(experiment, home)?;
        }
        self.registered_models(&everything)?;
        Ok(self.report().clone())
    }

    /// Whether a file took the place of another.
    pub fn replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }

    fn chosen_experiments(&self, all: &[wire::Experiment]) -> Done<Vec<wire::Experiment>> {
        let Wish { experiments, models, .. } = self.wish;
        if experiments.is_empty() {
            return Ok(if models.is_empty() { all.to_vec() } else { vec![] });
        }
        let names: BTreeSet<&str> = all.iter().map(|e| e.name.as_str()).collect();
        self.must_know("experiment", experiments, &names)?;
        Ok(all.iter().filter(|e| experiments.contains(&e.name)).cloned().collect())
    }

    fn must_know(&self, what: &str, wanted: &[String], known: &BTreeSet<&str>) -> Done<()> {
        let missing: Vec<&str> = wanted.iter().map(String::as_str).filter(|name| !known.contains(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Stop::Unknown(format!("{} has no {what} `{}`", self.remote.url(), missing.join("`, `"))))
    }

    /// The experiment's id here, as `Some(None)` when it would be made; `None` when it is left.
    fn experiment(&self, given: &wire::Experiment) -> Done<Option<Option<u64>>> {
        let name = &given.name;
        let mark = Mark::new(digest(given), Stand::Whole);
        let experiment = brought_experiment(given);
        let found = self.tolerant(ImportKind::Experiment, name, || {
            let (id, here, known) = self.tracker.experiment_here(&experiment)?;
            let brought = standing(here, known.is_some_and(|known| known.content == mark.content));
            Ok(Some(match brought {
                Brought::New | Brought::Changed if !self.wish.dry_run => {
                    (brought, Some(block_on(self.tracker.bring_experiment(experiment, &mark))?))
                }
                _ => (brought, id),
            }))
        })?;
        if matches!(found, Some((Brought::Left, _))) {
            let why = "one that was not imported from there is here already: it takes runs in, and keeps its own tags and state";
            self.note(ImportKind::Experiment, name, why)?;
        }
        self.done(ImportKind::Experiment, name, found.map_or(Brought::Left, |(brought, _)| brought))?;
        Ok(found.map(|(_, home)| home))
    }

    /// Does it with several at once; the first that ends the import ends it.
    fn each<T: Sync>(&self, items: &[T], work: impl Fn(&T) -> Done<()> + Sync) -> Done<()> {
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let lock = || failed.lock().unwrap_or_else(PoisonError::into_inner);
        let worker = || {
            while lock().is_none() {
                let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                if let Err(e) = work(item) {
                    lock().get_or_insert(e);
                }
            }
        };
        std::thread::scope(|threads| {
            for _ in 0..WORKERS.min(items.len()) {
                threads.spawn(worker);
            }
        });
        lock().take().map_or(Ok(()), Err)
    }

    /// What is wrong with one thing is noted; `None` then.
    fn tolerant<T>(&self, what: ImportKind, name: &str, work: impl FnOnce() -> Done<Option<T>>) -> Done<Option<T>> {
        match work() {
            Err(stop) => match stop.of_one() {
                Some(why) => self.note(what, name, why).map(|()| None),
                None => Err(stop),
            },
            done => done,
        }
    }

    fn report(&self) -> MutexGuard<'_, ImportReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, progress: ImportProgress) -> Done<()> {
        if (self.tell)(progress) { Ok(()) } else { Err(Stop::Alone) }
    }

    fn found(&self, what: ImportKind, count: usize) -> Done<()> {
        if count == 0 { Ok(()) } else { self.say(ImportProgress::Found { what, count: count as u64 }) }
    }

    fn done(&self, what: ImportKind, name: &str, brought: Brought) -> Done<()> {
        self.report().counts.entry(what).or_default().add(brought);
        self.say(ImportProgress::Done { what, name: name.to_owned(), brought })
    }

    fn note(&self, what: ImportKind, name: &str, why: &str) -> Done<()> {
        let note = ImportNote { what, name: name.to_owned(), why: why.to_owned() };
        {
            let mut report = self.report();
            if report.notes.len() < NOTES { report.notes.push(note.clone()) } else { report.more_notes += 1 }
        }
        self.say(ImportProgress::Noted(note))
    }
}

/// What becomes of a thing that goes by its name. `same`: theirs is as it was brought.
fn standing(here: Here, same: bool) -> Brought {
    match here {
        Here::Nothing => Brought::New,
        Here::Copy if same => Brought::Same,
        Here::Copy => Brought::Changed,
        Here::Other { lacks: false } => Brought::Same,
        Here::Other { lacks: true } => Brought::Left,
    }
}

fn brought_experiment(given: &wire::Experiment) -> Experiment {
    let location = &given.artifact_location;
    Experiment {
        id: 0,
        name: given.name.clone(),
        artifact_location: if is_elsewhere(location) { location.clone() } else { String::new() },
        lifecycle: lifecycle(&given.lifecycle_stage),
        created: given.creation_time,
        updated: given.last_update_time,
        tags: pairs(&given.tags).collect(),
    }
}

/// Whether files lie where the other server's proxy does not lead.
fn is_elsewhere(uri: &str) -> bool {
    !uri.is_empty() && ArtifactPath::of_uri(uri).is_none()
}

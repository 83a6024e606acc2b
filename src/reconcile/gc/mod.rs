//! Keeping the state folder within its limits: by command, and now and then by itself. Never in a look.
//!
//! Records go first, then the files that they alone referred to. A kill between leaves files that no record refers to, which the next
//! clean-up finds, and never a record that refers to a missing file. What running tasks rely on before any record says so is claimed (see
//! [`Claims`]); versions go under the lock of their model, as looks do.

mod round;

use super::{Reconciler, lock};
use crate::{
    gc::Asked,
    model::*,
    plan::{fingerprint, pins},
    ports::*,
    spec::Loaded,
    store::{Batch, StoreError},
};
use round::Round;
use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

/// When the next clean-up by itself is due.
#[derive(Debug)]
pub(super) struct Due {
    shared: Mutex<Shared>,
    changed: Condvar,
}

#[derive(Debug)]
struct Shared {
    /// Something was added since the last one.
    added: bool,
    closed: bool,
}

impl Due {
    /// The first one is due for what an earlier daemon left.
    pub fn new() -> Self {
        Self { shared: Mutex::new(Shared { added: true, closed: false }), changed: Condvar::new() }
    }
    /// Something was added that may push something else over a limit.
    pub fn added(&self) {
        lock(&self.shared).added = true;
        self.changed.notify_all();
    }
    /// After these more is there than before, or less of it must stay.
    pub fn happened(&self, kind: EventKind) {
        use EventKind::{Promoted, Retired, RolledBack, RolloutAborted, RunFailed, SnapshotTaken, VersionRegistered};
        let matters = matches!(
            kind,
            VersionRegistered | SnapshotTaken | RunFailed | Promoted | RolledBack | RolloutAborted | Retired
        );
        if matters {
            self.added();
        }
    }
    pub fn close(&self) {
        lock(&self.shared).closed = true;
        self.changed.notify_all();
    }
    fn is_closed(&self) -> bool {
        lock(&self.shared).closed
    }
    /// Waits for the pause, and then for something that was added. `false` once closed.
    fn wait(&self, pause: Duration) -> bool {
        let open = |s: &mut Shared| !s.closed;
        let s = lock(&self.shared);
        let (s, _) = self.changed.wait_timeout_while(s, pause, open).unwrap_or_else(PoisonError::into_inner);
        let idle = |s: &mut Shared| !s.closed && !s.added;
        let mut s = self.changed.wait_while(s, idle).unwrap_or_else(PoisonError::into_inner);
        s.added = false;
        !s.closed
    }
}

/// An error of the store, as of any other adapter.
fn stored(e: StoreError) -> PortError {
    PortError::retryable(e.to_string())
}

impl Reconciler {
    /// The thread that cleans up by itself.
    pub(super) fn keep_within_limits(&self, every: Millis) {
        while self.0.gc.wait(Duration::from_millis(every.0)) {
            match self.gc(false) {
                Ok(report) if report.items.is_empty() => {}
                Ok(report) => tracing::info!("cleaned up: {}", report.summary()),
                Err(e) if self.0.gc.is_closed() => tracing::debug!("the clean-up ended early: {e}"),
                Err(e) => {
                    tracing::warn!("nothing was cleaned up: {e}");
                    self.0.gc.added();
                }
            }
        }
    }

    /// Something was let go that the next clean-up may remove.
    pub fn let_go(&self) {
        self.0.gc.added();
    }

    /// Removes what is beyond the limits of `[gc]` in the settings; with `dry_run` only says what that is.
    pub fn gc(&self, dry_run: bool) -> PortResult<GcReport> {
        let _one = lock(&self.0.collecting);
        if !self.looked_at_all() {
            return Err(PortError::retryable("not every model was looked at since the start; try again in a moment"));
        }
        let settings = self.loaded().state().settings.gc;
        let _claims = self.0.ports.claims.hold_all();
        let alone = if dry_run { None } else { self.0.ports.disk.alone()? };
        let asked = self.asked_by_history(settings.keep)?;
        let report = Round::new(self, settings, dry_run, alone.is_some(), asked).run()?;
        if !dry_run && !report.items.is_empty() {
            let event = self.event(EventKind::CleanedUp, None, None, report.summary());
            self.commit(Batch::new().event(event)).map_err(stored)?;
        }
        Ok(report)
    }

    /// What the commits of the last `keep` ask for, and those right before them, to which a revert of the oldest leads.
    fn asked_by_history(&self, keep: Millis) -> PortResult<BTreeMap<Name, Asked>> {
        let loaded = self.loaded();
        let head = loaded.state().revision.clone().ok_or_else(|| PortError::retryable("no revision is loaded yet"))?;
        let since = WallMs(self.now().wall.0.saturating_sub_unsigned(keep.0));
        let (source, folder) = (self.0.ports.source.as_ref(), self.0.source.status().path);
        let mut all: BTreeMap<Name, Asked> = BTreeMap::new();
        let (mut at, mut tree) = (Loaded::clone(&loaded), head.tree.clone());
        for revision in source.recent(&head.commit, since)? {
            self.still_open()?;
            let changes = source.changes(Some(&tree), &revision.tree, &folder)?;
            let (next, touched) = at.update(&changes, &revision, &folder, source)?;
            for name in touched {
                if let (Some(desired), Some(cell)) = (next.state().models.get(&name), self.cell(&name)) {
                    let asked = asked_by(desired, &lock(&cell).observed);
                    all.entry(name).or_default().extend(&asked);
                }
            }
            (at, tree) = (next, revision.tree);
        }
        Ok(all)
    }

    /// A clean-up ends early when the daemon does.
    fn still_open(&self) -> PortResult<()> {
        if self.0.gc.is_closed() { Err(PortError::retryable("the daemon is stopping")) } else { Ok(()) }
    }
}

/// What a desired state asks for, by the pins that it leads to.
fn asked_by(desired: &DesiredModel, observed: &ObservedModel) -> Asked {
    let pins = pins::resolve(desired, observed);
    let mut asked = Asked::default();
    asked.contents.insert(desired.content);
    asked.snapshots.extend(pins.pinned.values());
    if pins.missing.is_empty() {
        asked.fingerprints.insert(fingerprint(desired, &pins.pinned));
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_waits_for_its_pause_and_for_something_new() {
        let due = Due::new();
        assert!(due.wait(Duration::ZERO), "what an earlier daemon left");
        std::thread::scope(|s| {
            let waiting = s.spawn(|| due.wait(Duration::ZERO));
            due.added();
            assert!(waiting.join().unwrap());
            let waiting = s.spawn(|| due.wait(Duration::from_secs(3600)));
            due.added();
            due.close();
            assert!(!waiting.join().unwrap());
        });
    }
}

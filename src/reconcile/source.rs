//! Following the source: fetch, load what changed, wake the models that it touches.

use super::{Reconciler, lock, pause::pause};
use crate::{model::*, plan::pins, ports::*, spec::Loaded, store::Batch};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

/// Longest wait of a [`Reconciler::sync`] for the looks that follow from what it fetched.
const LOOKED_AT: Duration = Duration::from_secs(60);

/// A request to fetch now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncRequest {
    /// Retire what a held commit deletes.
    pub prune: bool,
}

/// Whether commits of our own can be pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PushState {
    Allowed,
    Never,
    RestsUntil(SteadyMs),
}

/// Why a push did not go through.
#[derive(Debug)]
pub(super) struct PushProblem {
    pub said: String,
    pub rests_until: SteadyMs,
    /// No other model's push would go through either.
    pub of_remote: bool,
}

#[derive(Debug)]
struct Shared {
    status: SourceStatus,
    /// Rounds asked for and done; a request is served by a round that began after it.
    asked: u64,
    done: u64,
    prune: bool,
    closed: bool,
    /// Models whose deletion waits for `trimtab sync --prune`.
    held: BTreeSet<Name>,
    failures: u32,
    /// Until when pushes rest: all of them after the remote refused, those of one model after a problem of its own.
    no_push_until: SteadyMs,
    resting: BTreeMap<Name, (SteadyMs, String)>,
    /// The specs that were in force when the daemon before ended: the first load reads only what changed since.
    last_known: Option<Loaded>,
}

/// The specs of the revision that the store knows; none when the repository no longer has it.
pub(super) fn last_known(source: &dyn Source, stored: Option<&SourceStatus>) -> Loaded {
    let load = |revision: &Revision| {
        let folder = source.describe().path;
        let changes = source.changes(None, &revision.tree, &folder)?;
        Ok::<_, PortError>(Loaded::update(&Loaded::default(), &changes, revision, &folder, source)?.0)
    };
    let revision = stored.and_then(|s| s.revision.as_ref());
    revision.and_then(|r| load(r).map_err(|e| tracing::info!("all specs are read anew: {e}")).ok()).unwrap_or_default()
}

/// What the source thread and others share.
#[derive(Debug)]
pub(super) struct State {
    shared: Mutex<Shared>,
    changed: Condvar,
}

impl State {
    pub fn new(stored: Option<SourceStatus>, last_known: Loaded, described: SourceStatus) -> Self {
        let stored = stored.unwrap_or_default();
        let mut status = SourceStatus { revision: stored.revision, ..described };
        if status.branch.is_empty() && stored.url == status.url {
            // The default branch, as the last daemon found it.
            status.branch = stored.branch;
        }
        let shared = Shared {
            status,
            asked: 0,
            done: 0,
            prune: false,
            closed: false,
            held: BTreeSet::new(),
            failures: 0,
            no_push_until: SteadyMs(0),
            resting: BTreeMap::new(),
            last_known: Some(last_known),
        };
        Self { shared: Mutex::new(shared), changed: Condvar::new() }
    }
    pub fn wake(&self) -> u64 {
        let mut s = lock(&self.shared);
        s.asked += 1;
        self.changed.notify_all();
        s.asked
    }
    pub fn close(&self) {
        lock(&self.shared).closed = true;
        self.changed.notify_all();
    }
    fn is_closed(&self) -> bool {
        lock(&self.shared).closed
    }
    pub fn status(&self) -> SourceStatus {
        lock(&self.shared).status.clone()
    }
    pub fn holds(&self, model: &Name) -> bool {
        lock(&self.shared).held.contains(model)
    }
    pub fn held(&self) -> BTreeSet<Name> {
        lock(&self.shared).held.clone()
    }
    pub fn pins_stay_in_store(&self, why: String) {
        lock(&self.shared).status.pins_in_store = Some(why);
    }
    /// Notes whether the branch can be written to; `true` when it can again.
    fn may_write_again(&self, read_only: Option<String>) -> bool {
        let before = std::mem::replace(&mut lock(&self.shared).status.pins_in_store, read_only.clone());
        before.is_some() && read_only.is_none()
    }
    /// Notes what a push for a model met: nothing, or a problem for which its pushes rest until then; those of all models where
    /// it was the remote that refused.
    pub fn pushed(&self, model: &Name, problem: Option<PushProblem>) {
        let mut s = lock(&self.shared);
        s.resting.remove(model);
        s.status.push_error = match problem {
            // Another's problem stands.
            None => s.resting.values().next().map(|(_, said)| said.clone()),
            Some(p) => {
                if p.of_remote {
                    s.no_push_until = p.rests_until;
                } else {
                    s.resting.insert(model.clone(), (p.rests_until, p.said.clone()));
                }
                Some(p.said)
            }
        };
    }
    /// Whether pushes for a model go through, as far as is known, and what the problem was.
    fn push_state(&self, model: &Name, now: SteadyMs) -> (PushState, String) {
        let s = lock(&self.shared);
        let own = s.resting.get(model).filter(|(until, _)| *until > s.no_push_until);
        let until = own.map_or(s.no_push_until, |(until, _)| *until);
        let state = match s.status.pins_in_store {
            Some(_) => PushState::Never,
            None if now < until => PushState::RestsUntil(until),
            None => PushState::Allowed,
        };
        let said = own.map(|(_, said)| said.clone()).or_else(|| s.status.push_error.clone());
        (state, said.unwrap_or_default())
    }
    /// Lets pushes be tried again at once; whether they rested.
    fn push_again(&self, now: SteadyMs) -> bool {
        let mut s = lock(&self.shared);
        let rested = now < s.no_push_until || s.resting.values().any(|(until, _)| now < *until);
        s.no_push_until = SteadyMs(0);
        s.resting.clear();
        rested
    }
    /// Waits until a round is asked for or the time is over. Returns the newest request, or `None` once closed.
    fn wait(&self, at_most: Duration) -> Option<(u64, bool)> {
        let s = lock(&self.shared);
        let idle = |s: &mut Shared| !s.closed && s.asked == s.done;
        let (mut s, _) = self.changed.wait_timeout_while(s, at_most, idle).unwrap_or_else(PoisonError::into_inner);
        let prune = std::mem::take(&mut s.prune);
        (!s.closed).then_some((s.asked, prune))
    }
    fn finish(&self, round: u64) {
        let mut s = lock(&self.shared);
        s.done = s.done.max(round);
        self.changed.notify_all();
    }
    /// Asks for a round and waits for its end. `false` when closed first.
    fn request(&self, prune: bool) -> bool {
        let mut s = lock(&self.shared);
        s.asked += 1;
        s.prune |= prune;
        let mine = s.asked;
        self.changed.notify_all();
        let waits = |s: &mut Shared| !s.closed && s.done < mine;
        let s = self.changed.wait_while(s, waits).unwrap_or_else(PoisonError::into_inner);
        s.done >= mine
    }
}

impl Reconciler {
    /// Fetches now and waits until what was fetched is loaded and every model that it touches was looked at.
    pub fn sync(&self, request: &SyncRequest) -> Result<SourceStatus, PortError> {
        if !self.0.source.request(request.prune) {
            return Err(PortError::retryable("the daemon is stopping"));
        }
        if self.0.source.push_again(self.now().steady) {
            self.look_again_at_all();
        }
        let status = self.0.source.status();
        if let Some(e) = &status.error {
            return Err(PortError::retryable(e.clone()));
        }
        if !self.0.queue.settle(self.now().steady, LOOKED_AT) {
            return Err(PortError::retryable("the specs are loaded, but not every model was looked at yet"));
        }
        Ok(status)
    }

    /// Another commit's specs, loaded beside those in force.
    pub fn load_revision(&self, commit: &str) -> PortResult<Loaded> {
        let source = self.0.ports.source.as_ref();
        let revision = source.resolve(commit)?;
        let folder = self.0.source.status().path;
        let loaded = self.loaded();
        let old = loaded.state().revision.as_ref().map(|r| r.tree.clone());
        let changes = source.changes(old.as_ref(), &revision.tree, &folder)?;
        Ok(Loaded::update(&loaded, &changes, &revision, &folder, source)?.0)
    }

    /// Says that the remote may have moved.
    pub fn wake_source(&self) {
        self.0.source.wake();
    }

    /// How the source stands.
    pub fn source_status(&self) -> SourceStatus {
        self.0.source.status()
    }

    /// Models whose deletion waits for `trimtab sync --prune`.
    pub fn held_deletions(&self) -> BTreeSet<Name> {
        self.0.source.held()
    }

    pub(super) fn push_state(&self, model: &Name) -> (PushState, String) {
        match self.loaded().state().settings.push {
            true => self.0.source.push_state(model, self.now().steady),
            false => (PushState::Never, String::new()),
        }
    }

    /// The source thread.
    pub(super) fn follow_source(&self) {
        let this = self.clone();
        let watch = self.0.ports.source.watch(Arc::new(move || this.wake_source()));
        let _guard = watch.map_err(|e| tracing::warn!("the source is polled, not watched: {e}"));
        self.0.source.wake();
        let mut pause = Duration::ZERO;
        while let Some((round, prune)) = self.0.source.wait(pause) {
            self.round(prune);
            pause = self.pause();
            self.0.source.finish(round);
        }
    }

    /// Until the remote is asked again by itself; noted for people while there is a problem.
    fn pause(&self) -> Duration {
        let now = self.now();
        let mut s = lock(&self.0.source.shared);
        let pause = pause(self.0.config.poll, s.failures, s.status.reason, (self.0.config.random)());
        s.status.retry_at = s.status.error.as_ref().map(|_| WallMs(now.wall.0 + pause.as_millis() as i64));
        pause
    }

    fn round(&self, prune: bool) {
        let begun = std::time::Instant::now();
        let before = self.0.source.status().revision;
        let fetched = self.0.ports.source.fetch(before.as_ref().map(|r| &r.commit));
        let branch = self.0.ports.source.describe().branch;
        if !branch.is_empty() {
            lock(&self.0.source.shared).status.branch = branch.clone();
        }
        if let Ok(Fetched::Head { mended: Some(what), .. }) = &fetched {
            self.note_mending(what);
        }
        let outcome = fetched.and_then(|fetched| match fetched {
            Fetched::Empty => {
                let said = "the repository has no commit yet: push the first one";
                Err(PortError::retryable(said).because(SourceReason::Empty))
            }
            Fetched::BranchGone => {
                let said = format!("the branch `{branch}` was deleted; the last revision stays in force");
                Err(PortError::retryable(said).because(SourceReason::BranchGone))
            }
            Fetched::Head { revision, rewritten, .. } if rewritten && !self.follows_rewrites() => {
                let said = format!(
                    "the branch was rewritten to {}, which does not follow from {}, and `allow_rewrite` is false: put it back to a commit that does; \
                     a rewrite is followed once a commit on the old branch says `allow_rewrite = true` under [source] in trimtab.toml",
                    revision.commit.short(),
                    before.as_ref().map_or("what was followed", |r| r.commit.short())
                );
                Err(PortError::retryable(said).because(SourceReason::Rewritten))
            }
            Fetched::Head { revision, rewritten, .. } => self.take_revision(&revision, rewritten, prune),
        });
        if outcome.is_err() && self.0.source.is_closed() {
            // It failed for being stopped, which says nothing of the source.
            return;
        }
        self.0.meters.fetched(begun, outcome.is_ok());
        if outcome.is_err() && self.loaded().state().revision.is_none() {
            // Git cannot be read since the start: what served goes on under supervision.
            self.known_models().iter().for_each(|model| self.wake(model));
        }
        self.note_outcome(outcome);
        if self.0.source.may_write_again(self.0.ports.source.read_only()) {
            // Pins that only the store has are written to Git now.
            self.known_models().iter().for_each(|model| self.wake(model));
        }
    }

    fn note_mending(&self, what: &str) {
        let message = format!("what was kept here of the source was damaged and is fetched anew: {what}");
        let event = self.event(EventKind::SourceMended, None, None, message);
        if let Err(e) = self.commit(Batch::new().event(event)) {
            tracing::error!("the store refused an event: {e}");
        }
    }

    fn follows_rewrites(&self) -> bool {
        let loaded = self.loaded();
        if loaded.state().revision.is_some() {
            return loaded.state().settings.allow_rewrite;
        }
        // Before the first load the settings are those that were in force when the daemon before ended.
        let known = lock(&self.0.source.shared).last_known.clone();
        known.filter(|k| k.state().revision.is_some()).is_none_or(|k| k.state().settings.allow_rewrite)
    }

    fn note_outcome(&self, outcome: PortResult<()>) {
        let (before, status) = {
            let mut s = lock(&self.0.source.shared);
            let before = s.status.error.clone();
            s.status.last_fetch = Some(self.now().wall);
            let problem = outcome.as_ref().err();
            s.status.error = problem.map(|e| e.message.clone());
            let reason = problem.map(|e| e.reason.unwrap_or(SourceReason::Other));
            if reason != s.status.reason {
                s.status.since = reason.map(|_| self.now().wall);
            }
            s.status.reason = reason;
            if reason.is_none() {
                s.status.retry_at = None;
            }
            s.failures = if outcome.is_ok() { 0 } else { s.failures.saturating_add(1) };
            (before, s.status.clone())
        };
        if before == status.error {
            return;
        }
        let event = match &status.error {
            Some(e) => self.event(EventKind::SourceUnreachable, None, None, e.clone()),
            None => self.event(EventKind::SourceRecovered, None, None, "the source answers again".into()),
        };
        if let Err(e) = self.commit(Batch::new().put_source(&status).event(event)) {
            tracing::error!("the store refused the source's status: {e}");
        }
    }

    /// Loads what changed between the loaded tree and this one, and wakes the models that it touches.
    fn take_revision(&self, revision: &Revision, rewritten: bool, prune: bool) -> PortResult<()> {
        let loaded = self.loaded();
        let old = loaded.state().revision.clone();
        if old.as_ref().map(|r| &r.commit) == Some(&revision.commit) && !prune {
            return Ok(());
        }
        let folder = self.0.source.status().path;
        let source = self.0.ports.source.as_ref();
        let known = old.is_none().then(|| lock(&self.0.source.shared).last_known.clone()).flatten();
        let base = known.as_ref().unwrap_or(&loaded);
        let from = base.state().revision.as_ref().map(|r| &r.tree);
        let changes = source.changes(from, &revision.tree, &folder)?;
        let (mut next, mut touched) = Loaded::update(base, &changes, revision, &folder, source)?;
        if let Some(d) = next.replaced().first() {
            let help = d.help.as_deref().unwrap_or_default();
            return Err(PortError::retryable(format!("{} ({help}); what was in force before stays", d.message)));
        }
        self.blame(base, &mut next, &touched, revision)?;
        // Approvals may be of models that are gone, which nobody looks at again.
        let there = |name: &&Name| next.state().models.contains_key(*name) || self.cell(name).is_some();
        touched.extend(next.approvals().touched().iter().filter(there).cloned());
        if rewritten {
            // The commits that gave them may be others now.
            self.0.approvers.forget();
        }
        if old.is_none() {
            // The first load since the start: every model that Git or the store knows is looked at once.
            let state = next.state();
            touched.extend(state.models.keys().chain(state.broken.keys()).cloned());
            touched.extend(self.known_models());
        }
        let alive = self.asked_for(&loaded);
        self.warn_of_settings(&loaded, &next);
        drop(loaded);
        touched.extend(self.hold_deletions(&next, &touched, alive, prune));
        // First kept, then in force: a revision that the store refused is loaded again in the next round.
        self.note_revision(revision, rewritten)?;
        self.0.lanes.training.resize(next.state().settings.max_concurrent_training);
        *self.0.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        lock(&self.0.source.shared).last_known = None;
        for model in &touched {
            self.wake(model);
        }
        Ok(())
    }

    /// Finds the commit that changed, broke or deleted each touched model, where several came at once.
    fn blame(&self, base: &Loaded, next: &mut Loaded, touched: &BTreeSet<Name>, head: &Revision) -> PortResult<()> {
        /// Past this a change is of the whole fleet, and the newest commit stands for it.
        const MANY: usize = 256;
        let old = base.state().revision.as_ref().map(|r| &r.commit);
        let mut open: BTreeSet<&Name> = touched.iter().collect();
        // The lock that a plan assumed is no change of anybody's: the model stays as whose it was.
        open.retain(|name| match self.whose_lock_it_is(base, next, name) {
            Some(before) => {
                next.set_blame(name, before);
                false
            }
            None => true,
        });
        if open.is_empty() || open.len() > MANY {
            return Ok(());
        }
        let folder = self.0.source.status().path;
        let paths: Vec<(Name, Vec<String>)> =
            open.iter().map(|name| ((*name).clone(), next.paths_of(base, name, &folder))).collect();
        for (name, revision) in self.0.ports.source.blame(old, &head.commit, &paths)? {
            next.set_blame(&name, Arc::new(revision));
        }
        Ok(())
    }

    /// The commit that a model was asked for by, when all that became another is its lock and that is the one which the plan of that
    /// commit assumed: told by its content, whoever committed it.
    fn whose_lock_it_is(&self, base: &Loaded, next: &Loaded, name: &Name) -> Option<Arc<Revision>> {
        let (before, now) = (base.state().models.get(name)?, next.state().models.get(name)?);
        if before.lock == now.lock {
            return None;
        }
        let assumed = {
            let cell = self.cell(name)?;
            let cell = lock(&cell);
            before.lock_for(&pins::resolve(before, &cell.observed).pinned)
        };
        let as_assumed = DesiredModel { lock: assumed, ..DesiredModel::clone(before) };
        as_assumed.asks_the_same(now).then(|| before.changed_by.clone())
    }

    /// How many models Git asked for before this commit.
    fn asked_for(&self, before: &Loaded) -> usize {
        let state = before.state();
        if state.revision.is_some() {
            return state.models.size() + state.broken.size() + self.0.source.held().len();
        }
        self.known_models().iter().filter(|name| self.is_desired(name)).count()
    }

    fn is_desired(&self, model: &Name) -> bool {
        self.cell(model).is_some_and(|cell| lock(&cell).observed.desired.is_some())
    }

    /// Notes which deletions wait for a person, of what this commit touched and of those that wait already; returns the models whose
    /// deletion is let through or taken back. `alive` is how many models there were before.
    fn hold_deletions(&self, next: &Loaded, touched: &BTreeSet<Name>, alive: usize, prune: bool) -> BTreeSet<Name> {
        let state = next.state();
        let waiting = self.0.source.held();
        let gone: BTreeSet<Name> = touched
            .union(&waiting)
            .filter(|name| !state.models.contains_key(*name) && !state.broken.contains_key(*name))
            .filter(|name| self.is_desired(name))
            .cloned()
            .collect();
        let too_many =
            !gone.is_empty() && (gone.len() == alive || gone.len() as f64 > alive as f64 * state.settings.prune_share);
        let held = if too_many && !prune { gone } else { BTreeSet::new() };
        let before = std::mem::replace(&mut lock(&self.0.source.shared).held, held.clone());
        if !held.is_empty() && held != before {
            let message = format!(
                "{} of {alive} models would be retired: run `trimtab sync --prune` to do it, or restore their specs",
                held.len()
            );
            let event = self.event(EventKind::RetireHeld, None, state.revision.as_deref(), message);
            if let Err(e) = self.commit(Batch::new().event(event)) {
                tracing::error!("the store refused an event: {e}");
            }
        }
        before.symmetric_difference(&held).cloned().collect()
    }

    fn note_revision(&self, revision: &Revision, rewritten: bool) -> PortResult<()> {
        let before = self.0.source.status();
        // A daemon that starts where the last one stood tells nothing new.
        let moved = before.revision.as_ref().map(|r| &r.commit) != Some(&revision.commit);
        let status = SourceStatus { revision: Some(revision.clone()), ..before };
        let mut batch = Batch::new().put_source(&status);
        if rewritten {
            let message = format!("the branch was rewritten to {}", revision.commit.short());
            batch = batch.event(self.event(EventKind::SourceRewritten, None, Some(revision), message));
        }
        if moved {
            batch = batch.event(self.event(EventKind::SourceMoved, None, Some(revision), revision.summary.clone()));
        }
        self.commit(batch).map_err(|e| PortError::retryable(e.to_string()))?;
        lock(&self.0.source.shared).status.revision = status.revision;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_cannot_be_written_stops_no_other_model() {
        let state = State::new(None, Loaded::default(), SourceStatus::default());
        let (one, other) = (Name::new("one").unwrap(), Name::new("other").unwrap());
        let problem =
            |said: &str, at, of_remote| Some(PushProblem { said: said.into(), rests_until: SteadyMs(at), of_remote });
        let of = |name| state.push_state(name, SteadyMs(5));
        state.pushed(&one, problem("a folder stands there", 100, false));
        assert_eq!(of(&one), (PushState::RestsUntil(SteadyMs(100)), "a folder stands there".into()));
        assert_eq!(of(&other).0, PushState::Allowed);
        state.pushed(&other, None);
        assert_eq!(of(&one), (PushState::RestsUntil(SteadyMs(100)), "a folder stands there".into()));
        state.pushed(&other, problem("the remote declines", 200, true));
        for name in [&one, &other] {
            assert_eq!(of(name), (PushState::RestsUntil(SteadyMs(200)), "the remote declines".into()));
        }
        assert!(state.push_again(SteadyMs(5)));
        assert_eq!(of(&one).0, PushState::Allowed);
    }
}

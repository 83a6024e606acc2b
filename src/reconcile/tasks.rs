//! Work that takes longer than a look: snapshots, lock commits, pipelines. At most one of each for a model.

use super::{
    Cell, Key, Lane, Reconciler, Task, lock,
    queue::backoff,
    rollback::{folder, lock_path},
    source::{PushProblem, PushState},
};
use crate::{model::*, plan::pins, ports::*, spec, store::Batch};
use std::{collections::BTreeMap, sync::Arc};

impl Reconciler {
    /// Starts what the plan asks for and what is not under way yet; ends what it does not ask for any more.
    pub(super) fn begin_tasks(&self, cell: &mut Cell, plan: &ModelPlan) {
        let name = cell.observed.name.clone();
        let lanes = &self.0.lanes;
        let mut data = None;
        for planned in &plan.actions {
            match &planned.action {
                Action::ResolveData { inputs } => {
                    let (inputs, of) = (inputs.clone(), data_digest(inputs));
                    data = Some(of);
                    self.begin(&lanes.data, &name, Task::Data(of), move |r, model, cancel| {
                        r.resolve_data(model, &inputs, cancel)
                    });
                }
                Action::WriteLock { snapshots } => {
                    let (snapshots, desired) = (snapshots.clone(), cell.observed.desired.clone());
                    self.begin(&lanes.locks, &name, Task::Lock, move |r, model, _| {
                        if let Some(desired) = desired {
                            // Its failure was noted; the next look asks again.
                            let why = spec::lock::why(&desired, &snapshots);
                            let _ = r.write_lock(model, &desired, &snapshots, &why);
                        }
                    });
                }
                Action::Revert { environment, rejected } => {
                    let (environment, rejected) = (environment.clone(), *rejected);
                    self.begin(&lanes.locks, &name, Task::Revert, move |r, model, _| {
                        r.revert_rejected(model, &environment, rejected)
                    });
                }
                Action::CancelTraining { reason, .. } => {
                    self.cancel(&lanes.training, &(name.clone(), Task::Pipeline), reason)
                }
                _ => {}
            }
        }
        self.cancel_other_data(&name, data);
        if !cell.observed.stopping.is_empty() {
            let runs = cell.observed.stopping.clone();
            self.begin(&lanes.stopping, &name, Task::Pipeline, move |r, model, _| r.end_runs(model, &runs));
        }
        let running = cell.observed.pipeline.as_ref().filter(|p| p.state == PipelineState::Running);
        if let Some(pipeline) = running {
            let pipeline = pipeline.clone();
            self.begin(&lanes.training, &name, Task::Pipeline, move |r, model, cancel| {
                r.run_pipeline(model, &pipeline, cancel)
            });
        }
    }

    /// Data that the model's plan does not ask for (any more) is not waited for.
    fn cancel_other_data(&self, model: &Name, asked: Option<Digest>) {
        // In the order of tasks those of data come first.
        let from = (model.clone(), Task::Data(Digest::from_bytes([0; 32])));
        for (key, _) in self.0.tasks.between(&from, &(model.clone(), Task::Lock)) {
            if asked.is_none_or(|of| key.1 != Task::Data(of)) {
                self.cancel(&self.0.lanes.data, &key, "other data is asked for");
            }
        }
    }

    /// Asks a task to end; one that waits for its turn ends here.
    fn cancel(&self, lane: &Lane<Key>, key: &Key, reason: &str) {
        let Some(cancel) = self.0.tasks.get(key) else { return };
        cancel.cancel(reason);
        if lane.withdraw(key) {
            self.ended(key);
        }
    }

    pub(super) fn begin(
        &self,
        lane: &Lane<Key>,
        model: &Name,
        task: Task,
        body: impl FnOnce(&Self, &Name, &Cancel) + Send + 'static,
    ) {
        let (key, cancel) = ((model.clone(), task), Cancel::default());
        if !self.0.tasks.begin(key.clone(), cancel.clone()) {
            return;
        }
        let (this, own) = (self.clone(), key.clone());
        let job = move || {
            let _hold = this.0.ports.claims.hold();
            body(&this, &own.0, &cancel);
            this.ended(&own);
        };
        if let Err(e) = lane.submit(key.clone(), job) {
            tracing::error!(%model, "cannot start a thread: {e}");
            self.0.tasks.end(&key);
            self.0.queue.add(model.clone(), self.now().steady.plus(backoff(1)));
        }
    }

    fn ended(&self, key: &Key) {
        self.0.tasks.end(key);
        // What could not be kept is tried again, but not in a circle.
        let pause = if self.0.store.trouble().is_some() { backoff(2) } else { 0 };
        self.0.queue.add(key.0.clone(), self.now().steady.plus(pause));
    }

    /// Takes snapshots and pins them; a failure is noted with the time of the next try.
    fn resolve_data(&self, model: &Name, inputs: &BTreeMap<Name, DatasetSpec>, cancel: &Cancel) {
        match self.take_snapshots(inputs, cancel) {
            Ok(snapshots) => self.pin(model, inputs, &snapshots, false),
            Err(_) if cancel.is_cancelled() => {}
            Err(e) => self.note_data_failure(model, inputs, &e),
        }
    }

    /// The caller holds its claims until a record refers to them.
    fn take_snapshots(
        &self,
        inputs: &BTreeMap<Name, DatasetSpec>,
        cancel: &Cancel,
    ) -> PortResult<BTreeMap<Name, Snapshot>> {
        inputs.iter().map(|(input, dataset)| Ok((input.clone(), self.take_snapshot(dataset, cancel)?))).collect()
    }

    fn take_snapshot(&self, dataset: &DatasetSpec, cancel: &Cancel) -> PortResult<Snapshot> {
        let snapshot = self.0.ports.datasets.snapshot(dataset, self.now().wall, cancel)?;
        self.0.ports.claims.claim([snapshot.digest]);
        Ok(snapshot)
    }

    /// A snapshot that the store knows, claimed with its files.
    fn known_snapshot(&self, dataset: &Name, digest: &Digest) -> PortResult<Option<Snapshot>> {
        let read = || self.0.store.snapshot(dataset, digest).map_err(|e| PortError::retryable(e.to_string()));
        let Some(snapshot) = read()? else { return Ok(None) };
        self.0.ports.claims.claim(snapshot.manifest.files.iter().map(|f| f.digest).chain([*digest]));
        // A clean-up may have come between: what is here now stays.
        read()
    }

    fn pin(
        &self,
        model: &Name,
        inputs: &BTreeMap<Name, DatasetSpec>,
        snapshots: &BTreeMap<Name, Snapshot>,
        refresh: bool,
    ) {
        let desired = self.loaded().state().models.get(model).cloned();
        self.change_model(model, |observed, mut batch| {
            for (input, snapshot) in snapshots {
                let message = format!(
                    "{input}: {} of {}, {} files",
                    snapshot.digest.short(),
                    snapshot.dataset,
                    snapshot.manifest.files.len()
                );
                batch = batch.put_snapshot(snapshot).event(self.event(
                    EventKind::SnapshotTaken,
                    Some(model),
                    None,
                    message,
                ));
                if let Some(dataset) = inputs.get(input) {
                    let pin = Pin { dataset: dataset.clone().into(), snapshot: snapshot.digest };
                    observed.pins.insert(input.clone(), pin);
                }
            }
            observed.data_failure = None;
            if let Some(desired) = &desired {
                // What took long may have been asked for by a spec that names other data now.
                let asked = |input: &Name| desired.spec.data.get(input).and_then(|d| desired.datasets.get(d));
                let same = |(input, _): &(&Name, &Snapshot)| {
                    let dataset = inputs.get(*input).zip(asked(input));
                    dataset.is_some_and(|(a, b)| a.name == b.name && a.source == b.source)
                };
                let pinned: BTreeMap<Name, Digest> =
                    snapshots.iter().filter(same).map(|(i, s)| (i.clone(), s.digest)).collect();
                let before = observed.content_pins.entry(desired.content).or_default();
                for (input, digest) in pinned {
                    if refresh {
                        before.insert(input, digest);
                    } else {
                        before.entry(input).or_insert(digest);
                    }
                }
            }
            batch
        });
    }

    fn note_data_failure(&self, model: &Name, inputs: &BTreeMap<Name, DatasetSpec>, error: &PortError) {
        let of = Some(data_digest(inputs));
        let now = self.now().steady;
        self.change_model(model, |observed, batch| {
            let attempts = observed.data_failure.as_ref().filter(|f| f.of == of).map_or(0, |f| f.attempts) + 1;
            let retry_at = now.plus(backoff(attempts));
            observed.data_failure = Some(Failure { of, reason: error.message.clone(), attempts, retry_at });
            batch
        });
    }

    /// Changes a model's record outside of a look. Returns whether it is durable.
    pub(super) fn change_model(&self, model: &Name, edit: impl FnOnce(&mut ObservedModel, Batch) -> Batch) -> bool {
        let cell = self.cell_or_new(model);
        let mut cell = lock(&cell);
        let mut observed = cell.observed.clone();
        let batch = edit(&mut observed, Batch::new()).put_model(&observed);
        match self.commit(batch) {
            Ok(()) => {
                cell.observed = observed;
                true
            }
            Err(e) => {
                tracing::error!(%model, "the store refused a change: {e}");
                false
            }
        }
    }

    /// Commits and pushes the lock. Returns whether Git has these pins now.
    fn write_lock(
        &self,
        model: &Name,
        desired: &DesiredModel,
        snapshots: &BTreeMap<Name, Digest>,
        why: &str,
    ) -> PortResult<Pushed> {
        let settings = self.loaded().state().settings.clone();
        let Some(head) = self.loaded().state().revision.clone() else {
            return Err(PortError::retryable("the source has no commit yet"));
        };
        let pins: Vec<String> = snapshots.iter().map(|(i, d)| format!("{i} → {}", d.short())).collect();
        let commit = BotCommit {
            files: vec![FileChange {
                path: lock_path(desired),
                content: FileContent::Bytes(spec::lock::render(&desired.lock_for(snapshots)).into_bytes()),
            }],
            message: format!("lock: {model}: {}\n\nTrimtab-Model: {model}\nTrimtab-Reason: {why}\n", pins.join(", ")),
            name: settings.bot_name,
            email: settings.bot_email,
            decided_on: head.commit.clone(),
            guard: folder(desired).to_owned(),
        };
        let pushed = self.0.ports.source.push(&commit);
        self.note_push(model, &pushed);
        match &pushed {
            Ok(Pushed::Done(revision)) => {
                let message = format!("lock committed: {} ({why})", pins.join(", "));
                let event = self.event(EventKind::LockCommitted, Some(model), Some(revision), message);
                if let Err(e) = self.commit(Batch::new().event(event)) {
                    tracing::error!(%model, "the store refused an event: {e}");
                }
                self.wake_source();
            }
            Ok(Pushed::AlreadyThere | Pushed::Superseded) => self.wake_source(),
            Ok(Pushed::ReadOnly(why)) => self.0.source.pins_stay_in_store(why.clone()),
            Err(e) => {
                tracing::warn!(%model, "the lock could not be pushed: {e}");
            }
        }
        pushed
    }

    /// Lets pushes rest after a failure: longer where only a person helps.
    fn note_push(&self, model: &Name, pushed: &PortResult<Pushed>) {
        let problem = pushed.as_ref().err().map(|e| {
            let person = e.reason.is_some_and(SourceReason::waits_for_a_person);
            PushProblem {
                said: e.message.clone(),
                rests_until: self.now().steady.plus(backoff(if person { 9 } else { 3 })),
                // What the transport met has a reason; a lock that cannot be written has none.
                of_remote: e.reason.is_some(),
            }
        });
        self.0.source.pushed(model, problem);
    }

    /// New snapshots of all of a model's inputs, pinned by a commit where trimtab may push, else in the store. Returns the inputs
    /// that changed.
    pub fn refresh(&self, model: &Name) -> PortResult<Vec<Name>> {
        let loaded = self.loaded();
        if loaded.state().revision.is_none() {
            return Err(PortError::retryable("no revision is loaded yet: the source was not read since the start"));
        }
        let Some(desired) = loaded.state().models.get(model).cloned() else {
            return Err(PortError::permanent(format!("Git has no model `{model}`")));
        };
        let Some(cell) = self.cell(model) else {
            return Err(PortError::retryable(format!("`{model}` was not looked at yet")));
        };
        let _hold = self.0.ports.claims.hold();
        let before = pins::resolve(&desired, &lock(&cell).observed).pinned;
        let of =
            |(input, dataset): (&Name, &Name)| Some((input.clone(), desired.datasets.get(dataset)?.as_ref().clone()));
        let inputs: BTreeMap<Name, DatasetSpec> = desired.spec.data.iter().filter_map(of).collect();
        let snapshots = self.take_snapshots(&inputs, &Cancel::default())?;
        let after: BTreeMap<Name, Digest> = snapshots.iter().map(|(i, s)| (i.clone(), s.digest)).collect();
        let changed: Vec<Name> =
            after.iter().filter(|(i, d)| before.get(*i) != Some(d)).map(|(i, _)| i.clone()).collect();
        if changed.is_empty() {
            return Ok(changed);
        }
        // The snapshots are kept first; which one is wanted is then said by Git, or by the store where Git cannot be written to.
        let mut batch = Batch::new();
        for snapshot in snapshots.values() {
            batch = batch.put_snapshot(snapshot);
        }
        self.commit(batch).map_err(|e| PortError::retryable(e.to_string()))?;
        let pushed = if self.push_state(model).0 != PushState::Never {
            self.write_lock(model, &desired, &after, "refresh asked for by hand")?
        } else {
            Pushed::ReadOnly(String::new())
        };
        match pushed {
            Pushed::Done(_) | Pushed::AlreadyThere => {}
            Pushed::Superseded => return Err(PortError::retryable("a person changed the model meanwhile; try again")),
            Pushed::ReadOnly(_) if !desired.lock.is_empty() => {
                return Err(PortError::permanent(format!(
                    "{model} is pinned by a lock file in Git that trimtab may not write to"
                )));
            }
            Pushed::ReadOnly(_) => self.pin(model, &inputs, &snapshots, true),
        }
        self.wake(model);
        Ok(changed)
    }

    /// What the store knows of a model, for its pipeline.
    pub(super) fn pinned_snapshots(
        &self,
        model: &Name,
        desired: &Arc<DesiredModel>,
        cancel: &Cancel,
    ) -> PortResult<BTreeMap<Name, Snapshot>> {
        let Some(cell) = self.cell(model) else { return Ok(BTreeMap::new()) };
        let pins = pins::resolve(desired, &lock(&cell).observed).pinned;
        let find = |(input, digest): (Name, Digest)| {
            let dataset = desired.spec.data.get(&input).and_then(|d| desired.datasets.get(d));
            let dataset = dataset.ok_or_else(|| PortError::permanent(format!("input `{input}` names no dataset")))?;
            if let Some(snapshot) = self.known_snapshot(&dataset.name, &digest)? {
                return Ok((input, snapshot));
            }
            // A lock made elsewhere, or one so old that its snapshot was removed: the data is the same if its content is.
            let now = self.take_snapshot(dataset, cancel)?;
            if now.digest == digest {
                return Ok((input, now));
            }
            Err(PortError::permanent(format!(
                "snapshot {} of {} is pinned by trimtab.lock but not in this store, and the data is now {}: restore the data, or `trimtab refresh {model}`",
                digest.short(),
                dataset.name,
                now.digest.short()
            )))
        };
        pins.into_iter().map(find).collect()
    }
}

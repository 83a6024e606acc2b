//! One clean-up: what stays is marked, the rest goes.

use super::{asked_by, stored};
use crate::{
    gc::{self, Asked},
    model::{tracking::ArtifactFile, *},
    ports::*,
    reconcile::{Reconciler, lock},
    store::{Batch, Table},
};
use litemap::LiteMap;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Something whose record goes, with what it referred to.
struct Gone {
    item: GcItem,
    files: Vec<Digest>,
}

/// What stays, and what goes as far as it is known.
pub(super) struct Round<'a> {
    r: &'a Reconciler,
    settings: GcSettings,
    dry_run: bool,
    /// Whether no other process takes anything in meanwhile.
    alone: bool,
    asked: BTreeMap<Name, Asked>,
    /// Content of what stays.
    files: HashSet<Digest>,
    snapshots: HashSet<Digest>,
    environments: HashSet<Digest>,
    /// Runs that made a protected version, and runs that live.
    made: BTreeSet<RunId>,
    alive: BTreeSet<RunId>,
    /// Keys of run folders and layouts that stay.
    folders: HashSet<Digest>,
    gone: Vec<Gone>,
    /// Where in `gone` stands what a folder belonged to.
    owners: HashMap<Digest, usize>,
    postponed: Vec<String>,
}

impl<'a> Round<'a> {
    pub fn new(
        r: &'a Reconciler,
        settings: GcSettings,
        dry_run: bool,
        alone: bool,
        asked: BTreeMap<Name, Asked>,
    ) -> Self {
        Self {
            r,
            settings,
            dry_run,
            alone,
            asked,
            files: HashSet::new(),
            snapshots: HashSet::new(),
            environments: HashSet::new(),
            made: BTreeSet::new(),
            alive: BTreeSet::new(),
            folders: HashSet::new(),
            gone: Vec::new(),
            owners: HashMap::new(),
            postponed: Vec::new(),
        }
    }

    /// Records first, then files.
    pub fn run(mut self) -> PortResult<GcReport> {
        let left_alone = self.find_alive()?;
        let models = self.r.known_models();
        models.iter().try_for_each(|name| self.versions(name))?;
        models.iter().try_for_each(|name| self.runs(name))?;
        self.snapshots()?;
        self.uploads()?;
        if self.dry_run || self.alone {
            self.memories()?;
            self.run_folders()?;
            if left_alone {
                let why = "environments and data that runs of an earlier daemon may use, until they are taken up";
                self.postponed.push(why.into());
            } else {
                self.layouts()?;
                self.environments()?;
            }
            self.content()?;
        } else {
            self.postponed.push("files, since `trimtab run` uses this state folder now".into());
        }
        let items: Vec<GcItem> = self.gone.into_iter().map(|g| g.item).collect();
        let bytes = items.iter().map(|i| i.bytes).sum();
        Ok(GcReport { dry_run: self.dry_run, items, bytes, postponed: self.postponed })
    }

    /// What clients of the tracking server uploaded stays; parts of files that were not finished in time go.
    fn uploads(&mut self) -> PortResult<()> {
        let note = |path: &[u8], file: ArtifactFile| {
            // Those of a version of the loop go and stay with the version.
            if !ArtifactFile::is_published(path) {
                self.files.insert(file.digest);
            }
            Ok(())
        };
        self.r.0.store.each_tracked(Table::Artifact, "", note).map_err(stored)?;
        if self.dry_run { Ok(()) } else { self.disk().drop_late_parts(self.r.now().steady) }
    }

    fn disk(&self) -> &'a dyn Disk {
        self.r.0.ports.disk.as_ref()
    }

    fn is_claimed(&self, key: &Digest) -> bool {
        self.r.0.ports.claims.freeze().has(key)
    }

    /// Notes the runs that have a process. Whether one of them was left by an earlier daemon and is not taken up yet.
    fn find_alive(&mut self) -> PortResult<bool> {
        let mut runs = Vec::new();
        self.disk().each(Place::Run, &mut |stored| runs.push(stored))?;
        runs.retain(|stored| self.disk().is_alive(stored));
        let left_alone = runs.iter().any(|stored| !self.is_claimed(&stored.key));
        self.folders.extend(runs.iter().map(|stored| stored.key));
        self.alive = runs.into_iter().map(|stored| RunId(stored.name)).collect();
        Ok(left_alone)
    }

    fn goes(&mut self, kind: GcKind, of: Option<&Name>, name: String, why: String, files: Vec<Digest>) {
        let item = GcItem { kind, of: of.cloned(), name, bytes: 0, why };
        self.gone.push(Gone { item, files });
    }

    /// Versions of a model, and its pins of old content. Under the lock of its looks, so that none of them sees half of it.
    fn versions(&mut self, name: &Name) -> PortResult<()> {
        self.r.still_open()?;
        let Some(cell) = self.r.cell(name) else { return Ok(()) };
        let mut cell = lock(&cell);
        let mut asked = self.asked.remove(name).unwrap_or_default();
        // Git may have moved since its history was read.
        let newest = self.r.loaded().state().models.get(name).cloned();
        for desired in newest.iter().chain(&cell.observed.desired) {
            asked.extend(&asked_by(desired, &cell.observed));
        }
        let all = self.r.0.store.versions(name).map_err(stored)?;
        let protected = gc::protected(&cell.observed, &asked, &all);
        let goes = gc::versions(&protected, &all, self.settings.versions);
        let (gone, kept): (Vec<&Version>, Vec<&Version>) = all.iter().partition(|v| goes.contains(&v.number));
        let pins = gc::content_pins(&cell.observed, &asked, &kept, self.settings.versions);
        let mut observed = cell.observed.clone();
        observed.content_pins.retain(|content, _| !pins.contains(content));
        // Runs that are to be stopped are looked up for it.
        self.made.extend(cell.observed.stopping.iter().cloned());
        self.snapshots.extend(&asked.snapshots);
        self.snapshots.extend(observed.pins.values().map(|p| p.snapshot));
        self.snapshots.extend(observed.content_pins.values().flat_map(LiteMap::values));
        let changes = !gone.is_empty() || !pins.is_empty();
        if changes && !self.dry_run {
            let batch = gone.iter().fold(Batch::new().put_model(&observed), |batch, v| batch.delete_version(v));
            self.r.commit(batch).map_err(stored)?;
            cell.observed = observed;
            self.r.withdraw(name, gone.iter().map(|v| v.number));
        }
        drop(cell);
        for v in kept {
            self.files.extend(content_of(v));
            self.snapshots.extend(v.snapshots.values());
            self.environments.extend(v.python);
            if protected.contains(&v.number) {
                self.made.extend(v.stages.iter().map(|s| s.run.clone()));
            }
        }
        let (limit, keep) = (self.settings.versions, self.settings.keep);
        for v in gone {
            let why = format!(
                "beyond the newest {limit}; it does not serve, and no commit of the last {keep} asks for {}",
                v.fingerprint.short()
            );
            self.goes(GcKind::Version, Some(name), v.number.to_string(), why, content_of(v).collect());
        }
        if !pins.is_empty() {
            let why = format!("no commit of the last {keep} and no version that stays has this content");
            self.goes(GcKind::Pins, Some(name), format!("{} pins", pins.len()), why, vec![]);
        }
        Ok(())
    }

    fn runs(&mut self, name: &Name) -> PortResult<()> {
        self.r.still_open()?;
        let pipeline = self.r.view(name).and_then(|v| v.observed.pipeline);
        let all = self.r.0.store.all_runs(name).map_err(stored)?;
        let stays = |run: &&Run| gc::run_stays(run, pipeline.as_deref(), &self.made, &self.alive);
        let beyond: Vec<Run> = gc::beyond(&all, self.settings.runs, stays).into_iter().cloned().collect();
        let gone = {
            // A task that takes one of them up claims it first, and so comes before this or after it.
            let claims = self.r.0.ports.claims.freeze();
            let gone: Vec<Run> = beyond.into_iter().filter(|run| !claims.has(&run.id.key())).collect();
            if !self.dry_run && !gone.is_empty() {
                let batch = self.r.0.store.forget_runs(name, &gone).map_err(stored)?;
                self.r.commit(batch).map_err(stored)?;
            }
            gone
        };
        let ids: BTreeSet<&RunId> = gone.iter().map(|run| &run.id).collect();
        for run in all.iter().filter(|run| !ids.contains(&run.id)) {
            self.folders.insert(run.id.key());
            self.files.extend(outputs_of(run));
        }
        for run in &gone {
            self.owners.insert(run.id.key(), self.gone.len());
            let why = format!("beyond the newest {}; it made no version that must stay", self.settings.runs);
            self.goes(GcKind::Run, Some(name), run.id.to_string(), why, outputs_of(run).collect());
        }
        Ok(())
    }

    fn snapshots(&mut self) -> PortResult<()> {
        let store = &self.r.0.store;
        let mut by_dataset: BTreeMap<Name, Vec<(WallMs, Digest)>> = BTreeMap::new();
        let note = |s: Snapshot| {
            by_dataset.entry(s.dataset).or_default().push((s.taken, s.digest));
            Ok(())
        };
        store.each_snapshot(note).map_err(stored)?;
        let mut beyond = BTreeSet::new();
        for (dataset, mut all) in by_dataset {
            all.sort_by(|a, b| b.cmp(a));
            let gone = gc::beyond(all, self.settings.snapshots, |(_, digest)| self.snapshots.contains(digest));
            beyond.extend(gone.into_iter().map(|(_, digest)| (dataset.clone(), digest)));
        }
        {
            let claims = self.r.0.ports.claims.freeze();
            beyond.retain(|(_, digest)| !claims.has(digest));
        }
        let mut kept = HashSet::new();
        let mut gone = Vec::new();
        let mark = |s: Snapshot| {
            let files = s.manifest.files.iter().map(|f| f.digest);
            if beyond.contains(&(s.dataset.clone(), s.digest)) {
                gone.push((s.dataset, s.digest, files.collect::<Vec<_>>()));
            } else {
                kept.extend(files);
                self.folders.insert(s.digest);
            }
            Ok(())
        };
        store.each_snapshot(mark).map_err(stored)?;
        self.files.extend(kept);
        let gone = self.forget_snapshots(gone)?;
        for (dataset, digest, files) in gone {
            self.owners.insert(digest, self.gone.len());
            let why = format!("beyond the newest {}; nothing that stays is pinned to it", self.settings.snapshots);
            self.goes(GcKind::Snapshot, Some(&dataset), digest.short(), why, files);
        }
        Ok(())
    }

    /// Forgets those that no task came to rely on meanwhile; returns them.
    fn forget_snapshots(
        &mut self,
        gone: Vec<(Name, Digest, Vec<Digest>)>,
    ) -> PortResult<Vec<(Name, Digest, Vec<Digest>)>> {
        let claims = self.r.0.ports.claims.freeze();
        let (claimed, free): (Vec<_>, Vec<_>) = gone.into_iter().partition(|(_, digest, _)| claims.has(digest));
        if !self.dry_run && !free.is_empty() {
            let forget =
                |batch: Batch, (dataset, digest, _): &(Name, Digest, _)| batch.delete_snapshot(dataset, digest);
            self.r.commit(free.iter().fold(Batch::new(), forget)).map_err(stored)?;
        }
        for (_, digest, files) in claimed {
            self.folders.insert(digest);
            self.files.extend(files);
        }
        Ok(free)
    }

    /// Removes something from the disk, or says that it would go: the bytes that it frees, unless it has to stay.
    fn take(&mut self, stored: &Stored) -> Option<u64> {
        let bytes = self.disk().size(stored);
        if self.dry_run {
            return (!self.is_claimed(&stored.key)).then_some(bytes);
        }
        match self.disk().remove(stored) {
            Ok(removed) => removed.then_some(bytes),
            Err(e) => {
                self.postponed.push(e.message);
                None
            }
        }
    }

    /// Takes folders away; each counts for what it belonged to, and the rest together.
    fn take_all(&mut self, stored: Vec<Stored>, what: &str, why: &str) -> PortResult<()> {
        let (mut count, mut sum) = (0, 0);
        for one in stored {
            self.r.still_open()?;
            let Some(bytes) = self.take(&one) else { continue };
            match self.owners.get(&one.key).and_then(|at| self.gone.get_mut(*at)) {
                Some(owner) => owner.item.bytes += bytes,
                None => (count, sum) = (count + 1, sum + bytes),
            }
        }
        self.left_over(count, sum, what, why);
        Ok(())
    }

    fn left_over(&mut self, count: usize, bytes: u64, what: &str, why: &str) {
        if count > 0 {
            let item =
                GcItem { kind: GcKind::Leftovers, of: None, name: format!("{count} {what}"), bytes, why: why.into() };
            self.gone.push(Gone { item, files: vec![] });
        }
    }

    fn list(&self, place: Place, goes: impl Fn(&Stored) -> bool) -> PortResult<Vec<Stored>> {
        let mut found = Vec::new();
        self.disk().each(place, &mut |stored| {
            if goes(&stored) {
                found.push(stored);
            }
        })?;
        Ok(found)
    }

    /// What `trimtab run` remembers of stages.
    fn memories(&mut self) -> PortResult<()> {
        let mut all = self.list(Place::Memory, |_| true)?;
        all.sort_by_key(|m| std::cmp::Reverse(m.modified));
        let known: Vec<(Stored, Option<Run>)> =
            all.into_iter().map(|m| (m.clone(), self.disk().remembered(&m))).collect();
        let readable = known.iter().filter_map(|(_, run)| run.as_ref()).take(self.settings.runs);
        for run in readable {
            self.folders.insert(run.id.key());
            self.files.extend(outputs_of(run));
        }
        let gone =
            known.into_iter().filter(|(_, run)| run.as_ref().is_none_or(|r| !self.folders.contains(&r.id.key())));
        let gone = gone.map(|(memory, _)| memory).collect();
        self.take_all(gone, "stages that `trimtab run` remembers", "beyond the newest runs")
    }

    fn run_folders(&mut self) -> PortResult<()> {
        let gone = self.list(Place::Run, |run| !self.folders.contains(&run.key))?;
        self.take_all(gone, "folders of runs", "no run refers to them")
    }

    fn layouts(&mut self) -> PortResult<()> {
        let gone = self.list(Place::Layout, |layout| !self.folders.contains(&layout.key))?;
        self.take_all(gone, "folders of data", "no snapshot refers to them")
    }

    fn environments(&mut self) -> PortResult<()> {
        let mut all = self.list(Place::Environment, |_| true)?;
        all.sort_by_key(|e| std::cmp::Reverse(e.modified));
        let stays = |e: &Stored| self.environments.contains(&e.key);
        for environment in gc::beyond(all, self.settings.environments, stays) {
            self.r.still_open()?;
            let Some(bytes) = self.take(&environment) else { continue };
            let why = format!("beyond the newest {}; no version that stays runs in it", self.settings.environments);
            self.goes(GcKind::Environment, None, environment.key.short(), why, vec![]);
            self.gone.last_mut().into_iter().for_each(|g| g.item.bytes = bytes);
        }
        Ok(())
    }

    /// Files that nothing refers to; each counts for the first thing that it went with.
    fn content(&mut self) -> PortResult<()> {
        let unused = self.list(Place::File, |file| !self.files.contains(&file.key))?;
        let mut freed: HashMap<Digest, u64> = HashMap::new();
        for file in unused {
            self.r.still_open()?;
            if let Some(bytes) = self.take(&file) {
                freed.insert(file.key, bytes);
            }
        }
        for gone in &mut self.gone {
            gone.item.bytes += gone.files.iter().filter_map(|file| freed.remove(file)).sum::<u64>();
        }
        self.left_over(freed.len(), freed.values().sum(), "files", "nothing refers to them");
        Ok(())
    }
}

fn content_of(version: &Version) -> impl Iterator<Item = Digest> {
    version.artifact.files.iter().chain(&version.code_files.files).map(|f| f.digest)
}

fn outputs_of(run: &Run) -> impl Iterator<Item = Digest> {
    run.outputs.iter().flat_map(|m| &m.files).map(|f| f.digest)
}

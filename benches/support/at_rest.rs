//! A fleet that is trained and at rest: what it would train and serve is not what is measured.

use super::support::Fleet;
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};
use trimtab::{
    model::*,
    ports::*,
    process::SystemClock,
    reconcile::{Config, Ports, Reconciler},
    store::Store,
};

/// Trains at once: what it would have made is not what is measured.
struct Instantly;

impl Trainer for Instantly {
    fn execute(&self, _: &PipelineJob, _: &dyn PipelineObserver, _: &Cancel) -> PortResult<PipelineOutcome> {
        Ok(PipelineOutcome {
            artifact: Manifest { files: vec![] },
            code_files: Manifest { files: vec![] },
            metrics: BTreeMap::from([("recall".into(), 0.95), ("auc".into(), 0.98)]),
            stages: vec![],
            python: None,
            packages: vec![],
            host: "bench".into(),
            duration: Millis(1000),
        })
    }
    fn stop(&self, _: &RunId) {}
    fn log(&self, _: &RunId) -> PathBuf {
        PathBuf::new()
    }
}

impl Registry for Instantly {
    fn find(&self, _: &str) -> PortResult<RegisteredFiles> {
        Err(PortError::permanent("nothing is registered here"))
    }
    fn knows(&self, _: &Name, _: VersionNumber) -> bool {
        true
    }
    fn publish(&self, _: &Version) -> PortResult<()> {
        Ok(())
    }
    fn serves(&self, _: &Name, _: &BTreeMap<Name, VersionNumber>) -> PortResult<()> {
        Ok(())
    }
    fn withdraw(&self, _: &Name, _: VersionNumber) -> PortResult<()> {
        Ok(())
    }
}

impl Datasets for Instantly {
    fn snapshot(&self, dataset: &DatasetSpec, now: WallMs, _: &Cancel) -> PortResult<Snapshot> {
        Ok(Snapshot {
            dataset: dataset.name.clone(),
            digest: Digest::of(b"data"),
            manifest: Manifest { files: vec![] },
            single_file: true,
            taken: now,
        })
    }
    fn locate(&self, _: &Snapshot) -> PortResult<PathBuf> {
        Err(PortError::permanent("nothing is read here"))
    }
}

/// Serves nothing: the fleet deploys nothing.
impl Target for Instantly {
    fn apply(&self, _: &Wanted) -> PortResult<()> {
        Ok(())
    }
    fn replicas(&self, _: &Name, _: &Name) -> Vec<ReplicaStatus> {
        vec![]
    }
    fn traffic(&self, _: &Name, _: &Name, _: &Rollout) -> Traffic {
        Traffic::default()
    }
    fn served(&self, _: &Name, _: &Name, _: Release) -> Served {
        Served::default()
    }
    fn recent(&self) -> Arc<HashMap<(Name, Name), Recent>> {
        Arc::default()
    }
    fn busy(&self) -> bool {
        false
    }
    fn routed(&self, _: &Name, _: &Name) -> Option<Release> {
        None
    }
    fn log(&self, _: &Name, _: &Name, _: bool) -> Option<PathBuf> {
        None
    }
    fn metrics(&self) -> PortResult<String> {
        Ok(String::new())
    }
    fn address(&self) -> Option<String> {
        None
    }
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// Nothing is asked.
impl Metrics for Instantly {
    fn ask(&self, _: &AnalysisMetric, _: &Measured) -> Answer {
        Answer::NoData
    }
}

/// Nothing lies anywhere.
impl Disk for Instantly {
    fn each(&self, _: Place, _: &mut dyn FnMut(Stored)) -> PortResult<()> {
        Ok(())
    }
    fn size(&self, _: &Stored) -> u64 {
        0
    }
    fn remove(&self, _: &Stored) -> PortResult<bool> {
        Ok(false)
    }
    fn is_alive(&self, _: &Stored) -> bool {
        false
    }
    fn remembered(&self, _: &Stored) -> Option<Run> {
        None
    }
    fn drop_late_parts(&self, _: SteadyMs) -> PortResult<()> {
        Ok(())
    }
    fn alone(&self) -> PortResult<Option<Box<dyn Send>>> {
        Ok(None)
    }
}

/// A fleet that is trained and at rest, with its state in the fleet's folder.
pub struct AtRest {
    pub fleet: Fleet,
    pub reconciler: Reconciler,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl AtRest {
    pub fn new(models: usize) -> Self {
        let fleet = Fleet::new(models, false);
        let state = fleet.folder.path().join("state");
        let source = Arc::new(fleet.source(&state));
        let stub = Arc::new(Instantly);
        let clock = Arc::new(SystemClock::continuing(None));
        let ports = Ports {
            source,
            trainer: stub.clone(),
            target: stub.clone(),
            metrics: stub.clone(),
            datasets: stub.clone(),
            registry: stub.clone(),
            clock,
            disk: stub,
            claims: Arc::default(),
        };
        // The loop asks only when it is told to.
        let config = Config { poll: Millis(3_600_000), workers: 8, gc_every: Millis(0), random: || 0 };
        let reconciler = Reconciler::open(Store::open(&state).unwrap(), ports, config).unwrap();
        let threads = reconciler.run().unwrap();
        let rested = || {
            let views = reconciler.views();
            views.len() == models && views.iter().all(|v| v.plan.as_ref().is_some_and(|p| p.sync == SyncStatus::Synced))
        };
        let begun = Instant::now();
        while !rested() {
            assert!(begun.elapsed() < Duration::from_secs(1200), "the fleet of {models} does not come to rest");
            sleep(Duration::from_millis(500));
        }
        eprintln!("{models} models trained and registered in {:.1} s", begun.elapsed().as_secs_f64());
        Self { fleet, reconciler, threads }
    }

    /// Ends the loop and gives the folder with the repository and the state.
    pub fn stop(self) -> Fleet {
        self.reconciler.stop();
        for thread in self.threads {
            thread.join().unwrap();
        }
        drop(self.reconciler);
        // The file watcher's own thread lets go of the store a moment later.
        let begun = Instant::now();
        while Store::open(&self.fleet.folder.path().join("state")).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the store is still held");
            sleep(Duration::from_millis(10));
        }
        self.fleet
    }
}

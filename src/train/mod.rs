//! The local executor: pipelines of stages, Python environments, run folders.

mod dag;
mod metrics;
pub mod python;
pub mod saved;
mod stage;
mod workspace;

use crate::{
    model::*,
    ports::*,
    process::{self, State},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// What the local executor works with.
#[derive(Clone)]
pub struct TrainerConfig {
    pub state: PathBuf,
    /// This binary, for shims.
    pub exe: PathBuf,
    pub clock: Arc<dyn Clock>,
    pub source: Arc<dyn GitTree>,
    pub artifacts: Arc<dyn ArtifactStore>,
    pub datasets: Arc<dyn Datasets>,
    /// Where runs are tracked; `None` where no daemon is.
    pub tracker: Option<Arc<dyn RunTracker>>,
}

/// Runs pipelines as processes on this machine.
#[derive(Clone)]
pub struct LocalTrainer {
    config: TrainerConfig,
}

impl LocalTrainer {
    /// An executor; nothing is touched before a job comes.
    pub fn new(config: TrainerConfig) -> Self {
        Self { config }
    }
}

impl Trainer for LocalTrainer {
    fn execute(
        &self,
        job: &PipelineJob,
        observer: &dyn PipelineObserver,
        cancel: &Cancel,
    ) -> PortResult<PipelineOutcome> {
        dag::execute(&self.config, job, observer, cancel)
    }

    fn stop(&self, run: &RunId) {
        let Some(shim) = process::adopt(&run_folder(&self.config.state, run).join("shim")) else { return };
        match shim.state() {
            State::Running => {
                shim.stop();
                shim.wait(|| false);
            }
            State::Lost => shim.kill(),
            State::Ended(_) => {}
        }
    }

    fn log(&self, run: &RunId) -> PathBuf {
        run_folder(&self.config.state, run).join("log")
    }
}

/// The folder of a run.
fn run_folder(state: &Path, run: &RunId) -> PathBuf {
    state.join("runs").join(&run.0)
}

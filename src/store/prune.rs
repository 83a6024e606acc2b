//! Reading everything of a kind, and forgetting.

use super::{Batch, Store, StoreError, key, record};
use crate::model::*;
use std::collections::BTreeSet;

impl Store {
    /// All runs of a model, newest first, each once.
    pub fn all_runs(&self, model: &Name) -> Result<Vec<Run>, StoreError> {
        let ids: Vec<RunId> = self.all(&key::runs_of_model(model))?;
        let mut seen = BTreeSet::new();
        let newest_first = ids.iter().rev().filter(|id| seen.insert(*id));
        let runs: Result<Vec<_>, _> = newest_first.map(|id| self.run(id)).collect();
        Ok(runs?.into_iter().flatten().collect())
    }

    /// Every snapshot, by dataset, one at a time.
    pub fn each_snapshot(&self, mut visit: impl FnMut(Snapshot) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.each(key::SNAPSHOTS, |key, value| visit(record::decode(key, value)?))
    }

    /// A batch that forgets runs of one model, and that a stage's content leads to them.
    pub fn forget_runs(&self, model: &Name, runs: &[Run]) -> Result<Batch, StoreError> {
        let gone: BTreeSet<&RunId> = runs.iter().map(|r| &r.id).collect();
        let mut batch = Batch::new();
        // A run that was taken up again stands in the order more than once.
        self.each(&key::runs_of_model(model), |key, value| {
            if gone.contains(&record::decode::<RunId>(key, value)?) {
                batch.delete(key.to_vec());
            }
            Ok(())
        })?;
        for run in runs {
            batch.delete(key::run(&run.id));
            let stage = key::stage(&run.key);
            if self.get::<RunId>(&stage)?.as_ref() == Some(&run.id) {
                batch.delete(stage);
            }
        }
        Ok(batch)
    }
}

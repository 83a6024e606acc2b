//! Where versions came from: the runs and logged models that are brought with a model that is asked for by name.

use super::{Done, Import};
use crate::{mlflow::wire, model::ImportKind};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

/// An experiment's id here, as [`Import::experiment`] gives it.
type Home = Option<Option<u64>>;

pub(super) struct Lineage<'a> {
    import: &'a Import<'a>,
    experiments: &'a [wire::Experiment],
    /// What was met before: versions of one run bring it once.
    homes: RefCell<BTreeMap<String, Home>>,
    met: RefCell<BTreeSet<String>>,
}

impl<'a> Lineage<'a> {
    pub(super) fn new(import: &'a Import<'a>, experiments: &'a [wire::Experiment]) -> Self {
        Self { import, experiments, homes: RefCell::default(), met: RefCell::default() }
    }

    /// Brings the run and the logged model that a version came from.
    pub(super) fn bring(&self, version: &wire::ModelVersion) -> Done<()> {
        let import = self.import;
        let id = &version.run_id;
        if !id.is_empty() && self.met.borrow_mut().insert(id.clone()) {
            let run = import.tolerant(ImportKind::Run, id, || Ok(Some(import.remote.run(id)?)))?;
            if let Some(run) = run
                && let Some(home) = self.home(&run.info.experiment_id)?
            {
                import.found(ImportKind::Run, 1)?;
                import.run_of(&run, home)?;
            }
        }
        let Some(id) = version.source.strip_prefix("models:/").filter(|id| id.starts_with("m-")) else { return Ok(()) };
        if !self.met.borrow_mut().insert(id.to_owned()) {
            return Ok(());
        }
        let model = import.tolerant(ImportKind::LoggedModel, id, || Ok(Some(import.remote.logged_model(id)?)))?;
        if let Some(model) = model
            && let Some(home) = self.home(&model.info.experiment_id)?
        {
            import.found(ImportKind::LoggedModel, 1)?;
            import.logged_model_of(&model, home)?;
        }
        Ok(())
    }

    /// `None` where it was brought whole already, or is left.
    fn home(&self, id: &str) -> Done<Home> {
        if let Some(home) = self.homes.borrow().get(id) {
            return Ok(*home);
        }
        let asked = &self.import.wish.experiments;
        let found = self.experiments.iter().find(|e| e.experiment_id == id && !asked.contains(&e.name));
        let home = match found {
            Some(experiment) => {
                self.import.found(ImportKind::Experiment, 1)?;
                self.import.experiment(experiment)?
            }
            None => None,
        };
        self.homes.borrow_mut().insert(id.to_owned(), home);
        Ok(home)
    }
}

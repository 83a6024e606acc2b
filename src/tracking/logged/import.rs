//! Logged models that come from another server, with their ids.

use super::{LoggedModel, ModelPoint, OfModel, Tracked, Tracker, state::Kept};
use crate::{
    model::{ImportKind, tracking::TrackingError},
    store::{Batch, Table},
    tracking::{
        Mark,
        import::{marked, of_here},
    },
};

/// Ids are in paths and keys.
fn check_id(id: &str) -> Tracked<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !id.is_empty() && id.len() <= 100 && id.chars().all(good) {
        return Ok(());
    }
    Err(TrackingError::invalid(format!("`{id}` is no id of a logged model")))
}

impl Tracker {
    /// A logged model, new or as it is now, with its metrics.
    pub async fn bring_logged_model(&self, model: LoggedModel, points: &[ModelPoint], mark: &Mark) -> Tracked<()> {
        check_id(&model.id)?;
        self.experiment(&model.experiment.to_string())?;
        let id = model.id.clone();
        let points: Vec<OfModel> = points.iter().map(|p| (id.clone(), p.clone())).collect();
        let brought = self.mark(ImportKind::LoggedModel, &id)?.is_some();
        let handed = {
            let mut models = self.logged_mut();
            if !brought && models.by_id.contains_key(&id) {
                return Err(of_here(ImportKind::LoggedModel, &id));
            }
            let batch = Batch::new().put_tracked(Table::LoggedModel, &id, &model);
            let points_there = models.by_id.remove(&id).map(|old| old.points).unwrap_or_default();
            models.by_id.insert(id.clone(), Kept { model, points: points_there });
            let batch = marked(batch, ImportKind::LoggedModel, &id, mark);
            models.take_points(&points, batch).map(|batch| self.0.store.submit(batch))
        };
        let done = match handed {
            Ok(waiting) => waiting.await.map(drop).map_err(Into::into),
            Err(e) => Err(e),
        };
        if done.is_err() {
            self.read_logged_model_again(&id)?;
        }
        done
    }
}

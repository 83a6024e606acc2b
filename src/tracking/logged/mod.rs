//! Logged models: what a run's training made, with params, tags and the metrics that were logged for them.
//!
//! A model's record holds all but its metrics, which come one by one over a training: each call's points are a record of their own beside it.
//! Sources: `mlflow` 3.17.2, `store/tracking/sqlalchemy_store.py` and `server/handlers.py`.

mod change;
mod import;
mod points;
mod search;
mod state;

pub use change::NewLoggedModel;
pub use points::{ModelPoint, OfModel};
pub use search::LoggedQuery;
pub use state::{LoggedModel, ModelStatus};

use super::{Tracked, Tracker};
use crate::store::{Store, Table};
use points::Points;
use state::Kept;
pub(super) use state::LoggedModels;
use std::sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard};

/// The key of one call's points: ids of models have no colon.
fn points_key(id: &str, number: u64) -> Vec<u8> {
    [id.as_bytes(), b":", &number.to_be_bytes()].concat()
}

/// Takes one record in. Records of points come after their model's.
fn take(models: &mut LoggedModels, key: &[u8], bytes: &[u8]) -> serde_json::Result<()> {
    match key.iter().position(|b| *b == b':') {
        None => {
            let model: LoggedModel = serde_json::from_slice(bytes)?;
            models.by_id.insert(model.id.clone(), Kept { model, points: Points::default() });
        }
        Some(at) => {
            let points: Vec<ModelPoint> = serde_json::from_slice(bytes)?;
            let number = key[at + 1..].try_into().map_or(0, u64::from_be_bytes);
            models.next_page = models.next_page.max(number + 1);
            if let Some(kept) = models.by_id.get_mut(&*String::from_utf8_lossy(&key[..at])) {
                points.into_iter().for_each(|p| kept.points.put(p));
            }
        }
    }
    Ok(())
}

fn read_prefix(store: &Store, prefix: &str, models: &mut LoggedModels) -> Tracked<()> {
    let mut damaged = Ok(());
    store.each_tracked_bytes(Table::LoggedModel, prefix, |key, bytes| {
        if damaged.is_ok() {
            damaged = take(models, key, bytes);
        }
        Ok(())
    })?;
    damaged.map_err(|e| {
        super::TrackingError::new(super::ErrorCode::InternalError, format!("a logged model cannot be read: {e}"))
    })
}

/// Reads what the store holds.
pub(super) fn read(store: &Store) -> Tracked<LoggedModels> {
    let mut models = LoggedModels::default();
    read_prefix(store, "", &mut models)?;
    Ok(models)
}

impl Tracker {
    fn logged(&self) -> RwLockReadGuard<'_, LoggedModels> {
        self.0.logged.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn logged_mut(&self) -> RwLockWriteGuard<'_, LoggedModels> {
        self.0.logged.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back what the store did not keep of a model.
    pub fn read_logged_model_again(&self, id: &str) -> Tracked<()> {
        let mut models = self.logged_mut();
        models.by_id.remove(id);
        read_prefix(&self.0.store, id, &mut models)
    }
}

#[cfg(test)]
mod tests;

//! Searches over traces.

use super::{Trace, in_order, of_experiment, place};
use crate::{
    model::tracking::TrackingError,
    search::{Filter, Orders, SortKey, Subject, page},
    store::{Step, Table},
    tracking::{Tracked, Tracker, check, search::paged},
};

/// Traces of one page, at most, as in MLflow's handlers.
const MOST: i64 = 500;

/// What is searched for.
#[derive(Debug, Default)]
pub struct TraceQuery {
    pub filter: String,
    pub max_results: i64,
    pub order_by: Vec<String>,
    pub page_token: String,
}

/// What was found: its place among the others, and where to read it again.
type Found = (SortKey, Vec<u8>);

impl Tracker {
    /// Traces of these experiments, and the token of the next page.
    pub fn search_traces(&self, experiments: &[String], query: &TraceQuery) -> Tracked<(Vec<Trace>, Option<String>)> {
        let most = match query.max_results {
            n if (1..=MOST).contains(&n) => n as usize,
            n => {
                return Err(TrackingError::invalid(format!(
                    "Invalid value {n} for parameter 'max_results' supplied. It must be a positive integer of at most {MOST}"
                )));
            }
        };
        let filter = Filter::parse(Subject::Traces, &query.filter)?;
        let orders = Orders::parse(Subject::Traces, &query.order_by)?;
        let offset = page::offset(&query.page_token)?;
        let mut ids = check::experiment_ids(experiments)?;
        ids.sort_unstable();
        ids.dedup();
        // They stand in the order that nobody asked to change: what comes after the page need not be read.
        let enough = if query.order_by.is_empty() { offset.saturating_add(most).saturating_add(1) } else { usize::MAX };
        let mut found: Vec<Found> = Vec::new();
        for id in ids {
            let before = found.len();
            self.0.store.walk_tracked(Table::Trace, of_experiment(id), |_, trace: Trace| {
                if filter.matches(&trace) {
                    found.push((orders.key(&trace), in_order(place(&trace), &trace.id)));
                }
                Ok(if found.len() - before < enough { Step::Next } else { Step::Stop })
            })?;
        }
        let (keys, next) = paged(found, offset, most);
        let mut traces = Vec::with_capacity(keys.len());
        for key in keys {
            // One that was deleted just now is left out.
            traces.extend(self.0.store.tracked(Table::Trace, key)?);
        }
        Ok((traces, next))
    }
}

//! Searches over traces.

use super::{Trace, in_order, of_experiment, place};
use crate::{
    model::tracking::TrackingError,
    search::{Filter, Orders, Subject, page},
    store::{Step, Table},
    tracking::{Tracked, Tracker, check, first::First},
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
        let end = offset.saturating_add(most);
        let enough = if query.order_by.is_empty() { end.saturating_add(1) } else { usize::MAX };
        let mut first = First::until(end);
        for id in ids {
            let mut found = 0;
            self.0.store.walk_tracked(Table::Trace, of_experiment(id), |_, trace: Trace| {
                if filter.matches(&trace) {
                    found += 1;
                    first.put(orders.key(&trace), in_order(place(&trace), &trace.id));
                }
                Ok(if found < enough { Step::Next } else { Step::Stop })
            })?;
        }
        let (keys, next) = first.page(offset);
        let mut traces = Vec::with_capacity(keys.len());
        for key in keys {
            // One that was deleted just now is left out.
            traces.extend(self.0.store.tracked(Table::Trace, key)?);
        }
        Ok((traces, next))
    }
}

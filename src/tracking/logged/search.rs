//! Searches over logged models.

use super::{LoggedModel, ModelPoint, Tracked, Tracker, state::Kept};
use crate::{
    model::tracking::{ErrorCode, Lifecycle, TrackingError},
    search::{Filter, OnDataset, OrderBy, Orders, Subject, page},
    tracking::{check, first::First, json},
};
use serde::{Deserialize, Serialize};

/// What is searched, and how much of it is wanted.
#[derive(Debug, Default)]
pub struct LoggedQuery {
    pub experiments: Vec<String>,
    pub filter: String,
    pub datasets: Vec<OnDataset>,
    /// So many as the server likes, for 0.
    pub max_results: i64,
    pub order_by: Vec<OrderBy>,
    pub page_token: String,
}

/// Models of one page when the caller asks for 0.
const PAGE: usize = 100;

/// Where a page begins, and of which search.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Token {
    #[serde(default)]
    experiment_ids: Vec<String>,
    filter_string: Option<String>,
    order_by: Option<Vec<Order>>,
    #[serde(default)]
    offset: usize,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    field_name: String,
    ascending: bool,
    dataset_name: Option<String>,
    dataset_digest: Option<String>,
}

impl Token {
    fn of(query: &LoggedQuery, offset: usize) -> Self {
        let order = |o: &OrderBy| Order {
            field_name: o.field_name.clone(),
            ascending: o.ascending,
            dataset_name: o.dataset_name.clone(),
            dataset_digest: o.dataset_digest.clone(),
        };
        let orders: Vec<Order> = query.order_by.iter().map(order).collect();
        Self {
            experiment_ids: query.experiments.clone(),
            filter_string: Some(query.filter.clone()).filter(|f| !f.is_empty()),
            order_by: Some(orders).filter(|o| !o.is_empty()),
            offset,
        }
    }

    fn written(&self) -> Tracked<String> {
        let document = json::python(self)
            .map_err(|e| TrackingError::new(ErrorCode::InternalError, format!("no page token: {e}")))?;
        Ok(page::encode(&document))
    }
}

/// Where the page of a token begins, which has to be of the same search.
fn offset(query: &LoggedQuery) -> Tracked<usize> {
    if query.page_token.is_empty() {
        return Ok(0);
    }
    let bytes = page::decode(&query.page_token)?;
    let token: Token = serde_json::from_slice(&bytes)
        .map_err(|e| TrackingError::invalid(format!("Invalid page token: {}. {e}", query.page_token)))?;
    let asked = Token::of(query, token.offset);
    let differs = |words: &str| Err(TrackingError::invalid(words));
    if token.experiment_ids != asked.experiment_ids {
        return differs("Experiment IDs in the page token do not match the requested experiment IDs.");
    }
    if token.filter_string != asked.filter_string {
        return differs("Filter string in the page token does not match the requested filter string.");
    }
    if token.order_by != asked.order_by {
        return differs("Order by in the page token does not match the requested order by.");
    }
    Ok(token.offset)
}

/// Models with their metrics, and the token of the next page.
type Found = (Vec<(LoggedModel, Vec<ModelPoint>)>, Option<String>);

impl Tracker {
    /// Logged models of these experiments.
    pub fn search_logged_models(&self, query: &LoggedQuery) -> Tracked<Found> {
        if query.datasets.iter().any(|d| d.name.is_empty()) {
            return Err(TrackingError::invalid("`dataset_name` in the `datasets` clause must be specified."));
        }
        let offset = offset(query)?;
        if query.max_results < 0 {
            return Err(TrackingError::invalid(format!(
                "Invalid value {} for parameter 'max_results' supplied. It must be a positive integer",
                query.max_results
            )));
        }
        let most = usize::try_from(query.max_results).ok().filter(|n| *n > 0).unwrap_or(PAGE);
        let filter = Filter::parse(Subject::LoggedModels, &query.filter)?.on_datasets(query.datasets.clone());
        let orders = Orders::of_logged_models(&query.order_by)?;
        let ids = check::experiment_ids(&query.experiments)?;
        let models = self.logged();
        let asked = |kept: &&Kept| kept.model.lifecycle == Lifecycle::Active && ids.contains(&kept.model.experiment);
        let found = models.by_id.values().filter(asked).filter(|kept| filter.matches(*kept));
        let end = offset.saturating_add(most);
        let (found, next) = First::of(end, found.map(|kept| (orders.key(kept), kept))).page(offset);
        let next = next.map(|_| Token::of(query, end).written()).transpose()?;
        Ok((found.into_iter().map(Kept::view).collect(), next))
    }
}

//! Asks the daemon's tracking server.

use super::{
    Found, Living, MOST, Order, Told, Want, Wish,
    curve::SAMPLES,
    list::PAGE,
    wire::{All, History, Known, One, Page},
};
use crate::{
    api::client::{Client, ClientError},
    model::RunId,
};
use serde_json::json;
use std::collections::BTreeMap;

const BASE: &str = "/api/2.0/mlflow";

/// A query's parts: names are of clients, and may hold anything.
fn query(pairs: impl IntoIterator<Item = (&'static str, String)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Those that changed last.
pub async fn experiments(client: &Client) -> Result<Told, ClientError> {
    let body = json!({"max_results": MOST, "order_by": ["last_update_time DESC"]});
    let found: All = client.post(&format!("{BASE}/experiments/search"), &body).await?;
    Ok(Told::Experiments(found.experiments))
}

/// The experiment's id, when there is such an experiment.
async fn experiment(client: &Client, name: &str) -> Result<Option<String>, ClientError> {
    let path = format!("{BASE}/experiments/get-by-name?{}", query([("experiment_name", name.to_owned())]));
    match client.get::<Known>(&path).await {
        Ok(known) => Ok(Some(known.experiment.id)),
        Err(ClientError::NotFound(_)) => Ok(None),
        Err(e) => Err(e),
    }
}

async fn search(
    client: &Client,
    id: &str,
    filter: &str,
    order: &Order,
    most: usize,
    token: &str,
) -> Result<Page, ClientError> {
    let order_by: Vec<String> = order.clause().into_iter().collect();
    let body = json!({
        "experiment_ids": [id], "filter": filter, "order_by": order_by, "max_results": most, "page_token": token
    });
    client.post(&format!("{BASE}/runs/search"), &body).await
}

async fn newest(client: &Client, id: &str, filter: &str) -> Result<Option<RunId>, ClientError> {
    let page = search(client, id, filter, &Order::Newest, 1, "").await?;
    Ok(page.runs.into_iter().next().map(|r| super::TrackedRun::from(r).id))
}

/// A page of the list.
pub async fn runs(client: &Client, wish: Wish) -> Result<Told, ClientError> {
    let Some(id) = experiment(client, &wish.experiment).await? else {
        return Ok(Told::Runs(wish, Ok(Found::default())));
    };
    // Before the page: what begins between is newer than this, and asked for again.
    let newest = match newest(client, &id, &wish.filter).await {
        // Nothing but the filter can be wrong with it.
        Err(ClientError::Refused(words)) => return Ok(Told::Runs(wish, Err(words))),
        newest => newest?,
    };
    let page = search(client, &id, &wish.filter, &wish.order, PAGE, &wish.token).await?;
    let runs = page.runs.into_iter().map(Into::into).collect();
    let next = page.next_page_token.filter(|t| !t.is_empty());
    Ok(Told::Runs(wish, Ok(Found { there: true, runs, next, newest })))
}

/// What of the list goes on: a few runs, where the list may have a thousand.
pub async fn living(client: &Client, wish: Wish) -> Result<Told, ClientError> {
    let Some(id) = experiment(client, &wish.experiment).await? else {
        return Ok(Told::Living(wish, Living::default()));
    };
    let newest = newest(client, &id, &wish.filter).await?;
    // The grammar knows no OR.
    let ended = ["FINISHED", "FAILED", "KILLED"].map(|s| format!("attributes.status != '{s}'"));
    let own = Some(wish.filter.clone()).filter(|f| !f.is_empty());
    let filter = own.into_iter().chain(ended).collect::<Vec<_>>().join(" AND ");
    let page = search(client, &id, &filter, &Order::Newest, PAGE, "").await?;
    let runs = page.runs.into_iter().map(Into::into).collect();
    Ok(Told::Living(wish, Living { runs, newest }))
}

/// Runs with all that was logged to them.
pub async fn whole(client: &Client, ids: Vec<RunId>) -> Result<Told, ClientError> {
    let mut all = vec![];
    for RunId(id) in ids {
        let one: One = client.get(&format!("{BASE}/runs/get?{}", query([("run_id", id)]))).await?;
        all.push(one.run.into());
    }
    Ok(Told::Whole(all))
}

/// Histories, those of one metric by one call.
pub async fn curves(client: &Client, wants: Vec<Want>) -> Result<Told, ClientError> {
    let mut by_key: BTreeMap<String, Vec<Want>> = BTreeMap::new();
    wants.into_iter().for_each(|w| by_key.entry(w.key.clone()).or_default().push(w));
    let mut all = vec![];
    for (key, wants) in by_key {
        let runs = wants.iter().map(|w| ("run_ids", w.run.0.clone()));
        let query = query(runs.chain([("metric_key", key), ("max_results", SAMPLES.to_string())]));
        let history: History = client.get(&format!("{BASE}/metrics/get-history-bulk-interval?{query}")).await?;
        let of = |run: &RunId| {
            let own = history.metrics.iter().filter(|m| m.run_id.as_ref() == Some(run));
            own.map(|m| m.point()).collect()
        };
        all.extend(wants.into_iter().map(|w| (of(&w.run), w)).map(|(points, w)| (w, points)));
    }
    Ok(Told::Curves(all))
}

//! Calls on experiments.

use super::{
    Answered, Call, Route, blocking,
    documents::ExperimentDoc,
    empty, get, json, post,
    request::{
        Check::{Array, Int, Required, Text},
        Field, KEY_VALUE, Kind, Schema,
    },
};
use crate::{
    model::tracking::Lifecycle,
    tracking::{Query, View},
};
use serde::Serialize;

const ID: Schema =
    Schema { fields: &[Field("experiment_id", Kind::Text)], checks: &[("experiment_id", &[Required, Text])] };
const CREATE: Schema = Schema {
    fields: &[
        Field("name", Kind::Text),
        Field("artifact_location", Kind::Text),
        Field("tags", Kind::Messages(KEY_VALUE)),
    ],
    checks: &[("name", &[Required, Text]), ("artifact_location", &[Text]), ("tags", &[Array])],
};
const BY_NAME: Schema =
    Schema { fields: &[Field("experiment_name", Kind::Text)], checks: &[("experiment_name", &[Required, Text])] };
const UPDATE: Schema = Schema {
    fields: &[Field("experiment_id", Kind::Text), Field("new_name", Kind::Text)],
    checks: &[("experiment_id", &[Required, Text]), ("new_name", &[Text, Required])],
};
const TAG: Schema = Schema {
    fields: &[Field("experiment_id", Kind::Text), Field("key", Kind::Text), Field("value", Kind::Text)],
    checks: &[("experiment_id", &[Required, Text]), ("key", &[Required, Text]), ("value", &[Text])],
};
const SEARCH: Schema = Schema {
    fields: &[
        Field("max_results", Kind::Int),
        Field("page_token", Kind::Text),
        Field("filter", Kind::Text),
        Field("order_by", Kind::Texts),
        Field("view_type", Kind::Enum(View::WORDS)),
    ],
    checks: &[
        ("view_type", &[Int]),
        ("max_results", &[Int]),
        ("order_by", &[Array]),
        ("filter", &[Text]),
        ("page_token", &[Text]),
    ],
};
const DATASETS: Schema = Schema { fields: &[Field("experiment_ids", Kind::Texts)], checks: &[] };

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("experiments/create", &CREATE, |c| Box::pin(create(c))),
        get("experiments/get", &ID, |c| Box::pin(by_id(c))),
        get("experiments/get-by-name", &BY_NAME, |c| Box::pin(by_name(c))),
        post("experiments/update", &UPDATE, |c| Box::pin(update(c))),
        post("experiments/delete", &ID, |c| Box::pin(moved(c, Lifecycle::Deleted))),
        post("experiments/restore", &ID, |c| Box::pin(moved(c, Lifecycle::Active))),
        post("experiments/set-experiment-tag", &TAG, |c| Box::pin(set_tag(c))),
        post("experiments/delete-experiment-tag", &TAG, |c| Box::pin(delete_tag(c))),
        post("experiments/search", &SEARCH, |c| Box::pin(search(c))),
        get("experiments/search", &SEARCH, |c| Box::pin(search(c))),
        post("experiments/search-datasets", &DATASETS, |c| Box::pin(datasets(c))),
    ]
}

#[derive(Serialize)]
struct One<'a> {
    experiment: ExperimentDoc<'a>,
}

async fn create(call: Call) -> Answered {
    #[derive(Serialize)]
    struct Created {
        experiment_id: String,
    }
    let r = &call.request;
    let id = call.tracker().create_experiment(r.text("name"), r.text("artifact_location"), r.pairs("tags")).await?;
    json(&Created { experiment_id: id.to_string() })
}

async fn by_id(call: Call) -> Answered {
    let experiment = call.tracker().experiment(call.request.text("experiment_id"))?;
    json(&One { experiment: (&experiment).into() })
}

async fn by_name(call: Call) -> Answered {
    let experiment = call.tracker().experiment_named(call.request.text("experiment_name"))?;
    json(&One { experiment: (&experiment).into() })
}

async fn update(call: Call) -> Answered {
    let r = &call.request;
    call.tracker().rename_experiment(r.text("experiment_id"), r.text("new_name")).await?;
    empty()
}

async fn moved(call: Call, to: Lifecycle) -> Answered {
    call.tracker().move_experiment(call.request.text("experiment_id"), to).await?;
    empty()
}

async fn set_tag(call: Call) -> Answered {
    let r = &call.request;
    call.tracker().tag_experiment(r.text("experiment_id"), r.text("key"), r.text("value")).await?;
    empty()
}

async fn delete_tag(call: Call) -> Answered {
    let r = &call.request;
    call.tracker().untag_experiment(r.text("experiment_id"), r.text("key")).await?;
    empty()
}

async fn search(call: Call) -> Answered {
    #[derive(Serialize)]
    struct Found<'a> {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        experiments: Vec<ExperimentDoc<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_page_token: Option<String>,
    }
    blocking(move || {
        let (experiments, next_page_token) =
            call.tracker().search_experiments(&call.query(0), &|e| call.sees(&e.name))?;
        json(&Found { experiments: experiments.iter().map(ExperimentDoc::from).collect(), next_page_token })
    })
    .await
}

async fn datasets(call: Call) -> Answered {
    use crate::{model::tracking::TrackingError, tracking::DatasetSummary};
    /// Experiments of one call, at most.
    const MOST: usize = 20;
    #[derive(Serialize)]
    struct Found {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        dataset_summaries: Vec<DatasetSummary>,
    }
    blocking(move || {
        let ids = call.request.texts("experiment_ids");
        if ids.is_empty() {
            return Err(TrackingError::invalid("SearchDatasets request must specify at least one experiment_id."));
        }
        if ids.len() > MOST {
            return Err(TrackingError::invalid(format!(
                "SearchDatasets request cannot specify more than {MOST} experiment_ids. Received {} experiment_ids.",
                ids.len()
            )));
        }
        json(&Found { dataset_summaries: call.tracker().datasets_of(&call.seen(ids))? })
    })
    .await
}

impl Call {
    /// What a search asks for; `most` when it does not say how much.
    pub(super) fn query(&self, most: i64) -> Query {
        let r = &self.request;
        Query {
            filter: r.text("filter").to_owned(),
            view: View::of(r.given("view_type").or_else(|| r.given("run_view_type"))),
            max_results: r.int("max_results").unwrap_or(most),
            order_by: r.texts("order_by"),
            page_token: r.text("page_token").to_owned(),
        }
    }
}

//! Calls on logged models.

use super::{
    Answered, Call, Route, blocking, delete,
    documents::{Pair, double, pairs},
    empty, get, json, patch, post,
    request::{
        Check::{self, Array, Int, Required, Text, TextItems},
        Field, KEY_VALUE, Kind, Request, Schema,
    },
};
use crate::{
    search::{OnDataset, OrderBy},
    tracking::{LoggedModel, LoggedQuery, ModelPoint, ModelStatus, NewLoggedModel},
};
use serde::Serialize;

const MODEL_ID: Field = Field("model_id", Kind::Text);
const PARAMS: Field = Field("params", Kind::Messages(KEY_VALUE));
const TAGS: Field = Field("tags", Kind::Messages(KEY_VALUE));
const NEEDED: &[Check] = &[Text, Required];

const CREATE: Schema = Schema {
    fields: &[
        Field("experiment_id", Kind::Text),
        Field("name", Kind::Text),
        Field("model_type", Kind::Text),
        Field("source_run_id", Kind::Text),
        PARAMS,
        TAGS,
    ],
    checks: &[
        ("experiment_id", NEEDED),
        ("name", &[Text]),
        ("model_type", &[Text]),
        ("source_run_id", &[Text]),
        ("params", &[Array]),
        ("tags", &[Array]),
    ],
};
const ONE: Schema = Schema { fields: &[Field("allow_deleted", Kind::Text)], checks: &[] };
const NOTHING: Schema = Schema { fields: &[], checks: &[] };
const FINALIZE: Schema = Schema {
    fields: &[MODEL_ID, Field("status", Kind::Enum(ModelStatus::WORDS))],
    checks: &[("model_id", NEEDED), ("status", &[Int, Required])],
};
const SET_TAGS: Schema = Schema { fields: &[TAGS], checks: &[("tags", &[Array])] };
const LOG_PARAMS: Schema =
    Schema { fields: &[MODEL_ID, PARAMS], checks: &[("model_id", NEEDED), ("params", &[Array])] };
const SEARCH: Schema = Schema {
    fields: &[
        Field("experiment_ids", Kind::Texts),
        Field("filter", Kind::Text),
        Field("datasets", Kind::Messages(&[Field("dataset_name", Kind::Text), Field("dataset_digest", Kind::Text)])),
        Field("max_results", Kind::Int),
        Field(
            "order_by",
            Kind::Messages(&[
                Field("field_name", Kind::Text),
                Field("ascending", Kind::Bool),
                Field("dataset_name", Kind::Text),
                Field("dataset_digest", Kind::Text),
            ]),
        ),
        Field("page_token", Kind::Text),
    ],
    checks: &[
        ("experiment_ids", &[Array, TextItems, Required]),
        ("filter", &[Text]),
        ("datasets", &[Array]),
        ("max_results", &[Int]),
        ("order_by", &[Array]),
        ("page_token", &[Text]),
    ],
};
/// Models of one page when the caller does not say.
const PAGE: i64 = 50;

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("logged-models", &CREATE, |c| Box::pin(create(c))),
        post("logged-models/search", &SEARCH, |c| Box::pin(search(c))),
        get("logged-models/{model_id}", &ONE, |c| Box::pin(one(c))),
        patch("logged-models/{model_id}", &FINALIZE, |c| Box::pin(finalize(c))),
        delete("logged-models/{model_id}", &NOTHING, |c| Box::pin(gone(c))),
        patch("logged-models/{model_id}/tags", &SET_TAGS, |c| Box::pin(set_tags(c))),
        delete("logged-models/{model_id}/tags/{tag_key}", &NOTHING, |c| Box::pin(delete_tag(c))),
        post("logged-models/{model_id}/params", &LOG_PARAMS, |c| Box::pin(log_params(c))),
    ]
}

#[derive(Serialize)]
struct Info<'a> {
    model_id: &'a str,
    experiment_id: String,
    name: &'a str,
    creation_timestamp_ms: i64,
    last_updated_timestamp_ms: i64,
    artifact_uri: &'a str,
    status: &'static str,
    model_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_run_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Pair<'a>>,
}

#[derive(Serialize)]
struct Metric<'a> {
    key: &'a str,
    #[serde(serialize_with = "double")]
    value: f64,
    timestamp: i64,
    step: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_digest: Option<&'a str>,
    model_id: &'a str,
    run_id: &'a str,
}

#[derive(Serialize)]
struct Data<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    params: Vec<Pair<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<Metric<'a>>,
}

#[derive(Serialize)]
struct ModelDoc<'a> {
    info: Info<'a>,
    data: Data<'a>,
}

impl<'a> ModelDoc<'a> {
    fn new(m: &'a LoggedModel, points: &'a [ModelPoint]) -> Self {
        let metric = |p: &'a ModelPoint| Metric {
            key: &p.key,
            value: p.value,
            timestamp: p.timestamp,
            step: p.step,
            dataset_name: p.dataset_name.as_deref(),
            dataset_digest: p.dataset_digest.as_deref(),
            model_id: &m.id,
            run_id: &p.run_id,
        };
        Self {
            info: Info {
                model_id: &m.id,
                experiment_id: m.experiment.to_string(),
                name: &m.name,
                creation_timestamp_ms: m.created,
                last_updated_timestamp_ms: m.updated,
                artifact_uri: &m.artifact_uri,
                status: m.status.wire(),
                model_type: &m.model_type,
                source_run_id: m.source_run_id.as_deref(),
                tags: pairs(m.tags.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
            },
            data: Data {
                params: pairs(m.params.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
                metrics: points.iter().map(metric).collect(),
            },
        }
    }
}

fn answer(model: &LoggedModel, points: &[ModelPoint]) -> Answered {
    #[derive(Serialize)]
    struct One<'a> {
        model: ModelDoc<'a>,
    }
    json(&One { model: ModelDoc::new(model, points) })
}

async fn create(call: Call) -> Answered {
    let r = &call.request;
    let text = |name: &str| r.text(name).to_owned();
    let new = NewLoggedModel {
        experiment: text("experiment_id"),
        name: text("name"),
        model_type: text("model_type"),
        source_run_id: text("source_run_id"),
        params: r.pairs("params"),
        tags: r.pairs("tags"),
    };
    answer(&call.tracker().create_logged_model(new).await?, &[])
}

async fn one(call: Call) -> Answered {
    let deleted = call.request.text("allow_deleted").eq_ignore_ascii_case("true");
    let (model, points) = call.tracker().logged_model_with_metrics(call.path("model_id"), deleted)?;
    answer(&model, &points)
}

async fn finalize(call: Call) -> Answered {
    let r = &call.request;
    let status = ModelStatus::of(r.given("status"));
    let (model, points) = call.tracker().finalize_logged_model(r.text("model_id"), status).await?;
    answer(&model, &points)
}

async fn gone(call: Call) -> Answered {
    call.tracker().delete_logged_model(call.path("model_id")).await?;
    empty()
}

async fn set_tags(call: Call) -> Answered {
    call.tracker().tag_logged_model(call.path("model_id"), call.request.pairs("tags")).await?;
    empty()
}

async fn delete_tag(call: Call) -> Answered {
    call.tracker().untag_logged_model(call.path("model_id"), call.path("tag_key")).await?;
    empty()
}

async fn log_params(call: Call) -> Answered {
    call.tracker().log_model_params(call.path("model_id"), call.request.pairs("params")).await?;
    empty()
}

async fn search(call: Call) -> Answered {
    #[derive(Serialize)]
    struct Found<'a> {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        models: Vec<ModelDoc<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_page_token: Option<String>,
    }
    blocking(move || {
        let r = &call.request;
        let filled = |m: &Request, name: &str| m.filled(name).map(str::to_owned);
        let dataset =
            |m: &Request| OnDataset { name: m.text("dataset_name").to_owned(), digest: filled(m, "dataset_digest") };
        let order = |m: &Request| OrderBy {
            field_name: m.text("field_name").to_owned(),
            ascending: m.flag("ascending").unwrap_or(true),
            dataset_name: filled(m, "dataset_name"),
            dataset_digest: filled(m, "dataset_digest"),
        };
        let query = LoggedQuery {
            experiments: call.seen(r.texts("experiment_ids")),
            filter: r.text("filter").to_owned(),
            datasets: r.each("datasets").iter().map(dataset).collect(),
            max_results: r.int("max_results").unwrap_or(PAGE),
            order_by: r.each("order_by").iter().map(order).collect(),
            page_token: r.text("page_token").to_owned(),
        };
        let (models, next_page_token) = call.tracker().search_logged_models(&query)?;
        json(&Found { models: models.iter().map(|(m, points)| ModelDoc::new(m, points)).collect(), next_page_token })
    })
    .await
}

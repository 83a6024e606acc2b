//! Calls on runs.

use super::{
    Answered, Call, Route, blocking,
    documents::{self, Info, RunDoc},
    empty, get, json, post,
    request::{
        Check::{self, Array, AtMost, Float, Int, Required, Text, TextItems},
        Field, KEY_VALUE, Kind, Request, Schema,
    },
};
use crate::{
    model::tracking::{Lifecycle, TrackingError},
    tracking::{
        Batched, GivenDataset, ModelPoint, NewRun, OfModel, Point, RunUpdate, Tracked, UsedData, View, row::Status,
    },
};
use serde::Serialize;

const RUN_ID: Field = Field("run_id", Kind::Text);
const RUN_UUID: Field = Field("run_uuid", Kind::Text);
const NEEDED: &[Check] = &[Required, Text];

const ID: Schema = Schema { fields: &[RUN_ID, RUN_UUID], checks: &[("run_id", NEEDED)] };
const CREATE: Schema = Schema {
    fields: &[
        Field("experiment_id", Kind::Text),
        Field("user_id", Kind::Text),
        Field("run_name", Kind::Text),
        Field("start_time", Kind::Int),
        Field("tags", Kind::Messages(KEY_VALUE)),
    ],
    checks: &[("experiment_id", &[Text]), ("start_time", &[Int]), ("run_name", &[Text])],
};
const UPDATE: Schema = Schema {
    fields: &[
        RUN_ID,
        RUN_UUID,
        Field("status", Kind::Enum(Status::WORDS)),
        Field("end_time", Kind::Int),
        Field("run_name", Kind::Text),
    ],
    checks: &[("run_id", NEEDED), ("end_time", &[Int]), ("status", &[Text]), ("run_name", &[Text])],
};
const PARAM: Schema = Schema {
    fields: &[RUN_ID, RUN_UUID, Field("key", Kind::Text), Field("value", Kind::Text)],
    checks: &[("run_id", NEEDED), ("key", NEEDED), ("value", &[Text])],
};
const METRIC_FIELDS: &[Field] = &[
    RUN_ID,
    RUN_UUID,
    Field("key", Kind::Text),
    Field("value", Kind::Double),
    Field("timestamp", Kind::Int),
    Field("step", Kind::Int),
    Field("model_id", Kind::Text),
    Field("dataset_name", Kind::Text),
    Field("dataset_digest", Kind::Text),
];
const METRIC: Schema = Schema {
    fields: METRIC_FIELDS,
    checks: &[
        ("run_id", NEEDED),
        ("key", NEEDED),
        ("value", &[Required, Float]),
        ("timestamp", &[Int, Required]),
        ("step", &[Int]),
        ("model_id", &[Text]),
        ("dataset_name", &[Text]),
        ("dataset_digest", &[Text]),
    ],
};
const BATCH: Schema = Schema {
    fields: &[
        RUN_ID,
        Field("metrics", Kind::Messages(METRIC_FIELDS)),
        Field("params", Kind::Messages(KEY_VALUE)),
        Field("tags", Kind::Messages(KEY_VALUE)),
    ],
    checks: &[
        ("run_id", &[Text, Required]),
        ("metrics", &[Array, Check::Metrics]),
        ("params", &[Array, Check::KeyedBy("params")]),
        ("tags", &[Array, Check::KeyedBy("tags")]),
    ],
};
const DATASET: &[Field] = &[
    Field("name", Kind::Text),
    Field("digest", Kind::Text),
    Field("source_type", Kind::Text),
    Field("source", Kind::Text),
    Field("schema", Kind::Text),
    Field("profile", Kind::Text),
];
const DATASET_INPUT: &[Field] = &[Field("tags", Kind::Messages(KEY_VALUE)), Field("dataset", Kind::Message(DATASET))];
const INPUTS: Schema = Schema {
    fields: &[
        RUN_ID,
        Field("datasets", Kind::Messages(DATASET_INPUT)),
        Field("models", Kind::Messages(&[Field("model_id", Kind::Text)])),
    ],
    checks: &[("run_id", NEEDED), ("datasets", &[Array]), ("models", &[Array])],
};
const OUTPUTS: Schema = Schema {
    fields: &[RUN_ID, Field("models", Kind::Messages(&[Field("model_id", Kind::Text), Field("step", Kind::Int)]))],
    checks: &[("run_id", NEEDED), ("models", &[Required, Array])],
};
const MODEL: Schema = Schema {
    fields: &[RUN_ID, Field("model_json", Kind::Text)],
    checks: &[("run_id", &[Text, Required]), ("model_json", &[Text, Required])],
};
const SEARCH: Schema = Schema {
    fields: &[
        Field("experiment_ids", Kind::Texts),
        Field("filter", Kind::Text),
        Field("run_view_type", Kind::Enum(View::WORDS)),
        Field("max_results", Kind::Int),
        Field("order_by", Kind::Texts),
        Field("page_token", Kind::Text),
    ],
    checks: &[
        ("experiment_ids", &[Array]),
        ("filter", &[Text]),
        ("max_results", &[Int, AtMost(50_000)]),
        ("order_by", &[Array, TextItems]),
    ],
};
/// Runs of one page when the caller does not say.
const PAGE: i64 = 1000;

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("runs/create", &CREATE, |c| Box::pin(create(c))),
        get("runs/get", &ID, |c| Box::pin(one(c))),
        post("runs/update", &UPDATE, |c| Box::pin(update(c))),
        post("runs/delete", &ID, |c| Box::pin(moved(c, Lifecycle::Deleted))),
        post("runs/restore", &ID, |c| Box::pin(moved(c, Lifecycle::Active))),
        post("runs/log-parameter", &PARAM, |c| Box::pin(log_param(c))),
        post("runs/log-metric", &METRIC, |c| Box::pin(log_metric(c))),
        post("runs/log-batch", &BATCH, |c| Box::pin(log_batch(c))),
        post("runs/set-tag", &PARAM, |c| Box::pin(set_tag(c))),
        post("runs/delete-tag", &PARAM, |c| Box::pin(delete_tag(c))),
        post("runs/log-inputs", &INPUTS, |c| Box::pin(log_inputs(c))),
        post("runs/outputs", &OUTPUTS, |c| Box::pin(log_outputs(c))),
        post("runs/log-model", &MODEL, |c| Box::pin(log_model(c))),
        post("runs/search", &SEARCH, |c| Box::pin(search(c))),
    ]
}

#[derive(Serialize)]
struct One<'a> {
    run: RunDoc<'a>,
}

async fn create(call: Call) -> Answered {
    let r = &call.request;
    let new = NewRun {
        id: None,
        experiment: r.text("experiment_id").to_owned(),
        user: r.text("user_id").to_owned(),
        name: r.text("run_name").to_owned(),
        started: r.int("start_time").unwrap_or_default(),
        tags: r.pairs("tags"),
    };
    let row = call.tracker().create_run(new).await?;
    json(&One { run: documents::created(&row)? })
}

async fn one(call: Call) -> Answered {
    let row = call.tracker().run(call.request.run_id())?;
    json(&One { run: documents::run(call.tracker(), &row)? })
}

async fn update(call: Call) -> Answered {
    #[derive(Serialize)]
    struct Updated<'a> {
        run_info: Info<'a>,
    }
    let r = &call.request;
    let update = RunUpdate {
        status: r.given("status").and_then(Status::of),
        ended: r.int("end_time"),
        name: r.given("run_name").map(str::to_owned),
    };
    let row = call.tracker().update_run(r.run_id(), update).await?;
    json(&Updated { run_info: row.facts()?.into() })
}

async fn moved(call: Call, to: Lifecycle) -> Answered {
    call.tracker().move_run(call.request.run_id(), to).await?;
    empty()
}

async fn log_param(call: Call) -> Answered {
    let r = &call.request;
    call.tracker().log_param(r.run_id(), r.text("key"), r.text("value")).await?;
    empty()
}

fn point(r: &Request) -> Point {
    Point {
        key: r.text("key").to_owned(),
        value: r.double("value").unwrap_or_default(),
        timestamp: r.int("timestamp").unwrap_or_default(),
        step: r.int("step").unwrap_or_default(),
    }
}

/// The same for the logged model that it names.
fn of_model(run_id: &str, r: &Request) -> Tracked<Option<OfModel>> {
    let owned = |name: &str| r.filled(name).map(str::to_owned);
    let (dataset_name, dataset_digest) = (owned("dataset_name"), owned("dataset_digest"));
    if dataset_name.is_some() != dataset_digest.is_some() {
        return Err(TrackingError::invalid("Both dataset_name and dataset_digest must be provided if one is provided"));
    }
    let Some(model) = owned("model_id") else { return Ok(None) };
    let Point { key, value, timestamp, step } = point(r);
    let run_id = run_id.to_owned();
    Ok(Some((model, ModelPoint { key, value, timestamp, step, run_id, dataset_name, dataset_digest })))
}

async fn log_metric(call: Call) -> Answered {
    let (run_id, r) = (call.request.run_id(), &call.request);
    call.tracker().log_metric(run_id, point(r), of_model(run_id, r)?).await?;
    empty()
}

async fn log_batch(call: Call) -> Answered {
    let r = &call.request;
    let metrics = r.each("metrics");
    let of_models = metrics.iter().filter_map(|m| of_model(r.text("run_id"), m).transpose());
    let of_models = of_models.collect::<Tracked<Vec<_>>>()?;
    let metrics = metrics.iter().map(point).collect();
    let batch = Batched { metrics, params: r.pairs("params"), tags: r.pairs("tags"), of_models };
    call.tracker().log_batch(r.text("run_id"), batch).await?;
    empty()
}

async fn set_tag(call: Call) -> Answered {
    let r = &call.request;
    call.tracker().set_tag(r.run_id(), r.text("key"), r.text("value")).await?;
    empty()
}

async fn delete_tag(call: Call) -> Answered {
    let r = &call.request;
    call.tracker().delete_tag(r.run_id(), r.text("key")).await?;
    empty()
}

async fn log_inputs(call: Call) -> Answered {
    let r = &call.request;
    let used = |input: &Request| {
        let dataset = input.message("dataset").unwrap_or_default();
        let text = |name: &str| dataset.text(name).to_owned();
        let dataset = GivenDataset {
            name: text("name"),
            digest: text("digest"),
            source_type: text("source_type"),
            source: text("source"),
            schema: text("schema"),
            profile: text("profile"),
        };
        UsedData { dataset, tags: input.pairs("tags") }
    };
    let datasets = r.each("datasets").iter().map(used).collect();
    let models = r.each("models").iter().map(|m| m.text("model_id").to_owned()).collect();
    call.tracker().log_inputs(r.text("run_id"), datasets, models).await?;
    empty()
}

async fn log_outputs(call: Call) -> Answered {
    let r = &call.request;
    let made = |m: &Request| (m.text("model_id").to_owned(), m.int("step").unwrap_or_default());
    call.tracker().log_outputs(r.text("run_id"), r.each("models").iter().map(made).collect()).await?;
    empty()
}

/// How clients before MLflow 3 tell of the models of a run.
async fn log_model(call: Call) -> Answered {
    let r = &call.request;
    call.tracker().record_model(r.text("run_id"), r.text("model_json")).await?;
    empty()
}

async fn search(call: Call) -> Answered {
    #[derive(Serialize)]
    struct Found<'a> {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        runs: Vec<RunDoc<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_page_token: Option<String>,
    }
    blocking(move || {
        let tracker = call.tracker();
        let (rows, next_page_token) =
            tracker.search_runs(&call.seen(call.request.texts("experiment_ids")), &call.query(PAGE))?;
        let runs = rows.iter().map(|row| documents::run(tracker, row)).collect::<Result<Vec<_>, TrackingError>>()?;
        json(&Found { runs, next_page_token })
    })
    .await
}

//! Calls on registered models.

use super::{
    Answered, Call, Route, blocking, delete,
    documents::{Pair, pairs},
    empty, get, json,
    model_versions::VersionDoc,
    patch, post,
    request::{
        Check::{self, Array, AtMost, Int, Required, Text, TextItems},
        Field, KEY_VALUE, Kind, Schema,
    },
};
use crate::{
    model::{Level, Thing},
    tracking::{ModelView, NewModel},
};
use serde::Serialize;

const NAME_FIELD: Field = Field("name", Kind::Text);
const NEEDED: &[Check] = &[Text, Required];

const NAME: Schema = Schema { fields: &[NAME_FIELD], checks: &[("name", NEEDED)] };
const CREATE: Schema = Schema {
    fields: &[NAME_FIELD, Field("tags", Kind::Messages(KEY_VALUE)), Field("description", Kind::Text)],
    checks: &[("name", NEEDED), ("tags", &[Array]), ("description", &[Text])],
};
const UPDATE: Schema = Schema {
    fields: &[NAME_FIELD, Field("description", Kind::Text)],
    checks: &[("name", NEEDED), ("description", &[Text])],
};
const RENAME: Schema =
    Schema { fields: &[NAME_FIELD, Field("new_name", Kind::Text)], checks: &[("name", NEEDED), ("new_name", NEEDED)] };
const LATEST: Schema = Schema {
    fields: &[NAME_FIELD, Field("stages", Kind::Texts)],
    checks: &[("name", NEEDED), ("stages", &[Array, TextItems])],
};
const SET_TAG: Schema = Schema {
    fields: &[NAME_FIELD, Field("key", Kind::Text), Field("value", Kind::Text)],
    checks: &[("name", NEEDED), ("key", NEEDED), ("value", &[Text])],
};
const DELETE_TAG: Schema =
    Schema { fields: &[NAME_FIELD, Field("key", Kind::Text)], checks: &[("name", NEEDED), ("key", NEEDED)] };
const SET_ALIAS: Schema = Schema {
    fields: &[NAME_FIELD, Field("alias", Kind::Text), Field("version", Kind::Text)],
    checks: &[("name", NEEDED), ("alias", NEEDED), ("version", NEEDED)],
};
const ALIAS: Schema =
    Schema { fields: &[NAME_FIELD, Field("alias", Kind::Text)], checks: &[("name", NEEDED), ("alias", NEEDED)] };
const SEARCH: Schema = Schema {
    fields: &[
        Field("filter", Kind::Text),
        Field("max_results", Kind::Int),
        Field("order_by", Kind::Texts),
        Field("page_token", Kind::Text),
    ],
    checks: &[
        ("filter", &[Text]),
        ("max_results", &[Int, AtMost(1000)]),
        ("order_by", &[Array, TextItems]),
        ("page_token", &[Text]),
    ],
};
/// Models of one page when the caller does not say.
const PAGE: i64 = 100;

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("registered-models/create", &CREATE, |c| Box::pin(create(c))),
        get("registered-models/get", &NAME, |c| Box::pin(one(c))),
        patch("registered-models/update", &UPDATE, |c| Box::pin(update(c))),
        post("registered-models/rename", &RENAME, |c| Box::pin(rename(c))),
        delete("registered-models/delete", &NAME, |c| Box::pin(gone(c))),
        get("registered-models/search", &SEARCH, |c| Box::pin(search(c))),
        post("registered-models/get-latest-versions", &LATEST, |c| Box::pin(latest(c))),
        get("registered-models/get-latest-versions", &LATEST, |c| Box::pin(latest(c))),
        post("registered-models/set-tag", &SET_TAG, |c| Box::pin(set_tag(c))),
        delete("registered-models/delete-tag", &DELETE_TAG, |c| Box::pin(delete_tag(c))),
        post("registered-models/alias", &SET_ALIAS, |c| Box::pin(set_alias(c))),
        delete("registered-models/alias", &ALIAS, |c| Box::pin(delete_alias(c))),
        get("registered-models/alias", &ALIAS, |c| Box::pin(by_alias(c))),
    ]
}

#[derive(Serialize)]
struct AliasDoc<'a> {
    alias: &'a str,
    version: String,
}

#[derive(Serialize)]
struct ModelDoc<'a> {
    name: &'a str,
    creation_timestamp: i64,
    last_updated_timestamp: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    latest_versions: Vec<VersionDoc<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Pair<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<AliasDoc<'a>>,
}

impl<'a> From<&'a ModelView> for ModelDoc<'a> {
    fn from(view: &'a ModelView) -> Self {
        let model = &view.model;
        let alias = |(alias, number): (&'a String, &u64)| AliasDoc { alias, version: number.to_string() };
        Self {
            name: &model.name,
            creation_timestamp: model.created,
            last_updated_timestamp: model.updated,
            description: &model.description,
            latest_versions: view.latest.iter().map(|v| VersionDoc::new(&model.name, v, &[])).collect(),
            tags: pairs(model.tags.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
            aliases: model.aliases.iter().map(alias).collect(),
        }
    }
}

fn answer(view: &ModelView) -> Answered {
    #[derive(Serialize)]
    struct One<'a> {
        registered_model: ModelDoc<'a>,
    }
    json(&One { registered_model: view.into() })
}

async fn create(call: Call) -> Answered {
    let r = &call.request;
    let new =
        NewModel { name: r.text("name").to_owned(), tags: r.pairs("tags"), description: r.text("description").into() };
    answer(&call.tracker().create_model(new).await?)
}

async fn one(call: Call) -> Answered {
    answer(&call.tracker().registered_model(call.request.text("name"))?)
}

async fn update(call: Call) -> Answered {
    let r = &call.request;
    answer(&call.tracker().describe_model(r.text("name"), r.text("description")).await?)
}

async fn rename(call: Call) -> Answered {
    let r = &call.request;
    answer(&call.tracker().rename_model(r.text("name"), r.text("new_name")).await?)
}

async fn gone(call: Call) -> Answered {
    call.tracker().delete_model(call.request.text("name")).await?;
    empty()
}

async fn search(call: Call) -> Answered {
    #[derive(Serialize)]
    struct Found<'a> {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        registered_models: Vec<ModelDoc<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_page_token: Option<String>,
    }
    blocking(move || {
        let sees = |name: &str| call.may(Thing::Model(name), Level::Read);
        let (models, next_page_token) = call.tracker().search_models(&call.query(PAGE), &sees)?;
        json(&Found { registered_models: models.iter().map(ModelDoc::from).collect(), next_page_token })
    })
    .await
}

async fn latest(call: Call) -> Answered {
    #[derive(Serialize)]
    struct Found<'a> {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        model_versions: Vec<VersionDoc<'a>>,
    }
    let r = &call.request;
    let latest = call.tracker().latest_versions(r.text("name"), &r.texts("stages"))?;
    json(&Found { model_versions: latest.iter().map(VersionDoc::from).collect() })
}

async fn set_tag(call: Call) -> Answered {
    let r = &call.request;
    call.tracker().tag_model(r.text("name"), r.text("key"), r.text("value")).await?;
    empty()
}

async fn delete_tag(call: Call) -> Answered {
    let r = &call.request;
    call.tracker().untag_model(r.text("name"), r.text("key")).await?;
    empty()
}

async fn set_alias(call: Call) -> Answered {
    let r = &call.request;
    call.tracker().set_alias(r.text("name"), r.text("alias"), r.text("version")).await?;
    empty()
}

async fn delete_alias(call: Call) -> Answered {
    let r = &call.request;
    call.tracker().delete_alias(r.text("name"), r.text("alias")).await?;
    empty()
}

async fn by_alias(call: Call) -> Answered {
    let r = &call.request;
    super::model_versions::answer(&call.tracker().version_by_alias(r.text("name"), r.text("alias"))?)
}

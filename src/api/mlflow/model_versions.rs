//! Calls on versions of registered models.

use super::{
    Answered, Call, Route, blocking, delete,
    documents::{Pair, pairs},
    empty, get, json, patch, post,
    request::{
        Check::{self, Array, AtMost, Bool, Int, Required, Text, TextItems},
        Field, KEY_VALUE, Kind, Schema,
    },
};
use crate::{
    model::{Level, Thing},
    tracking::{GivenSource, ModelVersion, NewVersion, VersionView},
};
use serde::Serialize;

const NAME: Field = Field("name", Kind::Text);
const VERSION: Field = Field("version", Kind::Text);
const NEEDED: &[Check] = &[Text, Required];

const ONE: Schema = Schema { fields: &[NAME, VERSION], checks: &[("name", NEEDED), ("version", NEEDED)] };
const DOWNLOAD: Schema = Schema { fields: &[NAME, VERSION], checks: &[] };
const CREATE: Schema = Schema {
    fields: &[
        NAME,
        Field("source", Kind::Text),
        Field("run_id", Kind::Text),
        Field("tags", Kind::Messages(KEY_VALUE)),
        Field("run_link", Kind::Text),
        Field("description", Kind::Text),
        Field("model_id", Kind::Text),
    ],
    checks: &[
        ("name", NEEDED),
        ("source", NEEDED),
        ("run_id", &[Text]),
        ("tags", &[Array]),
        ("run_link", &[Text]),
        ("description", &[Text]),
        ("model_id", &[Text]),
    ],
};
const UPDATE: Schema = Schema {
    fields: &[NAME, VERSION, Field("description", Kind::Text)],
    checks: &[("name", NEEDED), ("version", NEEDED), ("description", &[Text])],
};
const STAGE: Schema = Schema {
    fields: &[NAME, VERSION, Field("stage", Kind::Text), Field("archive_existing_versions", Kind::Bool)],
    checks: &[("name", NEEDED), ("version", NEEDED), ("stage", NEEDED), ("archive_existing_versions", &[Bool])],
};
const SET_TAG: Schema = Schema {
    fields: &[NAME, VERSION, Field("key", Kind::Text), Field("value", Kind::Text)],
    checks: &[("name", NEEDED), ("version", NEEDED), ("key", NEEDED), ("value", &[Text])],
};
const DELETE_TAG: Schema = Schema {
    fields: &[NAME, VERSION, Field("key", Kind::Text)],
    checks: &[("name", NEEDED), ("version", NEEDED), ("key", NEEDED)],
};
const SEARCH: Schema = Schema {
    fields: &[
        Field("filter", Kind::Text),
        Field("max_results", Kind::Int),
        Field("order_by", Kind::Texts),
        Field("page_token", Kind::Text),
    ],
    checks: &[
        ("filter", &[Text]),
        ("max_results", &[Int, AtMost(200_000)]),
        ("order_by", &[Array, TextItems]),
        ("page_token", &[Text]),
    ],
};
/// Versions of one page when the caller does not say.
const PAGE: i64 = 200_000;

pub(super) fn routes() -> Vec<Route> {
    vec![
        post("model-versions/create", &CREATE, |c| Box::pin(create(c))),
        get("model-versions/get", &ONE, |c| Box::pin(one(c))),
        get("model-versions/get-download-uri", &DOWNLOAD, |c| Box::pin(download_uri(c))),
        patch("model-versions/update", &UPDATE, |c| Box::pin(update(c))),
        post("model-versions/transition-stage", &STAGE, |c| Box::pin(moved(c))),
        delete("model-versions/delete", &ONE, |c| Box::pin(gone(c))),
        get("model-versions/search", &SEARCH, |c| Box::pin(search(c))),
        post("model-versions/set-tag", &SET_TAG, |c| Box::pin(set_tag(c))),
        delete("model-versions/delete-tag", &DELETE_TAG, |c| Box::pin(delete_tag(c))),
    ]
}

/// A version on the wire.
#[derive(Serialize)]
pub(super) struct VersionDoc<'a> {
    name: &'a str,
    version: String,
    creation_timestamp: i64,
    last_updated_timestamp: i64,
    current_stage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Pair<'a>>,
    run_link: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    aliases: &'a [String],
}

impl<'a> VersionDoc<'a> {
    pub fn new(name: &'a str, version: &'a ModelVersion, aliases: &'a [String]) -> Self {
        Self {
            name,
            version: version.number.to_string(),
            creation_timestamp: version.created,
            last_updated_timestamp: version.updated,
            current_stage: version.stage.name(),
            description: version.description.as_deref(),
            source: &version.source,
            run_id: version.run_id.as_deref(),
            status: "READY",
            tags: pairs(version.tags.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
            run_link: &version.run_link,
            aliases,
        }
    }
}

impl<'a> From<&'a VersionView> for VersionDoc<'a> {
    fn from(view: &'a VersionView) -> Self {
        Self::new(&view.name, &view.version, &view.aliases)
    }
}

/// A version alone.
pub(super) fn answer(view: &VersionView) -> Answered {
    #[derive(Serialize)]
    struct One<'a> {
        model_version: VersionDoc<'a>,
    }
    json(&One { model_version: view.into() })
}

async fn create(call: Call) -> Answered {
    let r = &call.request;
    let owned = |name: &str| r.given(name).map(str::to_owned);
    let given = GivenSource { source: r.text("source").into(), run_id: owned("run_id"), model_id: owned("model_id") };
    let tags = r.pairs("tags");
    let GivenSource { source, run_id, model_id } = call.tracker().given_source(given, &tags)?;
    let new = NewVersion {
        name: r.text("name").to_owned(),
        source,
        run_id,
        run_link: r.text("run_link").to_owned(),
        description: r.text("description").to_owned(),
        tags,
        model_id,
    };
    answer(&call.tracker().create_version(new).await?)
}

async fn one(call: Call) -> Answered {
    let r = &call.request;
    answer(&call.tracker().model_version(r.text("name"), r.text("version"))?)
}

async fn download_uri(call: Call) -> Answered {
    #[derive(Serialize)]
    struct Place {
        artifact_uri: String,
    }
    let r = &call.request;
    json(&Place { artifact_uri: call.tracker().download_uri(r.text("name"), r.text("version"))? })
}

async fn update(call: Call) -> Answered {
    let r = &call.request;
    let description = r.given("description").map(str::to_owned);
    answer(&call.tracker().describe_version(r.text("name"), r.text("version"), description).await?)
}

async fn moved(call: Call) -> Answered {
    let r = &call.request;
    let archive = r.flag("archive_existing_versions").unwrap_or_default();
    answer(&call.tracker().move_version(r.text("name"), r.text("version"), r.text("stage"), archive).await?)
}

async fn gone(call: Call) -> Answered {
    let r = &call.request;
    call.tracker().delete_version(r.text("name"), r.text("version")).await?;
    empty()
}

async fn search(call: Call) -> Answered {
    #[derive(Serialize)]
    struct Found<'a> {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        model_versions: Vec<VersionDoc<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_page_token: Option<String>,
    }
    blocking(move || {
        let sees = |name: &str| call.may(Thing::Model(name), Level::Read);
        let (versions, next_page_token) = call.tracker().search_versions(&call.query(PAGE), &sees)?;
        json(&Found { model_versions: versions.iter().map(VersionDoc::from).collect(), next_page_token })
    })
    .await
}

async fn set_tag(call: Call) -> Answered {
    let r = &call.request;
    call.tracker().tag_version(r.text("name"), r.text("version"), r.text("key"), r.text("value")).await?;
    empty()
}

async fn delete_tag(call: Call) -> Answered {
    let r = &call.request;
    call.tracker().untag_version(r.text("name"), r.text("version"), r.text("key")).await?;
    empty()
}

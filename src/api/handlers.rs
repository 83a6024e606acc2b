//! The handlers: each takes its arguments, asks the loop or the store, and answers with a wire type.

use super::{
    server::{Answer, Api, Caller, Failure, Shared, Who, blocking, missing, model_name},
    summaries,
    types::*,
    views, webhook,
};
use crate::{
    model::*,
    reconcile::{Asks, SyncRequest},
    rollout::Steer,
};
use axum::{
    Extension, Json,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IntoDeserializer},
};
use std::sync::Arc;

pub(super) async fn ready(State(api): State<Shared>) -> Response {
    if let Some(trouble) = api.reconciler.store().trouble() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response();
    }
    if let Some(trouble) = api.reconciler.ports().target.trouble() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response();
    }
    match api.reconciler.source_status().revision {
        Some(_) => "ready\n".into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "no revision is loaded yet\n").into_response(),
    }
}

pub(super) async fn metrics(State(api): State<Shared>) -> Result<Response, Failure> {
    let text = blocking(move || super::metrics::text(&api.reconciler)).await?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

pub(super) async fn take_webhook(
    State(api): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Done>), Failure> {
    let Some(secret) = &api.webhook_secret else {
        return Err(Failure(
            StatusCode::FORBIDDEN,
            "webhooks are off: start the daemon with TRIMTAB_WEBHOOK_SECRET".into(),
        ));
    };
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    webhook::verify(secret.as_bytes(), header, &body).map_err(|e| Failure(StatusCode::UNAUTHORIZED, e.to_string()))?;
    // A flood of these is one look: wake-ups carry no data and collapse.
    api.reconciler.wake_source();
    Ok((StatusCode::ACCEPTED, Json(Done { message: "looking".into(), revision: None })))
}

pub(super) async fn fleet(State(api): State<Shared>, Query(query): Query<FleetQuery>) -> Answer<Fleet> {
    blocking(move || Ok(Json(summaries::fleet(&api.reconciler, &query)))).await
}

pub(super) async fn plan(State(api): State<Shared>, Query(query): Query<PlanQuery>) -> Answer<FleetPlan> {
    blocking(move || {
        let loaded = match query.rev {
            None => api.reconciler.loaded(),
            Some(rev) => Arc::new(api.reconciler.load_revision(&rev)?),
        };
        Ok(Json(views::fleet_plan(&api.reconciler, loaded.state())))
    })
    .await
}

/// A body that may be left out.
pub(super) fn body<T: DeserializeOwned + Default>(bytes: &[u8]) -> Result<T, Failure> {
    if bytes.is_empty() {
        return Ok(T::default());
    }
    // An object by name: serde would also fill the fields from a list, in order.
    serde_json::from_slice::<serde_json::Map<_, _>>(bytes)
        .and_then(|fields| serde_json::from_value(fields.into()))
        .map_err(|e| Failure(StatusCode::BAD_REQUEST, format!("the body is not what this call takes: {e}")))
}

pub(super) async fn sync(State(api): State<Shared>, bytes: Bytes) -> Answer<Done> {
    let asked: SyncBody = body(&bytes)?;
    blocking(move || {
        let status = api.reconciler.sync(&SyncRequest { prune: asked.prune })?;
        let at = status.revision.as_ref().map_or("no revision".to_owned(), |r| r.commit.short().to_owned());
        Ok(Json(Done { message: format!("synced to {at}"), revision: status.revision }))
    })
    .await
}

pub(super) async fn gc(State(api): State<Shared>, bytes: Bytes) -> Answer<GcReport> {
    let asked: GcBody = body(&bytes)?;
    blocking(move || Ok(Json(api.reconciler.gc(asked.dry_run)?))).await
}

/// On the socket to any file that the daemon's user names; over TCP, where the caller is another, only as the answer.
pub(super) async fn backup(
    State(api): State<Shared>,
    Extension(caller): Extension<Caller>,
    bytes: Bytes,
) -> Result<Response, Failure> {
    let asked: BackupBody = body(&bytes)?;
    let refused = |status, why: &str| Err(Failure(status, why.into()));
    match asked.file {
        Some(_) if caller == Caller::Tcp => refused(
            StatusCode::FORBIDDEN,
            "over TCP no file of the daemon's machine may be named: leave `file` out and keep the answer",
        ),
        Some(file) if !file.is_absolute() => refused(StatusCode::BAD_REQUEST, "write an absolute path"),
        Some(file) => {
            let done = blocking(move || {
                api.reconciler.store().backup(&file)?;
                Ok(Json(Done { message: format!("written to {}", file.display()), revision: None }))
            });
            Ok(done.await?.into_response())
        }
        None => {
            let file = blocking(move || Ok(api.reconciler.store().backup_unnamed(&api.state)?)).await?;
            let stream = tokio_util::io::ReaderStream::new(tokio::fs::File::from_std(file));
            Ok(([(header::CONTENT_TYPE, "application/octet-stream")], Body::from_stream(stream)).into_response())
        }
    }
}

pub(super) async fn detail(State(api): State<Shared>, Path(name): Path<String>) -> Answer<ModelDetail> {
    let name = model_name(&name)?;
    blocking(move || views::detail(&api.reconciler, &name)?.map(Json).ok_or_else(|| missing("model", &name))).await
}

fn view(api: &Api, name: &Name) -> Result<crate::reconcile::ModelView, Failure> {
    api.reconciler.view(name).ok_or_else(|| missing("model", name))
}

pub(super) async fn versions(State(api): State<Shared>, Path(name): Path<String>) -> Answer<Vec<VersionBrief>> {
    let name = model_name(&name)?;
    blocking(move || {
        // What only clients registered has versions, and no spec.
        let observed = view(&api, &name).map_or_else(|_| ObservedModel::new(name.clone()), |v| v.observed);
        let versions = views::briefs(&api.reconciler, &observed)?;
        if versions.is_empty() {
            view(&api, &name)?;
        }
        Ok(Json(versions))
    })
    .await
}

pub(super) async fn version(
    State(api): State<Shared>,
    Path((name, number)): Path<(String, String)>,
) -> Answer<Version> {
    let name = model_name(&name)?;
    let parsed = number
        .trim_start_matches('v')
        .parse()
        .map(VersionNumber)
        .map_err(|_| missing("version", number.escape_debug()))?;
    blocking(move || api.reconciler.store().version(&name, parsed)?.map(Json).ok_or_else(|| missing("version", parsed)))
        .await
}

pub(super) async fn runs(State(api): State<Shared>, Path(name): Path<String>) -> Answer<Vec<Run>> {
    let name = model_name(&name)?;
    blocking(move || {
        view(&api, &name)?;
        Ok(Json(api.reconciler.store().runs(&name, 200)?))
    })
    .await
}

pub(super) async fn overrides(
    State(api): State<Shared>,
    Path(name): Path<String>,
    Query(asked): Query<OverridesQuery>,
) -> Answer<Vec<Event>> {
    let (name, limit) = (model_name(&name)?, asked.limit.unwrap_or(50).min(200));
    blocking(move || {
        view(&api, &name)?;
        Ok(Json(api.reconciler.store().overrides(&name, asked.before, limit)?))
    })
    .await
}

pub(super) async fn model_plan(State(api): State<Shared>, Path(name): Path<String>) -> Answer<ModelPlan> {
    let name = model_name(&name)?;
    blocking(move || {
        let seen = view(&api, &name)?.observed;
        let desired = api.reconciler.loaded().state().models.get(&name).cloned().or(seen.desired);
        Ok(Json(api.reconciler.fresh_plan(&name, desired.as_deref())))
    })
    .await
}

pub(super) async fn diff(State(api): State<Shared>, Path(name): Path<String>) -> Answer<Vec<FieldDiff>> {
    let name = model_name(&name)?;
    blocking(move || views::diff(&api.reconciler, &name).map(Json).ok_or_else(|| missing("model", &name))).await
}

pub(super) async fn refresh(State(api): State<Shared>, Path(name): Path<String>) -> Answer<Done> {
    let name = model_name(&name)?;
    blocking(move || {
        api.reconciler.known(&name)?;
        let changed = api.reconciler.refresh(&name)?;
        let list: Vec<&str> = changed.iter().map(Name::as_str).collect();
        let message = if list.is_empty() {
            "the data is what it was".to_owned()
        } else {
            format!("new data: {}", list.join(", "))
        };
        Ok(Json(Done { message, revision: None }))
    })
    .await
}

pub(super) async fn suspend(State(api): State<Shared>, Path(name): Path<String>) -> Answer<Done> {
    set_suspended(api, name, true).await
}

pub(super) async fn resume(State(api): State<Shared>, Path(name): Path<String>) -> Answer<Done> {
    set_suspended(api, name, false).await
}

async fn set_suspended(api: Shared, name: String, suspended: bool) -> Answer<Done> {
    let name = model_name(&name)?;
    blocking(move || {
        api.reconciler.suspend(&name, suspended)?;
        Ok(Json(Done {
            message: format!("{name} is {}", if suspended { "suspended" } else { "resumed" }),
            revision: None,
        }))
    })
    .await
}

pub(super) async fn rollback(State(api): State<Shared>, Path(name): Path<String>, bytes: Bytes) -> Answer<Done> {
    let name = model_name(&name)?;
    let asked: RollbackBody = body(&bytes)?;
    blocking(move || {
        api.reconciler.known(&name)?;
        let revision = api.reconciler.rollback(&name, asked.to)?;
        Ok(Json(Done { message: format!("reverted by {}", revision.commit.short()), revision: Some(revision) }))
    })
    .await
}

fn refused(said: &str) -> Failure {
    Failure(StatusCode::BAD_REQUEST, said.into())
}

pub(super) async fn approve(
    State(api): State<Shared>,
    Who(caller): Who,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Answer<Done> {
    let name = model_name(&name)?;
    let ApproveBody { environment, version, waiting, comment, name: author, email } = body(&bytes)?;
    let plain = |text: &str| !text.trim().is_empty() && !text.chars().any(|c| c.is_control() || "<>".contains(c));
    if !plain(&author) || !plain(&email) {
        return Err(refused("`name` and `email` of the author: plain text without < and >"));
    }
    let asks = Asks { environment, version, waiting, comment, name: author, email, caller };
    blocking(move || {
        let (environment, revision) = api.reconciler.approve(&name, &asks)?;
        let message = match &revision {
            Some(r) => format!("{name} is approved for {environment} by {}", r.commit.short()),
            None => format!("{name} is approved for {environment} already"),
        };
        Ok(Json(Done { message, revision }))
    })
    .await
}

pub(super) async fn promote(
    State(api): State<Shared>,
    Who(caller): Who,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Answer<Done> {
    let name = model_name(&name)?;
    let asked: PromoteBody = body(&bytes)?;
    if asked.reason.trim().is_empty() {
        return Err(refused("`reason`: say why it does not wait"));
    }
    blocking(move || {
        let environment = asked.environment.as_ref();
        let message = api.reconciler.let_through(&name, environment, asked.version, asked.reason.trim(), &caller)?;
        Ok(Json(Done { message, revision: None }))
    })
    .await
}

pub(super) async fn steer(
    State(api): State<Shared>,
    Path((name, verb)): Path<(String, String)>,
    Query(query): Query<SteerQuery>,
) -> Answer<Done> {
    let name = model_name(&name)?;
    let word = match verb_of(&verb)? {
        SteerVerb::Pause => Some(Steer::Pause),
        SteerVerb::Resume => Some(Steer::Resume),
        SteerVerb::Promote => Some(Steer::Promote),
        SteerVerb::Abort => Some(Steer::Abort),
        SteerVerb::Retry => None,
    };
    blocking(move || {
        let message = match word {
            None => {
                api.reconciler.retry(&name, query.environment.as_ref()).map(|()| format!("{name} is tried again"))?
            }
            Some(word) => {
                let environment = api.reconciler.steer(&name, query.environment.as_ref(), word)?;
                format!("{verb} {name} in {environment}")
            }
        };
        Ok(Json(Done { message, revision: None }))
    })
    .await
}

fn verb_of(text: &str) -> Result<SteerVerb, Failure> {
    let word: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    SteerVerb::deserialize(word).map_err(|_| missing("verb", text.escape_debug()))
}

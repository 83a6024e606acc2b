//! The one table of routes: the server and its OpenAPI document are both made from it, so that neither can have a route that
//! the other lacks.

use super::{
    commits, handlers, import, openapi, overview,
    server::{Answer, Shared},
    streams,
    types::*,
};

use axum::{handler::Handler, http::StatusCode, routing::MethodRouter};
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// Makes a type's schema.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One operation: how it is served and how it is described.
pub(super) struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub summary: &'static str,
    pub handler: MethodRouter<Shared>,
    /// An object whose properties are the query's parameters.
    pub query: Option<SchemaOf>,
    /// A body that may be left out.
    pub body: Option<SchemaOf>,
    /// Status of success.
    pub status: StatusCode,
    /// Media types of success with their schemas.
    pub answers: Vec<(&'static str, SchemaOf)>,
    /// Asks for no token.
    pub open: bool,
}

/// Paths that ask for no token: probes, and webhooks, which are signed.
pub(super) const OPEN: &[&str] = &["/healthz", "/readyz", "/webhook"];

pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain";

pub(super) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The type that a handler answers with, read from the handler itself: the document cannot name another.
trait Answers<Arguments> {
    type Out: JsonSchema;
}
macro_rules! answers {
    ($($argument:ident)*) => {
        impl<F, Fut, Out: JsonSchema, $($argument),*> Answers<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Fut,
            Fut: Future<Output = Answer<Out>>,
        {
            type Out = Out;
        }
    };
}
answers!(A);
answers!(A B);
answers!(A B C);
answers!(A B C D);

impl Route {
    fn new(method: &'static str, path: &'static str, summary: &'static str, handler: MethodRouter<Shared>) -> Self {
        let open = OPEN.contains(&path);
        let (query, body, answers) = (None, None, vec![]);
        Self { method, path, summary, handler, query, body, status: StatusCode::OK, answers, open }
    }
    fn answer<T: JsonSchema>(mut self, media: &'static str) -> Self {
        self.answers.push((media, schema::<T>));
        self
    }
    fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(schema::<T>), ..self }
    }
    fn body<T: JsonSchema>(self) -> Self {
        Self { body: Some(schema::<T>), ..self }
    }
}

/// `GET`, answered with JSON.
fn read<H, T, A>(path: &'static str, summary: &'static str, handler: H) -> Route
where
    H: Handler<T, Shared> + Answers<A>,
    T: 'static,
{
    Route::new("get", path, summary, axum::routing::get(handler)).answer::<H::Out>(JSON)
}

/// `POST`, answered with JSON.
fn change<H, T, A>(path: &'static str, summary: &'static str, handler: H) -> Route
where
    H: Handler<T, Shared> + Answers<A>,
    T: 'static,
{
    Route::new("post", path, summary, axum::routing::post(handler)).answer::<H::Out>(JSON)
}

/// `GET`, answered with something else, which the caller describes.
fn plain<H: Handler<T, Shared>, T: 'static>(path: &'static str, summary: &'static str, handler: H) -> Route {
    Route::new("get", path, summary, axum::routing::get(handler))
}

/// Every route.
pub(super) fn table() -> Vec<Route> {
    let backup = axum::routing::post(handlers::backup);
    let importing = axum::routing::post(import::import);
    let webhook = axum::routing::post(handlers::take_webhook);
    vec![
        plain("/healthz", "Whether the daemon runs", || async { "ok\n" }).answer::<String>(TEXT),
        plain("/readyz", "Whether a revision is loaded", handlers::ready).answer::<String>(TEXT),
        plain("/metrics", "Metrics in Prometheus text", handlers::metrics).answer::<String>(TEXT),
        plain("/api/v1/openapi.json", "This document", openapi::answer)
            .answer::<serde_json::Map<String, serde_json::Value>>(JSON),
        read("/api/v1/fleet", "All models, or some of them", handlers::fleet).query::<FleetQuery>(),
        read("/api/v1/fleet/summary", "How many models are how, without the models", overview::answer),
        read("/api/v1/plan", "What would be done now", handlers::plan).query::<PlanQuery>(),
        read("/api/v1/commits", "Commits that changed the specs, newest first, with what each caused", commits::list)
            .query::<CommitsQuery>(),
        read("/api/v1/commits/{id}", "What a commit asked for, and what came of it", commits::one),
        change("/api/v1/revert", "Undo a commit as git revert does; first only as a plan", commits::revert)
            .body::<RevertBody>(),
        change("/api/v1/sync", "Fetch and reconcile now", handlers::sync).body::<SyncBody>(),
        change("/api/v1/gc", "Remove what is beyond the limits from the state folder", handlers::gc).body::<GcBody>(),
        Route::new("post", "/api/v1/backup", "A backup of the store, as the answer or as a file", backup)
            .body::<BackupBody>()
            .answer::<Done>(JSON)
            .answer::<String>("application/octet-stream"),
        Route::new(
            "post",
            "/api/v1/import",
            "Bring experiments, runs and models in from another MLflow server",
            importing,
        )
        .body::<ImportBody>()
        .answer::<crate::model::ImportProgress>(import::LINES),
        plain("/api/v1/events", "Events; as server-sent events when Accept says so", streams::events)
            .query::<EventsQuery>()
            .answer::<Vec<crate::model::Event>>(JSON)
            .answer::<String>("text/event-stream"),
        read("/api/v1/models/{name}", "One model", handlers::detail),
        read("/api/v1/models/{name}/versions", "Its versions, oldest first", handlers::versions),
        read("/api/v1/models/{name}/versions/{number}", "One version with its lineage", handlers::version),
        read("/api/v1/models/{name}/runs", "Its runs, newest first", handlers::runs),
        read(
            "/api/v1/models/{name}/overrides",
            "What people let through before its time, newest first",
            handlers::overrides,
        )
        .query::<OverridesQuery>(),
        read("/api/v1/models/{name}/plan", "Its plan", handlers::model_plan),
        read("/api/v1/models/{name}/diff", "Desired against live", handlers::diff),
        change("/api/v1/models/{name}/refresh", "New snapshots of its data", handlers::refresh),
        change("/api/v1/models/{name}/suspend", "Stop reconciling it", handlers::suspend),
        change("/api/v1/models/{name}/resume", "Reconcile it again", handlers::resume),
        change("/api/v1/models/{name}/rollback", "Make and push a git revert", handlers::rollback)
            .body::<RollbackBody>(),
        change("/api/v1/models/{name}/approve", "Approve a version for an environment by a commit", handlers::approve)
            .body::<ApproveBody>(),
        change("/api/v1/models/{name}/promote", "Let a release through before its time", handlers::promote)
            .body::<PromoteBody>(),
        change("/api/v1/models/{name}/rollout/{verb}", "Steer its rollout", handlers::steer).query::<SteerQuery>(),
        plain("/api/v1/models/{name}/replicas/{environment}/log", "Output of the newest replica", streams::replica_log)
            .query::<LogQuery>()
            .answer::<String>(TEXT),
        plain("/api/v1/runs/{id}/log", "A run's output", streams::run_log).query::<LogQuery>().answer::<String>(TEXT),
        Route {
            status: StatusCode::ACCEPTED,
            ..Route::new("post", "/webhook", "Says that the source moved; signed with HMAC-SHA256", webhook)
                .body::<serde_json::Value>()
                .answer::<Done>(JSON)
        },
    ]
}

/// Schema of a path's parameter.
pub(super) fn parameter(name: &str) -> SchemaOf {
    match name {
        "name" | "environment" => schema::<crate::model::Name>,
        "verb" => schema::<SteerVerb>,
        _ => schema::<String>,
    }
}

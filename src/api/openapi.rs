//! The OpenAPI document, from one table of routes.

use serde_json::{Map, Value, json};

/// Method, path, what it does, name of the answer's type.
pub const ROUTES: &[(&str, &str, &str, &str)] = &[
    ("get", "/healthz", "Whether the daemon runs", "text"),
    ("get", "/readyz", "Whether a revision is loaded", "text"),
    ("get", "/metrics", "Metrics in Prometheus text", "text"),
    ("get", "/api/v1/openapi.json", "This document", "object"),
    ("get", "/api/v1/fleet", "All models", "Fleet"),
    ("get", "/api/v1/plan", "What would be done now, or for ?rev=REVISION", "FleetPlan"),
    ("post", "/api/v1/sync", "Fetch and reconcile now", "Done"),
    ("post", "/api/v1/backup", "Write a backup to a file of the daemon's machine", "Done"),
    (
        "get",
        "/api/v1/events",
        "Events after ?after=SEQ; as server-sent events with Accept: text/event-stream",
        "Event list",
    ),
    ("get", "/api/v1/models/{name}", "One model", "ModelDetail"),
    ("get", "/api/v1/models/{name}/versions", "Its versions, oldest first", "VersionBrief list"),
    ("get", "/api/v1/models/{name}/versions/{number}", "One version with its lineage", "Version"),
    ("get", "/api/v1/models/{name}/runs", "Its runs, newest first", "Run list"),
    ("get", "/api/v1/models/{name}/plan", "Its plan", "ModelPlan"),
    ("get", "/api/v1/models/{name}/diff", "Desired against live", "FieldDiff list"),
    ("post", "/api/v1/models/{name}/refresh", "New snapshots of its data", "Done"),
    ("post", "/api/v1/models/{name}/suspend", "Stop reconciling it", "Done"),
    ("post", "/api/v1/models/{name}/resume", "Reconcile it again", "Done"),
    ("post", "/api/v1/models/{name}/rollback", "Make and push a git revert", "Done"),
    (
        "post",
        "/api/v1/models/{name}/rollout/{verb}",
        "pause, resume, promote, abort or retry; ?environment=NAME",
        "Done",
    ),
    ("get", "/api/v1/runs/{id}/log", "A run's output from ?from=BYTE; waits for more with ?follow=true", "text"),
    ("get", "/api/v1/models/{name}/replicas/{environment}/log", "Output of the newest replica", "text"),
    ("post", "/webhook", "Says that the source moved; signed with HMAC-SHA256", "Done"),
];

/// The document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for (method, path, summary, answer) in ROUTES {
        let parameters: Vec<Value> = path
            .split('/')
            .filter_map(|p| p.strip_prefix('{')?.strip_suffix('}'))
            .map(|p| json!({ "name": p, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect();
        let kind = if *answer == "text" { "text/plain" } else { "application/json" };
        let operation = json!({
            "summary": summary,
            "parameters": parameters,
            "responses": {
                "200": { "description": answer, "content": { kind: {} } },
                "default": { "description": "ErrorBody", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/ErrorBody" } } } },
            },
        });
        let item = paths.entry((*path).to_owned()).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert((*method).to_owned(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "trimtab", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": { "ErrorBody": { "type": "object", "required": ["error"], "properties": { "error": { "type": "string" } } } },
        },
    })
}

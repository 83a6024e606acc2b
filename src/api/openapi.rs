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

const EVENTS: &str = "/api/v1/events";

/// Path, query parameter, its JSON type, what it does.
const QUERIES: &[(&str, &str, &str, &str)] = &[
    ("/api/v1/plan", "rev", "string", "A revision of the source; the loaded one when left out"),
    (EVENTS, "after", "integer", "Only events with a higher number; a stream also takes Last-Event-ID"),
    (EVENTS, "limit", "integer", "At most so many, without a stream"),
    ("/api/v1/models/{name}/rollout/{verb}", "environment", "string", "Needed when the model rolls out in several"),
    ("/api/v1/runs/{id}/log", "from", "integer", "Byte to begin at"),
    ("/api/v1/runs/{id}/log", "follow", "boolean", "Wait for more until the run ends"),
    ("/api/v1/models/{name}/replicas/{environment}/log", "from", "integer", "Byte to begin at"),
    ("/api/v1/models/{name}/replicas/{environment}/log", "follow", "boolean", "Wait for more"),
];

/// Path, schema of the body, whether it must be there.
const BODIES: &[(&str, &str, bool)] = &[
    ("/api/v1/sync", "SyncBody", false),
    ("/api/v1/backup", "BackupBody", true),
    ("/api/v1/models/{name}/rollback", "RollbackBody", false),
];

/// Paths that ask for no token: probes, and webhooks, which are signed.
pub const OPEN: &[&str] = &["/healthz", "/readyz", "/webhook"];

fn schemas() -> Value {
    json!({
        "ErrorBody": { "type": "object", "required": ["error"], "properties": { "error": { "type": "string" } } },
        "SyncBody": {
            "type": "object", "additionalProperties": false,
            "properties": { "prune": { "type": "boolean", "description": "Retire what a held commit deletes" } },
        },
        "BackupBody": {
            "type": "object", "additionalProperties": false, "required": ["file"],
            "properties": { "file": { "type": "string", "description": "Absolute path on the daemon's machine" } },
        },
        "RollbackBody": {
            "type": "object", "additionalProperties": false,
            "properties": { "to": { "type": ["integer", "null"], "description": "The version to go back to; the one before when left out" } },
        },
    })
}

/// The document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for (method, path, summary, answer) in ROUTES {
        let mut parameters: Vec<Value> = path
            .split('/')
            .filter_map(|p| p.strip_prefix('{')?.strip_suffix('}'))
            .map(|p| json!({ "name": p, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect();
        let queries = QUERIES.iter().filter(|(at, ..)| at == path);
        parameters.extend(queries.map(|(_, name, kind, does)| {
            json!({ "name": name, "in": "query", "required": false, "description": does, "schema": { "type": kind } })
        }));
        let mut content = Map::new();
        content.insert((if *answer == "text" { "text/plain" } else { "application/json" }).to_owned(), json!({}));
        if *path == EVENTS {
            content.insert("text/event-stream".to_owned(), json!({}));
        }
        let status = if *path == "/webhook" { "202" } else { "200" };
        let open = OPEN.contains(path);
        let mut operation = json!({
            "summary": summary,
            "parameters": parameters,
            "security": if open { json!([]) } else { json!([{ "token": [] }]) },
            "responses": {
                status: { "description": answer, "content": content },
                "default": { "description": "Refused, with the reason", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/ErrorBody" } } } },
            },
        });
        let body = BODIES.iter().find(|(at, ..)| at == path);
        if let (Some((_, schema, required)), Some(operation)) = (body, operation.as_object_mut()) {
            let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
            let body = json!({ "required": required, "content": { "application/json": { "schema": schema } } });
            operation.insert("requestBody".to_owned(), body);
        }
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
            "schemas": schemas(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_of_the_server_is_in_the_document_and_no_other() {
        // axum does not tell its routes: they are read from where they are made.
        let served: BTreeSet<(String, String)> = include_str!("server.rs")
            .lines()
            .filter_map(|l| l.trim().strip_prefix(".route(\""))
            .map(|l| {
                let (path, handler) = l.split_once("\", ").unwrap();
                (handler.split('(').next().unwrap().to_owned(), path.to_owned())
            })
            .collect();
        let document = document();
        let described: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| item.as_object().unwrap().keys().map(|m| (m.clone(), path.clone())))
            .collect();
        assert!(served.len() > 20);
        assert_eq!(served, described);
    }

    #[test]
    fn queries_bodies_and_open_paths_belong_to_routes_and_references_lead_somewhere() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let named = QUERIES.iter().map(|q| q.0).chain(BODIES.iter().map(|b| b.0)).chain(OPEN.iter().copied());
        named.for_each(|path| assert!(paths.contains_key(path), "{path}"));
        let text = document.to_string();
        for rest in text.split("#/components/schemas/").skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }
}

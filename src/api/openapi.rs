//! The OpenAPI 3.1 document: written from the table of routes, with schemas derived from the very types on the wire.

use super::{
    routes::{JSON, Route, SchemaOf, parameter, schema},
    types::ErrorBody,
};
use axum::{Extension, Json, http::StatusCode};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// `GET /api/v1/openapi.json`.
pub(super) async fn answer(Extension(document): Extension<Arc<Value>>) -> Json<Value> {
    Json(Value::clone(&document))
}

/// What is sent is described as it is read, what is answered as it is written: a field with a default may be left out
/// of the one and always stands in the other.
struct Schemas {
    sent: SchemaGenerator,
    answered: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
        Self {
            sent: settings().for_deserialize().into_generator(),
            answered: settings().for_serialize().into_generator(),
        }
    }

    fn sent(&mut self, of: SchemaOf) -> Value {
        of(&mut self.sent).to_value()
    }

    fn answered(&mut self, of: SchemaOf) -> Value {
        of(&mut self.answered).to_value()
    }

    /// All named schemas. A type that is both sent and answered has one schema, which the tests check.
    fn all(mut self) -> Map<String, Value> {
        let mut all = self.sent.take_definitions(true);
        all.extend(self.answered.take_definitions(true));
        all
    }

    fn parameters(&mut self, route: &Route) -> Vec<Value> {
        let named = route.path.split('/').filter_map(|p| p.strip_prefix('{')?.strip_suffix('}'));
        let mut all: Vec<Value> = named
            .map(|p| json!({ "name": p, "in": "path", "required": true, "schema": self.sent(parameter(p)) }))
            .collect();
        let Some(query) = route.query else { return all };
        // The query's type becomes one parameter for each of its fields, and no schema of its own.
        let reference = self.sent(query);
        let name = reference["$ref"].as_str().and_then(|r| r.rsplit('/').next()).unwrap_or_default();
        let fields = self.sent.definitions_mut().remove(name).unwrap_or_default();
        for (field, schema) in fields["properties"].as_object().into_iter().flatten() {
            let mut schema = schema.clone();
            let what = schema.as_object_mut().and_then(|s| s.remove("description")).unwrap_or_default();
            all.push(json!({ "name": field, "in": "query", "required": false, "description": what, "schema": schema }));
        }
        all
    }

    fn responses(&mut self, route: &Route) -> Value {
        let mut content = Map::new();
        for (media, of) in &route.answers {
            content.insert((*media).to_owned(), json!({ "schema": self.answered(*of) }));
        }
        let refused = json!({ JSON: { "schema": self.answered(schema::<ErrorBody>) } });
        let mut all = Map::new();
        all.insert(route.status.as_str().to_owned(), json!({ "description": route.summary, "content": content }));
        let mut refuse = |status: &str, why: &str| {
            all.insert(status.to_owned(), json!({ "description": why, "content": refused.clone() }));
        };
        refuse("default", "Refused or failed, with the reason");
        if route.query.is_some() || route.body.is_some() {
            refuse("400", "The query or the body is not what this call takes");
        }
        if route.body.is_some() {
            refuse("413", "The body is too large");
        }
        if !route.open {
            refuse("401", "Over TCP: the token is missing or wrong");
        }
        if route.path.contains('{') {
            refuse("404", "There is no such thing");
        }
        if route.path == "/readyz" {
            // For probes, which read no JSON.
            let content = json!({ "text/plain": { "schema": { "type": "string" } } });
            let status = StatusCode::SERVICE_UNAVAILABLE.as_str().to_owned();
            all.insert(status, json!({ "description": "No revision is loaded yet", "content": content }));
        }
        Value::Object(all)
    }

    fn operation(&mut self, route: &Route) -> Value {
        let mut operation = json!({
            "operationId": operation_id(route),
            "summary": route.summary,
            "parameters": self.parameters(route),
            "security": if route.open { json!([]) } else { json!([{ "token": [] }]) },
            "responses": self.responses(route),
        });
        if let (Some(body), Some(operation)) = (route.body, operation.as_object_mut()) {
            let content = json!({ JSON: { "schema": self.sent(body) } });
            operation.insert("requestBody".to_owned(), json!({ "required": false, "content": content }));
        }
        operation
    }
}

/// `getModelsNameVersions`: what generators of clients call it.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !matches!(*w, "" | "api" | "v1"));
    let capital = |w: &str| w[..1].to_ascii_uppercase() + &w[1..];
    words.fold(route.method.to_owned(), |id, word| id + &capital(word))
}

/// The document.
pub(super) fn document(table: &[Route]) -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for route in table {
        let operation = schemas.operation(route);
        paths.insert(route.path.to_owned(), json!({ route.method: operation }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "trimtab",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The API of a trimtab daemon. Times are milliseconds since 1970 unless they say otherwise.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas.all(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::{super::routes, *};
    use std::collections::BTreeSet;

    #[test]
    fn references_lead_somewhere_names_are_unique_and_both_directions_agree() {
        let table = routes::table();
        let document = document(&table);
        let text = document.to_string();
        let mut seen = 0;
        for rest in text.split("#/components/schemas/").skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
            seen += 1;
        }
        assert!(seen > 50, "{seen}");
        let paths: BTreeSet<&str> = table.iter().map(|r| r.path).collect();
        assert_eq!(paths.len(), table.len(), "one operation a path: a second would take the first one's place");
        let ids: BTreeSet<String> = table.iter().map(operation_id).collect();
        assert_eq!(ids.len(), table.len());
        routes::OPEN.iter().for_each(|path| assert!(paths.contains(path), "{path}"));
        let mut schemas = Schemas::new();
        table.iter().for_each(|r| drop(schemas.operation(r)));
        let (sent, answered) = (schemas.sent.definitions(), schemas.answered.definitions());
        let both: Vec<&String> = sent.keys().filter(|k| answered.contains_key(*k)).collect();
        assert!(!both.is_empty());
        both.iter().for_each(|k| assert_eq!(sent[*k], answered[*k], "{k}"));
    }
}

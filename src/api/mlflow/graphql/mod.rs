//! `/graphql`, which MLflow's user interface asks for runs and experiments. A root field is a call of the REST API, made as its caller and so with
//! their permissions; of its answer goes what is selected.
//!
//! Source: `_graphql` in `mlflow/server/handlers.py` and `mlflow/server/graphql/`.

mod document;
mod schema;

use super::{Answered, Call, access::Who, json, request::Request, table};
use crate::{
    api::server::Shared,
    model::tracking::{ErrorCode, TrackingError},
    tracking::Tracked,
};
use axum::{
    Extension, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::post,
};
use document::{DEPTH, Document, Field, Operation, Selection};
use futures::future::BoxFuture;
use schema::{MUTATIONS, Of, ROOTS, Type};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Fields selected by one query, at most: as in MLflow.
const SELECTIONS: usize = 1000;
/// Root fields of one query, at most: each is a call.
const ROOT_FIELDS: usize = 10;

/// A call whose answer is a field of another's.
#[derive(Debug)]
pub struct Asked {
    pub path: &'static str,
    pub question: fn(&Value) -> Value,
    /// The answer's field that is meant.
    pub field: &'static str,
    pub of: Of,
}

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/graphql", post(answer))
}

#[derive(Deserialize)]
struct Question {
    #[serde(default)]
    query: String,
    #[serde(default)]
    variables: Option<Map<String, Value>>,
    #[serde(default, rename = "operationName")]
    operation: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    data: Option<Map<String, Value>>,
    errors: Option<Vec<String>>,
}

async fn answer(State(api): State<Shared>, who: Option<Extension<Who>>, body: bytes::Bytes) -> Response {
    let who = who.map(|Extension(who)| who).unwrap_or_default();
    let answered = match serde_json::from_slice::<Question>(&body) {
        Ok(question) => json(&answer_to(api, who, question).await),
        Err(e) => Err(TrackingError::new(ErrorCode::BadRequest, format!("no question in JSON: {e}"))),
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

async fn answer_to(api: Shared, who: Who, question: Question) -> Answer {
    let refused = |why: String| Answer { data: None, errors: Some(vec![why]) };
    let document = match document::read(&question.query) {
        Ok(document) => document,
        Err(why) => return refused(why),
    };
    let meant = |o: &&Operation| question.operation.is_none() || o.name == question.operation;
    let mut operations = document.operations.iter().filter(meant);
    let (Some(operation), None) = (operations.next(), operations.next()) else {
        return refused("Must provide operation name if query contains multiple operations.".into());
    };
    let mut variables = operation.defaults.clone();
    variables.extend(question.variables.unwrap_or_default());
    let asking = Asking { api, who, document: &document, variables, left: AtomicUsize::new(SELECTIONS) };
    match asking.fields(&operation.selections, 1) {
        Ok(roots) if roots.len() > ROOT_FIELDS => refused(format!(
            "GraphQL queries should have at most {ROOT_FIELDS} root fields, got {} root fields.",
            roots.len()
        )),
        Ok(roots) => asking.roots(operation.mutation, roots).await,
        Err(why) => refused(why),
    }
}

/// One query being answered.
struct Asking<'a> {
    api: Shared,
    who: Who,
    document: &'a Document,
    variables: Map<String, Value>,
    /// Fields that may still be selected.
    left: AtomicUsize,
}

impl<'a> Asking<'a> {
    /// The fields of selections, fragments resolved. Fragments may name each other in a circle: the depth ends it.
    fn fields(&self, selections: &'a [Selection], depth: usize) -> Result<Vec<&'a Field>, String> {
        if depth > DEPTH {
            return Err(format!("Query exceeds maximum depth of {DEPTH}"));
        }
        let mut fields = vec![];
        for selection in selections {
            let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
            left.map_err(|_| format!("Query exceeds maximum total selections of {SELECTIONS}"))?;
            match selection {
                Selection::Field(field) => fields.push(field),
                Selection::Inline(more) => fields.extend(self.fields(more, depth + 1)?),
                Selection::Fragment(name) => {
                    let more =
                        self.document.fragments.get(name).ok_or_else(|| format!("Unknown fragment '{name}'."))?;
                    fields.extend(self.fields(more, depth + 1)?);
                }
            }
        }
        Ok(fields)
    }

    async fn roots(&self, mutation: bool, fields: Vec<&'a Field>) -> Answer {
        let (roots, kind) = if mutation { (MUTATIONS, "Mutation") } else { (ROOTS, "Query") };
        let (mut data, mut errors) = (Map::new(), vec![]);
        for field in fields {
            if field.name == "__typename" {
                data.insert(field.key.clone(), kind.into());
                continue;
            }
            let Some(root) = roots.iter().find(|r| r.name == field.name) else {
                let why = format!("Cannot query field '{}' on type '{kind}'.", field.name);
                return Answer { data: None, errors: Some(vec![why]) };
            };
            let input = field.arguments.iter().find(|(name, _)| name == "input");
            let input = input.map(|(_, given)| snake_keys(given.value(&self.variables))).unwrap_or_default();
            let found = match self.ask(root.path, input).await {
                Ok(answer) => self.object(root.answer, field, answer, 2).await,
                Err(e) => Err(e.message),
            };
            data.insert(
                field.key.clone(),
                found.unwrap_or_else(|why| {
                    errors.push(why);
                    Value::Null
                }),
            );
        }
        Answer { data: Some(data), errors: (!errors.is_empty()).then_some(errors) }
    }

    /// Makes a call, as if it came by itself.
    async fn ask(&self, path: &str, question: Value) -> Tracked<Value> {
        let internal = |e: &dyn std::fmt::Display| TrackingError::new(ErrorCode::InternalError, e.to_string());
        let route = table().into_iter().find(|r| r.path == path).ok_or_else(|| internal(&"no such call"))?;
        let given = match question {
            Value::Object(given) => given,
            _ => Map::new(),
        };
        let request = Request::new(given, route.schema)?;
        let call = Call { api: self.api.clone(), who: self.who.clone(), request, path: vec![] };
        call.check(&route.method, route.path)?;
        let answer: Answered = (route.handler)(call).await;
        let body = axum::body::to_bytes(answer?.into_body(), usize::MAX).await.map_err(|e| internal(&e))?;
        serde_json::from_slice(&body).map_err(|e| internal(&e))
    }

    /// What is selected of an object.
    fn object(
        &self,
        kind: &'static Type,
        of: &'a Field,
        from: Value,
        depth: usize,
    ) -> BoxFuture<'_, Result<Value, String>> {
        Box::pin(async move {
            let mut object = Map::new();
            if of.selections.is_empty() {
                return Err(format!("Field '{}' of type '{}' must have a selection of subfields.", of.name, kind.name));
            }
            for field in self.fields(&of.selections, depth)? {
                let value = self.value(kind, field, &from, depth).await?;
                object.insert(field.key.clone(), value);
            }
            Ok(Value::Object(object))
        })
    }

    async fn value(&self, kind: &'static Type, field: &'a Field, from: &Value, depth: usize) -> Result<Value, String> {
        if field.name == "__typename" {
            return Ok(kind.name.into());
        }
        let name = snake(&field.name);
        let known = kind.fields.iter().find(|(n, _)| *n == name);
        let Some((_, of)) = known else {
            return Err(format!("Cannot query field '{}' on type '{}'.", field.name, kind.name));
        };
        match of {
            Of::Call(asked) => {
                let mut answer = self.ask(asked.path, (asked.question)(from)).await.map_err(|e| e.message)?;
                self.filled(asked.of, field, answer[asked.field].take(), depth).await
            }
            of => self.filled(*of, field, from.get(name).cloned().unwrap_or_default(), depth).await,
        }
    }

    /// The value as its kind. What is not set is what protobuf's messages have then.
    async fn filled(&self, of: Of, field: &'a Field, value: Value, depth: usize) -> Result<Value, String> {
        Ok(match (of, value) {
            (Of::Text, Value::Null) => "".into(),
            (Of::Long, Value::Null) => "0".into(),
            (Of::Long, Value::Number(n)) => n.to_string().into(),
            (Of::Flag, Value::Null) => false.into(),
            (Of::Float, Value::Null) => 0.0.into(),
            // Words for what no JSON number is, which is no GraphQL number either.
            (Of::Float, Value::String(_)) | (Of::Nothing | Of::Call(_), _) => Value::Null,
            (Of::Texts, Value::Null) => Value::Array(vec![]),
            (Of::One(kind), value) => self.object(kind, field, value, depth + 1).await?,
            (Of::Many(kind), Value::Array(items)) => {
                let mut all = Vec::with_capacity(items.len());
                for item in items {
                    all.push(self.object(kind, field, item, depth + 1).await?);
                }
                Value::Array(all)
            }
            (Of::Many(_), _) => Value::Array(vec![]),
            (_, value) => value,
        })
    }
}

/// `runUuid` is `run_uuid`.
fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn snake_keys(value: Value) -> Value {
    match value {
        Value::Object(map) => map.into_iter().map(|(k, v)| (snake(&k), snake_keys(v))).collect(),
        Value::Array(items) => items.into_iter().map(snake_keys).collect(),
        value => value,
    }
}

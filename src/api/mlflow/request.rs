//! A call's fields as MLflow's server reads them: from the body or the query, typed as the protobuf message says, checked as its handler says.
//!
//! MLflow parses the JSON into a protobuf message and, where that fails, goes on with what was parsed and lets the handler's schema find the
//! field to blame (`_get_request_message` and `_validate_param_against_schema` in `mlflow/server/handlers.py`).

use crate::{model::tracking::TrackingError, tracking::ascii_json};
use serde_json::{Map, Value};

/// What a field of a message holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Text,
    Int,
    Double,
    Bool,
    /// Unknown words are left out, as protobuf's JSON does when unknown fields are ignored.
    Enum(&'static [&'static str]),
    Message(&'static [Field]),
    Texts,
    Messages(&'static [Field]),
}

/// A field of a message.
#[derive(Debug, Clone, Copy)]
pub struct Field(pub &'static str, pub Kind);

/// What a handler asks of a field, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    Required,
    Text,
    Int,
    Float,
    Bool,
    Array,
    TextItems,
    /// Every param or tag has a `key`; named so.
    KeyedBy(&'static str),
    /// Every metric has its fields.
    Metrics,
    /// An integer that is at most so large.
    AtMost(i64),
    /// At most so many items, with the beginning of the refusal's words.
    Items(usize, &'static str),
    /// Between the two, inclusive, with the words of the refusal.
    Within(i64, i64, &'static str),
}

/// A call's message and its handler's schema.
#[derive(Debug)]
pub struct Schema {
    pub fields: &'static [Field],
    pub checks: &'static [(&'static str, &'static [Check])],
}

pub const KEY_VALUE: &[Field] = &[Field("key", Kind::Text), Field("value", Kind::Text)];

/// The fields that a call gave, typed.
#[derive(Debug, Default)]
pub struct Request(Map<String, Value>);

impl Request {
    /// Takes a body in. What is no JSON is an empty message, as in MLflow.
    pub fn from_body(body: &[u8], schema: &Schema) -> Result<Self, TrackingError> {
        let mut value: Value = serde_json::from_slice(body).unwrap_or_default();
        // Old clients send a JSON text of the JSON.
        if let Value::String(text) = &value {
            value = serde_json::from_str(text).unwrap_or_default();
        }
        match value {
            Value::Object(map) => Self::new(canonical(map, schema.fields)?, schema),
            Value::Null => Self::new(Map::new(), schema),
            // MLflow answers with a 500, on which its clients would try again.
            _ => Err(TrackingError::invalid("The body of the request must be a JSON object")),
        }
    }

    /// Takes a query in.
    pub fn from_query(query: &str, schema: &Schema) -> Result<Self, TrackingError> {
        let mut map = Map::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(Field(_, kind)) = schema.fields.iter().find(|f| f.0 == name) else { continue };
            let value = Value::String(value.into_owned());
            match kind {
                Kind::Texts | Kind::Messages(_) => match map.entry(name) {
                    serde_json::map::Entry::Occupied(mut e) => {
                        e.get_mut().as_array_mut().into_iter().for_each(|a| a.push(value.clone()))
                    }
                    serde_json::map::Entry::Vacant(e) => drop(e.insert(Value::Array(vec![value]))),
                },
                Kind::Bool => {
                    let text = value.as_str().unwrap_or_default();
                    let truth = match text.to_lowercase().as_str() {
                        "true" => true,
                        "false" => false,
                        _ => {
                            return Err(TrackingError::invalid(format!(
                                "Invalid boolean value: {text}, must be 'true' or 'false'."
                            )));
                        }
                    };
                    map.entry(name).or_insert(Value::Bool(truth));
                }
                // The first of several.
                _ => drop(map.entry(name).or_insert(value)),
            }
        }
        Self::new(map, schema)
    }

    /// Takes fields in.
    pub fn new(given: Map<String, Value>, schema: &Schema) -> Result<Self, TrackingError> {
        let parsed = typed(&given, schema.fields);
        let whole = parsed.whole;
        for (name, checks) in schema.checks {
            let of_old_clients = || (*name == "run_id").then(|| given.get("run_uuid")).flatten();
            let there = given.get(*name).filter(|v| !v.is_null()).or_else(of_old_clients).or_else(|| given.get(*name));
            if there.is_some() || checks.contains(&Check::Required) {
                let value = there.unwrap_or(&Value::Null);
                checks.iter().try_for_each(|check| check.hold(name, value, whole))?;
            }
        }
        Ok(Self(parsed.fields))
    }

    /// A text; empty when it was left out.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }
    /// A text that was given.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }
    /// A text that was given and is not empty.
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|t| !t.is_empty())
    }
    /// `run_id`, or `run_uuid` as old clients call it.
    pub fn run_id(&self) -> &str {
        self.filled("run_id").unwrap_or_else(|| self.text("run_uuid"))
    }
    pub fn int(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_i64)
    }
    pub fn double(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(number)
    }
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(Value::as_bool)
    }
    pub fn texts(&self, name: &str) -> Vec<String> {
        let items = self.0.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(|v| v.as_str().map(str::to_owned)).collect()
    }
    /// The messages of a repeated field.
    pub fn each(&self, name: &str) -> Vec<Request> {
        let items = self.0.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(|v| v.as_object().map(|m| Request(m.clone()))).collect()
    }
    /// The message of a field.
    pub fn message(&self, name: &str) -> Option<Request> {
        self.0.get(name).and_then(Value::as_object).map(|m| Request(m.clone()))
    }
    /// `(key, value)` of a repeated field of tags or params.
    pub fn pairs(&self, name: &str) -> Vec<(String, String)> {
        self.each(name).iter().map(|r| (r.text("key").to_owned(), r.text("value").to_owned())).collect()
    }
    /// What was given, raw.
    pub fn raw(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

/// Fields by the names of the protocol; JSON may spell `runId` for `run_id`, but not both.
fn canonical(mut given: Map<String, Value>, fields: &[Field]) -> Result<Map<String, Value>, TrackingError> {
    for Field(name, _) in fields.iter().filter(|f| f.0.contains('_')) {
        let other = camel(name);
        let Some(value) = given.remove(&other) else { continue };
        if given.contains_key(*name) {
            return Err(TrackingError::invalid(format!(
                "Request specifies both '{name}' and '{other}'; provide only one of them."
            )));
        }
        given.insert((*name).to_owned(), value);
    }
    Ok(given)
}

/// `run_id` as `runId`.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |mut all, part| {
        let mut letters = part.chars();
        all.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        all.push_str(letters.as_str());
        all
    })
}

/// A double: protobuf's JSON writes what JSON cannot as words.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => match s.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            s => s.trim().parse().ok(),
        },
        _ => None,
    }
}

struct Parsed {
    fields: Map<String, Value>,
    /// Every field had its type.
    whole: bool,
}

fn typed(given: &Map<String, Value>, fields: &[Field]) -> Parsed {
    let mut parsed = Parsed { fields: Map::new(), whole: true };
    for Field(name, kind) in fields {
        let Some(value) = given.get(*name).filter(|v| !v.is_null()) else { continue };
        let (value, whole) = of_kind(value, *kind);
        parsed.whole &= whole;
        if let Some(value) = value {
            parsed.fields.insert((*name).to_owned(), value);
        }
    }
    parsed
}

/// The value as its kind, and whether it was one.
fn of_kind(value: &Value, kind: Kind) -> (Option<Value>, bool) {
    let found = |v: Option<Value>| {
        let whole = v.is_some();
        (v, whole)
    };
    match kind {
        Kind::Text => found(value.as_str().map(|s| Value::String(s.to_owned()))),
        Kind::Int => found(integer(value).map(Value::from)),
        // Kept as it came: JSON has no NaN.
        Kind::Double => found(number(value).map(|_| value.clone())),
        Kind::Bool => found(value.as_bool().map(Value::Bool)),
        Kind::Enum(words) => match value {
            Value::String(s) if words.contains(&s.as_str()) => (Some(value.clone()), true),
            // Its number may come as text; what is neither is as if left out.
            Value::String(s) => (s.parse().ok().and_then(|n| word(words, n)), true),
            Value::Number(n) => found(n.as_u64().and_then(|n| word(words, n))),
            Value::Bool(truth) => found(word(words, u64::from(*truth))),
            _ => (None, false),
        },
        Kind::Message(fields) => match value {
            Value::Object(map) => {
                let parsed = typed(map, fields);
                (Some(Value::Object(parsed.fields)), parsed.whole)
            }
            _ => (None, false),
        },
        Kind::Texts | Kind::Messages(_) => {
            let Value::Array(items) = value else { return (None, false) };
            let each = match kind {
                Kind::Messages(fields) => Kind::Message(fields),
                _ => Kind::Text,
            };
            let mut whole = true;
            let mut taken = Vec::with_capacity(items.len());
            for item in items {
                let (read, good) = of_kind(item, each);
                whole &= good;
                // An item that is no message is an empty one.
                let empty = || matches!(each, Kind::Message(_)).then(|| Value::Object(Map::new()));
                taken.extend(read.or_else(empty));
            }
            (Some(Value::Array(taken)), whole)
        }
    }
}

/// The word of a number in the protocol, which counts from 1.
fn word(words: &[&'static str], number: u64) -> Option<Value> {
    let place = usize::try_from(number).ok()?.checked_sub(1)?;
    words.get(place).map(|w| Value::from(*w))
}

/// A 64-bit integer, which may come as text.
fn integer(value: &Value) -> Option<i64> {
    let whole = |f: f64| (f.fract() == 0.0 && f.abs() < 9.2e18).then_some(f as i64);
    match value {
        Value::Number(n) => n.as_i64().or_else(|| n.as_f64().and_then(whole)),
        Value::String(s) if s.contains(' ') => None,
        Value::String(s) => s.parse().ok().or_else(|| s.parse().ok().and_then(whole)),
        _ => None,
    }
}

impl Check {
    fn hold(self, name: &str, value: &Value, whole: bool) -> Result<(), TrackingError> {
        const HELP: &str = " See the API docs for more information about request parameters.";
        let good = match self {
            Self::Required => {
                if value.is_null() || value.as_str() == Some("") {
                    return Err(TrackingError::invalid(format!(
                        "Missing value for required parameter '{name}'.{HELP}"
                    )));
                }
                true
            }
            // A message that parsed had the right types.
            Self::Text | Self::Int | Self::Float | Self::Bool | Self::Array | Self::TextItems if whole => true,
            Self::Text => value.is_string(),
            Self::Int => integer(value).is_some(),
            Self::Float => number(value).is_some(),
            Self::Bool => value.is_boolean(),
            Self::Array => value.is_array(),
            Self::TextItems => value.as_array().is_none_or(|a| a.iter().all(Value::is_string)),
            Self::KeyedBy(list) => return keyed(list, value, &["key"], HELP),
            Self::Metrics => return keyed("metrics", value, &["key", "value", "timestamp"], HELP),
            Self::AtMost(most) => integer(value).is_none_or(|n| n <= most),
            Self::Items(most, words) => match value.as_array().map(Vec::len) {
                Some(n) if n > most => return Err(TrackingError::invalid(format!("{words} {n} run_ids.{HELP}"))),
                _ => true,
            },
            Self::Within(least, most, words) => match integer(value) {
                Some(n) if !(least..=most).contains(&n) => {
                    return Err(TrackingError::invalid(format!("{words}{HELP}")));
                }
                _ => true,
            },
        };
        if good {
            return Ok(());
        }
        Err(TrackingError::invalid(format!(
            "Invalid value {} for parameter '{name}' supplied:  Hint: Value was of type '{}'.{HELP}",
            ascii_json(value),
            python_type(value)
        )))
    }
}

/// Every item of a list has these fields.
fn keyed(list: &str, value: &Value, fields: &[&str], help: &str) -> Result<(), TrackingError> {
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        for field in fields {
            let there = item.get(field).is_some_and(|v| !v.is_null() && v.as_str() != Some(""));
            if !there {
                return Err(TrackingError::invalid(format!(
                    "Missing value for required parameter '{list}[{n}].{field}'.{help}"
                )));
            }
        }
    }
    Ok(())
}

fn python_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

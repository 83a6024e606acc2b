//! The right side of a clause: what each entity may be held against, and by which comparators.

use super::{
    Subject,
    group::{Group, Piece},
    identify::{Entity, Identifier, invalid_key, listed, unquoted},
    like::Like,
    list,
    test::{Compare, Number, Test},
};
use crate::model::tracking::{ErrorCode, TrackingError};

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    Number(Number),
    List(Vec<String>),
}

const STRING_OPS: &[&str] = &["!=", "=", "LIKE", "ILIKE", "IN", "NOT IN"];
const TAG_OPS: &[&str] = &["!=", "=", "LIKE", "ILIKE"];
/// Comparators of a run's own texts, which may be missing: those of `IS` are read before these.
const NULLABLE_OPS: &[&str] = &["!=", "=", "LIKE", "ILIKE", "IS NULL", "IS NOT NULL"];
const NUMBER_OPS: &[&str] = &[">", ">=", "!=", "=", "<", "<="];

/// The test of a comparison.
pub fn test(subject: Subject, of: &Identifier, op: &str, right: &Piece<'_>) -> Result<Test, TrackingError> {
    // Experiments alone take no `like`.
    let upper = op.to_uppercase();
    let op = if subject == Subject::Experiments { op } else { &upper };
    let numeric = of.entity == Entity::Attribute && subject.keys().numeric.contains(&of.key.as_str());
    if subject == Subject::LoggedModels {
        return of_logged_model(of, numeric, op, right);
    }
    let value = value(subject, of, right)?;
    if subject == Subject::Experiments && of.entity == Entity::Attribute && of.key == "experiment_id" {
        return experiment_id(op, value);
    }
    allowed(subject, &of.clone().canonical(subject), numeric, op)?;
    if !numeric {
        return strings(op, value);
    }
    let compare = Compare::new(op).ok_or_else(|| unknown(op, NUMBER_OPS))?;
    Ok(Test::Number(compare, attribute_number(subject, &of.key, value)?))
}

fn unknown(op: &str, ops: &[&str]) -> TrackingError {
    TrackingError::invalid(format!("Invalid comparator '{op}' not one of '{{{}}}'", listed(ops)))
}

fn allowed(subject: Subject, of: &Identifier, numeric: bool, op: &str) -> Result<(), TrackingError> {
    use Subject::*;
    let (ops, words) = match (subject, of.entity) {
        (_, Entity::Metric) => (NUMBER_OPS, None),
        (_, Entity::Attribute) if numeric => match subject {
            ModelVersions => (NUMBER_OPS, Some(format!("Invalid comparator for attribute {}: {op}", of.key))),
            _ => (NUMBER_OPS, None),
        },
        (Experiments | RegisteredModels | ModelVersions, Entity::Tag) => {
            (TAG_OPS, Some(format!("Invalid comparator for tag: {op}")))
        }
        (Runs, Entity::Tag | Entity::Param) => (NULLABLE_OPS, None),
        (_, Entity::Tag | Entity::Param | Entity::Metadata) => (TAG_OPS, None),
        (Experiments, _) if STRING_OPS.contains(&op) => {
            (TAG_OPS, Some(format!("Invalid comparator for string attribute: {op}")))
        }
        (RegisteredModels | ModelVersions, _) => {
            let listed = subject.keys().listed.contains(&of.key.as_str());
            let ops = if listed { STRING_OPS } else { TAG_OPS };
            (ops, Some(format!("Invalid comparator for attribute: {op}")))
        }
        _ => (STRING_OPS, None),
    };
    if ops.contains(&op) {
        return Ok(());
    }
    Err(words.map_or_else(|| unknown(op, ops), TrackingError::invalid))
}

fn strings(op: &str, value: Value) -> Result<Test, TrackingError> {
    Ok(match (op, value) {
        ("=", Value::Text(text)) => Test::Equals(text.into()),
        ("!=", Value::Text(text)) => Test::Differs(text.into()),
        ("LIKE", Value::Text(text)) => Test::Like(Like::new(&text, false)),
        ("ILIKE", Value::Text(text)) => Test::Like(Like::new(&text, true)),
        ("IN", Value::List(list)) => Test::In(list.into()),
        ("NOT IN", Value::List(list)) => Test::NotIn(list.into()),
        (op, Value::Number(number)) => {
            let compare = Compare::new(op).ok_or_else(|| unknown(op, NUMBER_OPS))?;
            Test::Number(compare, number)
        }
        // The database refuses to bind it.
        (op, _) => {
            return Err(TrackingError::new(
                ErrorCode::BadRequest,
                format!("The comparator '{op}' does not take a list, and IN and NOT IN take nothing else"),
            ));
        }
    })
}

fn attribute_number(subject: Subject, key: &str, value: Value) -> Result<Number, TrackingError> {
    let whole = matches!(subject, Subject::Experiments | Subject::ModelVersions);
    let invalid = |shown: &str| TrackingError::invalid(format!("Invalid value for numeric attribute '{key}': {shown}"));
    match value {
        Value::Number(Number::Float(f)) if subject == Subject::Experiments => Err(invalid(&format!("'{f:?}'"))),
        Value::Number(Number::Float(f)) if whole => Err(invalid(&format!("{f:?}"))),
        Value::Number(n) => Ok(n),
        Value::Text(text) if whole => {
            text.trim().parse().map(Number::Integer).map_err(|_| invalid(&format!("'{text}'")))
        }
        // A text beside a column of integers: SQLite puts every integer before it.
        Value::Text(text) => Ok(text.trim().parse().map_or(Number::Float(f64::INFINITY), Number::Float)),
        Value::List(_) => Err(invalid("a list")),
    }
}

fn experiment_id(op: &str, value: Value) -> Result<Test, TrackingError> {
    if !["=", "!=", "IN", "NOT IN"].contains(&op) {
        return Err(TrackingError::invalid(format!("Invalid comparator for experiment_id: {op}")));
    }
    let ids = match &value {
        Value::Text(id) => std::slice::from_ref(id),
        Value::List(ids) => ids,
        Value::Number(_) => &[],
    };
    match ids.iter().find(|id| id.trim().parse::<i64>().is_err()) {
        None => strings(op, value),
        Some(id) => {
            Err(TrackingError::invalid(format!("Invalid experiment ID '{id}'. Experiment ID must be a valid integer.")))
        }
    }
}

fn number(right: &Piece<'_>) -> Option<Number> {
    match right.group {
        Group::Integer => Some(
            right.text.parse().map_or_else(|_| Number::Float(right.text.parse().unwrap_or(f64::NAN)), Number::Integer),
        ),
        Group::Float => right.text.parse().ok().map(Number::Float),
        _ => None,
    }
}

fn text(right: &Piece<'_>) -> Option<Result<Value, TrackingError>> {
    if !matches!(right.group, Group::Text | Group::Identifier) {
        return None;
    }
    let value = right.text;
    Some(unquoted(value).map(|t| Value::Text(t.to_owned())).ok_or_else(|| {
        TrackingError::invalid(format!(
            "Parameter value is either not quoted or unidentified quote types used for string value {value}. \
             Use either single or double quotes."
        ))
    }))
}

fn list_of(subject: Subject, key: &str, right: &Piece<'_>) -> Result<Value, TrackingError> {
    let keys = subject.keys().listed;
    if keys.contains(&key) {
        return list::parse(right.text).map(Value::List);
    }
    Err(TrackingError::invalid(format!(
        "Only [{}] attributes support comparison with a list of quoted string values.",
        listed(keys)
    )))
}

fn value(subject: Subject, of: &Identifier, right: &Piece<'_>) -> Result<Value, TrackingError> {
    let shown = right.text;
    let expected = |what: String| Err(TrackingError::invalid(format!("Expected {what} {shown}")));
    let list = right.group == Group::Parenthesis;
    match of.entity {
        Entity::Metric => match number(right) {
            Some(number) => Ok(Value::Number(number)),
            None => expected("numeric value type for metric. Found".into()),
        },
        Entity::Tag if list && subject == Subject::Traces => list::parse(shown).map(Value::List),
        Entity::Param | Entity::Tag | Entity::Metadata | Entity::Unsearched => text(right).unwrap_or_else(|| {
            expected(format!("a quoted string value for {} (e.g. 'my-value'). Got value", of.entity.name()))
        }),
        Entity::Dataset if list => list::parse(shown).map(Value::List),
        Entity::Dataset => {
            text(right).unwrap_or_else(|| expected("a quoted string value for dataset attributes. Got value".into()))
        }
        Entity::Attribute => of_attribute(subject, &of.key, right),
    }
}

fn of_attribute(subject: Subject, key: &str, right: &Piece<'_>) -> Result<Value, TrackingError> {
    let shown = right.text;
    let numeric = subject.keys().numeric.contains(&key);
    let either = matches!(subject, Subject::ModelVersions | Subject::Traces);
    if numeric && !either {
        return number(right).map(Value::Number).ok_or_else(|| {
            TrackingError::invalid(format!("Expected numeric value type for numeric attribute: {key}. Found {shown}"))
        });
    }
    if let Some(text) = text(right) {
        return text;
    }
    if right.group == Group::Parenthesis {
        return list_of(subject, key, right);
    }
    match number(right).filter(|_| either) {
        Some(number) if numeric => return Ok(Value::Number(number)),
        Some(_) => {
            return Err(TrackingError::invalid(format!(
                "Only the '{{{}}}' attributes support comparison with numeric values.",
                listed(subject.keys().numeric)
            )));
        }
        None => {}
    }
    let registry = either || subject == Subject::RegisteredModels;
    let what = if registry {
        "a quoted string value or a list of quoted string values for"
    } else {
        "a quoted string value for"
    };
    Err(TrackingError::invalid(format!("Expected {what} attributes. Got value {shown}")))
}

/// Logged models take any text beside a text, and whatever Python takes as a float beside a number.
fn of_logged_model(of: &Identifier, numeric: bool, op: &str, right: &Piece<'_>) -> Result<Test, TrackingError> {
    const NUMBERS: &[&str] = &["<", "<=", ">", ">=", "=", "!="];
    const STRINGS: &[&str] = &["=", "!=", "LIKE", "ILIKE", "IN", "NOT IN"];
    let numeric = numeric || of.entity == Entity::Metric;
    let ops = if numeric { NUMBERS } else { STRINGS };
    if !ops.contains(&op) {
        return Err(TrackingError::invalid(format!(
            "Invalid comparison operator for {}s.{}: '{op}'. Expected one of ({}).",
            of.entity.name().replace("parameter", "param"),
            of.key,
            listed(ops)
        )));
    }
    let shown = right.text;
    let keys = Subject::LoggedModels.keys().search;
    // MLflow fails with a 500 where it has no such column.
    if of.entity == Entity::Attribute && !keys.contains(&of.key.as_str()) {
        return Err(invalid_key("attribute", &of.key, keys));
    }
    if numeric {
        let float: Result<f64, _> = shown.trim().parse();
        let float =
            float.map_err(|_| TrackingError::invalid(format!("could not convert string to float: '{shown}'")))?;
        return strings(op, Value::Number(Number::Float(float)));
    }
    strings(
        op,
        match right.group {
            Group::Parenthesis if shown[1..shown.len() - 1].trim().is_empty() => Value::List(Vec::new()),
            Group::Parenthesis => Value::List(list::parse(shown)?),
            _ => Value::Text(shown.trim_matches('\'').to_owned()),
        },
    )
}

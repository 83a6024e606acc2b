//! Orders: what comes before what, ties and missing values included.

use super::{
    Attribute, Point, Searched, Subject,
    group::{self, Group},
    identify::{Entity, Identifier, identify, listed},
    lex, shell,
};
use crate::model::tracking::TrackingError;
use part::Part;

mod part;

/// One order of a search of logged models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderBy {
    pub field_name: String,
    pub ascending: bool,
    pub dataset_name: Option<String>,
    pub dataset_digest: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Column {
    of: Identifier,
    descending: bool,
    /// Of logged models' metrics: on which dataset.
    dataset: (Option<String>, Option<String>),
}

impl Column {
    fn attribute(key: &str, descending: bool) -> Self {
        let of = Identifier { entity: Entity::Attribute, key: key.to_owned() };
        Self { of, descending, dataset: (None, None) }
    }
}

/// The order of a search's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Orders {
    subject: Subject,
    columns: Vec<Column>,
}

impl Orders {
    /// Reads `order_by`; refused in MLflow's words.
    pub fn parse(subject: Subject, order_by: &[String]) -> Result<Self, TrackingError> {
        if subject == Subject::LoggedModels {
            let plain = |field_name: &String| OrderBy {
                field_name: field_name.clone(),
                ascending: true,
                dataset_name: None,
                dataset_digest: None,
            };
            return Self::of_logged_models(&order_by.iter().map(plain).collect::<Vec<_>>());
        }
        let mut columns: Vec<Column> = Vec::new();
        for clause in order_by {
            let (text, descending) = parts(clause)?;
            let of = named(subject, &text)?.canonical(subject);
            // MLflow says so with a 500, on which clients would try again.
            if subject != Subject::Experiments && columns.iter().any(|c| c.of == of) {
                return Err(TrackingError::invalid(format!(
                    "`order_by` contains duplicate fields: [{}]",
                    listed(&order_by.iter().map(String::as_str).collect::<Vec<_>>())
                )));
            }
            columns.push(Column { of, descending, dataset: (None, None) });
        }
        Ok(Self { subject, columns }.with_ties())
    }

    /// Reads the orders of logged models, which come in parts.
    pub fn of_logged_models(order_by: &[OrderBy]) -> Result<Self, TrackingError> {
        let columns = order_by.iter().map(|order| {
            let OrderBy { field_name, ascending, dataset_name, dataset_digest } = order;
            let of = match field_name.split_once('.') {
                Some(("metrics", key)) => Identifier { entity: Entity::Metric, key: key.to_owned() },
                Some(_) => {
                    let words = format!("Invalid order by field name: {field_name}. Only metrics are supported.");
                    return Err(TrackingError::invalid(words));
                }
                None => logged_model_attribute(field_name)?,
            };
            let given = |t: &Option<String>| t.clone().filter(|t| !t.is_empty());
            Ok(Column { of, descending: !ascending, dataset: (given(dataset_name), given(dataset_digest)) })
        });
        Ok(Self { subject: Subject::LoggedModels, columns: columns.collect::<Result<_, _>>()? }.with_ties())
    }

    /// What decides between things that are alike so far.
    fn with_ties(mut self) -> Self {
        let ties: &[(&str, bool)] = match self.subject {
            Subject::Runs => &[("start_time", true), ("run_id", false)],
            Subject::Experiments if self.columns.is_empty() => &[("creation_time", true), ("experiment_id", false)],
            Subject::Experiments => &[("experiment_id", true)],
            Subject::RegisteredModels => &[("name", false)],
            Subject::ModelVersions if self.columns.is_empty() => {
                &[("last_updated_timestamp", true), ("name", false), ("version_number", true)]
            }
            Subject::ModelVersions => &[("name", false), ("version_number", true)],
            Subject::LoggedModels => &[("creation_timestamp", true), ("model_id", false)],
            Subject::Traces => &[("timestamp_ms", true), ("request_id", false)],
        };
        for (key, descending) in ties {
            let tie = Column::attribute(key, *descending);
            if !self.columns.iter().any(|c| c.of == tie.of) {
                self.columns.push(tie);
            }
        }
        self
    }

    /// Where a thing stands: smaller keys come first.
    pub fn key(&self, thing: &impl Searched) -> SortKey {
        let part = |column: &Column| self.part(column, thing);
        if self.columns.len() > INLINE {
            return SortKey(Parts::Many(self.columns.iter().map(part).collect()));
        }
        let mut few = [const { Part::End }; INLINE];
        few.iter_mut().zip(&self.columns).for_each(|(slot, column)| *slot = part(column));
        SortKey(Parts::Few(few))
    }

    fn part(&self, column: &Column, thing: &impl Searched) -> Part {
        let Column { of: Identifier { entity, key }, descending, .. } = column;
        let found = match entity {
            Entity::Metric => {
                let value = match self.subject {
                    Subject::LoggedModels => newest(column, thing),
                    _ => thing.metric(key),
                };
                value.map_or(Attribute::Missing, Attribute::Number)
            }
            Entity::Param => text(thing.param(key)),
            Entity::Tag => text(thing.tag(key)),
            Entity::Metadata => text(thing.metadata(key)),
            _ => thing.attribute(key),
        };
        // SQLite holds what is missing for smallest; where MLflow minds, it is last either way.
        let first = matches!(self.subject, Subject::Experiments | Subject::RegisteredModels | Subject::ModelVersions);
        match found {
            Attribute::Missing => Part::Number(if first && !descending { 0 } else { 3 }, 0),
            Attribute::Integer(i) => Part::integer(i, *descending),
            Attribute::Number(f) => Part::float(f, *descending),
            Attribute::Text(t) if key == "experiment_id" => Part::integer(t.parse().unwrap_or(i64::MAX), *descending),
            Attribute::Text(t) => Part::text(&t, *descending),
        }
    }
}

fn text(found: Option<&str>) -> Attribute<'_> {
    found.map_or(Attribute::Missing, |t| Attribute::Text(t.into()))
}

/// The newest value of a logged model's metric.
fn newest(column: &Column, thing: &impl Searched) -> Option<f64> {
    let (name, digest) = &column.dataset;
    let asked = |p: &Point<'_>| {
        p.key == column.of.key
            && name.as_ref().is_none_or(|n| p.dataset_name == Some(n.as_str()))
            && digest.as_ref().is_none_or(|d| p.dataset_digest == Some(d.as_str()))
    };
    let mut best: Option<(i64, i64, String, f64)> = None;
    thing.each_point(&mut |p| {
        let better = |(time, step, run, _): &(i64, i64, String, f64)| {
            (p.timestamp, p.step, run.as_str()) > (*time, *step, p.run_id)
        };
        if asked(p) && best.as_ref().is_none_or(better) {
            best = Some((p.timestamp, p.step, p.run_id.to_owned(), p.value));
        }
    });
    best.map(|(.., value)| value)
}

/// How many columns a key holds without the heap: a start time and an id beside two metrics.
const INLINE: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Parts {
    Few([Part; INLINE]),
    Many(Box<[Part]>),
}

/// Where a thing stands in an order. Directions, NaN and missing values are baked in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortKey(Parts);

/// What an order names, and whether it descends.
fn parts(order_by: &str) -> Result<(String, bool), TrackingError> {
    let unread = || TrackingError::invalid(format!("Invalid order_by clause '{order_by}'. Could not be parsed."));
    let tokens = lex::tokens(order_by);
    if tokens.len() > lex::MOST_TOKENS || order_by.trim() != order_by {
        return Err(unread());
    }
    let pieces = group::pieces(order_by, &tokens);
    let named = match pieces.as_slice() {
        [name] if name.group == Group::Identifier => true,
        // An alias to SQL: a direction that is none.
        [name, alias] if name.group == Group::Identifier && alias.group == Group::Identifier => true,
        [name] | [name, _] if name.text == "timestamp" => pieces.iter().skip(1).all(|p| p.group == Group::Order),
        _ => false,
    };
    let words = named.then(|| shell::split(&order_by.replace('`', "\""))).flatten().ok_or_else(unread)?;
    match words.as_slice() {
        [_] => Ok((order_by.to_owned(), false)),
        [name, direction] if direction.eq_ignore_ascii_case("asc") => Ok((name.trim().to_owned(), false)),
        [name, direction] if direction.eq_ignore_ascii_case("desc") => Ok((name.trim().to_owned(), true)),
        [_, _] => Err(TrackingError::invalid(format!("Invalid ordering key in order_by clause '{order_by}'."))),
        _ => Err(unread()),
    }
}

fn named(subject: Subject, text: &str) -> Result<Identifier, TrackingError> {
    let valid = subject.keys().order;
    let unknown = |key: &str| {
        TrackingError::invalid(format!(
            "Invalid order by key '{key}' specified. Valid keys are '{{{}}}'",
            listed(valid)
        ))
    };
    if subject == Subject::RegisteredModels {
        let of = Identifier { entity: Entity::Attribute, key: text.to_owned() };
        return if valid.contains(&text) { Ok(of) } else { Err(unknown(text)) };
    }
    let of = identify(subject, text, valid)?;
    let refused = |words: String| Err(TrackingError::invalid(words));
    match (subject, of.entity) {
        (_, Entity::Attribute) => Ok(of),
        (Subject::Experiments, entity) => refused(format!("Invalid order_by entity: {}", entity.name())),
        (Subject::ModelVersions, _) if valid.contains(&of.key.as_str()) => {
            Ok(Identifier { entity: Entity::Attribute, ..of })
        }
        (Subject::ModelVersions, _) => Err(unknown(&of.key)),
        (_, Entity::Dataset | Entity::Unsearched) => refused(format!("Invalid identifier type '{}'", of.entity.name())),
        _ => Ok(of),
    }
}

fn logged_model_attribute(field_name: &str) -> Result<Identifier, TrackingError> {
    let key = match field_name {
        "creation_time" | "creation_timestamp" => "creation_timestamp_ms",
        "last_updated_timestamp" => "last_updated_timestamp_ms",
        other => other,
    };
    if !Subject::LoggedModels.keys().order.contains(&key) {
        return Err(TrackingError::invalid(format!("Invalid order by field name: {field_name}")));
    }
    Ok(Identifier { entity: Entity::Attribute, key: key.to_owned() }.canonical(Subject::LoggedModels))
}

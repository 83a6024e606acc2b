//! A filter: clauses that must all hold.

use super::{
    Attribute, Dataset, IS_PROMPT, OnDataset, Point, Searched, Subject,
    group::{self, Clause, Group, Piece},
    identify::{Entity, Identifier, identify, of_logged_model, of_registry, shown},
    lex,
    test::{Compare, Test},
    value,
};
use crate::model::tracking::TrackingError;

#[derive(Debug, Clone, PartialEq)]
struct Condition {
    of: Identifier,
    test: Test,
}

/// A parsed filter.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    subject: Subject,
    conditions: Vec<Condition>,
    datasets: Vec<OnDataset>,
    /// Asks for prompts, which searches of the registry leave out else.
    prompts: bool,
}

impl Filter {
    /// Reads a filter; refused in MLflow's words.
    pub fn parse(subject: Subject, text: &str) -> Result<Self, TrackingError> {
        let mut filter = Self { subject, conditions: Vec::new(), datasets: Vec::new(), prompts: false };
        if text.is_empty() {
            return Ok(filter);
        }
        let clauses = clauses(subject, text)?;
        for clause in &clauses {
            filter.conditions.extend(condition(subject, clause)?);
        }
        filter.settle_prompts();
        Ok(filter)
    }

    /// The same, limited to logged models with metrics on these datasets.
    pub fn on_datasets(mut self, datasets: Vec<OnDataset>) -> Self {
        self.datasets = datasets;
        self
    }

    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty() && self.datasets.is_empty() && !self.hides_prompts()
    }

    /// Whether a thing passes.
    pub fn matches(&self, thing: &impl Searched) -> bool {
        if self.hides_prompts() && thing.is_prompt() {
            return false;
        }
        let on_metrics = || self.conditions.iter().any(|c| c.of.entity == Entity::Metric);
        if !self.datasets.is_empty() && !on_metrics() && !self.any_point(thing, |_| true) {
            return false;
        }
        self.conditions.iter().all(|c| self.holds(c, thing))
    }

    fn hides_prompts(&self) -> bool {
        matches!(self.subject, Subject::RegisteredModels | Subject::ModelVersions) && !self.prompts
    }

    /// The first clause on the prompts' tag says whether prompts are asked for; if they are not, all such clauses are passed over.
    fn settle_prompts(&mut self) {
        if !matches!(self.subject, Subject::RegisteredModels | Subject::ModelVersions) {
            return;
        }
        let on_tag = |c: &Condition| c.of.entity == Entity::Tag && c.of.key == IS_PROMPT;
        self.prompts = match self.conditions.iter().find(|c| on_tag(c)).map(|c| &c.test) {
            Some(Test::Equals(value)) => value.eq_ignore_ascii_case("true"),
            Some(Test::Differs(value)) => value.eq_ignore_ascii_case("false"),
            _ => false,
        };
        if !self.prompts {
            self.conditions.retain(|c| !on_tag(c));
        }
    }

    fn any_point(&self, thing: &impl Searched, mut holds: impl FnMut(&Point<'_>) -> bool) -> bool {
        let mut any = false;
        thing.each_point(&mut |p| {
            any = any || ((self.datasets.is_empty() || self.datasets.iter().any(|d| d.holds(p))) && holds(p));
        });
        any
    }

    fn holds(&self, condition: &Condition, thing: &impl Searched) -> bool {
        let Condition { of: Identifier { entity, key }, test } = condition;
        match entity {
            Entity::Metric if self.subject == Subject::LoggedModels => {
                self.any_point(thing, |p| p.key == key && test.float(p.value))
            }
            Entity::Metric => thing.metric(key).is_some_and(|v| test.float(v)),
            Entity::Param => test.text(thing.param(key)),
            Entity::Tag => test.text(thing.tag(key)),
            Entity::Metadata => test.text(thing.metadata(key)),
            Entity::Dataset => thing.any_dataset(&mut |d: &Dataset<'_>| match key.as_str() {
                "name" => test.text(Some(d.name)),
                "digest" => test.text(Some(d.digest)),
                _ => test.text(d.context),
            }),
            // Runs of old clients have their name in the tag alone.
            Entity::Attribute if self.subject == Subject::Runs && key == "run_name" => {
                test.text(thing.tag("mlflow.runName"))
            }
            Entity::Attribute => match thing.attribute(key) {
                Attribute::Missing => test.text(None),
                Attribute::Text(text) => test.text(Some(&text)),
                Attribute::Integer(i) => test.integer(i),
                Attribute::Number(f) => test.float(f),
            },
            Entity::Unsearched => false,
        }
    }
}

/// A filter's clauses, when it is nothing but clauses.
fn clauses(subject: Subject, text: &str) -> Result<Vec<Clause<'_>>, TrackingError> {
    let tokens = lex::tokens(text);
    if tokens.len() > lex::MOST_TOKENS {
        return Err(TrackingError::invalid(format!("Error on parsing filter '{text}'")));
    }
    let pieces = group::pieces(text, &tokens);
    let logged = subject == Subject::LoggedModels;
    if pieces.is_empty() {
        return Err(TrackingError::invalid(if logged {
            format!("Invalid filter string: {}. Expected a single SQL expression.", shown(text))
        } else {
            format!("Invalid filter '{text}'. Could not be parsed.")
        }));
    }
    let end = pieces.iter().position(|p| p.group == Group::Semicolon);
    if end.is_some_and(|end| end + 1 < pieces.len()) {
        return Err(TrackingError::invalid(if logged {
            format!("Invalid filter string: {}. Expected a single SQL expression.", shown(text))
        } else {
            format!("Search filter contained multiple expression {}. Provide AND-ed expression list.", shown(text))
        }));
    }
    let mut clauses = group::clauses(&pieces);
    if subject == Subject::Traces {
        clauses = with_timestamps(&clauses);
    }
    let invalid: Vec<&str> =
        clauses.iter().filter_map(|c| if let Clause::Other(p) = c { Some(p.text) } else { None }).collect();
    if invalid.is_empty() {
        return Ok(clauses);
    }
    Err(TrackingError::invalid(match subject {
        Subject::LoggedModels => format!(
            "Invalid filter string: {}. Expected a list of comparisons separated by 'AND' \
             (e.g. 'metrics.loss > 0.1 AND params.lr = 0.01').",
            shown(text)
        ),
        Subject::Runs | Subject::Traces => {
            format!("Invalid clause(s) in filter string: '{}'", invalid.join("', '"))
        }
        _ => format!("Invalid clause(s) in filter string: {}", invalid.join(", ")),
    }))
}

/// `timestamp` is the name of a type in SQL; traces have it as an attribute all the same, beside whole numbers.
fn with_timestamps<'a>(clauses: &[Clause<'a>]) -> Vec<Clause<'a>> {
    let mut out = Vec::new();
    let mut rest = clauses;
    while let [first, after @ ..] = rest {
        match rest {
            [Clause::Other(left), Clause::Other(op), Clause::Other(right), after @ ..]
                if left.group == Group::Builtin
                    && left.text.eq_ignore_ascii_case("timestamp")
                    && op.group == Group::Compare
                    && Compare::new(op.text).is_some()
                    && right.group == Group::Integer =>
            {
                out.push(Clause::Comparison { left: *left, op: op.text, right: *right });
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

fn named(subject: Subject, left: &Piece<'_>) -> Result<Identifier, TrackingError> {
    let valid = subject.keys().search;
    let of = match subject {
        Subject::LoggedModels => of_logged_model(left.text),
        Subject::RegisteredModels | Subject::ModelVersions => of_registry(subject, left.text, valid),
        _ => identify(subject, left.text, valid),
    }?;
    if of.entity == Entity::Unsearched || (subject == Subject::Traces && ["text", "prompt"].contains(&of.key.as_str()))
    {
        return Err(TrackingError::invalid(format!(
            "Searching traces by '{}' is not supported by this server.",
            left.text
        )));
    }
    Ok(of)
}

fn condition(subject: Subject, clause: &Clause<'_>) -> Result<Option<Condition>, TrackingError> {
    let logged = subject == Subject::LoggedModels;
    match clause {
        Clause::And | Clause::Other(_) => Ok(None),
        Clause::Null { left, missing } => {
            if logged {
                let (left, not) = (left.text, if *missing { "" } else { "NOT " });
                let words = format!("Invalid comparison: {left}IS {not}NULL. Expected a comparison with 3 tokens.");
                return Err(TrackingError::invalid(words));
            }
            let of = named(subject, left)?.canonical(subject);
            nullable(subject, &of)?;
            Ok(Some(Condition { of, test: if *missing { Test::Null } else { Test::NotNull } }))
        }
        Clause::Comparison { left, op, right } => {
            if !logged && !matches!(left.group, Group::Identifier | Group::Builtin) {
                let words = format!("Invalid comparison clause. Expected 'Identifier' found '{}'", left.text);
                return Err(TrackingError::invalid(words));
            }
            let of = named(subject, left)?;
            let test = value::test(subject, &of, op, right)?;
            Ok(Some(Condition { of: of.canonical(subject), test }))
        }
    }
}

/// What may be missing. MLflow's registry fails with a 500 here.
fn nullable(subject: Subject, of: &Identifier) -> Result<(), TrackingError> {
    let (entity, key) = (of.entity.name(), &of.key);
    let (good, which) = match subject {
        Subject::Runs => {
            (matches!(of.entity, Entity::Tag | Entity::Param), format!("tags and params, not for '{entity}' '{key}'"))
        }
        Subject::Experiments => (of.entity == Entity::Tag, format!("tags, not for attribute '{key}'")),
        Subject::Traces => (
            matches!(of.entity, Entity::Tag | Entity::Metadata),
            format!("tags and metadata, not for '{entity}' '{key}'"),
        ),
        _ => (false, "experiments, runs and traces".to_owned()),
    };
    let words = || TrackingError::invalid(format!("IS NULL / IS NOT NULL is only supported for {which}"));
    if good { Ok(()) } else { Err(words()) }
}

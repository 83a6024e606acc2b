//! What MLflow lets in: names, lengths, numbers; with its words (`mlflow/utils/validation.py`).

use super::Tracked;
use crate::model::tracking::{ErrorCode, TrackingError};

/// Characters of a key of a metric, a param or a tag.
const KEY: usize = 250;
const PARAM_VALUE: usize = 6000;
const TAG_VALUE: usize = 8000;
const EXPERIMENT_NAME: usize = 500;
const EXPERIMENT_TAG_VALUE: usize = 20_000;
const METRICS: usize = 1000;
const PARAMS: usize = 100;
const TAGS: usize = 100;

/// A value as JSON in ASCII, as MLflow shows it.
pub fn ascii_json(value: &serde_json::Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out
}

/// A refused value, as MLflow names it.
pub fn invalid_value(path: &str, value: impl Into<serde_json::Value>, why: &str) -> TrackingError {
    let value = ascii_json(&value.into());
    TrackingError::invalid(if why.is_empty() {
        format!("Invalid value {value} for parameter '{path}' supplied.")
    } else {
        format!("Invalid value {value} for parameter '{path}' supplied: {why}")
    })
}

fn too_long(what: &str, most: usize) -> TrackingError {
    TrackingError::invalid(format!("'{what}' exceeds the maximum length of {most} characters"))
}

/// At most so many characters.
pub fn length(what: &str, most: usize, value: &str) -> Tracked<()> {
    // Bytes first: most texts are far from the limit.
    if value.len() > most && value.chars().count() > most { Err(too_long(what, most)) } else { Ok(()) }
}

/// What is kept of a value that is too long.
pub fn cut(value: &str, most: usize) -> &str {
    match value.char_indices().nth(most) {
        Some((at, _)) if value.len() > most => &value[..at],
        _ => value,
    }
}

/// The path that a name would be, as Python's `posixpath.normpath` has it.
fn normal(name: &str) -> String {
    let root = match name {
        n if n.starts_with("//") && !n.starts_with("///") => "//",
        n if n.starts_with('/') => "/",
        _ => "",
    };
    let mut parts: Vec<&str> = vec![];
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." if root.is_empty() && parts.last().is_none_or(|p| *p == "..") => parts.push(".."),
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let path = format!("{root}{}", parts.join("/"));
    if path.is_empty() { ".".into() } else { path }
}

/// A name of a metric, a param or a tag: it may become a file's.
pub fn key_name(name: &str, path: &str) -> Tracked<()> {
    let good = |c: char| c.is_alphanumeric() || matches!(c, '_' | '/' | '.' | '-' | ' ' | ':');
    // Python's `$` lets a line end stand before the end.
    if !name.strip_suffix('\n').unwrap_or(name).chars().all(good) {
        let why = "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/).";
        return Err(invalid_value(path, name, why));
    }
    one_path(name, path)
}

/// A name that, as a path, leads to nothing else.
pub fn one_path(name: &str, path: &str) -> Tracked<()> {
    let normal = normal(name);
    if normal != name || normal == "." || normal.starts_with("..") || normal.starts_with('/') {
        let why = format!(
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as such. \
             This name would resolve to '{normal}'"
        );
        return Err(invalid_value(path, name, &why));
    }
    Ok(())
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A metric; `path` is its place in the request.
pub fn metric(key: &str, value: f64, timestamp: i64, path: &str) -> Tracked<()> {
    key_name(key, &below(path, "name"))?;
    if timestamp < 0 {
        let value =
            if value == value.trunc() && value.abs() < 1e16 { format!("{value:.1}") } else { value.to_string() };
        let why = format!("metric '{key}' (value={value}). Timestamp must be a nonnegative long (64-bit integer) ");
        return Err(invalid_value(&below(path, "timestamp"), timestamp, &why));
    }
    length("Metric name", KEY, key)
}

/// A param; its value as it is kept.
pub fn param<'v>(key: &str, value: &'v str, path: &str) -> Tracked<&'v str> {
    key_name(key, &below(path, "key"))?;
    length("Param key", KEY, key)?;
    Ok(cut(value, PARAM_VALUE))
}

/// A tag of a run; its value as it is kept.
pub fn tag<'v>(key: &str, value: &'v str, path: &str) -> Tracked<&'v str> {
    key_name(key, &below(path, "key"))?;
    length(&below(path, "key"), KEY, key)?;
    Ok(cut(value, TAG_VALUE))
}

/// Each tag of a new thing is given once.
pub fn tags_once(tags: &[(String, String)]) -> Tracked<()> {
    let twice = tags.iter().enumerate().find(|(n, (key, _))| tags[..*n].iter().any(|(k, _)| k == key));
    twice.map_or(Ok(()), |(_, (key, _))| {
        Err(TrackingError::new(ErrorCode::BadRequest, format!("The tag '{key}' is given twice")))
    })
}

/// A tag of an experiment.
pub fn experiment_tag(key: &str, value: &str) -> Tracked<()> {
    key_name(key, "key")?;
    length("key", KEY, key)?;
    length("value", EXPERIMENT_TAG_VALUE, value)
}

/// A name of an experiment.
pub fn experiment_name(name: &str) -> Tracked<()> {
    if name.is_empty() {
        return Err(TrackingError::invalid("Invalid experiment name: ''"));
    }
    length("name", EXPERIMENT_NAME, name)
}

/// How much one batch may hold.
pub fn batch(metrics: usize, params: usize, tags: usize) -> Tracked<()> {
    let all = metrics + params + tags;
    for (what, most, given) in [
        ("metrics", METRICS, metrics),
        ("params", PARAMS, params),
        ("tags", TAGS, tags),
        ("metrics, params, and tags", METRICS, all),
    ] {
        if given > most {
            return Err(TrackingError::invalid(format!(
                "A batch logging request can contain at most {most} {what}. Got {given} {what}. Please split up {what} across multiple \
                 requests and try again."
            )));
        }
    }
    Ok(())
}

/// A run's id.
pub fn run_id(id: &str) -> Tracked<()> {
    let tail = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let good = id.starts_with(|c: char| c.is_ascii_alphanumeric()) && id.chars().all(tail) && id.chars().count() <= 256;
    if good { Ok(()) } else { Err(invalid_value("run_id", id, "")) }
}

/// An experiment's id: a number, as in MLflow's SQL store.
pub fn experiment_id(id: &str) -> Tracked<u64> {
    let refused =
        || TrackingError::invalid(format!("Invalid experiment ID '{id}'. Experiment ID must be a valid integer."));
    // What Python's int() takes and no experiment can have.
    match id.trim().parse::<i128>() {
        Ok(number) => {
            u64::try_from(number).map_err(|_| TrackingError::missing(format!("No Experiment with id={number} exists")))
        }
        Err(_) => Err(refused()),
    }
}

/// The experiments of a search; ids that none can have find nothing.
pub fn experiment_ids(ids: &[String]) -> Tracked<Vec<u64>> {
    let read = |id: &String| match experiment_id(id) {
        Err(e) if e.code == ErrorCode::ResourceDoesNotExist => None,
        read => Some(read),
    };
    ids.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_be_other_files_are_refused() {
        for good in ["a", "a/b", "train loss", "x:y", "ä.b-c_d", "..a", "a.."] {
            let refused = key_name(good, "key").err();
            // MLflow takes anything that begins with two dots for a way out.
            assert_eq!(refused.is_some(), good == "..a", "{good}: {refused:?}");
        }
        for bad in ["", ".", "..", "a/", "/a", "a//b", "a/../b", "./a", "../a", "a,b", "a\tb"] {
            assert!(key_name(bad, "key").is_err(), "{bad}");
        }
        assert_eq!(
            key_name("a/../b", "key").unwrap_err().message,
            "Invalid value \"a/../b\" for parameter 'key' supplied: Names may be treated as files in certain cases, and must not resolve to \
             other names when treated as such. This name would resolve to 'b'"
        );
    }

    #[test]
    fn long_values_are_cut_by_characters() {
        assert_eq!(cut("äöü", 2), "äö");
        assert_eq!(cut("ab", 2), "ab");
        assert!(length("key", 3, "äöü").is_ok() && length("key", 2, "äöü").is_err());
    }
}

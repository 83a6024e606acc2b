//! What names, aliases, tags and numbers the registry lets in, with MLflow's words (`mlflow/utils/validation.py`).

use super::Tracked;
use crate::{model::tracking::TrackingError, tracking::check};

const TAG_KEY: usize = 250;
const TAG_VALUE: usize = 100_000;
const ALIAS: usize = 255;

fn missing(field: &str) -> TrackingError {
    TrackingError::invalid(format!("Missing value for required parameter '{field}'."))
}

/// A model's name.
pub fn model_name(name: &str) -> Tracked<()> {
    if name.trim().is_empty() {
        return Err(missing("name"));
    }
    if name.contains(['/', ':']) {
        return Err(TrackingError::invalid(format!("Invalid model name '{name}'. Names cannot contain '/' or ':'.")));
    }
    check::one_path(name, "name")
}

/// A name that a model is given instead of its own.
pub fn new_name(name: &str) -> Tracked<()> {
    if name.trim().is_empty() { Err(missing("new_name")) } else { model_name(name) }
}

/// The number of a version, as Python reads integers.
pub fn version(version: &str) -> Tracked<i128> {
    let number = version.trim().parse();
    number.map_err(|_| TrackingError::invalid(format!("Parameter 'version' must be an integer, got '{version}'.")))
}

/// A tag of a model or a version.
pub fn tag(key: &str, value: &str) -> Tracked<()> {
    check::key_name(key, "key")?;
    check::length("key", TAG_KEY, key)?;
    check::length("value", TAG_VALUE, value)
}

/// A tag of a version: prompts keep their text in one.
pub fn version_tag(key: &str, value: &str) -> Tracked<()> {
    let long = key == "mlflow.prompt.text" && check::length("value", TAG_VALUE, value).is_err();
    let words = || TrackingError::invalid(format!("Prompt text exceeds max length of {TAG_VALUE} characters."));
    if long { Err(words()) } else { tag(key, value) }
}

/// A name that may be asked for as an alias.
pub fn alias(alias: &str) -> Tracked<()> {
    if alias.is_empty() {
        return Err(TrackingError::invalid("Registered model alias name cannot be empty."));
    }
    if !alias.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') {
        return Err(TrackingError::invalid(format!(
            "Invalid alias name: '{alias}'. Names may only contain alphanumerics, underscores (_), and dashes (-)."
        )));
    }
    check::length("Registered model alias name", ALIAS, alias)
}

/// A name that an alias may have.
pub fn new_alias(name: &str) -> Tracked<()> {
    alias(name)?;
    if name.eq_ignore_ascii_case("latest") {
        return Err(TrackingError::invalid("'latest' alias name (case insensitive) is reserved."));
    }
    let digits = name.strip_prefix(['v', 'V']).unwrap_or_default();
    if !digits.is_empty() && digits.chars().all(char::is_numeric) {
        return Err(TrackingError::invalid(format!("Version alias name '{name}' is reserved.")));
    }
    Ok(())
}

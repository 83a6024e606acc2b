//! The environment of a child: an allow-list, trimtab's own variables, and the secrets that its spec names.

use crate::ports::{PortError, PortResult};
use std::collections::BTreeMap;

const ALLOWED: &[&str] = &[
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "USER",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NVIDIA_VISIBLE_DEVICES",
    "CUDA_VISIBLE_DEVICES",
];
const ALLOWED_PREFIXES: &[&str] = &["LC_", "PIP_", "UV_"];

/// A child's environment and the values that must not show in its log.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    pub variables: BTreeMap<String, String>,
    pub secrets: Vec<String>,
}

/// What a child gets of the daemon's own environment.
pub fn clean(secrets: &[String]) -> PortResult<Environment> {
    let mut all = Environment::default();
    // What is not UTF-8 is left out.
    for (name, value) in std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?))) {
        if ALLOWED.contains(&name.as_str()) || ALLOWED_PREFIXES.iter().any(|p| name.starts_with(p)) {
            all.variables.insert(name, value);
        }
    }
    for name in secrets {
        let value = std::env::var(name).map_err(|_| {
            PortError::retryable(format!(
                "the secret {name} is not set in the daemon's environment: set it and restart the daemon"
            ))
        })?;
        all.secrets.push(value.clone());
        all.variables.insert(name.clone(), value);
    }
    Ok(all)
}

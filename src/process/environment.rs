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

/// What stands before the host of each URL in a text, and the password in it, both as written and decoded.
fn passwords(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for rest in text.split("://").skip(1) {
        let end = rest.find(|c: char| c.is_whitespace() || "/?#,".contains(c)).unwrap_or(rest.len());
        let Some((user, _)) = rest[..end].rsplit_once('@') else { continue };
        // A token may stand alone, in the place of the user.
        for part in [Some(user), user.split_once(':').map(|(_, password)| password)].into_iter().flatten() {
            out.extend([part.to_owned(), decoded(part)]);
        }
    }
    out.sort();
    out.dedup();
    out
}

fn decoded(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|d| std::str::from_utf8(d).ok());
        match code.and_then(|d| u8::from_str_radix(d, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &after[2..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The values that must not show: of the variables with these names, as far as they are set, and the passwords of package servers.
pub fn known_secrets(names: &[String]) -> Vec<String> {
    let settings = std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
    let servers = settings.filter(|(n, _)| n.starts_with("PIP_") || n.starts_with("UV_"));
    names.iter().filter_map(|n| std::env::var(n).ok()).chain(servers.flat_map(|(_, v)| passwords(&v))).collect()
}

/// What a child gets of the daemon's own environment.
pub fn clean(secrets: &[String]) -> PortResult<Environment> {
    let mut all = Environment { secrets: known_secrets(secrets), ..Environment::default() };
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
        all.variables.insert(name.clone(), value);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_package_servers_are_secrets() {
        assert_eq!(passwords("https://bot:p%40ss@pypi.example/simple"), ["bot:p%40ss", "bot:p@ss", "p%40ss", "p@ss"]);
        assert_eq!(passwords("https://a.example https://token@b.example"), ["token"]);
        assert!(passwords("https://a.example/x@y 1.2").is_empty());
    }
}

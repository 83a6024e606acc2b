//! Addresses of models' files, read as Python's `urllib.parse` reads them.

use crate::model::tracking::TrackingError;

/// The parts of an address that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri<'a> {
    /// In lower case; empty for a plain path.
    pub scheme: String,
    pub host: &'a str,
    pub path: &'a str,
}

/// Parts an address.
pub fn parse(text: &str) -> Uri<'_> {
    // Python's `urlsplit` passes over what stands before.
    let text = text.trim_start_matches(|c| c <= ' ');
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let (scheme, rest) = match text.split_once(':') {
        Some((s, rest)) if s.starts_with(|c: char| c.is_ascii_alphabetic()) && s.chars().all(good) => {
            (s.to_ascii_lowercase(), rest)
        }
        _ => (String::new(), text),
    };
    let (host, rest) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
        None => ("", rest),
    };
    let path = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
    Uri { scheme, host, path }
}

/// Undoes percent signs until none is left; with `plus`, a plus is a blank.
pub fn unquoted(text: &str, plus: bool) -> String {
    let mut text = text.to_owned();
    loop {
        let spaced = if plus { text.replace('+', " ") } else { text.clone() };
        let next = once_unquoted(&spaced);
        if next == text {
            return text;
        }
        text = next;
    }
}

fn once_unquoted(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        let hex = |i: usize| bytes.get(i).and_then(|b| (*b as char).to_digit(16));
        match (b, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(b);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether a path leads somewhere without a way up or a stop on it.
pub fn is_plain(path: &str) -> bool {
    path.starts_with('/') && !path.contains('\0') && !path.split('/').any(|p| p == "." || p == "..")
}

/// What a `models:/` address names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelUri<'a> {
    Logged(&'a str),
    Version(&'a str, &'a str),
    Latest(&'a str),
    Stage(&'a str, &'a str),
    Alias(&'a str, &'a str),
}

/// Reads a `models:/` address.
pub fn model(text: &str) -> Result<ModelUri<'_>, TrackingError> {
    let improper = || {
        TrackingError::invalid(format!(
            "Not a proper models:/ URI: {text}. Models URIs must be of the form 'models:/name/suffix' or 'models:/name@alias' where \
             suffix is a version, stage, or the string 'latest' and where alias is a registered model alias. Only one of suffix or \
             alias can be defined at a time."
        ))
    };
    let Uri { scheme, path, .. } = parse(text);
    if scheme != "models" || !path.starts_with('/') || path.len() <= 1 {
        return Err(improper());
    }
    let path = path.trim_start_matches('/');
    let (name, rest) = path.split_once('/').map_or((path, None), |(name, rest)| (name, Some(rest)));
    if name.trim().is_empty() {
        return Err(improper());
    }
    match rest {
        Some(rest) if rest.contains('/') || rest.trim().is_empty() => Err(improper()),
        Some(number) if number.chars().all(char::is_numeric) => Ok(ModelUri::Version(name, number)),
        Some(latest) if latest.eq_ignore_ascii_case("latest") => Ok(ModelUri::Latest(name)),
        Some(stage) => Ok(ModelUri::Stage(name, stage)),
        None => match name.rsplit_once('@') {
            Some((_, alias)) if alias.trim().is_empty() => Err(improper()),
            Some((name, alias)) => Ok(ModelUri::Alias(name, alias)),
            None => Ok(ModelUri::Logged(name)),
        },
    }
}

/// Whether an address lies in another, part by part.
pub fn is_within(source: &str, root: &str) -> bool {
    let parts = |text: &str| {
        let Uri { scheme, host, path } = parse(text);
        let path: Vec<String> = path.split('/').filter(|p| !p.is_empty()).map(|p| unquoted(p, false)).collect();
        (scheme, host.to_lowercase(), path)
    };
    let ((scheme, host, path), (root_scheme, root_host, root)) = (parts(source), parts(root));
    scheme == root_scheme && host == root_host && !root.is_empty() && path.starts_with(&root)
}

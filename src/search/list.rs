//! The list of `IN (…)`: MLflow reads it as a Python literal.

use crate::model::tracking::TrackingError;

fn ill_formed() -> TrackingError {
    TrackingError::invalid(
        "While parsing a list in the query, expected a non-empty list of string values, but got ill-formed list.",
    )
}

fn not_texts(list: &str) -> TrackingError {
    TrackingError::invalid(format!(
        "While parsing a list in the query, expected string value, punctuation, or whitespace, but got different type in list: {}",
        as_tuple(list)
    ))
}

/// A list of one as Python shows it.
fn as_tuple(list: &str) -> String {
    match list.trim().strip_suffix(')') {
        Some(one) if !one.contains(',') && !one.trim_start_matches('(').contains('(') => format!("{one},)"),
        _ => list.to_owned(),
    }
}

/// The texts of a list with its parentheses.
pub fn parse(list: &str) -> Result<Vec<String>, TrackingError> {
    let mut inner = list.trim();
    // `(('a'))` is what `('a')` is.
    while let Some(less) = inner.strip_prefix('(').and_then(|i| i.strip_suffix(')')) {
        inner = less.trim();
    }
    if inner.is_empty() {
        return Err(TrackingError::invalid(
            "While parsing a list in the query, expected a non-empty list of string values, but got empty list",
        ));
    }
    let mut texts = Vec::new();
    loop {
        let mut text = String::new();
        inner = item(inner, &mut text, list)?;
        // Literals side by side are one.
        while inner.starts_with(['\'', '"']) {
            inner = item(inner, &mut text, list)?;
        }
        texts.push(text);
        match inner.strip_prefix(',').map(str::trim_start) {
            Some("") => return Ok(texts),
            Some(more) => inner = more,
            None if inner.is_empty() => return Ok(texts),
            None => return Err(ill_formed()),
        }
    }
}

/// Takes one literal; what follows it.
fn item<'a>(text: &'a str, out: &mut String, list: &str) -> Result<&'a str, TrackingError> {
    let quote = match text.chars().next() {
        Some(q @ ('\'' | '"')) => q,
        Some(c) if c.is_ascii_digit() || c.is_alphabetic() || c == '-' || c == '(' => return Err(not_texts(list)),
        _ => return Err(ill_formed()),
    };
    let mut chars = text[1..].char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok(text[1 + at + c.len_utf8()..].trim_start()),
            '\n' => return Err(ill_formed()),
            '\\' => match chars.next() {
                Some((_, e @ ('\\' | '\'' | '"'))) => out.push(e),
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, '\n')) => {}
                Some((_, other)) => out.extend(['\\', other]),
                None => return Err(ill_formed()),
            },
            c => out.push(c),
        }
    }
    Err(ill_formed())
}

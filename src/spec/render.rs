//! Diagnostics as text for people.

use crate::model::*;

/// Control characters as visible signs, so that untrusted text cannot steer a terminal.
pub fn visible(text: &str) -> String {
    visible_but(text, "\t")
}

/// All diagnostics, each with its place and line.
pub fn text(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(one).collect()
}

/// One diagnostic; ends with an empty line.
pub fn one(d: &Diagnostic) -> String {
    let word = match d.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut out = format!("{word}: {}\n", visible(&d.message));
    if let Some(l) = &d.location {
        let number = l.line.to_string();
        let margin = " ".repeat(number.len());
        if l.width == 0 {
            out.push_str(&format!("{margin}┌─ {}\n", visible(&l.file)));
        } else {
            out.push_str(&format!("{margin} ┌─ {}:{}:{}\n", visible(&l.file), l.line, l.column));
            out.push_str(&format!("{number} │ {}\n", visible(&l.text)));
            let before = (l.column as usize).saturating_sub(1);
            // A line that is cut before the place is shown for itself.
            let marked = before < l.text.chars().count().max(1);
            let mark =
                if marked { format!("{}{} ", " ".repeat(before), "^".repeat(l.width as usize)) } else { "… ".into() };
            out.push_str(&format!("{margin} │ {mark}{}\n", visible(&d.label)));
        }
    }
    if let Some(help) = &d.help {
        out.push_str(&format!("  = {}\n", visible(help)));
    }
    out.push('\n');
    out
}

/// `2 errors, 1 warning in 2 of 10,000 files`.
pub fn summary(diagnostics: &[Diagnostic], files: usize) -> String {
    let count = |s: Severity| diagnostics.iter().filter(|d| d.severity == s).count();
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let mut places: Vec<&str> =
        diagnostics.iter().filter_map(|d| d.location.as_ref()).map(|l| l.file.as_str()).collect();
    places.sort_unstable();
    places.dedup();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let warned = if warnings > 0 { format!(", {}", plural(warnings, "warning")) } else { String::new() };
    if diagnostics.is_empty() {
        return format!("No problems in {}", plural(files, "file"));
    }
    format!("{}{warned} in {} of {}", plural(errors, "error"), places.len(), plural(files, "file"))
}

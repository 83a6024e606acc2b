//! Text that others wrote, as it may be shown.

/// Whether a character could steer a terminal, or show a text as something else: control characters, those that change the
/// direction of writing, and those without a width.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The text on one line, with what is hidden written as escapes.
pub fn visible(text: &str) -> String {
    visible_but(text, "")
}

/// As [`visible`], with some characters left as they are.
pub fn visible_but(text: &str, kept: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) && !kept.contains(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Names that one which is none may have been meant to be: at most three, the nearest first.
pub fn alike<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    const MOST: usize = 3;
    const ALIKE: f64 = 0.6;
    let wanted = wanted.to_lowercase();
    let near = |name: &str| {
        let name = name.to_lowercase();
        let part = !wanted.is_empty() && name.contains(&wanted);
        if part { 1.0 } else { strsim::normalized_damerau_levenshtein(&name, &wanted) }
    };
    let mut all: Vec<(f64, &str)> =
        names.into_iter().map(|n| (near(n), n)).filter(|(near, _)| *near >= ALIKE).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    all.into_iter().take(MOST).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_near_or_holds_it() {
        let names = ["fraud", "fraud-tuning", "churn", "Demand"];
        assert_eq!(alike("frued", names), ["fraud"]);
        assert_eq!(alike("FRAUD", names), ["fraud", "fraud-tuning"]);
        assert_eq!(alike("demnad", names), ["Demand"]);
        assert_eq!(alike("nope", names), [""; 0]);
        assert_eq!(alike("", names), [""; 0]);
    }

    #[test]
    fn what_is_hidden_is_shown() {
        assert_eq!(visible("a\x1b]0;x\x07\nb\u{9b}"), "a\\u{1b}]0;x\\u{7}\\nb\\u{9b}");
        assert_eq!(visible("a\u{202e}b\u{200b}\u{2066}\u{feff}"), "a\\u{202e}b\\u{200b}\\u{2066}\\u{feff}");
        assert_eq!(visible_but("größer →\t漢字\n", "\n\t"), "größer →\t漢字\n");
    }
}

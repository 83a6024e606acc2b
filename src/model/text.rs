//! Text that others wrote, as it may be shown.

use unicode_width::UnicodeWidthChar;

/// Whether a character could steer a terminal, or show a text as something else: control characters, those that change the
/// direction of writing, those that join or part others unseen, and letters that are blank.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
        || matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Marks above and below one letter: no script writes more, and a pile of them would cover the lines around it.
const MOST_MARKS: usize = 5;

/// The text on one line, with what is hidden written as escapes.
pub fn visible(text: &str) -> String {
    visible_but(text, "")
}

/// As [`visible`], with some characters left as they are.
pub fn visible_but(text: &str, kept: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut marks = 0;
    for c in text.chars() {
        marks = if c.width() == Some(0) { marks + 1 } else { 0 };
        let hidden = is_hidden(c) && !kept.contains(c);
        if hidden || marks > MOST_MARKS { out.extend(c.escape_default()) } else { out.push(c) }
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
        assert_eq!(visible("a\u{61c}\u{2028}\u{3164}\u{e0041}"), "a\\u{61c}\\u{2028}\\u{3164}\\u{e0041}");
        assert_eq!(
            visible("👨\u{200d}👩 ❤\u{fe0f}"),
            "👨\\u{200d}👩 ❤\u{fe0f}",
            "what is joined is shown in its parts"
        );
        let piled = format!("e{}x", "\u{301}".repeat(7));
        assert_eq!(visible(&piled), format!("e{}\\u{{301}}\\u{{301}}x", "\u{301}".repeat(5)));
        assert_eq!(visible_but("größer →\t漢字\n", "\n\t"), "größer →\t漢字\n");
    }
}

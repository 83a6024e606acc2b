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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_shown() {
        assert_eq!(visible("a\x1b]0;x\x07\nb\u{9b}"), "a\\u{1b}]0;x\\u{7}\\nb\\u{9b}");
        assert_eq!(visible("a\u{202e}b\u{200b}\u{2066}\u{feff}"), "a\\u{202e}b\\u{200b}\\u{2066}\\u{feff}");
        assert_eq!(visible_but("größer →\t漢字\n", "\n\t"), "größer →\t漢字\n");
    }
}

//! Secrets out of a stream of output, also when they are split across reads, and when they are written in base64, in hex or percent-encoded.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE},
};

use std::collections::BTreeSet;

const HIDDEN: &[u8] = b"***";
/// Shorter secrets would hide half the log and are left alone.
const SHORTEST: usize = 4;
/// Shorter pieces of base64 come up by chance.
const SHORTEST_BASE64: usize = 6;
/// Shorter lines of a secret, such as braces, and shorter secrets in hex, come up by chance.
const SHORTEST_LINE: usize = 8;

/// Replaces secrets in what passes through.
#[derive(Debug)]
pub struct Mask {
    /// The forms of secrets that are the same everywhere, longest first.
    forms: Vec<Vec<u8>>,
    /// The secrets themselves, for forms in which any byte may be written as `%XX`.
    secrets: Vec<Vec<u8>>,
    /// Whether anything hidden begins with a byte.
    begins: [bool; 256],
    /// The tail that may be the beginning of a secret.
    held: Vec<u8>,
}

/// How far a text is a secret.
enum Match {
    /// With this many bytes.
    Whole(usize),
    /// All of it is the beginning of one.
    Begun,
    No,
}

/// A secret's base64 in any longer text: one form for each place that it can have in a group of three bytes, without the characters at its
/// ends that hold other bytes too; and by itself, padded.
fn base64_forms(secret: &[u8]) -> impl Iterator<Item = String> + '_ {
    [STANDARD, URL_SAFE].into_iter().flat_map(move |engine| {
        let within = (0..3).map({
            let engine = engine.clone();
            move |before| {
                let text = engine.encode([&[0; 2][..before], secret].concat());
                let (from, to) = ((before * 8).div_ceil(6), (before + secret.len()) * 8 / 6);
                text[from..to].to_owned()
            }
        });
        within.chain([engine.encode(secret)]).filter(|form| form.len() >= SHORTEST_BASE64)
    })
}

/// As it stands in a JSON string.
fn json(secret: &str) -> String {
    serde_json::to_string(secret).unwrap_or_default().trim_matches('"').to_owned()
}

/// Compares with a secret of which each byte may be written as `%XX`, or `+` for a space.
fn percent(secret: &[u8], text: &[u8]) -> Match {
    let mut at = 0;
    for &byte in secret {
        match text.get(at..).unwrap_or_default() {
            [] => return Match::Begun,
            [b'%', digits @ ..] => {
                let hex = digits.get(..digits.len().min(2)).and_then(|d| std::str::from_utf8(d).ok()).unwrap_or("-");
                if !hex.bytes().all(|d| d.is_ascii_hexdigit()) {
                    return Match::No;
                }
                if hex.len() < 2 {
                    return Match::Begun;
                }
                if u8::from_str_radix(hex, 16) != Ok(byte) {
                    return Match::No;
                }
                at += 3;
            }
            [plain, ..] if *plain == byte || (*plain == b'+' && byte == b' ') => at += 1,
            _ => return Match::No,
        }
    }
    Match::Whole(at)
}

impl Mask {
    /// For these values.
    pub fn new(values: &[String]) -> Self {
        let whole = values.iter().map(String::as_str).filter(|v| v.len() >= SHORTEST);
        // A key of several lines may be printed line by line.
        let lines = values.iter().flat_map(|v| v.lines()).map(str::trim).filter(|l| l.len() >= SHORTEST_LINE);
        let values: BTreeSet<&str> = whole.chain(lines).collect();
        let secrets: Vec<Vec<u8>> = values.iter().map(|v| v.as_bytes().to_vec()).collect();
        let mut forms = secrets.clone();
        for value in values.iter().filter(|v| v.len() >= SHORTEST_LINE) {
            let hex: String = value.bytes().map(|b| format!("{b:02x}")).collect();
            forms.extend([hex.to_ascii_uppercase().into_bytes(), hex.into_bytes()]);
        }
        for value in values {
            forms.push(json(value).into_bytes());
            forms.extend(base64_forms(value.as_bytes()).map(String::into_bytes));
        }
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        let mut begins = [false; 256];
        for first in forms.iter().filter_map(|f| f.first()) {
            begins[usize::from(*first)] = true;
        }
        if !secrets.is_empty() {
            begins[usize::from(b'%')] = true;
            begins[usize::from(b'+')] |= secrets.iter().any(|s| s.starts_with(b" "));
        }
        Self { forms, secrets, begins, held: vec![] }
    }

    /// A whole text without the secrets.
    pub fn hide(values: &[String], text: &str) -> String {
        String::from_utf8_lossy(&Self::new(values).replace(text.as_bytes(), false)).into_owned()
    }

    /// What may be written after these bytes came.
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.replace(bytes, true)
    }

    /// The longest form of a secret that a text begins with.
    fn find(&self, text: &[u8], more: bool) -> Match {
        if !self.begins[usize::from(text.first().copied().unwrap_or_default())] {
            return Match::No;
        }
        // Before the match: one secret may begin with another.
        if more && self.forms.iter().any(|f| f.len() > text.len() && f.starts_with(text)) {
            return Match::Begun;
        }
        let mut longest = self.forms.iter().find(|f| text.starts_with(f)).map_or(0, Vec::len);
        for secret in &self.secrets {
            match percent(secret, text) {
                Match::Whole(length) => longest = longest.max(length),
                Match::Begun if more => return Match::Begun,
                _ => {}
            }
        }
        if longest > 0 { Match::Whole(longest) } else { Match::No }
    }

    /// `more`: a tail that may be the beginning of a secret is held back.
    fn replace(&mut self, bytes: &[u8], more: bool) -> Vec<u8> {
        let mut input = std::mem::take(&mut self.held);
        input.extend_from_slice(bytes);
        let (mut out, mut at) = (Vec::with_capacity(input.len()), 0);
        while at < input.len() {
            match self.find(&input[at..], more) {
                Match::Begun => {
                    self.held = input[at..].to_vec();
                    return out;
                }
                Match::Whole(length) => {
                    out.extend_from_slice(HIDDEN);
                    at += length;
                }
                Match::No => {
                    out.push(input[at]);
                    at += 1;
                }
            }
        }
        out
    }

    /// What was held back, at the end of the stream.
    pub fn end(&mut self) -> Vec<u8> {
        self.replace(&[], false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(secrets: &[&str], text: &[u8], wanted: &str) {
        let secrets: Vec<String> = secrets.iter().map(|s| (*s).to_owned()).collect();
        for cut in 0..=text.len() {
            for second in cut..=text.len() {
                let mut mask = Mask::new(&secrets);
                let mut out = mask.pass(&text[..cut]);
                out.extend(mask.pass(&text[cut..second]));
                out.extend(mask.pass(&text[second..]));
                out.extend(mask.end());
                assert_eq!(String::from_utf8_lossy(&out), wanted, "{cut} {second}");
            }
        }
    }

    #[test]
    fn a_secret_is_hidden_however_it_is_cut() {
        cut(&["hunter2hunter", "x"], b"key=hunter2hunter, again hunter2hunter\nhunt", "key=***, again ***\nhunt");
    }

    #[test]
    fn a_secret_that_begins_another_does_not_give_its_tail_away() {
        cut(&["hunter", "hunter2long"], b"hunter2long hunter", "*** ***");
    }

    #[test]
    fn a_secret_is_hidden_in_what_it_is_encoded_to_wherever_it_stands() {
        const SECRET: &str = "p@ss w\"rd/1?>~";
        for before in ["", "a", "bo", "bot", "user:"] {
            for after in ["", "x", "xy", "xyz"] {
                for engine in [STANDARD, URL_SAFE] {
                    let text = engine.encode(format!("{before}{SECRET}{after}"));
                    let hidden = Mask::hide(&[SECRET.into()], &text);
                    // What is left at either end holds at most six bits of it.
                    let left = hidden.replace("***", "").len() as i64 - ((before.len() + after.len()) * 8 / 6) as i64;
                    assert!(hidden.contains("***") && left <= 6, "{before:?} {after:?} {text}: {hidden}");
                }
            }
        }
        for text in [
            "p%40ss%20w%22rd%2F1%3F%3E~",
            "p%40ss%20w%22rd%2f1%3f%3e%7e",
            "p@ss+w%22rd/1?>~",
            "%70%40%73%73+w\"rd/1?>~",
        ] {
            cut(&[SECRET], format!("a={text}&b").as_bytes(), "a=***&b");
        }
        cut(&[SECRET], br#"{"k":"p@ss w\"rd/1?>~"}"#, r#"{"k":"***"}"#);
    }

    #[test]
    fn a_key_of_several_lines_is_hidden_line_by_line_and_in_hex() {
        const KEY: &str = "-----BEGIN-----\nMIIEvQIBADAN\nqz\n-----END-----\n";
        let hide = |text: &str| Mask::hide(&[KEY.into()], text);
        assert_eq!(hide(KEY), "***");
        assert_eq!(hide("> MIIEvQIBADAN\n> qz\n"), "> ***\n> qz\n");
        let hex: String = "MIIEvQIBADAN".bytes().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hide(&format!("a {hex} b {}", hex.to_uppercase())), "a *** b ***");
        let all: String = KEY.bytes().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hide(&all), "***");
    }

    #[test]
    fn what_only_looks_like_a_beginning_passes() {
        cut(&["hunter2long"], b"100 % of h%75nt, %zz%6", "100 % of h%75nt, %zz%6");
        // A secret that holds percent signs of its own.
        cut(&["a%41b%", "short"], b"a%41b% a%2541b%25 c", "*** *** c");
    }
}

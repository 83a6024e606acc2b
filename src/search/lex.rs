//! Words of a filter, cut as `sqlparse`'s lexer cuts them, as far as MLflow accepts what comes of it.

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Space,
    /// A bare name, or one in backticks or square brackets.
    Name,
    /// In double quotes.
    Symbol,
    /// In single quotes.
    Text,
    Integer,
    Float,
    /// `0x1F`, which no clause takes.
    Hex,
    /// A name of a type that is no identifier: `timestamp`.
    Builtin,
    Keyword,
    /// `ASC`, `DESC`, `DESC NULLS LAST`.
    Order,
    /// `>=`, `LIKE`, `NOT LIKE`, and other comparators, valid or not.
    Compare,
    /// `-`, `/`, `*`, and the like, which join operands.
    Operator,
    /// `->` and `->>`, which join names.
    Arrow,
    Dot,
    Open,
    Close,
    Semicolon,
    /// `:x`, `%s`, `?`.
    Placeholder,
    /// Comments and what has no meaning.
    Other,
}

/// A word and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

/// `sqlparse` refuses more.
pub const MOST_TOKENS: usize = 10_000;

/// Words that are keywords wherever they stand, even after a dot.
const ALWAYS: &[&str] = &["CASE", "IN", "VALUES", "USING", "FROM", "AS"];
/// The other keywords that filters are made of, or are likely to be tried with.
const KEYWORDS: &[&str] = &[
    "AND", "OR", "NOT", "IS", "NULL", "BETWEEN", "EXISTS", "SELECT", "WHERE", "ORDER", "GROUP", "LIMIT", "BY", "ON",
    "KEY", "ALIAS", "SOURCE", "VERSION", "TYPE", "USER", "TAG", "ALL", "ANY", "DATA", "VALUE", "START", "END", "STATE",
    "COUNT",
];
const BUILTINS: &[&str] =
    &["TIMESTAMP", "TEXT", "DATE", "INT", "INTEGER", "FLOAT", "NUMBER", "STRING", "BOOLEAN", "REAL"];
const COMPARATORS: &[&str] = &["LIKE", "ILIKE", "RLIKE", "REGEXP"];

fn among(words: &[&str], word: &str) -> bool {
    words.iter().any(|w| w.eq_ignore_ascii_case(word))
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A letter that a name may begin with wherever it stands.
fn letter(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, 'À'..='Ü' | 'à'..='ü')
}

/// Cuts a text, up to one word more than are taken.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    while lexer.at < text.len() && tokens.len() <= MOST_TOKENS {
        let start = lexer.at;
        let (kind, length) = lexer.next();
        lexer.at += length;
        tokens.push(Token { kind, start, end: lexer.at });
    }
    tokens
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn before(&self) -> Option<char> {
        self.text[..self.at].chars().next_back()
    }

    /// The kind of the next word and its length, which is never 0.
    fn next(&self) -> (Kind, usize) {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return (Kind::Other, 1) };
        if let Some(length) = comment(rest) {
            return (Kind::Other, length);
        }
        match first {
            c if c.is_whitespace() => (Kind::Space, c.len_utf8()),
            '`' | '\'' | '"' => match quoted(rest, first) {
                Some(length) if first == '`' => (Kind::Name, length),
                Some(length) if first == '\'' => (Kind::Text, length),
                Some(length) => (Kind::Symbol, length),
                None => (Kind::Other, 1),
            },
            '[' => match self.bracketed() {
                Some(length) => (Kind::Name, length),
                None => (Kind::Other, 1),
            },
            '?' => (Kind::Placeholder, 1),
            '%' if rest.starts_with("%s") => (Kind::Placeholder, 2),
            '$' | ':' if !self.before().is_some_and(in_word) && word(&rest[1..]) > 0 => {
                (Kind::Placeholder, 1 + word(&rest[1..]))
            }
            ';' => (Kind::Semicolon, 1),
            '(' => (Kind::Open, 1),
            ')' => (Kind::Close, 1),
            '-' | '.' | '0'..='9' => self.number().unwrap_or_else(|| self.dotted(first)),
            '<' | '>' | '=' | '~' | '!' => (Kind::Compare, rest.find(|c| !"<>=~!".contains(c)).unwrap_or(rest.len())),
            '*' => (Kind::Operator, 1),
            '+' | '/' | '@' | '#' | '%' | '^' | '&' | '|' => {
                (Kind::Operator, rest.find(|c| !"+/@#%^&|-".contains(c)).unwrap_or(rest.len()))
            }
            c if in_word(c) => self.word(),
            c => (Kind::Other, c.len_utf8()),
        }
    }

    /// `[name]`, unless it could be an index.
    fn bracketed(&self) -> Option<usize> {
        if self.before().is_some_and(|c| in_word(c) || c == ']' || c == ')') {
            return None;
        }
        let close = self.rest()[1..].find(['[', ']'])?;
        (close > 0 && self.rest()[1 + close..].starts_with(']')).then_some(close + 2)
    }

    /// What begins like a number and is none.
    fn dotted(&self, first: char) -> (Kind, usize) {
        match first {
            '.' => (Kind::Dot, 1),
            '-' if self.rest().starts_with("->>") => (Kind::Arrow, 3),
            '-' if self.rest().starts_with("->") => (Kind::Arrow, 2),
            '-' => (Kind::Operator, 1),
            _ => self.word(),
        }
    }

    fn number(&self) -> Option<(Kind, usize)> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with('-'));
        let unsigned = &rest[sign..];
        let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
        let whole = digits(unsigned);
        if whole == 1 && unsigned.starts_with("0x") {
            let hex = unsigned[2..].bytes().take_while(u8::is_ascii_hexdigit).count();
            if hex > 0 {
                return Some((Kind::Hex, sign + 2 + hex));
            }
        }
        let after = &unsigned[whole..];
        let fraction = after.strip_prefix('.').map(digits);
        let mantissa = whole + fraction.map_or(0, |f| 1 + f);
        // With an exponent: digits on both sides of a dot.
        if whole > 0
            && fraction != Some(0)
            && let Some(exponent) = unsigned[mantissa..].strip_prefix(['e', 'E'])
        {
            let minus = usize::from(exponent.starts_with('-'));
            let digits = digits(&exponent[minus..]);
            if digits > 0 {
                return Some((Kind::Float, sign + mantissa + 1 + minus + digits));
            }
        }
        let ends = |length: usize| !unsigned[length..].starts_with(|c| letter(c) || c == '_');
        if fraction.is_some_and(|f| whole + f > 0) && ends(mantissa) {
            return Some((Kind::Float, sign + mantissa));
        }
        (whole > 0 && ends(whole)).then_some((Kind::Integer, sign + whole))
    }

    fn word(&self) -> (Kind, usize) {
        let rest = self.rest();
        let length = word(rest);
        let found = &rest[..length];
        if among(ALWAYS, found) {
            return (Kind::Keyword, length);
        }
        // Before a dot, after a dot, and before a parenthesis every word is a name.
        if rest.starts_with(letter) {
            let after = rest[length..].trim_start();
            let qualifies = after.strip_prefix('.').is_some_and(|a| !a.starts_with(|c: char| c.is_ascii_digit()));
            if qualifies || self.before() == Some('.') || rest[length..].starts_with('(') {
                return (Kind::Name, length);
            }
        }
        keyword(rest, found).unwrap_or_else(|| {
            // Only here `$` and `#` belong to a word.
            let long = rest.find(|c| !(in_word(c) || c == '$' || c == '#')).unwrap_or(rest.len());
            (Kind::Name, long.max(1))
        })
    }
}

/// The length of letters, digits and underscores.
fn word(text: &str) -> usize {
    text.find(|c| !in_word(c)).unwrap_or(text.len())
}

/// The word after the first and its end, when only spaces lie between.
fn following(rest: &str, from: usize) -> Option<(&str, usize)> {
    let spaces = rest[from..].len() - rest[from..].trim_start().len();
    let start = from + spaces;
    let end = start + word(&rest[start..]);
    (spaces > 0 && end > start).then(|| (&rest[start..end], end))
}

/// Keywords, which may be several words.
fn keyword(rest: &str, found: &str) -> Option<(Kind, usize)> {
    let length = found.len();
    if among(COMPARATORS, found) {
        return Some((Kind::Compare, length));
    }
    if found.eq_ignore_ascii_case("NOT") {
        return Some(match following(rest, length) {
            Some((next, end)) if next.eq_ignore_ascii_case("NULL") => (Kind::Keyword, end),
            Some((next, end)) if among(COMPARATORS, next) => (Kind::Compare, end),
            _ => (Kind::Keyword, length),
        });
    }
    if among(&["ASC", "DESC"], found) {
        let nulls = following(rest, length).filter(|(n, _)| n.eq_ignore_ascii_case("NULLS"));
        let place = nulls.and_then(|(_, end)| following(rest, end)).filter(|(n, _)| among(&["FIRST", "LAST"], n));
        return Some((Kind::Order, place.map_or(length, |(_, end)| end)));
    }
    if among(BUILTINS, found) {
        return Some((Kind::Builtin, length));
    }
    among(KEYWORDS, found).then_some((Kind::Keyword, length))
}

/// `-- …`, `# …` and `/* … */`.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("--") || rest.starts_with("# ") {
        return Some(rest.find(['\r', '\n']).unwrap_or(rest.len()));
    }
    rest.strip_prefix("/*")?.find("*/").map(|at| at + 4)
}

/// The length of what is quoted: a doubled quote does not end it, nor (but for backticks) one after a backslash, unless nothing else does.
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let (bytes, quote) = (rest.as_bytes(), quote as u8);
    let (mut at, mut way_back) = (1, None);
    while at < bytes.len() {
        let next = bytes.get(at + 1) == Some(&quote);
        match bytes[at] {
            b if b == quote && next => {
                way_back = Some(at + 1);
                at += 2;
            }
            b if b == quote => return Some(at + 1),
            b'\\' if quote != b'`' && next => {
                way_back = Some(at + 2);
                at += 2;
            }
            _ => at += 1,
        }
    }
    way_back
}

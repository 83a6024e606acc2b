//! Words to groups, as `sqlparse` groups them: `a.b` is one identifier, `( … )` one value, `x = y` one comparison.

use super::lex::{Kind, Token};

/// What a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Identifier,
    /// In single quotes.
    Text,
    Integer,
    Float,
    Parenthesis,
    /// Anything else that may stand beside a comparator.
    Operand,
    Keyword,
    Builtin,
    Compare,
    Order,
    Semicolon,
    Other,
}

/// A group and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    pub group: Group,
    pub text: &'a str,
    start: usize,
    end: usize,
}

impl Piece<'_> {
    /// Whether it is this keyword.
    pub fn is(&self, keyword: &str) -> bool {
        self.group == Group::Keyword && self.text.eq_ignore_ascii_case(keyword)
    }

    fn operand(&self) -> bool {
        use Group::*;
        matches!(self.group, Identifier | Text | Integer | Float | Parenthesis | Operand) || self.is("NULL")
    }
}

/// A clause, or what stands where one should.
#[derive(Debug, Clone, Copy)]
pub enum Clause<'a> {
    /// `left op right`.
    Comparison {
        left: Piece<'a>,
        op: &'a str,
        right: Piece<'a>,
    },
    /// `left IS NULL`, `left IS NOT NULL`.
    Null {
        left: Piece<'a>,
        missing: bool,
    },
    And,
    Other(Piece<'a>),
}

/// The groups of a text, without the spaces between them.
pub fn pieces<'a>(text: &'a str, tokens: &[Token]) -> Vec<Piece<'a>> {
    orders(text, operations(text, names(text, parentheses(tokens))))
}

fn piece(text: &str, group: Group, start: usize, end: usize) -> Piece<'_> {
    Piece { group, text: &text[start..end], start, end }
}

/// A word, or everything in one pair of parentheses.
#[derive(Debug, Clone, Copy)]
struct Atom {
    kind: Kind,
    whole: bool,
    start: usize,
    end: usize,
}

/// Puts outermost pairs of parentheses together.
fn parentheses(tokens: &[Token]) -> Vec<Atom> {
    let mut open = Vec::new();
    let mut closes = vec![0; tokens.len()];
    for (i, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => open.push(i),
            Kind::Close => drop(open.pop().map(|o: usize| closes[o] = i)),
            _ => {}
        }
    }
    let mut atoms = Vec::new();
    let mut i = 0;
    while let Some(token) = tokens.get(i) {
        let last = closes[i].max(i);
        let whole = last > i;
        if token.kind != Kind::Space {
            atoms.push(Atom { kind: token.kind, whole, start: token.start, end: tokens[last].end });
        }
        i = last + 1;
    }
    atoms
}

/// Puts functions (`f(x)`) and names with dots together.
fn names<'a>(text: &'a str, atoms: Vec<Atom>) -> Vec<Piece<'a>> {
    let mut pieces: Vec<Piece<'a>> = Vec::new();
    let mut atoms = atoms.into_iter().peekable();
    while let Some(atom) = atoms.next() {
        let call = |next: &Atom| atom.kind == Kind::Name && next.whole;
        if let Some(arguments) = atoms.next_if(call) {
            pieces.push(piece(text, Group::Operand, atom.start, arguments.end));
            continue;
        }
        let joins = matches!(atom.kind, Kind::Dot | Kind::Arrow);
        match pieces.last_mut() {
            Some(before) if joins && before.group == Group::Identifier => {
                let takes = |a: &Atom| {
                    use Kind::*;
                    matches!(a.kind, Name | Symbol | Text | Placeholder) || &text[a.start..a.end] == "*"
                };
                let end = atoms.next_if(takes).map_or(atom.end, |a| a.end);
                // A call after a dot belongs to the name.
                let end = atoms.next_if(|a| a.whole && a.start == end).map_or(end, |a| a.end);
                *before = piece(text, Group::Identifier, before.start, end);
            }
            _ => pieces.push(piece(text, single(atom), atom.start, atom.end)),
        }
    }
    pieces
}

fn single(atom: Atom) -> Group {
    match atom.kind {
        _ if atom.whole => Group::Parenthesis,
        Kind::Name | Kind::Symbol => Group::Identifier,
        Kind::Text => Group::Text,
        Kind::Integer => Group::Integer,
        Kind::Float => Group::Float,
        Kind::Placeholder => Group::Operand,
        Kind::Builtin => Group::Builtin,
        Kind::Keyword => Group::Keyword,
        Kind::Order => Group::Order,
        Kind::Compare => Group::Compare,
        Kind::Semicolon => Group::Semicolon,
        _ => Group::Other,
    }
}

/// Puts `a - b` together, which is how a key with a dash that is not quoted reads.
fn operations<'a>(text: &'a str, pieces: Vec<Piece<'a>>) -> Vec<Piece<'a>> {
    let mut out: Vec<Piece<'a>> = Vec::new();
    let mut pieces = pieces.into_iter().peekable();
    while let Some(next) = pieces.next() {
        let operator = next.group == Group::Other && next.text.bytes().all(|b| b"+-*/@#%^&|".contains(&b));
        match out.last_mut() {
            Some(left) if operator && left.operand() => match pieces.next_if(Piece::operand) {
                Some(right) => *left = piece(text, Group::Operand, left.start, right.end),
                None => out.push(next),
            },
            _ => out.push(next),
        }
    }
    out
}

/// Puts `name DESC` together.
fn orders<'a>(text: &'a str, pieces: Vec<Piece<'a>>) -> Vec<Piece<'a>> {
    let mut out: Vec<Piece<'a>> = Vec::new();
    for next in pieces {
        match out.last_mut() {
            Some(before)
                if next.group == Group::Order
                    && matches!(before.group, Group::Identifier | Group::Integer | Group::Float) =>
            {
                *before = piece(text, Group::Identifier, before.start, next.end)
            }
            _ => out.push(next),
        }
    }
    out
}

/// The clauses of a filter's groups.
pub fn clauses<'a>(pieces: &[Piece<'a>]) -> Vec<Clause<'a>> {
    let mut clauses = Vec::new();
    let mut rest = pieces;
    while let [first, after @ ..] = rest {
        let (clause, taken) = comparison(rest)
            .or_else(|| membership(rest))
            .unwrap_or_else(|| (if first.is("AND") { Clause::And } else { Clause::Other(*first) }, 1));
        clauses.push(clause);
        rest = &after[taken - 1..];
    }
    clauses
}

fn comparison<'a>(pieces: &[Piece<'a>]) -> Option<(Clause<'a>, usize)> {
    let [left, op, right, ..] = pieces else { return None };
    let compares = op.group == Group::Compare && left.operand() && right.operand();
    compares.then_some((Clause::Comparison { left: *left, op: op.text, right: *right }, 3))
}

/// `a IN (…)`, `a NOT IN (…)`, `a IS NULL`, `a IS NOT NULL`.
fn membership<'a>(pieces: &[Piece<'a>]) -> Option<(Clause<'a>, usize)> {
    let (left, rest) = pieces.split_first().filter(|(l, _)| l.group == Group::Identifier)?;
    match rest {
        [word, right, ..] if word.is("IN") && right.group == Group::Parenthesis => {
            Some((Clause::Comparison { left: *left, op: word.text, right: *right }, 3))
        }
        [not, word, right, ..] if not.is("NOT") && word.is("IN") && right.group == Group::Parenthesis => {
            Some((Clause::Comparison { left: *left, op: "NOT IN", right: *right }, 4))
        }
        [word, null, ..] if word.is("IS") && (null.is("NULL") || null.is("NOT NULL")) => {
            Some((Clause::Null { left: *left, missing: null.is("NULL") }, 3))
        }
        _ => None,
    }
}

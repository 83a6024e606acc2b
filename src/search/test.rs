//! What a clause holds a value against.

use super::like::Like;
use std::cmp::Ordering;

/// How numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    Less,
    AtMost,
    Equal,
    Differs,
    AtLeast,
    More,
}

impl Compare {
    /// By its sign.
    pub fn new(op: &str) -> Option<Self> {
        Some(match op {
            "<" => Self::Less,
            "<=" => Self::AtMost,
            "=" => Self::Equal,
            "!=" => Self::Differs,
            ">=" => Self::AtLeast,
            ">" => Self::More,
            _ => return None,
        })
    }

    fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            // Nothing but this holds of NaN.
            Self::Differs => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::Equal => order == Some(Ordering::Equal),
            Self::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Self::More => order == Some(Ordering::Greater),
        }
    }
}

/// A number as it was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Integer(i64),
    Float(f64),
}

impl Number {
    /// As a float.
    pub fn float(self) -> f64 {
        match self {
            Self::Integer(i) => i as f64,
            Self::Float(f) => f,
        }
    }
}

/// A clause's operator and value.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    Null,
    NotNull,
    Number(Compare, Number),
    Equals(Box<str>),
    Differs(Box<str>),
    Like(Like),
    In(Box<[String]>),
    NotIn(Box<[String]>),
}

impl Test {
    /// Of a text that may be missing. As in SQL, what is missing fulfils nothing but `IS NULL`.
    pub fn text(&self, found: Option<&str>) -> bool {
        let Some(found) = found else { return *self == Self::Null };
        match self {
            Self::Null => false,
            Self::NotNull => true,
            Self::Equals(wanted) => found == &**wanted,
            Self::Differs(wanted) => found != &**wanted,
            Self::Like(like) => like.matches(found),
            Self::In(wanted) => wanted.iter().any(|w| w == found),
            Self::NotIn(wanted) => wanted.iter().all(|w| w != found),
            Self::Number(..) => false,
        }
    }

    /// Of an integer, or of a text that is one.
    pub fn integer(&self, found: i64) -> bool {
        let same = |wanted: &str| wanted.trim().parse() == Ok(found);
        match self {
            Self::Number(compare, Number::Integer(wanted)) => compare.holds(Some(found.cmp(wanted))),
            Self::Number(compare, wanted) => compare.holds((found as f64).partial_cmp(&wanted.float())),
            Self::Equals(wanted) => same(wanted),
            Self::Differs(wanted) => !same(wanted),
            Self::In(wanted) => wanted.iter().any(|w| same(w)),
            Self::NotIn(wanted) => !wanted.iter().any(|w| same(w)),
            Self::NotNull => true,
            Self::Null | Self::Like(_) => false,
        }
    }

    /// Of a float. The SQL store keeps infinities as the largest floats.
    pub fn float(&self, found: f64) -> bool {
        match self {
            Self::Number(compare, wanted) => {
                let found = if found.is_nan() { found } else { found.clamp(f64::MIN, f64::MAX) };
                compare.holds(found.partial_cmp(&wanted.float()))
            }
            _ => *self == Self::NotNull,
        }
    }
}

//! One column of a sort key: numbers and ids as integers, so that most comparisons are one instruction and no key is on the heap.

use std::cmp::Ordering;

/// A column's value. Ranks put what is missing or NaN where it belongs; 1 is what is there.
#[derive(Debug, Clone)]
pub enum Part {
    End,
    Number(u8, u64),
    /// Thirty-two hexadecimal digits in lower case: the id of a run.
    Hex {
        descending: bool,
        high: u64,
        low: u64,
    },
    Text {
        descending: bool,
        text: Box<str>,
    },
}

const TOP: u64 = 1 << 63;

impl Part {
    /// A whole number.
    pub fn integer(value: i64, descending: bool) -> Self {
        Self::ordered(value as u64 ^ TOP, descending)
    }

    /// A float; NaN comes after all others, but before what is missing. Infinities are what the SQL store makes of them.
    pub fn float(value: f64, descending: bool) -> Self {
        if value.is_nan() {
            return Self::Number(2, 0);
        }
        // Adding zero makes one of both zeros.
        let bits = (value.clamp(f64::MIN, f64::MAX) + 0.0).to_bits();
        Self::ordered(if bits & TOP == 0 { bits | TOP } else { !bits }, descending)
    }

    fn ordered(bits: u64, descending: bool) -> Self {
        Self::Number(1, if descending { !bits } else { bits })
    }

    /// A text, by its bytes.
    pub fn text(text: &str, descending: bool) -> Self {
        let digit = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
        if text.len() == 32 && text.bytes().all(digit) {
            let half = |s: &str| u64::from_str_radix(s, 16).unwrap_or_default();
            return Self::Hex { descending, high: half(&text[..16]), low: half(&text[16..]) };
        }
        Self::Text { descending, text: text.into() }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Number(rank, _) => *rank,
            _ => 1,
        }
    }

    /// Whether it descends, and its bytes.
    fn bytes<'a>(&'a self, room: &'a mut [u8; 32]) -> (bool, &'a [u8]) {
        match self {
            Self::Text { descending, text } => (*descending, text.as_bytes()),
            Self::Hex { descending, high, low } => {
                let value = (u128::from(*high) << 64) | u128::from(*low);
                for (i, digit) in room.iter_mut().enumerate() {
                    *digit = b"0123456789abcdef"[(value >> (124 - 4 * i)) as usize & 15];
                }
                (*descending, room)
            }
            _ => (false, &[]),
        }
    }
}

impl Ord for Part {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(r1, b1), Self::Number(r2, b2)) => (r1, b1).cmp(&(r2, b2)),
            (Self::Hex { descending, high: h1, low: l1 }, Self::Hex { high: h2, low: l2, .. }) => {
                let order = (h1, l1).cmp(&(h2, l2));
                if *descending { order.reverse() } else { order }
            }
            _ => self.rank().cmp(&other.rank()).then_with(|| {
                let (mut room1, mut room2) = ([0; 32], [0; 32]);
                let ((descending, a), (_, b)) = (self.bytes(&mut room1), other.bytes(&mut room2));
                if descending { b.cmp(a) } else { a.cmp(b) }
            }),
        }
    }
}

impl PartialOrd for Part {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Part {}

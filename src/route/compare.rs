//! How two answers differ.

use serde_json::Value;

/// What two answers have in common.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Difference {
    /// Whether anything is unequal: numbers by more than the tolerance, anything else at all.
    pub unequal: bool,
    /// Pairs of numbers at the same place.
    pub numbers: u64,
    /// Of their absolute differences.
    pub sum: f64,
    pub max: f64,
}

/// Compares bodies: as JSON when both are, else byte by byte.
pub fn bodies(a: &[u8], b: &[u8], tolerance: f64) -> Difference {
    let mut found = Difference::default();
    match (serde_json::from_slice(a), serde_json::from_slice(b)) {
        (Ok(a), Ok(b)) => values(&a, &b, tolerance, &mut found),
        _ => found.unequal = a != b,
    }
    found
}

/// As deep as the values are, which the parser bounds.
fn values(a: &Value, b: &Value, tolerance: f64, found: &mut Difference) {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            let gap = match (x.as_i128(), y.as_i128()) {
                // Told apart past 2^53 too, where floats are not.
                (Some(x), Some(y)) => (x - y).unsigned_abs() as f64,
                _ => x.as_f64().zip(y.as_f64()).map_or(f64::MAX, |(x, y)| (x - y).abs()),
            };
            found.unequal |= gap > tolerance;
            found.numbers += 1;
            found.sum += gap;
            found.max = found.max.max(gap);
        }
        (Value::Array(x), Value::Array(y)) => {
            found.unequal |= x.len() != y.len();
            x.iter().zip(y).for_each(|(x, y)| values(x, y, tolerance, found));
        }
        (Value::Object(x), Value::Object(y)) => {
            found.unequal |= x.len() != y.len();
            for (key, x) in x {
                match y.get(key) {
                    Some(y) => values(x, y, tolerance, found),
                    None => found.unequal = true,
                }
            }
        }
        (a, b) => found.unequal |= a != b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_differ_within_the_tolerance_and_nothing_else_may() {
        for (a, b, equal) in [
            (r#"{"y":[0.5,1],"v":"a"}"#, r#"{"v":"a","y":[0.55,1.0]}"#, true),
            (r#"{"y":[0.5]}"#, r#"{"y":[0.7]}"#, false),
            (r#"{"y":[0.5]}"#, r#"{"y":[0.5,0.5]}"#, false),
            (r#"{"y":1}"#, r#"{"y":1,"z":null}"#, false),
            (r#"{"y":1}"#, r#"{"z":1}"#, false),
            (r#"{"y":1}"#, r#"{"y":"1"}"#, false),
            (r#"{"y":true}"#, r#"{"y":false}"#, false),
            ("plain", "plain", true),
            ("plain", "other", false),
            ("1", "{", false),
            ("", "", true),
        ] {
            assert_eq!(!bodies(a.as_bytes(), b.as_bytes(), 0.1).unequal, equal, "{a} {b}");
        }
        let found = bodies(b"[1,2,[3.5]]", b"[1,2.5,[3.0]]", 0.1);
        assert_eq!((found.numbers, found.sum, found.max), (3, 1.0, 0.5));
        assert!(bodies(b"9007199254740993", b"9007199254740992", 0.0).unequal);
        assert!(!bodies(b"1", b"1.0", 0.0).unequal);
    }
}

//! Values with units.

use crate::model::Millis;

/// Longest duration that a spec may ask for: ten years.
const LONGEST_MS: u64 = 10 * 365 * 86_400_000;

/// `"50ms"`, `"30s"`, `"30m"`, `"1h"`, `"1d"`, also summed as `"1h30m"`. `Err` says what is wrong.
pub fn duration(text: &str) -> Result<Millis, String> {
    let usage = || "write a number and a unit of ms, s, m, h, d, such as \"30m\" or \"1h30m\"".to_owned();
    let (mut rest, mut total) = (text.trim(), 0u64);
    if rest.is_empty() {
        return Err(usage());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(usage)?;
        let number: u64 = rest.get(..digits).and_then(|d| d.parse().ok()).ok_or_else(usage)?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(usage()),
        };
        rest = &rest[letters..];
        total = number.checked_mul(unit).and_then(|ms| total.checked_add(ms)).ok_or("longer than ten years")?;
    }
    if total > LONGEST_MS { Err("longer than ten years".into()) } else { Ok(Millis(total)) }
}

/// `"512Mi"`, `"2Gi"`, `"1500M"`: bytes, by 1024 with an `i` and by 1000 without. `Err` says what is wrong.
pub fn size(text: &str) -> Result<u64, String> {
    const LARGEST: u64 = 1 << 50;
    let usage = || "write a whole number and a unit of Ki, Mi, Gi, Ti, K, M, G, T, such as \"2Gi\"".to_owned();
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(usage)?;
    let number: u64 = text[..digits].parse().map_err(|_| usage())?;
    let unit: u64 = match &text[digits..] {
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        _ => return Err(usage()),
    };
    match number.checked_mul(unit) {
        Some(0) => Err("a limit of nothing stops everything".into()),
        Some(bytes) if bytes <= LARGEST => Ok(bytes),
        _ => Err("more than 1024 Ti".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("1Ki", 1024), ("2Gi", 2 << 30), ("1500M", 1_500_000_000), ("1024Ti", 1 << 50)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "2", "Gi", "2gb", "-1Gi", "1.5Gi", "0Mi", "1025Ti", "99999999999999999999Ti", "2 Gi"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [("50ms", 50), ("30s", 30_000), ("30m", 1_800_000), ("1h30m", 5_400_000), ("2d", 172_800_000)]
        {
            assert_eq!(duration(text), Ok(Millis(ms)), "{text}");
        }
        for text in ["", "30", "m", "1x", "-1s", "1.5h", "99999999999999999999d", "4000d", "1h30", "µs"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}

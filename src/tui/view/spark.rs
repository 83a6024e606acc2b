//! A history in one row.

/// `▁▂▄▆▇`: of each stretch its last value. What is no number is a `·`. The full block is left out: rows would run into each other.
pub fn spark(points: &[(f64, f64)], width: usize) -> String {
    drawn(points, width, f64::INFINITY)
}

/// The same of amounts: the lowest level is none.
pub fn levels(points: &[(f64, f64)], width: usize) -> String {
    drawn(points, width, 0.0)
}

fn drawn(points: &[(f64, f64)], width: usize, lowest: f64) -> String {
    const LEVELS: [char; 7] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇'];
    let most = (LEVELS.len() - 1) as f64;
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return String::new() };
    let cells = width.min(points.len());
    let (from, room) = (first.0, (last.0 - first.0).max(f64::MIN_POSITIVE));
    let numbers = || points.iter().map(|p| p.1).filter(|v| v.is_finite());
    let (low, high) = (numbers().fold(lowest, f64::min), numbers().fold(f64::NEG_INFINITY, f64::max));
    let level = |value: f64| match value {
        v if !v.is_finite() => '·',
        _ if high <= low => LEVELS[3],
        // Halves: what lies between may be more than there are numbers for.
        v => LEVELS[((v / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0) * most).round().clamp(0.0, most) as usize],
    };
    let mut out = vec![None; cells];
    for (x, value) in points {
        let at = ((x - from) / room * cells as f64) as usize;
        if let Some(cell) = out.get_mut(at.min(cells.saturating_sub(1))) {
            *cell = Some(level(*value));
        }
    }
    // Where nothing was logged, the value is still that of before.
    let carried = out.into_iter().scan('·', |before, cell| {
        *before = cell.unwrap_or(*before);
        Some(*before)
    });
    carried.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64], width: usize) -> String {
        let points: Vec<(f64, f64)> = values.iter().enumerate().map(|(n, v)| (n as f64, *v)).collect();
        spark(&points, width)
    }

    #[test]
    fn a_history_fits_into_any_width() {
        assert_eq!(of(&[0.0, 1.0, 2.0, 3.0], 8), "▁▃▅▇");
        assert_eq!(of(&[1.0, 1.0], 8), "▄▄");
        assert_eq!(of(&[0.0, f64::NAN, 1.0], 8), "▁·▇");
        assert_eq!(of(&[f64::INFINITY], 8), "·");
        assert_eq!(of(&[f64::MIN, f64::MAX], 8), "▁▇");
        assert_eq!(of(&[], 8), "");
        let long: Vec<f64> = (0..1000).map(f64::from).collect();
        assert_eq!(of(&long, 8), "▂▂▃▄▅▅▆▇");
        assert_eq!(spark(&[(0.0, 0.0), (9.0, 9.0), (10.0, 10.0)], 3), "▁▁▇");
        assert_eq!(of(&[1.0, 2.0], 0), "");
        assert_eq!(levels(&[(0.0, 6.0), (1.0, 12.0), (2.0, 0.0)], 3), "▄▇▁");
    }
}

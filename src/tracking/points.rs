//! Metric points as the store keeps them: a page holds those of one call, a chunk those of many, sorted and packed.

use super::row::Latest;
use crate::model::tracking::{ErrorCode, TrackingError};
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};

/// One value of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub key: String,
    /// NaN, or finite.
    pub value: f64,
    /// Milliseconds since the Unix epoch, as the client says.
    pub timestamp: i64,
    pub step: i64,
}

impl Point {
    /// As the newest of its key.
    pub fn latest(&self) -> Latest<'_> {
        Latest { key: &self.key, value: self.value, timestamp: self.timestamp, step: self.step }
    }
}

/// A value as MLflow's SQL store keeps it: an infinity is the largest number.
pub fn kept(value: f64) -> f64 {
    if value.is_nan() { value } else { value.clamp(f64::MIN, f64::MAX) }
}

/// A value of a metric whose key is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value {
    pub value: f64,
    pub timestamp: i64,
    pub step: i64,
}

/// The order in which MLflow lists a history, and by which a value that came twice is found: a NaN counts as 0 there.
pub fn order(a: &Value, b: &Value) -> std::cmp::Ordering {
    let number = |v: &Value| if v.value.is_nan() { 0.0 } else { v.value };
    (a.timestamp, a.step)
        .cmp(&(b.timestamp, b.step))
        .then(number(a).total_cmp(&number(b)))
        .then(a.value.is_nan().cmp(&b.value.is_nan()))
}

fn damaged(what: impl std::fmt::Display) -> TrackingError {
    TrackingError::new(ErrorCode::InternalError, format!("a record of metrics is damaged: {what}"))
}

/// A page: the points of one call.
pub fn page(points: &[Point]) -> Vec<u8> {
    // Writing into memory does not fail.
    postcard::to_extend(points, Vec::new()).unwrap_or_default()
}

/// Reads a page.
pub fn of_page(bytes: &[u8]) -> Result<Vec<Point>, TrackingError> {
    postcard::from_bytes(bytes).map_err(damaged)
}

/// The values of one key as columns, each time and step as its difference from the one before.
#[derive(Serialize, Deserialize)]
struct Column {
    key: String,
    timestamps: Vec<i64>,
    steps: Vec<i64>,
    /// Bits of the numbers, each combined with those of the one before: what stays the same is zero, which packs well.
    values: Vec<u8>,
}

fn differences(numbers: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut before = 0i64;
    let step = |n: i64| n.wrapping_sub(std::mem::replace(&mut before, n));
    numbers.map(step).collect()
}

fn sums(differences: &[i64]) -> impl Iterator<Item = i64> {
    differences.iter().scan(0i64, |at, d| {
        *at = at.wrapping_add(*d);
        Some(*at)
    })
}

/// Points of many calls by key, each key's in MLflow's order, none twice.
#[derive(Debug, Default, PartialEq)]
pub struct Chunk(pub Vec<(String, Vec<Value>)>);

impl Chunk {
    /// How many points.
    pub fn len(&self) -> usize {
        self.0.iter().map(|(_, v)| v.len()).sum()
    }

    /// Takes points in.
    pub fn add(&mut self, points: impl IntoIterator<Item = Point>) {
        for Point { key, value, timestamp, step } in points {
            let at = match self.0.binary_search_by(|(k, _)| k.as_str().cmp(&key)) {
                Ok(at) => at,
                Err(at) => {
                    self.0.insert(at, (key, vec![]));
                    at
                }
            };
            self.0[at].1.push(Value { value, timestamp, step });
        }
        self.0.iter_mut().for_each(|(_, values)| tidy(values));
    }

    /// Packs it.
    pub fn pack(&self) -> Result<Vec<u8>, TrackingError> {
        let column = |(key, values): &(String, Vec<Value>)| {
            let mut before = 0u64;
            let bits =
                |v: &Value| (v.value.to_bits() ^ std::mem::replace(&mut before, v.value.to_bits())).to_le_bytes();
            Column {
                key: key.clone(),
                timestamps: differences(values.iter().map(|v| v.timestamp)),
                steps: differences(values.iter().map(|v| v.step)),
                values: values.iter().flat_map(bits).collect(),
            }
        };
        let columns: Vec<Column> = self.0.iter().map(column).collect();
        let plain = postcard::to_extend(&columns, Vec::new()).map_err(damaged)?;
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&plain).and_then(|()| packed.finish()).map_err(damaged)
    }

    /// Reads one.
    pub fn unpack(bytes: &[u8]) -> Result<Self, TrackingError> {
        let mut plain = Vec::new();
        DeflateDecoder::new(bytes).read_to_end(&mut plain).map_err(damaged)?;
        let columns: Vec<Column> = postcard::from_bytes(&plain).map_err(damaged)?;
        let values = |c: Column| {
            let mut before = 0u64;
            let values =
                c.values.chunks_exact(8).filter_map(|b| b.try_into().ok().map(u64::from_le_bytes)).map(|bits| {
                    before ^= bits;
                    f64::from_bits(before)
                });
            let all = sums(&c.timestamps).zip(sums(&c.steps)).zip(values);
            let values = all.map(|((timestamp, step), value)| Value { value, timestamp, step }).collect();
            (c.key, values)
        };
        Ok(Self(columns.into_iter().map(values).collect()))
    }
}

/// Puts values into MLflow's order and drops what came twice.
pub fn tidy(values: &mut Vec<Value>) {
    values.sort_unstable_by(order);
    values.dedup_by(|a, b| order(a, b).is_eq());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn points() -> impl Strategy<Value = Vec<Point>> {
        let value = prop_oneof![any::<f64>().prop_map(kept), Just(0.5), Just(f64::NAN)];
        let point = ("[abc]", value, 0..50i64, any::<i64>());
        proptest::collection::vec(point, 0..60).prop_map(|all| {
            all.into_iter().map(|(key, value, timestamp, step)| Point { key, value, timestamp, step }).collect()
        })
    }

    proptest! {
        #[test]
        fn pages_and_chunks_give_back_what_they_took(points in points()) {
            let mut chunk = Chunk::default();
            chunk.add(of_page(&page(&points)).unwrap());
            let back = Chunk::unpack(&chunk.pack().unwrap()).unwrap();
            prop_assert_eq!(format!("{:?}", &back), format!("{:?}", &chunk));
            // The same again changes nothing: a client that tries again does no harm.
            chunk.add(points);
            prop_assert_eq!(format!("{:?}", &back), format!("{:?}", &chunk));
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (of_page(&bytes), Chunk::unpack(&bytes));
        }
    }

    #[test]
    fn a_curve_takes_a_few_bytes_a_point() {
        let point = |n: i64| Point {
            key: "loss".into(),
            value: 1.0 / (n + 1) as f64,
            timestamp: 1_700_000_000_000 + n * 350,
            step: n,
        };
        let mut chunk = Chunk::default();
        chunk.add((0..50_000).map(point));
        assert!(chunk.pack().unwrap().len() < 50_000 * 11);
    }
}

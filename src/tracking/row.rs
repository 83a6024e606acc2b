//! A run as it is kept, in memory and in the store alike: packed, since there may be a hundred thousand, and read in part, since a search
//! looks at one metric of each.
//!
//! Sections one after the other, each behind its length: facts, newest metrics, params, tags, inputs, outputs. Within them postcard's
//! encoding (<https://postcard.jamesmunns.com/wire-format>).

use crate::model::tracking::{ErrorCode, Lifecycle, TrackingError};
use serde::{Deserialize, Serialize};

/// How a run stands, in MLflow's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Running,
    Scheduled,
    Finished,
    Failed,
    Killed,
}

impl Status {
    /// As on the wire, in the order of the protocol's numbers.
    pub const WORDS: &[&str] = &["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"];
    const ALL: [Self; 5] = [Self::Running, Self::Scheduled, Self::Finished, Self::Failed, Self::Killed];

    /// As on the wire.
    pub fn name(self) -> &'static str {
        Self::WORDS[self as usize]
    }
    /// From the wire.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == word)
    }
    /// Whether it is over.
    pub fn ended(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Killed)
    }
}

/// What every run has. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts<'a> {
    pub id: &'a str,
    pub experiment: u64,
    pub name: &'a str,
    pub user: &'a str,
    pub status: Status,
    pub lifecycle: Lifecycle,
    pub started: i64,
    pub ended: Option<i64>,
    /// Where its artifacts go.
    pub artifact_uri: &'a str,
}

/// The newest value of a metric: of the largest (step, timestamp, value).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latest<'a> {
    pub key: &'a str,
    /// NaN, or finite: an infinity is kept as the largest number, as MLflow's SQL store does.
    pub value: f64,
    pub timestamp: i64,
    pub step: i64,
}

impl Latest<'_> {
    /// Whether this one is newer; a NaN counts as 0, as in MLflow's SQL store.
    pub fn beats(&self, other: &Latest<'_>) -> bool {
        let place = |m: &Latest<'_>| (m.step, m.timestamp, if m.value.is_nan() { 0.0 } else { m.value });
        place(self) > place(other)
    }
}

/// A dataset that a run used, with the tags of that use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedDataset<'a> {
    pub name: &'a str,
    pub digest: &'a str,
    #[serde(borrow)]
    pub tags: Vec<(&'a str, &'a str)>,
}

/// What a run read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Inputs<'a> {
    #[serde(borrow)]
    pub datasets: Vec<UsedDataset<'a>>,
    pub models: Vec<&'a str>,
}

/// A packed run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(Box<[u8]>);

/// A run with all of its parts; borrowed from a row, and turned into another.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts<'a> {
    pub facts: Facts<'a>,
    pub metrics: Vec<Latest<'a>>,
    pub params: Vec<(&'a str, &'a str)>,
    pub tags: Vec<(&'a str, &'a str)>,
    pub inputs: Inputs<'a>,
    /// Models that it made, with their steps.
    pub outputs: Vec<(&'a str, i64)>,
}

/// The format that this binary writes; the first byte of a row.
const FORMAT: u8 = 1;

fn damaged(what: &str) -> TrackingError {
    TrackingError::new(ErrorCode::InternalError, format!("a run's record is damaged: {what}"))
}

/// A section behind its length, and what follows it.
fn section(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = postcard::take_from_bytes::<u32>(bytes).ok()?;
    rest.split_at_checked(length as usize)
}

/// One item after the other of a section.
struct Items<'a, T>(&'a [u8], std::marker::PhantomData<T>);
impl<'a, T: Deserialize<'a>> Iterator for Items<'a, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        if self.0.is_empty() {
            return None;
        }
        let (item, rest) = postcard::take_from_bytes(self.0).ok()?;
        self.0 = rest;
        Some(item)
    }
}

impl Row {
    /// Takes in what the store held, once it can be read as a whole.
    pub fn new(bytes: &[u8]) -> Result<Self, TrackingError> {
        let row = Self(bytes.into());
        row.parts()?;
        Ok(row)
    }

    /// As the store keeps it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The section of this number; empty where the row was cut, which `new` refuses.
    fn nth(&self, number: usize) -> &[u8] {
        let mut rest = self.0.get(1..).unwrap_or_default();
        for _ in 0..number {
            rest = section(rest).map_or(&[], |(_, rest)| rest);
        }
        section(rest).map_or(&[], |(section, _)| section)
    }

    fn items<'a, T: Deserialize<'a>>(&'a self, number: usize) -> Items<'a, T> {
        Items(self.nth(number), std::marker::PhantomData)
    }

    /// What every run has.
    pub fn facts(&self) -> Result<Facts<'_>, TrackingError> {
        postcard::from_bytes(self.nth(0)).map_err(|e| damaged(&e.to_string()))
    }
    /// Its id alone.
    pub fn id(&self) -> &str {
        // The first of the facts.
        postcard::take_from_bytes(self.nth(0)).map_or("", |(id, _)| id)
    }
    pub fn metrics(&self) -> impl Iterator<Item = Latest<'_>> {
        self.items(1)
    }
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.items(2)
    }
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        self.items(3)
    }
    pub fn inputs(&self) -> Inputs<'_> {
        postcard::from_bytes(self.nth(4)).unwrap_or_default()
    }
    pub fn outputs(&self) -> impl Iterator<Item = (&str, i64)> {
        self.items(5)
    }

    /// All of it.
    pub fn parts(&self) -> Result<Parts<'_>, TrackingError> {
        match self.0.first() {
            Some(&FORMAT) => {}
            Some(newer) => return Err(damaged(&format!("its format {newer} is not known to this version of trimtab"))),
            None => return Err(damaged("it is empty")),
        }
        Ok(Parts {
            facts: self.facts()?,
            metrics: self.metrics().collect(),
            params: self.params().collect(),
            tags: self.tags().collect(),
            inputs: postcard::from_bytes(self.nth(4)).map_err(|e| damaged(&e.to_string()))?,
            outputs: self.outputs().collect(),
        })
    }
}

impl Parts<'_> {
    /// Packs it.
    pub fn pack(&self) -> Row {
        let mut out = vec![FORMAT];
        write(&mut out, [&self.facts]);
        write(&mut out, &self.metrics);
        write(&mut out, &self.params);
        write(&mut out, &self.tags);
        write(&mut out, [&self.inputs]);
        write(&mut out, &self.outputs);
        Row(out.into_boxed_slice())
    }
}

/// Puts a section: its length, then its items.
fn write<T: Serialize>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>) {
    // Writing into memory does not fail: these types have lengths and known shapes.
    let body = items.into_iter().fold(Vec::new(), |body, item| postcard::to_extend(&item, body).unwrap_or_default());
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    *out = postcard::to_extend(&length, std::mem::take(out)).unwrap_or_default();
    out.extend_from_slice(&body);
}

/// Puts a pair into a list that is sorted by key; what was there under the key goes.
pub fn put<'a>(pairs: &mut Vec<(&'a str, &'a str)>, key: &'a str, value: &'a str) {
    match pairs.binary_search_by(|(k, _)| (*k).cmp(key)) {
        Ok(at) => pairs[at].1 = value,
        Err(at) => pairs.insert(at, (key, value)),
    }
}

/// The value under a key of a list that is sorted.
pub fn get<'a>(pairs: &[(&'a str, &'a str)], key: &str) -> Option<&'a str> {
    pairs.binary_search_by(|(k, _)| (*k).cmp(key)).ok().map(|at| pairs[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts<'a>(id: &'a str, pairs: &'a [(String, String)], numbers: &[(f64, i64)]) -> Parts<'a> {
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (&**k, &**v)).collect();
        let latest = |(value, step): &(f64, i64)| Latest { key: id, value: *value, timestamp: *step, step: *step };
        Parts {
            facts: Facts {
                id,
                experiment: 7,
                name: "calm-otter-12",
                user: "ada",
                status: Status::Finished,
                lifecycle: Lifecycle::Deleted,
                started: -1,
                ended: Some(i64::MAX),
                artifact_uri: "mlflow-artifacts:/7/x/artifacts",
            },
            metrics: numbers.iter().map(latest).collect(),
            params: pairs.clone(),
            tags: pairs.clone(),
            inputs: Inputs {
                datasets: vec![UsedDataset { name: id, digest: "d", tags: pairs.clone() }],
                models: vec!["m-1"],
            },
            outputs: vec![(id, 3)],
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_read(
            id in "[a-z0-9]{1,40}",
            pairs in proptest::collection::vec((".*", ".*"), 0..6),
            numbers in proptest::collection::vec((-1e300..1e300f64, any::<i64>()), 0..6),
        ) {
            let parts = parts(&id, &pairs, &numbers);
            let row = Row::new(parts.pack().bytes()).unwrap();
            prop_assert_eq!(row.id(), &id);
            prop_assert_eq!(row.parts().unwrap(), parts);
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(row) = Row::new(&bytes) {
                let _ = (row.id().len(), row.metrics().count(), row.tags().count(), row.outputs().count());
            }
        }
    }

    #[test]
    fn the_newest_is_of_the_largest_step_then_time_then_value() {
        let at = |step, timestamp, value| Latest { key: "k", value, timestamp, step };
        assert!(at(2, 0, 0.0).beats(&at(1, 9, 9.0)));
        assert!(at(1, 2, 0.0).beats(&at(1, 1, 9.0)));
        assert!(at(1, 1, 2.0).beats(&at(1, 1, 1.0)));
        assert!(!at(1, 1, 1.0).beats(&at(1, 1, 1.0)));
        assert!(at(1, 1, f64::NAN).beats(&at(1, 1, -1.0)) && !at(1, 1, f64::NAN).beats(&at(1, 1, 1.0)));
    }
}

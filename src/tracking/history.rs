//! Histories of metrics: read from the store, and packed there once many pages came together.
//!
//! A call's points are one page (`RUN/number`). A thread of its own takes the pages of a run together into its newest chunk; a chunk that is
//! large is left, and another begun. Pages go in the same batch in which the chunk and the run's row with the newest values come.

use super::{
    Tracked, Tracker,
    points::{Chunk, Point, Value, of_page, order, tidy},
    row::Row,
    run,
    state::{Slot, State},
};
use crate::{
    model::tracking::*,
    store::{Batch, Store, Table},
};
use std::sync::{Weak, mpsc::Receiver};

/// Pages and points of a run that wait, at most, before they are packed; fewer pages once it is over.
const PAGES: u32 = 1024;
const POINTS: u32 = 8192;
const PAGES_OF_ENDED: u32 = 8;
/// A chunk that has so many points is left as it is. A chunk that is packed anew leaves its old bytes in sled until their segment is cleaned,
/// so chunks are about as large as what is packed at once: with eight times as many points, a million values took three times the disk.
const CHUNK: usize = POINTS as usize;

/// Where pages and chunks of a run are.
fn prefix(id: &str) -> Vec<u8> {
    format!("{id}/").into_bytes()
}

pub(super) fn page_key(id: &str, number: u64) -> Vec<u8> {
    [id.as_bytes(), b"/", &number.to_be_bytes()].concat()
}

/// The run and the number that a key was made of.
fn of_key(key: &[u8]) -> Option<(&str, u64)> {
    let (head, number) = key.split_at_checked(key.len().checked_sub(8)?)?;
    let id = std::str::from_utf8(head.strip_suffix(b"/")?).ok()?;
    Some((id, u64::from_be_bytes(number.try_into().ok()?)))
}

/// Takes the pages in that no chunk holds: they are newer than the rows.
pub(super) fn read_loose(store: &Store, state: &mut State) -> Tracked<()> {
    // One run's pages follow each other: its row is packed once.
    let mut of_run: (String, Vec<Point>) = Default::default();
    let mut failed = Ok(());
    store.each_tracked_bytes(Table::Points, "", |key, bytes| {
        if let Some((id, number)) = of_key(key)
            && failed.is_ok()
        {
            failed = of_page(bytes).and_then(|points| {
                if of_run.0 != id {
                    take_in(state, std::mem::take(&mut of_run))?;
                    of_run.0 = id.to_owned();
                }
                state.runs.next_page = state.runs.next_page.max(number + 1);
                if let Ok(slot) = state.runs.slot(id) {
                    let loose = state.runs.loose.entry(slot).or_default();
                    loose.pages += 1;
                    loose.points += points.len() as u32;
                }
                of_run.1.extend(points);
                Ok(())
            });
        }
        Ok(())
    })?;
    failed?;
    // Numbers of chunks come from the same row: one that was given to a chunk is not given again.
    store.each_tracked_bytes(Table::Chunk, "", |key, _| {
        if let Some((_, number)) = of_key(key) {
            state.runs.next_page = state.runs.next_page.max(number + 1);
        }
        Ok(())
    })?;
    take_in(state, of_run)
}

fn take_in(state: &mut State, (id, points): (String, Vec<Point>)) -> Tracked<()> {
    let Ok(slot) = state.runs.slot(&id) else { return Ok(()) };
    let row = run::with_points(state.runs.row(slot), points)?;
    state.runs.put(row).map(drop)
}

/// Packs in the background what `folds` names, until the tracker is gone.
pub(super) fn start_folding(tracker: &Tracker, folds: Receiver<String>) -> Tracked<()> {
    let inner = std::sync::Arc::downgrade(&tracker.0);
    let body = move || {
        while let Ok(id) = folds.recv() {
            let Some(tracker) = Weak::upgrade(&inner).map(Tracker) else { return };
            // Pages stay as they are, and can be read so.
            if let Err(e) = tracker.fold(&id) {
                tracing::warn!("metrics of run {id} cannot be packed: {e}");
            }
        }
    };
    let failed = |e| TrackingError::new(ErrorCode::InternalError, format!("no thread for packing metrics: {e}"));
    std::thread::Builder::new().name("tracking".into()).spawn(body).map(drop).map_err(failed)
}

impl Tracker {
    /// Has pages packed when they are many.
    pub(super) fn fold_if_due(&self, state: &mut State, slot: Slot, row: &Row) -> Tracked<()> {
        let Some(loose) = state.runs.loose.get(&slot) else { return Ok(()) };
        let ended = row.facts()?.status.ended();
        let many = loose.pages >= PAGES || loose.points >= POINTS;
        if many || ended && loose.pages >= PAGES_OF_ENDED {
            // Asked for once: what comes meanwhile counts anew.
            state.runs.loose.remove(&slot);
            // The thread ends with the tracker only.
            let _ = self.0.fold.send(row.id().to_owned());
        }
        Ok(())
    }

    /// Takes a run's pages into its newest chunk.
    fn fold(&self, id: &str) -> Tracked<()> {
        let store = &self.0.store;
        let (mut pages, mut points) = (vec![], vec![]);
        let mut failed = Ok(());
        store.each_tracked_bytes(Table::Points, prefix(id), |key, bytes| {
            match of_page(bytes) {
                Ok(page) => points.extend(page),
                Err(e) => failed = Err(e),
            }
            pages.push(key.to_vec());
            Ok(())
        })?;
        failed?;
        let Some(first) = pages.first().and_then(|k| of_key(k)).map(|(_, number)| number) else { return Ok(()) };
        let (mut key, mut chunk) = (page_key(id, first), Chunk::default());
        if let Some((last, bytes)) = self.last_chunk(id)? {
            let open = Chunk::unpack(&bytes)?;
            if open.len() < CHUNK {
                (key, chunk) = (last, open);
            }
        }
        chunk.add(points);
        let batch = Batch::new().put_tracked_bytes(Table::Chunk, &key, &chunk.pack()?);
        let batch = pages.iter().fold(batch, |batch, page| batch.delete_tracked(Table::Points, page));
        // The row has the newest values of all pages, also of those that came meanwhile: a page read twice changes nothing.
        let waiting = {
            let state = self.write();
            let row = state.runs.row(state.runs.slot(id)?);
            store.submit(batch.put_tracked_bytes(Table::Run, id, row.bytes()))
        };
        futures::executor::block_on(waiting)?;
        Ok(())
    }

    fn last_chunk(&self, id: &str) -> Tracked<Option<(Vec<u8>, Vec<u8>)>> {
        Ok(self.0.store.last_tracked_bytes(Table::Chunk, prefix(id))?)
    }

    /// What the store has of a run takes the place of what memory has.
    pub(super) fn read_run_again(&self, state: &mut State, id: &str) -> Tracked<()> {
        let Some(bytes) = self.0.store.tracked_bytes(Table::Run, id)? else { return Ok(()) };
        let mut points = vec![];
        self.0.store.each_tracked_bytes(Table::Points, prefix(id), |_, page| {
            // A page that cannot be read is told where histories are read.
            points.extend(of_page(page).unwrap_or_default());
            Ok(())
        })?;
        let row = run::with_points(&Row::new(&bytes)?, points)?;
        state.runs.put(row).map(drop)
    }

    /// All values of a metric, in MLflow's order: by time, step, value.
    pub fn history(&self, id: &str, key: &str) -> Tracked<Vec<Value>> {
        let (mut values, mut failed) = (vec![], Ok(()));
        // Chunks before pages would miss what is packed between: what is read twice is dropped, what is missed is not found again.
        self.0.store.each_tracked_bytes(Table::Points, prefix(id), |_, bytes| {
            match of_page(bytes) {
                Ok(page) => values.extend(page.into_iter().filter(|p| p.key == key).map(of_point)),
                Err(e) => failed = Err(e),
            }
            Ok(())
        })?;
        self.0.store.each_tracked_bytes(Table::Chunk, prefix(id), |_, bytes| {
            match Chunk::unpack(bytes) {
                Ok(chunk) => values.extend(chunk.0.into_iter().filter(|(k, _)| k == key).flat_map(|(_, v)| v)),
                Err(e) => failed = Err(e),
            }
            Ok(())
        })?;
        failed?;
        tidy(&mut values);
        Ok(values)
    }

    /// At most `most` values of a metric between two steps, evenly spread over its rows by step, the last among them.
    pub fn sampled(&self, id: &str, key: &str, most: usize, steps: Option<(i64, i64)>) -> Tracked<Vec<Value>> {
        let mut values = self.history(id, key)?;
        if let Some((first, last)) = steps {
            values.retain(|v| (first..=last).contains(&v.step));
        }
        values.sort_by(|a, b| a.step.cmp(&b.step).then(order(a, b)));
        Ok(spread(&values, most))
    }
}

fn of_point(p: Point) -> Value {
    Value { value: p.value, timestamp: p.timestamp, step: p.step }
}

/// The first of each of `most` buckets of equal size (as SQL's NTILE has them: the first ones larger by one), and the last of all.
fn spread(values: &[Value], most: usize) -> Vec<Value> {
    let Some(last) = values.last() else { return vec![] };
    let most = most.max(1);
    let (size, larger) = (values.len() / most, values.len() % most);
    let start = |bucket: usize| bucket * size + bucket.min(larger);
    let buckets = most.min(values.len());
    let mut taken: Vec<Value> = (0..buckets).map(|b| values[start(b)]).collect();
    if start(buckets.saturating_sub(1)) != values.len() - 1 {
        if taken.len() >= most {
            taken.pop();
        }
        taken.push(*last);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_both_ends_and_no_more_than_asked() {
        let all: Vec<Value> = (0..103).map(|n| Value { value: n as f64, timestamp: n, step: n }).collect();
        for most in 1..120 {
            let taken = spread(&all, most);
            assert_eq!(taken.len(), most.min(all.len()), "{most}");
            assert_eq!(taken.last().unwrap().step, 102);
            assert!(most == 1 || taken[0].step == 0);
        }
        assert_eq!(spread(&all[..4], 3).iter().map(|v| v.step).collect::<Vec<_>>(), [0, 2, 3]);
    }
}

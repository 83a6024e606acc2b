//! What people let through before its time: of each model apart from its other events, so that no later event hides it.

use super::{Batch, Store, StoreError, batch::Op, key, record};
use crate::model::*;

/// Events that are read at a time.
const AT_ONCE: usize = 10_000;
/// Set once every event of an earlier daemon was looked through.
const LISTED: &str = "overrides-listed";

impl Store {
    /// Those of a model, newest first, at most `limit` that are older than `before`.
    pub fn overrides(&self, model: &Name, before: Option<u64>, limit: usize) -> Result<Vec<Event>, StoreError> {
        let (first, end) =
            (key::override_of_model(model, 0), key::override_of_model(model, before.unwrap_or(u64::MAX)));
        let mut items = self.0.records.range_back(&first, Some(&end));
        let mut out = Vec::new();
        while out.len() < limit
            && let Some((key, value)) = items.next()?
        {
            out.extend(self.get::<Event>(&key::event(record::decode(&key, &value)?))?);
        }
        Ok(out)
    }

    /// Lists those of an earlier daemon, which had them among the other events only; once.
    pub(super) fn list_overrides(&self) -> Result<(), StoreError> {
        if self.last_event()? == 0 || self.fact(LISTED)?.unwrap_or(false) {
            return Ok(());
        }
        let (mut after, mut batch) = (0, Batch::new().put_fact(LISTED, &true));
        loop {
            let events = self.events(after, AT_ONCE)?;
            let Some(last) = events.last() else { break };
            after = last.seq;
            for event in events.iter().filter(|e| e.kind == EventKind::Overridden) {
                if let Some(model) = &event.model {
                    batch.ops.push(Op::Put(key::override_of_model(model, event.seq), record::encode(&event.seq)?));
                }
            }
        }
        self.commit(batch).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NewEvent;

    fn event(kind: EventKind, message: &str) -> NewEvent {
        let model = Some(Name::new("fraud").unwrap());
        let (environment, commit, author) = (None, None, None);
        NewEvent { at: WallMs(0), kind, model, environment, commit, author, message: message.into() }
    }

    #[test]
    fn none_is_lost_among_other_events_and_they_come_in_pages() {
        let (dir, fraud) = (tempfile::tempdir().unwrap(), Name::new("fraud").unwrap());
        let store = Store::open(dir.path()).unwrap();
        for n in 0..7 {
            store.commit(Batch::new().event(event(EventKind::Overridden, &format!("word {n}")))).unwrap();
            let many = (0..60).fold(Batch::new(), |b, _| b.event(event(EventKind::RunStarted, "other")));
            store.commit(many).unwrap();
        }
        let (mut before, mut pages) = (None, vec![]);
        loop {
            let page = store.overrides(&fraud, before, 3).unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.seq);
            pages.push(page.into_iter().map(|e| e.message).collect::<Vec<_>>());
        }
        assert_eq!(pages, [vec!["word 6", "word 5", "word 4"], vec!["word 3", "word 2", "word 1"], vec!["word 0"]]);
        assert!(store.overrides(&Name::new("fraud2").unwrap(), None, 3).unwrap().is_empty());
    }

    #[test]
    fn those_of_an_earlier_daemon_are_listed() {
        let (dir, fraud) = (tempfile::tempdir().unwrap(), Name::new("fraud").unwrap());
        let store = Store::open(dir.path()).unwrap();
        let seq = store.commit(Batch::new().event(event(EventKind::Overridden, "word"))).unwrap().events[0].seq;
        let mut forget = Batch::new().put_fact(LISTED, &false);
        forget.ops.push(Op::Delete(key::override_of_model(&fraud, seq)));
        store.commit(forget).unwrap();
        assert!(store.overrides(&fraud, None, 3).unwrap().is_empty());
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.overrides(&fraud, None, 3).unwrap()[0].message, "word");
    }
}

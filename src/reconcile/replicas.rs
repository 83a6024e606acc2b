//! What replicas do by themselves, as events: deaths, recoveries, files that were changed. A crash loop is one event, not one for
//! each death.

use crate::model::*;
use std::collections::BTreeMap;

/// What was told of each replica: how it died, which of its files had changed.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<(Name, Release, u32), One>);

#[derive(Debug, Default, Clone)]
struct One {
    death: Option<String>,
    drift: Option<String>,
    at: SteadyMs,
}

/// Something that a replica did.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct News {
    pub kind: EventKind,
    pub release: Release,
    /// For people.
    pub message: String,
}

/// Reasons that differ with each death (they may hold times, ports, addresses) are told so often at most.
const PAUSE_MS: u64 = 60_000;

impl Told {
    /// What is new of the replicas of an environment.
    pub fn news(&mut self, environment: &Name, replicas: &[ReplicaStatus], now: SteadyMs) -> Vec<News> {
        let mut all = vec![];
        self.0.retain(|(e, release, index), _| {
            e != environment || replicas.iter().any(|r| r.release == *release && r.index == *index)
        });
        for r in replicas {
            let key = (environment.clone(), r.release, r.index);
            let before = self.0.get(&key).cloned().unwrap_or_default();
            let who = format!("{environment}: replica {} of {}", r.index, r.release.version);
            let mut one = before.clone();
            let mut news = |kind, message| all.push(News { kind, release: r.release, message });
            match (&r.death, &before.death) {
                (Some(d), told) => {
                    let another = told.as_ref() != Some(&d.reason);
                    if told.is_none() || another && now.since(before.at) >= PAUSE_MS {
                        news(EventKind::ReplicaDied, format!("{who} died: {}", d.reason));
                        (one.death, one.at) = (Some(d.reason.clone()), now);
                    }
                }
                (None, Some(_)) => {
                    news(EventKind::ReplicaRecovered, format!("{who} is ready again"));
                    one.death = None;
                }
                (None, None) => {}
            }
            if let Some(file) = r.drift.as_ref().filter(|f| before.drift.as_ref() != Some(*f)) {
                let told = self
                    .0
                    .iter()
                    .any(|((e, x, _), o)| *e == key.0 && *x == r.release && o.drift.as_ref() == Some(file));
                if !told {
                    let version = r.release.version;
                    news(EventKind::DriftHealed, format!("{environment}: {version}: {file}"));
                }
            }
            one.drift.clone_from(&r.drift);
            if one.death.is_some() || one.drift.is_some() {
                self.0.insert(key, one);
            } else {
                self.0.remove(&key);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(death: Option<&str>, drift: Option<&str>, index: u32) -> ReplicaStatus {
        ReplicaStatus {
            release: Release { version: VersionNumber(3), serve: Digest::of(b"serve") },
            index,
            address: None,
            ready: death.is_none(),
            restarts: 0,
            message: None,
            death: death.map(|reason| Death { reason: reason.into(), in_a_row: 1, was_ready: true }),
            drift: drift.map(str::to_owned),
        }
    }

    #[test]
    fn a_crash_loop_is_told_once_then_by_reason_and_when_it_is_over() {
        let (mut told, production) = (Told::default(), Name::new("production").unwrap());
        let mut news = |death: Option<&str>, at| {
            let all = told.news(&production, &[replica(death, None, 0)], SteadyMs(at));
            all.into_iter().map(|news| news.message).collect::<Vec<_>>()
        };
        assert_eq!(news(None, 0), [""; 0]);
        assert_eq!(news(Some("exit 1"), 1), ["production: replica 0 of v3 died: exit 1"]);
        assert_eq!(news(Some("exit 1"), 100_000), [""; 0]);
        assert_eq!(news(Some("exit 2"), 50_000), [""; 0], "too soon");
        assert_eq!(news(Some("exit 2"), 100_000), ["production: replica 0 of v3 died: exit 2"]);
        assert_eq!(news(None, 100_001), ["production: replica 0 of v3 is ready again"]);
        assert_eq!(news(None, 100_002), [""; 0]);
        assert_eq!(news(Some("exit 2"), 100_003).len(), 1);
    }

    #[test]
    fn changed_files_are_told_once_for_all_replicas_of_a_release() {
        let (mut told, production) = (Told::default(), Name::new("production").unwrap());
        let both = [replica(None, Some("code/serve.py"), 0), replica(None, Some("code/serve.py"), 1)];
        let news = told.news(&production, &both, SteadyMs(1));
        let [News { kind: EventKind::DriftHealed, message, .. }] = &news[..] else { panic!("{news:?}") };
        assert_eq!(message, "production: v3: code/serve.py");
        assert_eq!(told.news(&production, &both, SteadyMs(2)), []);
    }
}

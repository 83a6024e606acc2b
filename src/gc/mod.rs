//! What may be removed from the state folder, and what stays whatever the limits say. Pure.

use crate::model::*;
use litemap::LiteMap;
use std::collections::BTreeSet;

/// Of the releases that served an environment, so many of the newest keep their version: the live one and those that were live last.
pub const LIVE_LAST: usize = 3;

/// What Git asks of a model: the newest commit, and those of the time for which what they ask for is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    pub fingerprints: BTreeSet<Digest>,
    /// By [`DesiredModel::content`].
    pub contents: BTreeSet<Digest>,
    pub snapshots: BTreeSet<Digest>,
}

impl Asked {
    /// Takes in what another asks for.
    pub fn extend(&mut self, other: &Self) {
        self.fingerprints.extend(&other.fingerprints);
        self.contents.extend(&other.contents);
        self.snapshots.extend(&other.snapshots);
    }
}

/// Of things given newest first those that go: none that is protected, and of the others all but the newest `limit`.
pub fn beyond<T>(items: impl IntoIterator<Item = T>, limit: usize, protected: impl Fn(&T) -> bool) -> Vec<T> {
    items.into_iter().filter(|item| !protected(item)).skip(limit).collect()
}

/// Versions that an environment holds, is about to, or held last.
fn deployed(observed: &ObservedModel) -> BTreeSet<VersionNumber> {
    let of = |d: &Deployment| {
        let rollout = d.rollout.iter().flat_map(|r| r.from.into_iter().chain([r.to]));
        let served = d.served.iter().rev().take(LIVE_LAST).copied();
        let releases = d.shares().into_iter().map(|(release, _)| release).chain(rollout).chain(served);
        releases.map(|r| r.version).collect::<Vec<_>>()
    };
    observed.deployments.values().flat_map(of).collect()
}

/// A model's versions that are never removed: live, warm, under rollout, live last, or asked for.
pub fn protected(observed: &ObservedModel, asked: &Asked, versions: &[Version]) -> BTreeSet<VersionNumber> {
    let deployed = deployed(observed);
    let stays = |v: &&Version| {
        // Who registered a version removes it.
        v.origin == Origin::Client || deployed.contains(&v.number) || asked.fingerprints.contains(&v.fingerprint)
    };
    versions.iter().filter(stays).map(|v| v.number).collect()
}

/// The versions of a model, given by number, that go.
pub fn versions(protected: &BTreeSet<VersionNumber>, versions: &[Version], limit: usize) -> BTreeSet<VersionNumber> {
    let newest_first = versions.iter().rev().map(|v| v.number);
    beyond(newest_first, limit, |number| protected.contains(number)).into_iter().collect()
}

/// The contents whose pins go: nobody asks for them and no version that stays was made from these snapshots. They have no age, so beyond
/// the limit any of them go.
pub fn content_pins(observed: &ObservedModel, asked: &Asked, kept: &[&Version], limit: usize) -> BTreeSet<Digest> {
    let made: BTreeSet<Vec<(&Name, &Digest)>> = kept.iter().map(|v| v.snapshots.iter().collect()).collect();
    let stays = |(content, pins): &(&Digest, &LiteMap<Name, Digest>)| {
        let current = observed.desired.as_ref().is_some_and(|d| d.content == **content);
        current || asked.contents.contains(*content) || made.contains(&pins.iter().collect::<Vec<_>>())
    };
    beyond(&observed.content_pins, limit, stays).into_iter().map(|(content, _)| *content).collect()
}

/// Whether a run stays whatever the limits say: it made a protected version, a process of it lives, or it belongs to what is being
/// made or failed last.
pub fn run_stays(run: &Run, pipeline: Option<&Pipeline>, made: &BTreeSet<RunId>, alive: &BTreeSet<RunId>) -> bool {
    let of_pipeline = |p: &Pipeline| {
        let running = p.state == PipelineState::Running && p.fingerprint == run.fingerprint;
        running || p.stages.iter().any(|s| s.run.as_ref() == Some(&run.id))
    };
    made.contains(&run.id) || alive.contains(&run.id) || pipeline.is_some_and(of_pipeline)
}

#[cfg(test)]
mod tests;

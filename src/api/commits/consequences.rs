//! What came of a commit, in few words: its events, folded by model. Pure.

use crate::{
    api::types::{CommitRow, Consequence, Outcome},
    model::*,
    plan::render::gist,
    reconcile::Past,
};
use std::collections::BTreeMap;

/// Models whose consequences a row tells.
const TOLD: usize = 8;
/// Folders of models that a row names.
const NAMED: usize = 8;

/// What an event is about: a later one about the same takes the place of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Spec,
    Data,
    Training,
    Gates,
    Environment(Option<Name>),
    Replicas(Option<Name>),
}

/// One thing that came of it.
struct Fact {
    words: String,
    outcome: Outcome,
    /// Whether traffic went to another version.
    moved: bool,
}

/// The row of a commit.
pub fn row(past: &Past) -> CommitRow {
    let mut models: BTreeMap<Option<&Name>, (u64, BTreeMap<About, Fact>)> = BTreeMap::new();
    for event in &past.events {
        let (_, facts) = models.entry(event.model.as_ref()).or_insert_with(|| (event.seq, BTreeMap::new()));
        tell(facts, event);
    }
    models.retain(|_, (_, facts)| !facts.is_empty());
    let mut all: Vec<(u64, Consequence)> =
        models.into_iter().map(|(model, (seq, facts))| (seq, consequence(model, &facts))).collect();
    // What needs a person comes first, then in the order in which it began.
    all.sort_by_key(|(seq, c)| (c.outcome != Outcome::Failed, *seq));
    let more = all.len().saturating_sub(TOLD);
    let did = &past.did;
    CommitRow {
        revision: did.change.revision.clone(),
        bot: past.bot,
        merged: did.change.merged.len(),
        models: did.models.iter().take(NAMED).cloned().collect(),
        models_changed: did.models_changed,
        others: did.others.clone(),
        reverted_by: None,
        consequences: all.into_iter().take(TOLD).map(|(_, c)| c).collect(),
        more: more > 0 || past.cut,
    }
}

/// Commits that a message says to revert, by their whole ids.
pub fn reverts(message: &str) -> impl Iterator<Item = &str> {
    message.lines().filter_map(|line| {
        let id = line.trim().strip_prefix("This reverts commit ")?;
        let end = id.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(id.len());
        id.get(..end).filter(|id| !id.is_empty())
    })
}

fn consequence(model: Option<&Name>, facts: &BTreeMap<About, Fact>) -> Consequence {
    let mut words: Vec<&str> = facts.values().map(|f| f.words.as_str()).collect();
    // The version was there already.
    if facts.values().any(|f| f.moved) && !facts.contains_key(&About::Training) {
        words.push("nothing trained");
    }
    let has = |outcome| facts.values().any(|f| f.outcome == outcome);
    let outcome = match (has(Outcome::Failed), has(Outcome::Going)) {
        (true, _) => Outcome::Failed,
        (false, true) => Outcome::Going,
        (false, false) => Outcome::Done,
    };
    Consequence { model: model.cloned(), words: words.join(", "), outcome }
}

/// Takes an event in.
fn tell(facts: &mut BTreeMap<About, Fact>, event: &Event) {
    use EventKind::*;
    let said = gist(&event.message);
    let environment = || About::Environment(event.environment.clone());
    let mut note = |about, words: String, outcome| drop(facts.insert(about, Fact { words, outcome, moved: false }));
    match event.kind {
        SpecBroken => note(About::Spec, format!("spec broken: {said}"), Outcome::Failed),
        SpecFixed | SpecTakenUp | SourceRewritten => note(About::Spec, said, Outcome::Done),
        RetireHeld => note(About::Spec, said, Outcome::Failed),
        Retired => note(About::Spec, "retired".into(), Outcome::Done),
        LockCommitted => note(About::Data, format!("data pinned: {}", why(&said)), Outcome::Done),
        RunStarted => note(About::Training, "training".into(), Outcome::Going),
        RunFailed => note(About::Training, format!("training failed: {said}"), Outcome::Failed),
        RunCancelled => note(About::Training, "training stopped".into(), Outcome::Done),
        VersionRegistered => note(About::Training, trained(&said), Outcome::Done),
        GateFailed => {
            let verdict = said.split_once(": ").map_or(said.as_str(), |(_, verdict)| verdict);
            note(About::Gates, verdict.to_owned(), Outcome::Failed);
        }
        RolloutStarted | RolloutPaused => note(environment(), placed(&said), Outcome::Going),
        RolloutStep => {
            let share = said.split_once(", step").map_or(said.as_str(), |(share, _)| share);
            note(environment(), placed(share), Outcome::Going);
        }
        // Another commit asked for something else: that is told there.
        RolloutAborted if said.ends_with("Git asks for something else") => {
            note(environment(), placed(&said), Outcome::Done)
        }
        RolloutAborted => note(environment(), placed(&said), Outcome::Failed),
        RevertCommitted => note(environment(), placed(&said), Outcome::Done),
        Promoted | RolledBack => {
            let moves = said.split_once(" (").map_or(said.as_str(), |(moves, _)| moves);
            let moved = !moves.contains("nothing →") && !goes_nowhere(moves);
            let fact = Fact { words: placed(moves), outcome: Outcome::Done, moved };
            facts.insert(environment(), fact);
        }
        ReplicaDied => note(About::Replicas(event.environment.clone()), placed(&said), Outcome::Failed),
        ReplicaRecovered => drop(facts.remove(&About::Replicas(event.environment.clone()))),
        // The row itself; stages of a training; what no commit causes.
        SourceMoved | RunSucceeded | SnapshotTaken | DriftHealed | Overridden | Suspended | Resumed => {}
        SourceUnreachable | SourceRecovered | SourceMended | DaemonStarted | CleanedUp => {}
        MirrorFailed | MirrorRecovered | ModelChanged => {}
    }
}

/// `production: v6 → v7` without its colon.
fn placed(said: &str) -> String {
    said.replacen(": ", " ", 1).replace("nothing → ", "")
}

/// `production: v6 → v6`: the same version, served in another way.
fn goes_nowhere(moves: &str) -> bool {
    let ends = moves.split_once(": ").and_then(|(_, moves)| moves.split_once(" → "));
    ends.is_some_and(|(from, to)| from == to)
}

/// `trained v7 (4m 02s)`, of `v7 registered, trained in 4m 02s: auc 0.98`.
fn trained(said: &str) -> String {
    let parts = said.split_once(" registered, trained in ");
    let parts = parts.map(|(number, rest)| (number, rest.split_once(": ").map_or(rest, |(time, _)| time)));
    parts.map_or_else(|| said.to_owned(), |(number, time)| format!("trained {number} ({})", time.trim_end_matches(':')))
}

/// What stands in the last brackets.
fn why(said: &str) -> &str {
    said.rsplit_once(" (").and_then(|(_, why)| why.strip_suffix(')')).unwrap_or(said)
}

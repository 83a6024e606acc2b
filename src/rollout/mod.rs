//! From (rollout, what is measured, now) to the next phase. Pure.

mod analysis;
mod sequential;
pub mod slo;

use crate::model::*;
use analysis::{Judged, Measuring};
pub use slo::burning;

/// What is known of a rollout at one look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts<'a> {
    pub now: SteadyMs,
    /// Replicas of the new release that are ready, and how many are wanted.
    pub ready: u32,
    pub wanted: u32,
    /// The newest death of the replica that died most often in a row.
    pub death: Option<&'a Death>,
    /// Why a replica is not ready, when nothing died.
    pub unready: Option<&'a str>,
    /// Traffic since the step began.
    pub traffic: &'a Traffic,
    /// What came of questions that were put outside.
    pub asked: &'a [Asked],
    pub ready_timeout: Millis,
}

/// A replica that died this often in a row, for at least so long, will not come up by itself. Deaths alone say little: the first five
/// take two seconds, and what a replica needs may be away for longer.
const MANY_DEATHS: u32 = 5;
const LOOPING_MS: u64 = 20_000;
/// Once it was ready, deaths are the only clock: the pauses between so many take 12 seconds.
const LOOPING_DEATHS: u32 = 8;

/// What to do with a rollout.
#[expect(clippy::large_enum_variant, reason = "one value for each look, taken apart at once")]
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Nothing yet; look again at the instant, if any, even without an event.
    Stay(Waiting, Option<SteadyMs>),
    /// This is its new state.
    Change(Rollout),
    /// This is how its analyses stand; it stays where it is.
    Measured(Vec<AnalysisRun>),
    /// The release takes all traffic and is stable.
    Finish,
    /// All traffic back to stable.
    Reject(String),
}

/// What a rollout is made of.
pub struct Start<'a> {
    pub from: Option<Release>,
    pub to: Release,
    pub deploy: &'a DeploySpec,
    /// Its own analyses and those of the templates that it uses.
    pub analysis: Vec<AnalysisSpec>,
    /// Skips the steps.
    pub at_once: bool,
    pub revision: &'a Revision,
    pub now: Now,
}

/// A new rollout.
pub fn start(start: Start<'_>) -> Rollout {
    let Start { from, to, deploy, analysis, at_once, revision, now } = start;
    let steps = if at_once { vec![] } else { deploy.strategy.steps() };
    let strategy = match deploy.strategy.kind() {
        // What skips its steps is at once; that one goes before the other comes has another reason.
        kind if at_once && kind != StrategyKind::Recreate => StrategyKind::AtOnce,
        kind => kind,
    };
    let compares = steps.iter().any(|s| s.baseline > 0.0);
    let tolerance = match &deploy.strategy {
        Strategy::Shadow { tolerance, .. } => *tolerance,
        _ => 0.0,
    };
    Rollout {
        from,
        to,
        strategy,
        steps,
        analysis: analysis.into_iter().map(AnalysisRun::new).collect(),
        deadline: deploy.deadline,
        baseline: from.filter(|_| compares).map(baseline),
        tolerance,
        phase: Phase::Starting,
        started: now.steady,
        started_wall: now.wall,
        revision: revision.clone(),
    }
}

/// A release as a second set of replicas, told apart by how it is run.
pub fn baseline(of: Release) -> Release {
    Release { serve: Digest::of(format!("baseline {}", of.serve.hex()).as_bytes()), ..of }
}

/// The next move of a rollout.
pub fn next(rollout: &Rollout, environment: &Name, facts: &Facts<'_>) -> Next {
    if let Some(reason) = hopeless(rollout, facts) {
        return Next::Reject(reason);
    }
    match &rollout.phase {
        Phase::Starting if facts.ready >= facts.wanted.max(1) => advance(rollout, 0, facts.now),
        Phase::Starting => {
            let waiting = Waiting::Ready { environment: environment.clone(), release: rollout.to };
            Next::Stay(waiting, Some(patience(rollout, facts)))
        }
        Phase::Paused { index, reason, .. } => {
            let measuring = measuring(rollout, *index, facts);
            if let Judged::Bad(reason) = measuring.judge() {
                return Next::Reject(reason);
            }
            if let Some(runs) = measuring.measure() {
                return Next::Measured(runs);
            }
            Next::Stay(Waiting::Person { environment: environment.clone(), reason: reason.clone() }, measuring.next())
        }
        Phase::Step { index, since } => step(rollout, environment, facts, *index, *since),
    }
}

/// Analyses that have to be asked for outside, now.
pub fn questions(rollout: &Rollout, facts: &Facts<'_>) -> Vec<String> {
    rollout.index().map_or(vec![], |index| measuring(rollout, index, facts).questions())
}

fn measuring<'a>(rollout: &'a Rollout, index: usize, facts: &Facts<'a>) -> Measuring<'a> {
    Measuring { rollout, index, now: facts.now, traffic: facts.traffic, asked: facts.asked }
}

/// Until when a release that never was ready is waited for, as things are.
fn patience(rollout: &Rollout, facts: &Facts<'_>) -> SteadyMs {
    let looping = facts.ready == 0 && facts.death.is_some_and(|d| d.in_a_row >= MANY_DEATHS);
    let limit = if looping { facts.ready_timeout.0.min(LOOPING_MS) } else { facts.ready_timeout.0 };
    rollout.started.plus(limit)
}

/// Why the release will not come up by itself.
fn hopeless(rollout: &Rollout, facts: &Facts<'_>) -> Option<String> {
    let starting = rollout.phase == Phase::Starting;
    let over = starting && facts.ready < facts.wanted.max(1) && facts.now >= patience(rollout, facts);
    let died = facts.death.filter(|_| facts.ready == 0 && over).map(told);
    if let Some(reason) = died.or_else(|| looping(facts).filter(|_| !starting)) {
        return Some(reason);
    }
    let why = facts.death.map(|d| d.reason.as_str()).or(facts.unready).map_or(String::new(), |why| format!(": {why}"));
    let many = facts.wanted > 1 && facts.ready > 0;
    let what =
        if many { format!("only {} of {} replicas were", facts.ready, facts.wanted) } else { "no replica was".into() };
    over.then(|| format!("{what} ready within {}{why}", facts.ready_timeout))
}

/// Why a release that was ready does not come back by itself.
pub fn looping(facts: &Facts<'_>) -> Option<String> {
    facts.death.filter(|d| facts.ready == 0 && d.in_a_row >= LOOPING_DEATHS).map(told)
}

fn told(Death { reason, in_a_row, was_ready }: &Death) -> String {
    let when = if *was_ready { "after it was ready" } else { "before becoming ready" };
    let often = if *in_a_row == 1 { "once".to_owned() } else { format!("{in_a_row} times in a row") };
    format!("its replica died {often} {when}: {reason}")
}

fn step(rollout: &Rollout, environment: &Name, facts: &Facts<'_>, index: usize, since: SteadyMs) -> Next {
    let measuring = measuring(rollout, index, facts);
    let held_ms = facts.now.since(since);
    let pause = |reason: String, gate| {
        let phase = Phase::Paused { index, held_ms, reason, gate };
        Next::Change(Rollout { phase, ..rollout.clone() })
    };
    match measuring.judge() {
        Judged::Bad(reason) => return Next::Reject(reason),
        Judged::Unclear(reason) => return pause(reason, false),
        Judged::Fine => {}
    }
    if let Some(runs) = measuring.measure() {
        return Next::Measured(runs);
    }
    let (hold, gate) = rollout.steps.get(index).map_or((0, false), |s| (s.hold.0, s.gate));
    let until = since.plus(hold);
    // While something is measured, a bad release must not wait for the end of its hold.
    let soon = |at: SteadyMs| measuring.next().map_or(at, |next| next.min(at));
    if facts.now < until {
        return Next::Stay(Waiting::Hold { environment: environment.clone(), until }, Some(soon(until)));
    }
    if let Some(waiting) = measuring.missing(environment) {
        let deadline = until.plus(rollout.deadline.0);
        if facts.now >= deadline {
            return pause(format!("nothing was shown within {}: {}", rollout.deadline, lacking(&waiting)), false);
        }
        return Next::Stay(waiting, Some(soon(deadline)));
    }
    if gate {
        return pause("the step is done and waits for a person".into(), true);
    }
    advance(rollout, index + 1, facts.now)
}

/// What is missing, in a few words.
fn lacking(waiting: &Waiting) -> String {
    match waiting {
        Waiting::Requests { metric, seen, needed, .. } => format!("{metric} has {seen} of {needed} requests"),
        Waiting::Analysis { analysis, said, .. } => said.clone().unwrap_or(format!("{analysis} has no figure")),
        _ => "no evidence".into(),
    }
}

fn advance(rollout: &Rollout, index: usize, now: SteadyMs) -> Next {
    if index >= rollout.steps.len() {
        return Next::Finish;
    }
    let (phase, analysis) = (Phase::Step { index, since: now }, analysis::anew(&rollout.analysis, now));
    Next::Change(Rollout { phase, analysis, ..rollout.clone() })
}

/// What a person asks of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steer {
    Pause,
    Resume,
    Promote,
    Abort,
}

/// Applies a person's word. `Err` says why it makes no sense now.
pub fn steer(rollout: &Rollout, word: Steer, now: SteadyMs) -> Result<Next, String> {
    let phase = match (word, &rollout.phase) {
        (Steer::Abort, _) => return Ok(Next::Reject("aborted by hand".into())),
        (Steer::Promote, Phase::Starting) => return Err("no replica of the new release is ready yet".into()),
        (Steer::Promote, _) => return Ok(Next::Finish),
        (Steer::Pause, Phase::Paused { .. }) => return Err("it is paused already".into()),
        (Steer::Pause, Phase::Starting) => return Err("it has not moved any traffic yet; abort it instead".into()),
        (Steer::Pause, Phase::Step { index, since }) => {
            Phase::Paused { index: *index, held_ms: now.since(*since), reason: "paused by hand".into(), gate: false }
        }
        (Steer::Resume, Phase::Paused { index, gate: true, .. }) => return Ok(advance(rollout, index + 1, now)),
        // The hold goes on where it stood: what was served of it before the pause counts. What was measured does not.
        (Steer::Resume, Phase::Paused { index, held_ms, .. }) => {
            let phase = Phase::Step { index: *index, since: SteadyMs(now.0.saturating_sub(*held_ms)) };
            let analysis = analysis::anew(&rollout.analysis, now);
            return Ok(Next::Change(Rollout { phase, analysis, ..rollout.clone() }));
        }
        (Steer::Resume, _) => return Err("it is not paused".into()),
    };
    Ok(Next::Change(Rollout { phase, ..rollout.clone() }))
}

#[cfg(test)]
mod tests;

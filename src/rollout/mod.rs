//! From (rollout, what is measured, now) to the next phase. Pure.

use crate::model::*;

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
    /// Traffic of the new release since its weight last changed.
    pub traffic: TrafficStats,
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
    /// The release takes all traffic and is stable.
    Finish,
    /// All traffic back to stable.
    Reject(String),
}

/// A new rollout; `at_once` skips the steps.
pub fn start(
    from: Option<Release>,
    to: Release,
    deploy: &DeploySpec,
    at_once: bool,
    revision: &Revision,
    now: Now,
) -> Rollout {
    let steps = match &deploy.strategy {
        Strategy::Canary { steps } if !at_once => steps.clone(),
        _ => vec![],
    };
    Rollout {
        from,
        to,
        steps,
        analysis: deploy.analysis.clone(),
        phase: Phase::Starting,
        started: now.steady,
        started_wall: now.wall,
        revision: revision.clone(),
    }
}

/// The next move of a rollout.
pub fn next(rollout: &Rollout, environment: &Name, facts: &Facts<'_>) -> Next {
    let waiting_ready = || Waiting::Ready { environment: environment.clone(), release: rollout.to };
    if let Some(reason) = hopeless(rollout, facts) {
        return Next::Reject(reason);
    }
    match &rollout.phase {
        Phase::Starting if facts.ready >= facts.wanted.max(1) => advance(rollout, 0, facts.now),
        Phase::Starting => Next::Stay(waiting_ready(), Some(patience(rollout, facts))),
        Phase::Paused { reason, .. } => {
            if let Some(reason) = violated(rollout, &facts.traffic) {
                return Next::Reject(reason);
            }
            Next::Stay(Waiting::Person { environment: environment.clone(), reason: reason.clone() }, None)
        }
        Phase::Step { index, since } => step(rollout, environment, facts, *index, *since),
    }
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
    let died = facts.death.filter(|d| facts.ready == 0 && (over || d.in_a_row >= LOOPING_DEATHS && !starting));
    if let Some(Death { reason, in_a_row, was_ready }) = died {
        let when = if *was_ready { "after it was ready" } else { "before becoming ready" };
        let often = if *in_a_row == 1 { "once".to_owned() } else { format!("{in_a_row} times in a row") };
        return Some(format!("its replica died {often} {when}: {reason}"));
    }
    let why = facts.death.map(|d| d.reason.as_str()).or(facts.unready).map_or(String::new(), |why| format!(": {why}"));
    let many = facts.wanted > 1 && facts.ready > 0;
    let what =
        if many { format!("only {} of {} replicas were", facts.ready, facts.wanted) } else { "no replica was".into() };
    over.then(|| format!("{what} ready within {}{why}", facts.ready_timeout))
}

fn step(rollout: &Rollout, environment: &Name, facts: &Facts<'_>, index: usize, since: SteadyMs) -> Next {
    if let Some(reason) = violated(rollout, &facts.traffic) {
        return Next::Reject(reason);
    }
    let hold = rollout.steps.get(index).map_or(0, |s| s.hold.0);
    let until = since.plus(hold);
    // While the router is asked, a bad release must not wait for the end of its hold.
    let soon = if rollout.analysis.is_empty() { until } else { until.min(facts.now.plus(ANALYSIS_EVERY_MS)) };
    if facts.now < until {
        return Next::Stay(Waiting::Hold { environment: environment.clone(), until }, Some(soon));
    }
    if let Some(a) = rollout.analysis.iter().find(|a| facts.traffic.requests < a.min_requests) {
        let (seen, needed) = (facts.traffic.requests, a.min_requests);
        let waiting = Waiting::Requests { environment: environment.clone(), metric: a.metric, seen, needed };
        return Next::Stay(waiting, Some(facts.now.plus(ANALYSIS_EVERY_MS)));
    }
    advance(rollout, index + 1, facts.now)
}

/// How often a running analysis is judged.
const ANALYSIS_EVERY_MS: u64 = 500;

fn advance(rollout: &Rollout, index: usize, now: SteadyMs) -> Next {
    if index >= rollout.steps.len() {
        return Next::Finish;
    }
    Next::Change(Rollout { phase: Phase::Step { index, since: now }, ..rollout.clone() })
}

/// The first bound that the measurements break, for people. Too few requests are no evidence.
fn violated(rollout: &Rollout, traffic: &TrafficStats) -> Option<String> {
    rollout.analysis.iter().filter(|a| traffic.requests >= a.min_requests.max(1)).find_map(|a| {
        let (name, value, unit) = match a.metric {
            AnalysisMetric::ErrorRate => ("error_rate", traffic.errors as f64 / traffic.requests as f64, ""),
            AnalysisMetric::LatencyP50 => ("latency_p50", traffic.p50_ms, " ms"),
            AnalysisMetric::LatencyP99 => ("latency_p99", traffic.p99_ms, " ms"),
        };
        let over = a.max.filter(|m| value > *m).map(|m| format!("> {m}{unit}"));
        let under = a.min.filter(|m| value < *m).map(|m| format!("< {m}{unit}"));
        over.or(under).map(|bound| format!("{name} {value:.4}{unit} {bound} over {} requests", traffic.requests))
    })
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
            Phase::Paused { index: *index, held_ms: now.since(*since), reason: "paused by hand".into() }
        }
        // The hold goes on where it stood: what was served of it before the pause counts.
        (Steer::Resume, Phase::Paused { index, held_ms, .. }) => {
            Phase::Step { index: *index, since: SteadyMs(now.0.saturating_sub(*held_ms)) }
        }
        (Steer::Resume, _) => return Err("it is not paused".into()),
    };
    Ok(Next::Change(Rollout { phase, ..rollout.clone() }))
}

#[cfg(test)]
mod tests;

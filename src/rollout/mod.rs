//! From (rollout, what is measured, now) to the next phase. Pure.

use crate::model::*;

/// What is known of a rollout at one look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    pub now: SteadyMs,
    /// Replicas of the new release that are ready, and how many are wanted.
    pub ready: u32,
    pub wanted: u32,
    /// Most restarts of any of its replicas.
    pub restarts: u32,
    /// Traffic of the new release since its weight last changed.
    pub traffic: TrafficStats,
    pub ready_timeout: Millis,
}

/// A replica that died this often while the release was rolled out will not come up by itself.
const MAX_RESTARTS: u32 = 5;

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
pub fn next(rollout: &Rollout, environment: &Name, facts: &Facts) -> Next {
    let waiting_ready = || Waiting::Ready { environment: environment.clone(), release: rollout.to };
    if facts.ready == 0 && facts.restarts >= MAX_RESTARTS {
        return Next::Reject(format!("its replicas died {} times before becoming ready", facts.restarts));
    }
    match &rollout.phase {
        Phase::Starting if facts.ready >= facts.wanted.max(1) => advance(rollout, 0, facts.now),
        Phase::Starting => {
            let deadline = rollout.started.plus(facts.ready_timeout.0);
            if facts.now >= deadline {
                return Next::Reject(format!("no replica was ready within {}", facts.ready_timeout));
            }
            Next::Stay(waiting_ready(), Some(deadline))
        }
        Phase::Paused { reason, .. } => {
            if let Some(reason) = violated(rollout, &facts.traffic) {
                return Next::Reject(reason);
            }
            Next::Stay(Waiting::Person { environment: environment.clone(), reason: reason.clone() }, None)
        }
        Phase::Step { index, since } => step(rollout, environment, facts, *index, *since),
    }
}

fn step(rollout: &Rollout, environment: &Name, facts: &Facts, index: usize, since: SteadyMs) -> Next {
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

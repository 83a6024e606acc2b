//! What measurements say of a release, and what follows from them. The meaning of the words is that of Argo Rollouts
//! (`pkg/apis/rollouts/v1alpha1/analysis_types.go`): a limit is how many are borne, and a failure to measure is no failure of the release.

use super::sequential::{self, Compared, Counts};
use crate::model::*;
use std::borrow::Cow;

/// Figures of one analysis that are kept for its curve.
const RECENT: usize = 32;

/// What the analyses of a step come to.
#[derive(Debug, Clone, PartialEq)]
pub enum Judged {
    /// The release is bad, with the reason.
    Bad(String),
    /// Too much is unclear, or could not be measured, with the reason.
    Unclear(String),
    /// Nothing stands against it.
    Fine,
}

/// The analyses of a step and their next measurement, if any is due now.
pub struct Measuring<'a> {
    pub rollout: &'a Rollout,
    pub index: usize,
    pub now: SteadyMs,
    pub traffic: &'a Traffic,
    pub asked: &'a [Asked],
}

/// What is known of both releases.
struct Known<'a> {
    new: Cow<'a, TrafficStats>,
    stable: Cow<'a, TrafficStats>,
}

impl Measuring<'_> {
    /// Whether an analysis counts in this step: those that a step names count there alone.
    fn is_of_step(&self, spec: &AnalysisSpec) -> bool {
        let named = |s: &StepSpec| s.analysis.contains(&spec.name);
        self.rollout.steps.get(self.index).is_some_and(named) || !self.rollout.steps.iter().any(named)
    }

    /// Analyses that a step waits for and obeys.
    fn obeyed(&self) -> impl Iterator<Item = &AnalysisRun> {
        self.rollout.analysis.iter().filter(|run| !run.spec.dry_run && self.is_of_step(&run.spec))
    }

    /// All analyses after what is due was measured; `None`: nothing is, or there is nothing to say yet.
    pub fn measure(&self) -> Option<Vec<AnalysisRun>> {
        let one = |run: &AnalysisRun| {
            let due = self.is_of_step(&run.spec) && run.next <= self.now;
            due.then(|| self.figure(run)).flatten().map(|m| self.taken(run, m))
        };
        let measured: Vec<Option<AnalysisRun>> = self.rollout.analysis.iter().map(one).collect();
        measured.iter().any(Option::is_some).then(|| {
            let before = self.rollout.analysis.iter().cloned();
            measured.into_iter().zip(before).map(|(new, old)| new.unwrap_or(old)).collect()
        })
    }

    /// Names of analyses that have to be asked for outside now. Where there was nothing to say, once more after each interval.
    pub fn questions(&self) -> Vec<String> {
        let open = |run: &AnalysisRun| match self.answer(run) {
            Some(Asked { at, answer: Answer::NoData, .. }) => at.plus(run.spec.interval.0.max(1)) <= self.now,
            answer => answer.is_none(),
        };
        let due = |run: &&AnalysisRun| {
            let spec = &run.spec;
            self.is_of_step(spec) && !spec.metric.is_of_router() && run.next <= self.now && open(run)
        };
        self.rollout.analysis.iter().filter(due).map(|run| run.spec.name.clone()).collect()
    }

    /// When to look again for a measurement.
    pub fn next(&self) -> Option<SteadyMs> {
        let at = |run: &AnalysisRun| {
            let again = self.now.plus(run.spec.interval.0.max(1));
            // What is due and could not be measured: the router has too little to say, or the question is under way and will wake.
            if run.next > self.now { run.next } else { again }
        };
        self.rollout.analysis.iter().filter(|run| self.is_of_step(&run.spec)).map(at).min()
    }

    /// What stands against going on.
    pub fn judge(&self) -> Judged {
        for run in self.obeyed() {
            let said = || run.last.as_ref().map_or(run.spec.name.clone(), |m| m.text.clone());
            let times = |n: u32| if n > 1 { format!(" ({n} times)") } else { String::new() };
            if run.bad > run.spec.failure_limit {
                return Judged::Bad(format!("{}{}", said(), times(run.bad)));
            }
            if run.spec.inconclusive_limit.is_some_and(|limit| run.unclear > limit) {
                return Judged::Unclear(format!("unclear{}: {}", times(run.unclear), said()));
            }
            if run.errors_in_a_row > run.spec.error_limit {
                return Judged::Unclear(format!("cannot be measured{}: {}", times(run.errors_in_a_row), said()));
            }
        }
        Judged::Fine
    }

    /// What the step still waits for: the first analysis that has not said yes often enough.
    pub fn missing(&self, environment: &Name) -> Option<Waiting> {
        let good = |run: &AnalysisRun| {
            let last = run.last.as_ref().is_some_and(|m| m.verdict == Verdict::Success);
            last && run.good >= run.spec.count
        };
        let run = self.obeyed().find(|run| !good(run))?;
        let (environment, analysis) = (environment.clone(), run.spec.name.clone());
        let (seen, needed) = (self.seen(&run.spec), run.spec.min_requests);
        if run.spec.metric.is_of_router() && seen < needed {
            return Some(Waiting::Requests { environment, metric: analysis, seen, needed });
        }
        let said = run.last.as_ref().map(|m| m.text.clone());
        Some(Waiting::Analysis { environment, analysis, good: run.good, needed: run.spec.count, said })
    }

    fn seen(&self, spec: &AnalysisSpec) -> u64 {
        self.seen_of(spec, &self.known(spec))
    }

    fn seen_of(&self, spec: &AnalysisSpec, known: &Known<'_>) -> u64 {
        match spec.metric {
            AnalysisMetric::Agreement | AnalysisMetric::Difference => self.traffic.agreement.map_or(0, |a| a.compared),
            _ => known.new.requests,
        }
    }

    /// What is known of both releases for this analysis: of a latency with a bound, those that wait longer than that already. Of both: what
    /// stalls the machine is no fault of the new one.
    fn known(&self, spec: &AnalysisSpec) -> Known<'_> {
        let (new, stable) = (&self.traffic.new, &self.traffic.stable);
        let beside = |q: f64| stable.quantile(q) * (1.0 + spec.tolerance);
        let compared = |q| (spec.no_worse_than_stable && stable.requests > 0).then(|| beside(q));
        let bounds = spec.metric.quantile().map(|q| spec.max.into_iter().chain(compared(q)).reduce(f64::max));
        let with = |of| bounds.flatten().map_or(Cow::Borrowed(of), |bound| TrafficStats::with_overdue(of, bound));
        Known { new: with(new), stable: with(stable) }
    }

    fn answer(&self, run: &AnalysisRun) -> Option<&Asked> {
        self.asked.iter().find(|a| a.analysis == run.spec.name && a.at >= run.next)
    }

    /// `None`: nothing can be said yet.
    fn figure(&self, run: &AnalysisRun) -> Option<Measurement> {
        let spec = &run.spec;
        if spec.metric.is_of_router() {
            let known = self.known(spec);
            let seen = self.seen_of(spec, &known);
            return (seen >= spec.min_requests.max(1)).then(|| self.of_router(spec, &known, seen)).flatten();
        }
        match &self.answer(run)?.answer {
            Answer::Figures { new, stable } => Some(asked_for(spec, *new, *stable)),
            Answer::NoData => None,
            Answer::Failed(why) => {
                let text = format!("{}: {why}", spec.name);
                Some(Measurement { verdict: Verdict::Error, value: None, stable: None, text })
            }
        }
    }

    fn of_router(&self, spec: &AnalysisSpec, known: &Known<'_>, seen: u64) -> Option<Measurement> {
        let (new, stable) = (&*known.new, &*known.stable);
        let over = format!("over {seen} requests");
        let (value, beside) = match &spec.metric {
            AnalysisMetric::ErrorRate => (new.error_rate(), Some(stable.error_rate())),
            AnalysisMetric::Requests => (new.requests as f64, None),
            AnalysisMetric::Agreement => {
                let a = self.traffic.agreement?;
                (a.agreed as f64 / a.compared.max(1) as f64, None)
            }
            AnalysisMetric::Difference => (self.traffic.agreement?.mean_difference, None),
            latency => {
                let quantile = latency.quantile()?;
                (new.quantile(quantile), Some(stable.quantile(quantile)))
            }
        };
        // What is not compared is shown beside it all the same.
        let seen_of_stable = beside.filter(|_| stable.requests > 0);
        if let Some(broken) = outside(spec, value) {
            // Too few requests so far are no fault of the release.
            let few = spec.metric == AnalysisMetric::Requests && spec.min.is_some_and(|m| value < m);
            let failed = || measurement(spec, Verdict::Failure, value, None, &format!("{broken} {over}"));
            return (!few).then(|| Measurement { stable: seen_of_stable, ..failed() });
        }
        if !spec.no_worse_than_stable {
            let fine = measurement(spec, Verdict::Success, value, None, &over);
            return Some(Measurement { stable: seen_of_stable, ..fine });
        }
        if stable.requests < spec.min_requests.max(1) {
            return None;
        }
        let beside = beside?;
        let alpha = 1.0 - spec.confidence;
        let compared = match spec.metric.quantile() {
            None => {
                let of = |t: &TrafficStats| Counts { bad: t.errors, of: t.requests };
                sequential::compare(of(new), of(stable), spec.tolerance, alpha)
            }
            // A quantile is no worse when no larger share lies beyond where stable's is.
            Some(quantile) => {
                if new.latency.is_empty() {
                    return None;
                }
                let slow = new.slower_than(beside * (1.0 + spec.tolerance));
                sequential::exceeds(Counts { bad: slow, of: new.requests }, 1.0 - quantile, alpha)
            }
        };
        Some(measurement(spec, verdict(compared), value, Some(beside), &over))
    }

    /// The analysis after a measurement.
    fn taken(&self, run: &AnalysisRun, m: Measurement) -> AnalysisRun {
        let mut next = run.clone();
        next.next = self.now.plus(run.spec.interval.0.max(1));
        next.errors_in_a_row = if m.verdict == Verdict::Error { run.errors_in_a_row.saturating_add(1) } else { 0 };
        let counter = match m.verdict {
            Verdict::Success => Some(&mut next.good),
            Verdict::Failure => Some(&mut next.bad),
            Verdict::Inconclusive => Some(&mut next.unclear),
            Verdict::Error => None,
        };
        if let Some(counter) = counter {
            *counter = counter.saturating_add(1);
        }
        next.recent.extend(m.value);
        next.recent_stable.extend(m.stable);
        for figures in [&mut next.recent, &mut next.recent_stable] {
            let surplus = figures.len().saturating_sub(RECENT);
            figures.drain(..surplus);
        }
        next.last = Some(m);
        next
    }
}

/// The analyses as a step finds them: nothing of the one before counts.
pub fn anew(runs: &[AnalysisRun], now: SteadyMs) -> Vec<AnalysisRun> {
    let one = |run: &AnalysisRun| AnalysisRun {
        next: now.plus(run.spec.delay.0),
        last: run.last.clone().filter(|_| run.spec.dry_run),
        recent: run.recent.clone(),
        recent_stable: run.recent_stable.clone(),
        ..AnalysisRun::new(run.spec.clone())
    };
    runs.iter().map(one).collect()
}

fn verdict(compared: Compared) -> Verdict {
    match compared {
        Compared::Worse => Verdict::Failure,
        Compared::Unclear => Verdict::Inconclusive,
        Compared::NotWorse => Verdict::Success,
    }
}

/// The bound that a figure breaks, as it reads: `> 0.01`.
fn outside(spec: &AnalysisSpec, value: f64) -> Option<String> {
    let unit = spec.metric.unit();
    let over = spec.max.filter(|m| value > *m).map(|m| format!("> {m}{unit}"));
    let under = spec.min.filter(|m| value < *m).map(|m| format!("< {m}{unit}"));
    over.or(under)
}

/// A figure that was asked for outside. What is no number is neither good nor bad.
fn asked_for(spec: &AnalysisSpec, value: f64, stable: Option<f64>) -> Measurement {
    if !value.is_finite() || stable.is_some_and(|s| !s.is_finite()) {
        let text = format!("{} is no number: {value}", spec.name);
        return Measurement { verdict: Verdict::Inconclusive, value: None, stable: None, text };
    }
    if let Some(broken) = outside(spec, value) {
        return measurement(spec, Verdict::Failure, value, stable, &broken);
    }
    let worse = |s: f64| if spec.higher_is_better { s - value } else { value - s };
    let bad = spec.no_worse_than_stable && stable.is_some_and(|s| worse(s) > spec.tolerance);
    measurement(spec, if bad { Verdict::Failure } else { Verdict::Success }, value, stable, "")
}

fn measurement(spec: &AnalysisSpec, verdict: Verdict, value: f64, stable: Option<f64>, rest: &str) -> Measurement {
    let unit = spec.metric.unit();
    let beside = stable.map_or(String::new(), |s| {
        let word = match verdict {
            Verdict::Failure => "worse than",
            Verdict::Inconclusive => "perhaps worse than",
            _ => "no worse than",
        };
        format!(" {word} stable's {s:.4}{unit}")
    });
    let rest = if rest.is_empty() { String::new() } else { format!(" {rest}") };
    let text = format!("{} {value:.4}{unit}{beside}{rest}", spec.name);
    Measurement { verdict, value: Some(value), stable, text }
}

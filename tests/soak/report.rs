//! What the soak has to say in its end.

use crate::{
    callers::{Calls, Whose},
    world::Soak,
};
use serde_json::Value;
use std::{collections::BTreeMap, fmt, time::Duration};

pub struct Report<'a> {
    pub took: Duration,
    pub seed: u64,
    pub calls: &'a Calls,
    pub soak: &'a Soak,
    pub events: Vec<Value>,
    pub settled: &'a Result<(), String>,
}

impl Report<'_> {
    fn failed(&self, of: &[Whose]) -> usize {
        self.calls.failures.iter().filter(|(whose, _)| of.contains(whose)).count()
    }

    pub fn is_good(&self) -> bool {
        self.failed(&[Whose::Trimtabs]) == 0 && self.settled.is_ok()
    }

    /// How rollouts ended, by what trimtab told of them.
    fn outcomes(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for event in &self.events {
            let message = event["message"].as_str().unwrap_or_default();
            let outcome = match event["kind"].as_str().unwrap_or_default() {
                "rollout_started" => "begun".to_owned(),
                "promoted" => "got all traffic".to_owned(),
                "rolled_back" => "went back to what served before".to_owned(),
                "rollout_aborted" => ended(message),
                "revert_committed" => "reverts committed by trimtab".to_owned(),
                _ => continue,
            };
            *all.entry(outcome).or_default() += 1;
        }
        all
    }
}

/// What ended a rollout, without its figures.
fn ended(message: &str) -> String {
    let reason = |mark: &str| message.split_once(mark).map(|(_, reason)| reason);
    let class = |reason: &str| {
        let words: Vec<&str> = reason.split_whitespace().collect();
        let few = if reason.starts_with("its replica") || reason.starts_with("no replica") { 3 } else { 1 };
        words.iter().take(few).copied().collect::<Vec<_>>().join(" ")
    };
    match (reason(" rejected: "), reason(" taken back: ")) {
        (Some(reason), _) if reason.starts_with("aborted by hand") => "aborted by hand".into(),
        (Some(reason), _) => format!("rejected: {}", class(reason)),
        (None, Some(reason)) => format!("taken back: {}", class(reason)),
        (None, None) if message.contains("Git asks for something else") => "overtaken by a commit".into(),
        (None, None) => "ended otherwise".into(),
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        let calls = self.calls;
        let row = |f: &mut fmt::Formatter<'_>, n: u64, what: &str| writeln!(f, "{n:>9}  {what}");
        writeln!(f, "\n{seconds:.0} s, seed {}", self.seed)?;
        writeln!(f, "\nRequests, on keep-alive connections, none retried by the caller")?;
        writeln!(f, "{:>9}  {:.0}/s, by {} versions", calls.requests, calls.requests as f64 / seconds, calls.versions)?;
        let own = self.failed(&[Whose::Answer, Whose::InFlight]);
        row(f, own as u64, "failed, the model's own:")?;
        row(f, self.failed(&[Whose::Answer]) as u64, "  answered with 500 by a bad release, which noted it")?;
        row(f, self.failed(&[Whose::InFlight]) as u64, "  POSTs that a replica worked on when it ended")?;
        if !self.soak.broken.router.is_empty() {
            let longest = self.soak.broken.router.iter().map(|gone| gone.to - gone.from).max().unwrap_or_default();
            let what = format!("failed while the router was killed, {:.0} ms at most", longest as f64 / 1e6);
            row(f, self.failed(&[Whose::Router]) as u64, &what)?;
        }
        row(f, self.failed(&[Whose::Trimtabs]) as u64, "failed, not the model's own")?;
        let latency: Vec<String> = [50.0, 90.0, 99.0, 99.9]
            .map(|p| format!("p{p} {:.1} ms", calls.latency.value_at_percentile(p) as f64 / 1e3))
            .to_vec();
        writeln!(f, "{:>9}  {}, max {:.0} ms", "", latency.join(", "), calls.latency.max() as f64 / 1e3)?;
        writeln!(f, "\nDone to it")?;
        for (what, n) in &self.soak.done.0 {
            row(f, *n, what)?;
        }
        writeln!(f, "\nRollouts")?;
        for (what, n) in self.outcomes() {
            row(f, n, &what)?;
        }
        match self.settled {
            Ok(()) => writeln!(f, "\nIn the end: the last good commit is served, Healthy and Synced")?,
            Err(e) => writeln!(f, "\nIn the end: {e}")?,
        }
        if self.is_good() {
            return Ok(());
        }
        // What is needed to find out why.
        for event in self.events.iter().filter(|e| !e["environment"].is_null()) {
            writeln!(f, "{} {}: {}", event["at"], event["kind"], event["message"])?;
        }
        for (_, failure) in calls.failures.iter().filter(|(whose, _)| *whose == Whose::Trimtabs).take(20) {
            writeln!(f, "not the model's own: {failure}")?;
        }
        Ok(())
    }
}

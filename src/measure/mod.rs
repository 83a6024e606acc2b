//! Figures that the router does not have: PromQL queries and commands.

mod command;
mod prometheus;

use crate::{model::*, ports::*};
use std::path::PathBuf;

/// Asks Prometheus servers, and runs commands of specs.
pub struct Measurer {
    /// Where the code of what serves lies: `serve/` of the state folder.
    pub serve: PathBuf,
}

impl Metrics for Measurer {
    fn ask(&self, metric: &AnalysisMetric, of: &Measured) -> Answer {
        let answer = match metric {
            AnalysisMetric::Prometheus { address, query } => prometheus::ask(address, query, of),
            AnalysisMetric::Command { run, timeout } => command::ask(run, *timeout, &self.serve, of),
            _ => Err(format!("{} is measured by the router", metric.word())),
        };
        answer.unwrap_or_else(Answer::Failed)
    }
}

//! Questions before something is done that cannot be taken back, with what exactly it does. Pure.

use super::{
    state::{Command, Mode, State},
    timeline,
};
use crate::{api::types::*, model::*};

impl State {
    pub(super) fn ask(&mut self, command: Command) -> Vec<Command> {
        let allowed = self.allowed(command);
        if allowed.iter().any(|c| self.question_of(c).is_some()) {
            self.mode = allowed.into_iter().next().map_or(Mode::Normal, Mode::Confirm);
            return vec![];
        }
        allowed
    }

    /// The question that waits for `y`.
    pub fn question(&self) -> Option<String> {
        match &self.mode {
            Mode::Confirm(c) => self.question_of(c),
            _ => None,
        }
    }

    /// The question before a command is done.
    fn question_of(&self, command: &Command) -> Option<String> {
        let Command::Post { model, verb } = command else {
            return match command {
                Command::Revert { commit, .. } => timeline::question(self, commit),
                Command::Let(letting) => Some(letting.question()),
                _ => None,
            };
        };
        Some(match verb.as_str() {
            "rollback" => {
                // What broke a spec is newer than what is in force.
                let newest = self.summary(model).filter(|m| !m.spec_broken).and_then(|m| m.changed_by.as_ref());
                let undone = match newest {
                    // A lock goes with the change that it followed from.
                    Some(r) if r.summary.starts_with("lock: ") => format!("lock {} and its change", r.commit.short()),
                    Some(r) => format!("{} \"{}\"", r.commit.short(), r.summary),
                    None => "its newest change, not known here".to_owned(),
                };
                format!("{model}: revert and push {undone}?")
            }
            _ => return self.question_of_rollout(model, verb.strip_prefix("rollout/")?),
        })
    }

    /// What a word to a rollout does, in its figures.
    fn question_of_rollout(&self, model: &Name, word: &str) -> Option<String> {
        let moving = self.summary(model).and_then(|m| {
            let of = |e: &EnvironmentSummary| Some((e.environment.clone(), e.version, e.rollout.clone()?));
            m.environments.iter().rev().find_map(of)
        });
        let Some((environment, stable, r)) = moving else {
            let what = match word {
                "promote" => "give the new version all traffic now",
                "abort" => "take all traffic back to stable",
                "pause" => "hold its rollout",
                "resume" => "go on with its rollout",
                _ => return None,
            };
            return Some(format!("{model}: {what}?"));
        };
        let (to, weight) = (r.to, r.weight);
        let stable = stable.map_or("nothing".to_owned(), |v| v.to_string());
        let next = r.steps.get(r.step).map_or("all traffic".to_owned(), |s| format!("{} %", s.weight));
        let what = match word {
            "promote" => format!("give {to} all traffic now ({weight} % → 100 %), past all steps and analyses"),
            "abort" => format!("take all traffic back to {stable} now; {to} is rejected and kept"),
            "pause" => format!("hold {to} at {weight} % until someone says go on"),
            "resume" if r.gate => format!("pass the gate: {to} {weight} % → {next}"),
            "resume" => format!("go on with {to} at {weight} %, then {next}"),
            _ => return None,
        };
        Some(format!("{model} in {environment}: {what}?"))
    }
}

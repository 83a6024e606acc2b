//! The word of a person that a release waits for: an approval, or that it goes through before its time. Pure.

use super::state::{Command, Mode, State};
use crate::model::*;

/// Which word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Approve,
    Override,
}

/// The word, with what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// In whose name the commit is made.
    Approve { name: String, email: String },
    /// Why the release does not wait.
    Override { reason: String },
}

/// A release that is let go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letting {
    pub model: Name,
    pub environment: Name,
    pub version: VersionNumber,
    /// Who is to approve it, or what it goes through without.
    pub lacks: String,
    pub word: Word,
}

impl Letting {
    /// The call that says it: its path, and its body.
    pub fn call(self) -> (String, serde_json::Value) {
        let Self { model, environment, version, word, .. } = self;
        match word {
            Word::Approve { name, email } => {
                let body = serde_json::json!({
                    "environment": environment, "version": version, "waiting": true, "name": name, "email": email,
                });
                (format!("/api/v1/models/{model}/approve"), body)
            }
            Word::Override { reason } => {
                let body = serde_json::json!({ "environment": environment, "version": version, "reason": reason });
                (format!("/api/v1/models/{model}/promote"), body)
            }
        }
    }

    /// What exactly it does.
    pub fn question(&self) -> String {
        let Self { model, environment, version, lacks, word } = self;
        match word {
            Word::Approve { name, email } => format!(
                "{model}: approve {version} for {environment} in the name of {name} <{email}>, by a commit to approvals/ that is \
                 pushed (it waits for {lacks})?"
            ),
            Word::Override { reason } => format!(
                "{model}: let {version} through to {environment} without {lacks}; recorded as yours, with the reason \"{reason}\"?"
            ),
        }
    }
}

/// Looks at what the model waits for now: the question says it.
pub(super) fn wished(state: &mut State, model: Name, way: Way) -> Vec<Command> {
    state.wished = Some((model.clone(), way));
    state.allowed(Command::FetchWaits(model, way))
}

/// Asks what the plan has to ask for.
pub(super) fn take(state: &mut State, way: Way, plan: &ModelPlan) -> Vec<Command> {
    // A question that comes when something else is being done would be answered by what is pressed for that.
    if state.wished.take() != Some((plan.model.clone(), way)) {
        return vec![];
    }
    match way {
        Way::Approve => approved(state, plan),
        Way::Override => overridden(state, plan),
    }
}

fn approved(state: &mut State, plan: &ModelPlan) -> Vec<Command> {
    let asked = plan.waiting.iter().find_map(|w| match w {
        Waiting::Approval { environment, version, by, .. } => Some((environment, version, by)),
        _ => None,
    });
    let Some((environment, version, by)) = asked else {
        state.note = format!("{} waits for no approval", plan.model);
        return vec![];
    };
    let Some((name, email)) = state.author.clone() else {
        state.note = "git does not know who you are: set user.name and user.email".to_owned();
        return vec![];
    };
    state.ask(Command::Let(Letting {
        model: plan.model.clone(),
        environment: environment.clone(),
        version: *version,
        lacks: by.join(" or "),
        word: Word::Approve { name, email },
    }))
}

fn overridden(state: &mut State, plan: &ModelPlan) -> Vec<Command> {
    let holds = |w: &Waiting| match w {
        Waiting::Soak { environment, .. } => Some((environment.clone(), "soak")),
        Waiting::Approval { environment, .. } => Some((environment.clone(), "approval")),
        Waiting::Frozen { environment, .. } => Some((environment.clone(), "the end of a freeze")),
        _ => None,
    };
    let held: Vec<(Name, &str)> = plan.waiting.iter().filter_map(holds).collect();
    let (Some((environment, _)), Some(version)) = (held.first().cloned(), plan.version) else {
        state.note = format!("nothing of {} waits for soak, approval or the end of a freeze", plan.model);
        return vec![];
    };
    let lacks: Vec<&str> = held.iter().filter(|(e, _)| *e == environment).map(|(_, what)| *what).collect();
    let word = Word::Override { reason: String::new() };
    let letting = Letting { model: plan.model.clone(), environment, version, lacks: lacks.join(", "), word };
    state.mode = Mode::Reason(letting, String::new());
    vec![]
}

/// The reason was typed to its end.
pub(super) fn reasoned(state: &mut State, letting: Letting, reason: &str) -> Vec<Command> {
    let reason = reason.trim().to_owned();
    if reason.is_empty() {
        state.note = format!("{} waits on: a reason is needed, which is recorded", letting.version);
        return vec![];
    }
    state.ask(Command::Let(Letting { word: Word::Override { reason }, ..letting }))
}

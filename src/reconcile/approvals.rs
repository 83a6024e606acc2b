//! Approvals: whose they are, the commit that gives one, and the word of a person that does without.

use super::{Reconciler, lock, steer::SteerError};
use crate::{model::*, plan::release, ports::*, spec};
use std::{collections::HashMap, sync::Mutex};

/// Whose approvals are. Found by walking the log, once for each content.
#[derive(Debug, Default)]
pub(super) struct Approvers(Mutex<HashMap<spec::Given, Option<Revision>>>);

impl Approvers {
    /// Finds them anew.
    pub fn forget(&self) {
        lock(&self.0).clear();
    }
}

/// Who approves what.
#[derive(Debug, Clone)]
pub struct Asks {
    /// The one that waits for it, or the only one that asks for approvals, when left out.
    pub environment: Option<Name>,
    /// The version that Git asks for, when left out.
    pub version: Option<VersionNumber>,
    /// That version alone, if it is still the one that Git asks for.
    pub waiting: bool,
    pub comment: Option<String>,
    /// As commits have them.
    pub name: String,
    pub email: String,
    /// By which way it came, for the commit's message.
    pub caller: String,
}

/// Refuses what a person meant for another version than the one that waits.
fn still(environment: &Name, meant: VersionNumber, waits: Option<VersionNumber>) -> Result<(), SteerError> {
    if waits == Some(meant) {
        return Ok(());
    }
    let waits = waits.map_or("a version that is not trained yet".to_owned(), |v| v.to_string());
    conflict(format!("{environment}: {waits} waits now, not {meant}; look again"))
}

fn conflict<T>(said: String) -> Result<T, SteerError> {
    Err(SteerError::Conflict(said))
}

impl Reconciler {
    /// The commit that approves a content for an environment.
    pub(super) fn approval(
        &self,
        loaded: &spec::Loaded,
        model: &Name,
        environment: &Name,
        fingerprint: &Digest,
    ) -> Option<Revision> {
        let folder = self.0.source.status().path;
        let given = loaded.approvals().of(&folder, model, environment, fingerprint)?;
        if let Some(known) = lock(&self.0.approvers.0).get(given) {
            return known.clone();
        }
        let head = loaded.state().revision.as_ref()?;
        match self.0.ports.source.made_by(&head.commit, &given.path) {
            Ok(found) => {
                lock(&self.0.approvers.0).insert(given.clone(), found.clone());
                found
            }
            Err(e) => {
                tracing::warn!(%model, "whose approval {} is cannot be read: {e}", given.path);
                None
            }
        }
    }

    /// Makes and pushes the commit that approves a version, in the name of who asks for it.
    pub fn approve(&self, model: &Name, asks: &Asks) -> Result<(Name, Option<Revision>), SteerError> {
        let loaded = self.loaded();
        let desired = self.desired_now(model)?;
        let deploy = self.asks_for_approval(&desired, asks.environment.as_ref())?;
        let environment = deploy.environment.clone();
        if !may_approve(&deploy.approve, &loaded.state().settings.groups, &asks.email) {
            let by = deploy.approve.join(" or ");
            return Err(SteerError::Denied(format!("{} may not approve {environment}: {by} may", asks.email)));
        }
        if let Some(meant) = asks.version.filter(|_| asks.waiting) {
            let waits = self.fresh_plan(model, Some(&desired)).version;
            still(&environment, meant, waits)?;
        }
        let version = self.version_to_approve(model, &desired, asks.version)?;
        let Some(head) = loaded.state().revision.clone() else { return conflict("no revision is loaded yet".into()) };
        let folder = self.0.source.status().path;
        let path = spec::promotion::approval_file(&folder, model, &environment, &version.fingerprint);
        let given = self.approval(&loaded, model, &environment, &version.fingerprint);
        if given.is_some_and(|by| may_approve(&deploy.approve, &loaded.state().settings.groups, &by.email)) {
            return Ok((environment, None));
        }
        let approval = Approval {
            model: model.clone(),
            environment: environment.clone(),
            fingerprint: version.fingerprint,
            version: Some(version.number),
            comment: asks.comment.clone(),
        };
        let text = spec::promotion::approval_text(&approval, &format!("{} <{}>", asks.name, asks.email));
        let comment = asks.comment.as_ref().map_or(String::new(), |c| format!("{c}\n\n"));
        let commit = BotCommit {
            files: vec![FileChange { path: path.clone(), content: FileContent::Bytes(text.into_bytes()) }],
            message: format!(
                "Approve {model} {} for {environment}\n\n{comment}Trimtab-Model: {model}\nTrimtab-Reason: approval asked for by {}\n",
                version.number, asks.caller
            ),
            name: asks.name.clone(),
            email: asks.email.clone(),
            decided_on: head.commit.clone(),
            // It names a content: whatever else changed meanwhile, that stays approved.
            guard: path.clone(),
        };
        match self.0.ports.source.push(&commit) {
            Ok(Pushed::Done(revision)) => {
                self.wake_source();
                Ok((environment, Some(revision)))
            }
            Ok(Pushed::AlreadyThere) => Ok((environment, None)),
            Ok(Pushed::Superseded) => conflict("somebody else changed the approval meanwhile; look again".into()),
            Ok(Pushed::ReadOnly(why)) => {
                conflict(format!("{why}; commit this as `{path}` there yourself:\n{}", commit_text(&commit)))
            }
            Err(e) => conflict(e.message),
        }
    }

    fn desired_now(&self, model: &Name) -> Result<std::sync::Arc<DesiredModel>, SteerError> {
        self.known(model)?;
        let found = self.loaded().state().models.get(model).cloned();
        found.ok_or_else(|| SteerError::Conflict(format!("Git has no valid spec of {model}")))
    }

    /// The environment that is meant.
    fn asks_for_approval<'d>(
        &self,
        desired: &'d DesiredModel,
        named: Option<&Name>,
    ) -> Result<&'d DeploySpec, SteerError> {
        let model = &desired.spec.name;
        if let Some(named) = named {
            let missing = || SteerError::NotFound(format!("{model} is not deployed to `{named}`"));
            let deploy = desired.spec.deploy.iter().find(|d| d.environment == *named).ok_or_else(missing)?;
            if deploy.approve.is_empty() {
                return conflict(format!("{model} needs no approval in {named}"));
            }
            return Ok(deploy);
        }
        let mut asking: Vec<&DeploySpec> = desired.spec.deploy.iter().filter(|d| !d.approve.is_empty()).collect();
        if asking.len() > 1 {
            let waiting = self.fresh_plan(model, Some(desired)).waiting;
            let waits = |d: &&DeploySpec| {
                let of =
                    |w: &Waiting| matches!(w, Waiting::Approval { environment, .. } if *environment == d.environment);
                waiting.iter().any(of)
            };
            asking.retain(waits);
        }
        match asking.as_slice() {
            [one] => Ok(one),
            [] => conflict(format!("{model} waits for no approval")),
            _ => conflict(format!("{model} asks for approvals in several environments: say which with --env")),
        }
    }

    fn version_to_approve(
        &self,
        model: &Name,
        desired: &DesiredModel,
        number: Option<VersionNumber>,
    ) -> Result<Version, SteerError> {
        let untrained = || SteerError::Conflict(format!("the version that Git asks for is not trained yet: {model}"));
        let number = number.or_else(|| self.fresh_plan(model, Some(desired)).version).ok_or_else(untrained)?;
        let found = self.0.store.version(model, number).map_err(|e| SteerError::Store(e.to_string()))?;
        found.ok_or_else(|| SteerError::NotFound(format!("{model} has no version {number}")))
    }

    /// Lets the release that an environment waits with through, whatever it lacks but health; where a version is named, that one alone.
    pub fn let_through(
        &self,
        model: &Name,
        environment: Option<&Name>,
        version: Option<VersionNumber>,
        reason: &str,
        by: &str,
    ) -> Result<String, SteerError> {
        let desired = self.desired_now(model)?;
        let plan = self.fresh_plan(model, Some(&desired));
        let wanted = plan.version.zip(desired.spec.serve.as_ref()).map(|(number, serve)| release(number, serve));
        let holds = |w: &Waiting| match w {
            Waiting::Soak { environment, .. } => Some((environment.clone(), "soak")),
            Waiting::Approval { environment, .. } => Some((environment.clone(), "approval")),
            Waiting::Frozen { environment, .. } => Some((environment.clone(), "freeze")),
            _ => None,
        };
        let mut held: std::collections::BTreeMap<Name, Vec<&str>> = Default::default();
        let named = plan.waiting.iter().filter_map(holds).filter(|(e, _)| environment.is_none_or(|named| named == e));
        named.for_each(|(environment, what)| held.entry(environment).or_default().push(what));
        let (Some((environment, what)), Some(release)) = (held.pop_first(), wanted) else {
            return conflict(format!("nothing of {model} waits for soak, approval or the end of a freeze"));
        };
        if !held.is_empty() {
            return conflict(format!("{model} waits in several environments: say which with --env"));
        }
        version.map_or(Ok(()), |meant| still(&environment, meant, Some(release.version)))?;
        let what = what.join(", ");
        let said = format!("{environment}: {} let through without {what} by {by}: {reason}", release.version);
        let event = self.event(EventKind::Overridden, Some(model), None, said.clone());
        let event = crate::store::NewEvent { environment: Some(environment.clone()), ..event };
        let at = self.now().wall;
        let done = self.change_model(model, |observed, batch| {
            let word = Override { release, reason: reason.to_owned(), by: by.to_owned(), at };
            observed.deployments.entry(environment).or_default().overridden = Some(word);
            batch.event(event)
        });
        self.wake(model);
        done.then_some(said).ok_or_else(SteerError::refused_by_store)
    }
}

/// The file of an approval as a person would write it.
fn commit_text(commit: &BotCommit) -> String {
    let texts = commit.files.iter().filter_map(|f| match &f.content {
        FileContent::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    });
    texts.collect()
}

//! The commit by which Git says again what serves, after a rollout was given up (`on_failure = "revert"`).

use super::{
    Reconciler,
    past::joined,
    queue::backoff,
    rollback::{Goal, folder},
};
use crate::{
    model::*,
    plan::{fingerprint, pins, release},
    ports::*,
};

/// Commits that are looked through for the one that asked for what was given up.
const LOOKED_AT: usize = 100;

impl Reconciler {
    /// Makes and pushes the revert of what led to a rejected release, with the evidence in its message. What cannot be done is noted with the
    /// rejection.
    pub(super) fn revert_rejected(&self, model: &Name, environment: &Name, rejected: Release) {
        let Some(view) = self.view(model) else { return };
        let Some(deployment) = view.observed.deployments.get(environment) else { return };
        let (Some(rejected), Some(stable)) = (deployment.rejection(rejected).cloned(), deployment.stable) else {
            return;
        };
        let said = match self.push_revert(&view.observed, environment, &rejected, stable) {
            Ok(revision) => {
                let message = format!(
                    "{environment}: {} was rejected: {} reverts to {}",
                    rejected.release.version,
                    revision.commit.short(),
                    stable.version
                );
                let event = self.event(EventKind::RevertCommitted, Some(model), Some(&revision), message);
                self.change_model(model, |_, batch| batch.event(event));
                return self.wake_source();
            }
            Err(e) => e,
        };
        tracing::warn!(%model, %environment, "the rejected release is not reverted: {said}");
        let now = self.now().steady;
        self.change_model(model, |observed, batch| {
            let all = observed.deployments.get_mut(environment).into_iter().flat_map(|d| &mut d.rejected);
            if let Some(rejection) = all.into_iter().find(|r| r.release == rejected.release) {
                let attempts = rejection.revert.as_ref().map_or(0, |f| f.attempts) + 1;
                let retry_at = said.retryable.then(|| now.plus(backoff(attempts.max(3))));
                rejection.revert = Some(RevertFailure { reason: said.message.clone(), attempts, retry_at });
            }
            batch
        });
    }

    fn push_revert(
        &self,
        observed: &ObservedModel,
        environment: &Name,
        rejected: &Rejection,
        stable: Release,
    ) -> PortResult<Revision> {
        let loaded = self.loaded();
        // A person may have committed since it was rejected: what they ask for now is not ours to take back.
        let asked = loaded.state().models.get(&observed.name).map(|now| self.release_of(now, observed)).transpose()?;
        if asked.flatten() != Some(rejected.release) {
            return Err(PortError::retryable("Git asks for something else by now"));
        }
        let head = loaded.state().revision.as_deref().cloned();
        let head = head.ok_or_else(|| PortError::retryable("no revision is loaded yet"))?;
        let desired = observed.desired.clone();
        let desired = desired.ok_or_else(|| PortError::permanent("the model was retired meanwhile"))?;
        let goal = self.before_the_release(observed, &desired, &head, stable)?;
        let title =
            goal.undone.last().map_or(format!("Revert {}", observed.name), |c| format!("Revert \"{}\"", c.summary));
        let message = message(&title, &observed.name, environment, rejected, stable, &goal.undone);
        self.push_goal(&desired, head, &goal, message)
    }

    /// The newest state of the model that asked for `stable`: everything after it is undone.
    fn before_the_release(
        &self,
        observed: &ObservedModel,
        desired: &DesiredModel,
        head: &Revision,
        stable: Release,
    ) -> PortResult<Goal> {
        let source = &self.0.ports.source;
        let (now, folders) = (self.loaded(), self.folders_of(desired));
        let mut undone = Vec::new();
        for commit in source.log(None, &head.commit, &self.paths(desired), LOOKED_AT)? {
            let before = source.resolve(&format!("{}^", commit.commit.0)).ok();
            undone.push(commit);
            let Some(before) = before else { break };
            // Of a hundred revisions of ten thousand models, one model is asked about.
            let (loaded, _) = self.load_below(&now, &folders, &before)?;
            let then = loaded.state().models.get(&desired.spec.name).filter(|m| m.file == desired.file);
            let Some(then) = then else { continue };
            if self.release_of(then, observed)? == Some(stable) {
                let datasets = then.spec.data.values().cloned().collect();
                return Ok(Goal { tree: before.tree, lock: None, undone, datasets });
            }
        }
        // Data may have been pinned otherwise then; the version itself knows its commit.
        self.as_of_version(desired, head, stable.version)
    }

    /// Where that which a release is made from lies.
    fn folders_of(&self, desired: &DesiredModel) -> Vec<String> {
        let specs = self.source_status().path;
        let shared = ["datasets", "environments", "analyses"].map(|name| joined(&specs, name));
        [folder(desired).to_owned(), desired.code_path.clone()].into_iter().chain(shared).collect()
    }

    /// The release that a state asked for, where its version is known.
    fn release_of(&self, then: &DesiredModel, observed: &ObservedModel) -> PortResult<Option<Release>> {
        let Some(serve) = &then.spec.serve else { return Ok(None) };
        let pins = pins::resolve(then, observed).pinned;
        let found = self.0.store.version_by_fingerprint(&then.spec.name, &fingerprint(then, &pins));
        let version = found.map_err(|e| PortError::retryable(e.to_string()))?;
        Ok(version.map(|v| release(v.number, serve)))
    }
}

/// As `git revert` writes it, with what was measured and trailers.
fn message(
    title: &str,
    model: &Name,
    environment: &Name,
    rejected: &Rejection,
    stable: Release,
    undone: &[Revision],
) -> String {
    let reverted: String = undone.iter().map(|r| format!("This reverts commit {}.\n", r.commit.0)).collect();
    let (new, old) = (rejected.release.version, stable.version);
    let figure = |run: &AnalysisRun| {
        let said = run.last.as_ref().map_or("not measured".to_owned(), |m| one_line(&m.text));
        format!("  {} {}: {said}\n", run.spec.name, run.spec.bound())
    };
    let evidence: String = rejected.evidence.iter().map(figure).collect();
    let evidence = if evidence.is_empty() { evidence } else { format!("\nMeasured:\n{evidence}") };
    let reason = one_line(&rejected.reason);
    format!(
        "{title}\n\n{reverted}\n{new} was rejected in {environment}: {reason}\n{old} serves on there.\n{evidence}\n\
         Trimtab-Model: {model}\nTrimtab-Environment: {environment}\nTrimtab-Rejected: {new}\nTrimtab-Reason: {reason}\n"
    )
}

/// What programs print may hold lines that would pass for trailers.
fn one_line(text: &str) -> String {
    visible(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

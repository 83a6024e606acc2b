//! What people ask of a model by command.

use super::{Reconciler, lock};
use crate::{
    model::*,
    plan::render,
    rollout::{self, Next, Steer},
};

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SteerError {
    /// There is no such model or environment.
    #[error("{0}")]
    NotFound(String),
    /// It makes no sense now.
    #[error("{0}")]
    Conflict(String),
    /// This person may not.
    #[error("{0}")]
    Denied(String),
    /// The store refused it.
    #[error("{0}")]
    Store(String),
}

impl SteerError {
    pub(super) fn refused_by_store() -> Self {
        Self::Store("the store refused the change; see the daemon's log".into())
    }
}

impl Reconciler {
    /// Stops reconciling a model; what serves goes on.
    pub fn suspend(&self, model: &Name, suspended: bool) -> Result<(), SteerError> {
        self.known(model)?;
        let (kind, message) = if suspended {
            (EventKind::Suspended, "suspended: nothing is changed until `trimtab resume`")
        } else {
            (EventKind::Resumed, "resumed")
        };
        let event = self.event(kind, Some(model), None, message.into());
        let done = self.change_model(model, |observed, batch| {
            observed.suspended = suspended;
            batch.event(event)
        });
        self.wake(model);
        done.then_some(()).ok_or_else(SteerError::refused_by_store)
    }

    /// Refuses a model that neither Git nor the store ever had.
    pub fn known(&self, model: &Name) -> Result<(), SteerError> {
        let missing = || SteerError::NotFound(format!("there is no model `{model}`; `trimtab status` lists them"));
        self.cell(model).map(drop).ok_or_else(missing)
    }

    /// Steers the rollout of an environment; of the only one under way when none is named.
    pub fn steer(&self, model: &Name, environment: Option<&Name>, word: Steer) -> Result<Name, SteerError> {
        let cell = self.cell(model).ok_or_else(|| SteerError::NotFound(format!("there is no model `{model}`")))?;
        let observed = lock(&cell).observed.clone();
        let mut found =
            observed.deployments.iter().filter(|(n, d)| d.rollout.is_some() && environment.is_none_or(|e| e == *n));
        let (name, deployment) =
            found.next().ok_or_else(|| SteerError::Conflict(format!("{model} has no rollout under way")))?;
        if found.next().is_some() {
            return Err(SteerError::Conflict(format!("{model} has several rollouts: say which with --env")));
        }
        let Some(rollout) = &deployment.rollout else { return Err(SteerError::Conflict("no rollout".into())) };
        let next = rollout::steer(rollout, word, self.now().steady).map_err(SteerError::Conflict)?;
        let action = match next {
            Next::Change(rollout) => Action::SetRollout { environment: name.clone(), rollout: Some(rollout) },
            Next::Finish => Action::FinishRollout { environment: name.clone(), release: rollout.to },
            Next::Reject(reason) => Action::Reject { environment: name.clone(), release: rollout.to, reason },
            Next::Stay(..) | Next::Measured(_) => return Ok(name.clone()),
        };
        self.refuse_while_held(model, name, rollout, &action)?;
        self.apply_by_hand(model, &observed, rollout, &action)?;
        Ok(name.clone())
    }

    /// A person's word moves no traffic while the promotion is held: for that there is a word of its own, which is recorded.
    fn refuse_while_held(
        &self,
        model: &Name,
        environment: &Name,
        rollout: &Rollout,
        action: &Action,
    ) -> Result<(), SteerError> {
        let moves = match action {
            Action::SetRollout { rollout: Some(next), .. } => next.index() != rollout.index(),
            Action::FinishRollout { .. } => true,
            _ => false,
        };
        let desired = self.loaded().state().models.get(model).cloned().filter(|_| moves);
        let Some(desired) = desired else { return Ok(()) };
        let plan = self.fresh_plan(model, Some(&desired));
        let held = |w: &&Waiting| match w {
            Waiting::Approval { environment: e, .. } | Waiting::Frozen { environment: e, .. } => e == environment,
            _ => false,
        };
        plan.waiting.iter().find(held).map_or(Ok(()), |w| {
            let all_the_same = format!("trimtab promote {model} --env {environment} --override REASON");
            Err(SteerError::Conflict(format!("{}; all the same: `{all_the_same}`", render::waiting(w))))
        })
    }

    /// Applies one action unless the rollout moved meanwhile.
    fn apply_by_hand(
        &self,
        model: &Name,
        seen: &ObservedModel,
        rollout: &Rollout,
        action: &Action,
    ) -> Result<(), SteerError> {
        let cell = self.cell_or_new(model);
        {
            let mut cell = lock(&cell);
            // What was measured meanwhile changes nothing.
            let same = |r: &Rollout| r.to == rollout.to && r.phase == rollout.phase;
            let still = cell.observed.deployments.values().any(|d| d.rollout.as_ref().is_some_and(same));
            if !still {
                return Err(SteerError::Conflict("the rollout moved on meanwhile; look again".into()));
            }
            let mut change =
                super::execute::Change::new(self, &cell.observed, seen.desired.clone(), cell.observed.broken.clone());
            change.apply(&Planned { action: action.clone(), reasons: vec![], expected: None });
            let mut batch = crate::store::Batch::new().put_model(&change.observed);
            for event in change.events {
                batch = batch.event(event);
            }
            self.commit(batch).map_err(|e| SteerError::Store(e.to_string()))?;
            cell.observed = change.observed;
        }
        self.wake(model);
        Ok(())
    }

    /// Forgets rejections (of one environment, when it is named) and a failed pipeline, so that they are tried again.
    pub fn retry(&self, model: &Name, environment: Option<&Name>) -> Result<(), SteerError> {
        self.known(model)?;
        let done = self.change_model(model, |observed, batch| {
            let asked = |name: &Name| environment.is_none_or(|e| e == name);
            for (_, deployment) in observed.deployments.iter_mut().filter(|(name, _)| asked(name)) {
                deployment.rejected.clear();
            }
            let failed = |p: &Pipeline| matches!(p.state, PipelineState::Failed { .. });
            if let Some(p) = observed.pipeline.as_mut().filter(|p| failed(p)) {
                p.state = PipelineState::Failed { reason: "tried again by hand".into(), retry_at: Some(SteadyMs(0)) };
            }
            observed.data_failure = None;
            batch
        });
        self.wake(model);
        done.then_some(()).ok_or_else(SteerError::refused_by_store)
    }
}

//! Analyses of rollouts whose figures come from outside: asked beside the queue, one question of each at a time.

use super::{Cell, Reconciler, Task, lock};
use crate::{model::*, ports::*};

impl Reconciler {
    /// Puts the questions of a plan that are not under way.
    pub(super) fn ask(&self, cell: &mut Cell, plan: &ModelPlan) {
        let observed = &cell.observed;
        // Of a rollout that is over nothing is kept.
        cell.asked.retain(|environment, _| observed.deployments.get(environment).is_some_and(|d| d.rollout.is_some()));
        for question in &plan.questions {
            let rollout = observed.deployments.get(&question.environment).and_then(|d| d.rollout.as_ref());
            let Some(rollout) = rollout else { continue };
            let run = rollout.analysis.iter().find(|run| run.spec.name == question.analysis);
            let Some(spec) = run.map(|run| run.spec.clone()) else { continue };
            let stable = rollout.from.map(|r| r.version);
            let address = self.0.ports.target.address();
            let of = Measured {
                environment: question.environment.clone(),
                model: observed.name.clone(),
                version: rollout.to.version,
                stable,
                compared_with: stable.filter(|_| spec.no_worse_than_stable),
                preview: address.map(|a| format!("{a}/previews/{}/models/{}/", question.environment, observed.name)),
            };
            let task = Task::Question(Digest::of(format!("{} {}", question.environment, question.analysis).as_bytes()));
            self.begin(&self.0.lanes.questions, &observed.name, task, move |r, model, _| {
                let at = r.now().steady;
                let answer = r.0.ports.metrics.ask(&spec.metric, &of);
                r.take_answer(model, &of.environment, Asked { analysis: spec.name, at, answer });
            });
        }
    }

    /// Keeps the newest answer for the next look.
    fn take_answer(&self, model: &Name, environment: &Name, asked: Asked) {
        let Some(cell) = self.cell(model) else { return };
        let mut cell = lock(&cell);
        let all = cell.asked.entry(environment.clone()).or_default();
        all.retain(|a| a.analysis != asked.analysis);
        all.push(asked);
    }
}

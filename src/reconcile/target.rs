//! What the target is told of each environment: which releases, with which share, and how callers come to them.

use super::{Cell, Reconciler, queue::backoff};
use crate::{model::*, ports::*};
use std::sync::Arc;

/// What the target was last told: releases with thousandths of a percent and numbers of replicas, and the rest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Applied {
    releases: Vec<(Release, u64, u32)>,
    manner: Manner,
    live: bool,
}

impl Reconciler {
    /// Tells the target what each environment should hold, when that differs from what it was told before.
    pub(super) fn tell_target(&self, cell: &mut Cell) {
        let observed = &cell.observed;
        let desired = observed.desired.as_deref();
        let serve = desired.and_then(|d| d.spec.serve.as_ref());
        let live = desired.and_then(|d| d.spec.live_environment());
        let mut environments: Vec<Name> = observed.deployments.keys().chain(cell.applied.keys()).cloned().collect();
        environments.sort();
        environments.dedup();
        for environment in environments {
            let deployment = observed.deployments.get(&environment);
            let shares = deployment.map(Deployment::shares).unwrap_or_default();
            let count = serve.map_or(1, |s| s.replicas);
            let deploy = desired.and_then(|d| d.spec.deploy.iter().find(|d| d.environment == environment));
            let applied = Applied {
                releases: shares.iter().map(|(r, w)| (*r, (w * 1000.0).round() as u64, count)).collect(),
                manner: manner(deploy, deployment),
                live: live == Some(&environment),
            };
            if cell.applied.get(&environment).map_or(shares.is_empty(), |before| *before == applied) {
                continue;
            }
            let releases = shares.iter().filter_map(|(r, w)| self.wanted_release(observed, *r, *w, serve)).collect();
            let (model, manner, live) = (observed.name.clone(), applied.manner.clone(), applied.live);
            let wanted = Wanted { environment: environment.clone(), model, live, releases, manner };
            match self.0.ports.target.apply(&wanted) {
                Ok(()) if shares.is_empty() => drop(cell.applied.remove(&environment)),
                Ok(()) => drop(cell.applied.insert(environment, applied)),
                Err(e) => {
                    tracing::error!(model = %observed.name, %environment, "the target refused: {e}");
                    self.0.queue.add(observed.name.clone(), self.now().steady.plus(backoff(1)));
                }
            }
        }
    }

    fn wanted_release(
        &self,
        observed: &ObservedModel,
        release: Release,
        weight: f64,
        serve: Option<&ServeSpec>,
    ) -> Option<WantedRelease> {
        let version = self.0.store.version(&observed.name, release.version).ok().flatten()?;
        // A release is run as it was first run; only the number of replicas follows the newest spec.
        let recorded = observed.serves.get(&release.serve)?;
        let replicas = serve.map_or(recorded.replicas, |s| s.replicas);
        let serve = ServeSpec { replicas, ..recorded.clone() };
        Some(WantedRelease { release, version: Arc::new(version), serve, weight })
    }
}

/// How callers come to the releases, from the spec and what is under way.
fn manner(deploy: Option<&DeploySpec>, deployment: Option<&Deployment>) -> Manner {
    let rollout = deployment.and_then(|d| d.rollout.as_ref());
    let copies = rollout.filter(|r| r.shadow() > 0.0);
    Manner {
        sticky: deploy.and_then(|d| d.sticky.clone()),
        forced: deploy.is_some_and(|d| d.forced),
        limit: deploy.and_then(|d| d.limit),
        timeout: deploy.and_then(|d| d.timeout),
        rejected: deployment.iter().flat_map(|d| &d.rejected).map(|r| r.release).collect(),
        preview: rollout.map(|r| r.to),
        copies: copies.map(|r| Copies { release: r.to, share: r.shadow(), tolerance: r.tolerance }),
        exclusive: deploy.is_some_and(|d| d.strategy == Strategy::Recreate),
    }
}

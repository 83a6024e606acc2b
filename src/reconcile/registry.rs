//! What clients of the registry are told: versions, and which of them each environment serves.

use super::{Reconciler, queue::backoff};
use crate::{model::*, ports::*};
use std::collections::BTreeMap;

impl Reconciler {
    /// Has the registry say what is so. Nothing is done where it does; what fails is tried again by a later look.
    pub(super) fn tell_registry(&self, observed: &ObservedModel) {
        if let Err(e) = self.in_registry(observed) {
            tracing::error!(model = %observed.name, "the registry could not be told: {e}");
            self.0.queue.add(observed.name.clone(), self.now().steady.plus(backoff(2)));
        }
    }

    fn in_registry(&self, observed: &ObservedModel) -> PortResult<()> {
        let registry = &self.0.ports.registry;
        let (name, last) = (&observed.name, VersionNumber(observed.last_version));
        if last.0 > 0 && !registry.knows(name, last) {
            let versions = self.0.store.versions(name).map_err(|e| PortError::retryable(e.to_string()))?;
            versions.iter().filter(|v| !registry.knows(name, v.number)).try_for_each(|v| registry.publish(v))?;
        }
        let stable =
            |(environment, deployment): (&Name, &Deployment)| Some((environment.clone(), deployment.stable?.version));
        let serves: BTreeMap<Name, VersionNumber> = observed.deployments.iter().filter_map(stable).collect();
        registry.serves(name, &serves)
    }

    /// Versions that were removed are not offered any more.
    pub(super) fn withdraw(&self, model: &Name, numbers: impl Iterator<Item = VersionNumber>) {
        for number in numbers {
            if let Err(e) = self.0.ports.registry.withdraw(model, number) {
                tracing::warn!(%model, "{number} stays in the registry: {e}");
            }
        }
    }

    /// An alias of a registered model moved: models that are taken from it get what it points at now, by a commit where trimtab may push.
    pub fn registered_moved(&self, name: &str) {
        let loaded = self.loaded();
        let taken_from = |d: &DatasetSpec| matches!(&d.source, DataSource::Registry(text) if text.rsplit_once(['@', '/']).is_some_and(|(n, _)| n == name));
        let models = loaded.state().models.iter().filter(|(_, m)| m.spec.registered.as_deref().is_some_and(taken_from));
        for (model, _) in models {
            if let Err(e) = self.refresh(model) {
                tracing::error!(%model, "what the registry points at now could not be taken: {e}");
            }
        }
    }
}

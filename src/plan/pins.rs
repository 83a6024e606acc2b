//! Which snapshot each input of a model is pinned to.

use crate::model::*;
use std::collections::BTreeMap;

/// Pins as they follow from lock and store, and the inputs that have none.
#[derive(Debug, Clone, PartialEq)]
pub struct Pins {
    pub pinned: BTreeMap<Name, Digest>,
    pub missing: BTreeMap<Name, DatasetSpec>,
}

/// The lock in Git comes first; then what this very content resolved to before; then the current pin of the same dataset
/// definition, so that new data enters only by a refresh.
pub fn resolve(desired: &DesiredModel, observed: &ObservedModel) -> Pins {
    let before = observed.content_pins.get(&desired.content);
    let mut pins = Pins { pinned: BTreeMap::new(), missing: BTreeMap::new() };
    for (input, dataset) in &desired.spec.data {
        let Some(spec) = desired.datasets.get(dataset) else { continue };
        let same_data = |p: &&Pin| p.dataset.name == spec.name && p.dataset.source == spec.source;
        let current = observed.pins.get(input).filter(same_data).map(|p| p.snapshot);
        let found = desired.locked(input).or_else(|| before.and_then(|p| p.get(input)).copied()).or(current);
        match found {
            Some(snapshot) => drop(pins.pinned.insert(input.clone(), snapshot)),
            None => drop(pins.missing.insert(input.clone(), spec.as_ref().clone())),
        }
    }
    pins
}

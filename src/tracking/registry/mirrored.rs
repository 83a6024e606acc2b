//! What the mirror pushes: the versions that pipelines made.

use super::{
    ModelVersion, Tracked,
    published::{of_the_loop, tag},
};
use crate::tracking::Tracker;

impl Tracker {
    /// Names of models that have versions of the loop.
    pub fn mirrored_models(&self) -> Vec<String> {
        let registry = self.registry();
        let some = registry.models().filter(|m| m.versions().any(|v| of_the_loop(v)));
        some.map(|m| m.record.name.clone()).collect()
    }

    /// Versions of the loop, oldest first.
    pub fn mirrored_versions(&self, name: &str) -> Tracked<Vec<ModelVersion>> {
        let mut versions: Vec<ModelVersion> =
            self.registry().get(name)?.versions().filter(|v| of_the_loop(v)).map(|v| ModelVersion::clone(v)).collect();
        // At another trimtab they are a client's.
        versions.iter_mut().for_each(|v| drop(v.tags.remove(tag::ORIGIN)));
        Ok(versions)
    }
}

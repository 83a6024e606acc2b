//! Who may read and change files: whoever may read and edit the experiment that they belong to.

use crate::{
    api::{
        mlflow::{Call, access::Who, request::Request},
        server::Shared,
    },
    model::{Level, Thing, tracking::TrackingError},
    tracking::{ArtifactPath, Tracked},
};
use axum::{extract::FromRequestParts, http::request::Parts};
use std::convert::Infallible;

/// For calls whose bodies or answers are no documents.
impl FromRequestParts<Shared> for Call {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, api: &Shared) -> Result<Self, Infallible> {
        let who = parts.extensions.get::<Who>().cloned().unwrap_or_default();
        Ok(Self { api: api.clone(), who, request: Request::default(), path: vec![] })
    }
}

impl Call {
    /// Refuses who may not see what is at a path.
    pub fn may_read(&self, path: &ArtifactPath) -> Tracked<()> {
        self.may_with(path, Level::Read)
    }

    /// Refuses who may not change what is at a path.
    pub fn may_edit(&self, path: &ArtifactPath) -> Tracked<()> {
        self.may_with(path, Level::Edit)
    }

    fn may_with(&self, path: &ArtifactPath, level: Level) -> Tracked<()> {
        if self.who == Who::Owner {
            return Ok(());
        }
        // What belongs to nothing is there for nobody but the owner.
        let nobody = || TrackingError::missing(format!("No such artifact: '{}'", path.as_str()));
        let experiment = self.tracker().artifact_owner(path).ok_or_else(nobody)?;
        self.demand(Thing::Experiment(&experiment.name), &format!("the experiment of `{}`", path.as_str()), level)
    }
}

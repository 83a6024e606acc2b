//! How a fleet stands, without its models: for those who look at many daemons.

use super::{
    server::{Answer, Shared, blocking},
    summaries,
    types::Counts,
};
use crate::model::{Now, SourceStatus};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /api/v1/fleet/summary`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FleetOverview {
    pub source: SourceStatus,
    pub counts: Counts,
    /// Why the daemon's state cannot be written now; nothing new is done until it can.
    pub store_error: Option<String>,
    /// The daemon's clocks.
    pub now: Now,
}

pub(super) async fn answer(State(api): State<Shared>) -> Answer<FleetOverview> {
    blocking(move || {
        let r = &api.reconciler;
        Ok(Json(FleetOverview {
            source: r.source_view().status,
            counts: summaries::counts(r),
            store_error: r.store().trouble(),
            now: r.ports().clock.now(),
        }))
    })
    .await
}

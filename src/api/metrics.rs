//! `/metrics`: the daemon's own figures in Prometheus text.

use super::{server::Failure, views};
use crate::{model::*, reconcile::Reconciler};
use axum::http::StatusCode;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use std::sync::atomic::AtomicU64;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Model {
    model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Served {
    model: String,
    environment: String,
}

type Level<L> = Family<L, Gauge>;

/// All figures of now.
pub fn text(r: &Reconciler) -> Result<String, Failure> {
    let fleet = views::fleet(r);
    let mut registry = Registry::with_prefix("trimtab");
    let (models, degraded) = (Gauge::<i64>::default(), Gauge::<i64>::default());
    registry.register("models", "Models that Git asks for", models.clone());
    registry.register("models_degraded", "Models that are Degraded or Missing", degraded.clone());
    models.set(fleet.counts.models as i64);
    degraded.set(fleet.counts.degraded as i64);
    let up = Gauge::<i64>::default();
    registry.register("source_up", "Whether the last fetch succeeded", up.clone());
    up.set(i64::from(fleet.source.error.is_none()));
    let (synced, healthy) = (Level::<Model>::default(), Level::<Model>::default());
    registry.register("model_synced", "Whether live is what Git says", synced.clone());
    registry.register("model_healthy", "Whether what is live works", healthy.clone());
    let version = Level::<Served>::default();
    registry.register("model_version", "Number of the version that serves", version.clone());
    let rate = Family::<Served, Gauge<f64, AtomicU64>>::default();
    registry.register("model_requests_per_second", "Requests of the last 10 seconds", rate.clone());
    for m in &fleet.models {
        let label = Model { model: m.name.to_string() };
        synced.get_or_create(&label).set(i64::from(m.sync == SyncStatus::Synced));
        healthy.get_or_create(&label).set(i64::from(m.health == Health::Healthy));
        for e in &m.environments {
            let label = Served { model: m.name.to_string(), environment: e.environment.to_string() };
            version.get_or_create(&label).set(e.version.map_or(0, |v| v.0.into()));
            rate.get_or_create(&label).set(e.requests_per_s);
        }
    }
    let mut out = String::new();
    encode(&mut out, &registry).map_err(|e| Failure(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    Ok(out)
}

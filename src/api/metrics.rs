//! `/metrics`: the fleet as it stands, what the loop counted, and what the router counted, in Prometheus text.

use super::server::Failure;
use crate::{
    model::*,
    reconcile::{ModelView, Reconciler},
};
use axum::http::StatusCode;
use prometheus::{
    IntGauge, IntGaugeVec, Registry, TextEncoder, register_int_gauge_vec_with_registry,
    register_int_gauge_with_registry,
};

/// All figures of now. The router's own are missing while it does not answer.
pub fn text(r: &Reconciler) -> Result<String, Failure> {
    let failed = |e: prometheus::Error| Failure(StatusCode::INTERNAL_SERVER_ERROR, e.to_string());
    let router = r.ports().target.metrics().inspect_err(|e| tracing::warn!("no figures of the router: {e}"));
    let mut families = r.metrics();
    families.extend(levels(r, router.is_ok()).map_err(failed)?);
    let own = TextEncoder::new().encode_to_string(&families).map_err(failed)?;
    Ok(own + &router.unwrap_or_default())
}

/// Made anew for each scrape: a model that is gone leaves no series behind.
fn levels(r: &Reconciler, router: bool) -> prometheus::Result<Vec<prometheus::proto::MetricFamily>> {
    let views = r.views();
    let health = |v: &ModelView| v.plan.as_ref().map_or(Health::Unknown, |p| p.health);
    let registry = Registry::new();
    let one = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
        register_int_gauge_with_registry!(name.to_owned(), help.to_owned(), registry)
    };
    let many = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntGaugeVec> {
        register_int_gauge_vec_with_registry!(name.to_owned(), help.to_owned(), labels, registry)
    };
    let how_many = |of: &dyn Fn(&ModelView) -> bool| views.iter().filter(|v| of(v)).count() as i64;
    one("trimtab_models", "Models that Git asks for")?.set(how_many(&|_| true));
    one("trimtab_models_degraded", "Models that are Degraded or Missing")?
        .set(how_many(&|v| matches!(health(v), Health::Degraded | Health::Missing)));
    one("trimtab_trainings_running", "Pipelines of which a stage runs or ran")?
        .set(how_many(&|v| v.observed.pipeline.as_deref().is_some_and(Pipeline::has_begun)));
    let rollouts = views.iter().flat_map(|v| v.observed.deployments.values()).filter(|d| d.rollout.is_some()).count();
    one("trimtab_rollouts_running", "Rollouts under way")?.set(rollouts as i64);
    one("trimtab_source_up", "Whether the last fetch succeeded")?.set(r.source_status().error.is_none().into());
    one("trimtab_router_up", "Whether the router answers the daemon")?.set(router.into());
    let synced = many("trimtab_model_synced", "Whether live is what Git says", &["model"])?;
    let healthy = many("trimtab_model_healthy", "Whether what is live works", &["model"])?;
    let version =
        many("trimtab_model_version", "Number of the version that serves, 0 for none", &["model", "environment"])?;
    for v in &views {
        let name = v.observed.name.as_str();
        let sync = v.plan.as_ref().map_or(SyncStatus::Unknown, |p| p.sync);
        synced.get_metric_with_label_values(&[name])?.set((sync == SyncStatus::Synced).into());
        healthy.get_metric_with_label_values(&[name])?.set((health(v) == Health::Healthy).into());
        for (environment, d) in &v.observed.deployments {
            let number = d.stable.map_or(0, |s| s.version.0.into());
            version.get_metric_with_label_values(&[name, environment.as_str()])?.set(number);
        }
    }
    Ok(registry.gather())
}

//! Metrics of logged models: a run logs them, and they belong to the model too.

use super::{LoggedModels, Tracked, Tracker, points_key};
use crate::{
    model::tracking::{ErrorCode, TrackingError},
    search::Point,
    store::{Batch, Table},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One value of a metric of a logged model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelPoint {
    pub key: String,
    pub value: f64,
    /// Milliseconds since the Unix epoch, as the client says.
    pub timestamp: i64,
    pub step: i64,
    pub run_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset_digest: Option<String>,
}

impl From<Point<'_>> for ModelPoint {
    fn from(p: Point<'_>) -> Self {
        let owned = |t: Option<&str>| t.map(str::to_owned);
        Self {
            key: p.key.to_owned(),
            value: p.value,
            timestamp: p.timestamp,
            step: p.step,
            run_id: p.run_id.to_owned(),
            dataset_name: owned(p.dataset_name),
            dataset_digest: owned(p.dataset_digest),
        }
    }
}

/// What may be there once: metric, time, step, run.
type At = (String, i64, i64, String);

/// What was measured there.
#[derive(Debug, Clone, PartialEq)]
struct Measured {
    value: f64,
    dataset_name: Option<String>,
    dataset_digest: Option<String>,
}

/// Every point of a model.
#[derive(Debug, Default)]
pub struct Points(BTreeMap<At, Measured>);

fn parts(p: ModelPoint) -> (At, Measured) {
    let ModelPoint { key, value, timestamp, step, run_id, dataset_name, dataset_digest } = p;
    // The SQL store keeps infinities as the largest floats, and here even NaN as a number.
    let value = if value.is_nan() { 0.0 } else { value.clamp(f64::MIN, f64::MAX) };
    ((key, timestamp, step, run_id), Measured { value, dataset_name, dataset_digest })
}

impl Points {
    /// Puts a point where it belongs.
    pub fn put(&mut self, point: ModelPoint) {
        let (at, measured) = parts(point);
        self.0.insert(at, measured);
    }

    /// Whether the point is new; refused when another one is in its place.
    fn admits(&self, point: &ModelPoint) -> Tracked<bool> {
        let (at, measured) = parts(point.clone());
        match self.0.get(&at) {
            None => Ok(true),
            Some(old) if *old == measured => Ok(false),
            Some(_) => Err(TrackingError::new(
                ErrorCode::BadRequest,
                format!(
                    "The logged model has another value of the metric '{}' at timestamp {}, step {} of run {}",
                    at.0, at.1, at.2, at.3
                ),
            )),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Point<'_>> {
        self.0.iter().map(|((key, timestamp, step, run_id), m)| Point {
            key,
            value: m.value,
            timestamp: *timestamp,
            step: *step,
            run_id,
            dataset_name: m.dataset_name.as_deref(),
            dataset_digest: m.dataset_digest.as_deref(),
        })
    }
}

/// A point with the id of its model.
pub type OfModel = (String, ModelPoint);

impl Tracker {
    /// Takes points into their models and adds them to a batch that the caller hands in next: all or none. When the batch was not kept,
    /// [`Tracker::read_logged_model_again`] takes them back.
    pub fn logged_model_metrics(&self, points: &[OfModel], batch: Batch) -> Tracked<Batch> {
        self.logged_mut().take_points(points, batch)
    }
}

impl LoggedModels {
    /// Takes points in, and adds them to the batch; none when one is refused.
    pub fn take_points(&mut self, points: &[OfModel], mut batch: Batch) -> Tracked<Batch> {
        let unknown = |e: TrackingError| TrackingError::new(ErrorCode::BadRequest, e.message);
        let mut new = Vec::with_capacity(points.len());
        for point in points {
            if self.get(&point.0).map_err(unknown)?.points.admits(&point.1)? {
                new.push(point);
            }
        }
        for of_one in new.chunk_by(|a, b| a.0 == b.0) {
            let (model, number) = (&of_one[0].0, self.next_page);
            batch = batch.put_tracked_bytes(Table::LoggedModel, points_key(model, number), &encoded(of_one)?);
            self.next_page += 1;
            let kept = self.get_mut(model)?;
            of_one.iter().for_each(|(_, point)| kept.points.put(point.clone()));
        }
        Ok(batch)
    }
}

/// Without what JSON cannot write.
fn encoded(points: &[&OfModel]) -> Tracked<Vec<u8>> {
    let finite = |(_, p): &&OfModel| {
        let (_, Measured { value, .. }) = parts(p.clone());
        ModelPoint { value, ..p.clone() }
    };
    let points: Vec<ModelPoint> = points.iter().map(finite).collect();
    serde_json::to_vec(&points)
        .map_err(|e| TrackingError::new(ErrorCode::InternalError, format!("metrics cannot be written: {e}")))
}

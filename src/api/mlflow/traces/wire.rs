//! Traces as they come and go: `TraceInfoV3` and the older `TraceInfo` of `mlflow/protos/service.proto`, in protobuf's JSON.

use crate::{
    model::tracking::TrackingError,
    tracking::{Trace, TraceState, Tracked},
};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What is `null` counts as left out.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OfExperiment {
    #[serde(default, alias = "experimentId")]
    pub experiment_id: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Location {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default, alias = "mlflowExperiment", skip_serializing_if = "Option::is_none")]
    pub mlflow_experiment: Option<OfExperiment>,
}

/// Of clients of today.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Info {
    #[serde(default, alias = "traceId")]
    trace_id: String,
    #[serde(default, alias = "clientRequestId", skip_serializing_if = "Option::is_none")]
    client_request_id: Option<String>,
    #[serde(default, alias = "traceLocation", deserialize_with = "given")]
    trace_location: Location,
    #[serde(default, alias = "requestPreview", skip_serializing_if = "Option::is_none")]
    request_preview: Option<String>,
    #[serde(default, alias = "responsePreview", skip_serializing_if = "Option::is_none")]
    response_preview: Option<String>,
    #[serde(default, alias = "requestTime", deserialize_with = "given")]
    request_time: String,
    #[serde(default, alias = "executionDuration", skip_serializing_if = "Option::is_none")]
    execution_duration: Option<String>,
    #[serde(default, deserialize_with = "given")]
    state: String,
    #[serde(default, alias = "traceMetadata", deserialize_with = "given", skip_serializing_if = "BTreeMap::is_empty")]
    trace_metadata: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Vec::is_empty")]
    assessments: Vec<Value>,
}

/// The body of a call that sends a trace, and the answer to one that asks for one.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Whole {
    pub trace: Option<OfInfo>,
}
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct OfInfo {
    #[serde(default, alias = "traceInfo", deserialize_with = "given")]
    pub trace_info: Info,
}

fn invalid(field: &str, value: &str) -> TrackingError {
    TrackingError::invalid(format!("Invalid value '{value}' for parameter '{field}' supplied."))
}

/// Seconds with an `s`, as milliseconds.
fn duration(text: &str) -> Option<i64> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    // Further than any clock goes.
    (seconds.abs() < 1e12).then(|| (seconds * 1000.0).round() as i64)
}

fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}s", ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000)
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}

impl Info {
    /// The experiment that it names.
    pub fn experiment(&self) -> &str {
        self.trace_location.mlflow_experiment.as_ref().map_or("", |e| &e.experiment_id)
    }

    /// What a client sent.
    pub fn read(self, experiment: u64) -> Tracked<Trace> {
        let started = match self.request_time.as_str() {
            "" => 0,
            text => {
                let time: Timestamp = text.parse().map_err(|_| invalid("request_time", text))?;
                time.as_millisecond()
            }
        };
        let length = |text: String| duration(&text).ok_or_else(|| invalid("execution_duration", &text));
        Ok(Trace {
            id: self.trace_id,
            experiment,
            started,
            duration: self.execution_duration.map(length).transpose()?,
            state: TraceState::of(&self.state),
            request_preview: self.request_preview,
            response_preview: self.response_preview,
            client_request_id: self.client_request_id,
            metadata: self.trace_metadata,
            tags: self.tags,
            assessments: self.assessments,
            runs: vec![],
        })
    }
}

impl From<Trace> for Info {
    fn from(trace: Trace) -> Self {
        let experiment_id = trace.experiment.to_string();
        let kind = "MLFLOW_EXPERIMENT".to_owned();
        Self {
            trace_id: trace.id,
            client_request_id: trace.client_request_id,
            trace_location: Location { kind, mlflow_experiment: Some(OfExperiment { experiment_id }) },
            request_preview: trace.request_preview,
            response_preview: trace.response_preview,
            request_time: time(trace.started),
            execution_duration: trace.duration.map(seconds),
            state: trace.state.name().to_owned(),
            trace_metadata: trace.metadata,
            tags: trace.tags,
            assessments: trace.assessments,
        }
    }
}

impl From<Trace> for Whole {
    fn from(trace: Trace) -> Self {
        Self { trace: Some(OfInfo { trace_info: trace.into() }) }
    }
}

#[derive(Debug, Serialize)]
struct Pair {
    key: String,
    value: String,
}

/// Of clients before 3.
#[derive(Debug, Serialize)]
pub struct OldInfo {
    request_id: String,
    experiment_id: String,
    timestamp_ms: i64,
    execution_time_ms: i64,
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    request_metadata: Vec<Pair>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Pair>,
}

fn pairs(map: BTreeMap<String, String>) -> Vec<Pair> {
    map.into_iter().map(|(key, value)| Pair { key, value }).collect()
}

impl From<Trace> for OldInfo {
    fn from(trace: Trace) -> Self {
        Self {
            request_id: trace.id,
            experiment_id: trace.experiment.to_string(),
            timestamp_ms: trace.started,
            execution_time_ms: trace.duration.unwrap_or_default(),
            status: match trace.state {
                TraceState::StateUnspecified => "TRACE_STATUS_UNSPECIFIED",
                state => state.name(),
            },
            request_metadata: pairs(trace.metadata),
            tags: pairs(trace.tags),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_reads_as_it_was_written() {
        let sent = serde_json::json!({"trace": {"trace_info": {
            "trace_id": "tr-1", "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "7"}},
            "request_preview": "{\"x\": 1}", "request_time": "2026-11-26T15:00:00.123Z", "execution_duration": "0.250s", "state": "OK",
            "trace_metadata": {"mlflow.sourceRun": "r"}, "tags": {"mlflow.traceName": "f"}, "assessments": [{"assessment_name": "a"}]
        }, "trace_data": {}}});
        let whole: Whole = serde_json::from_value(sent.clone()).unwrap();
        let info = whole.trace.unwrap().trace_info;
        assert_eq!(info.experiment(), "7");
        let trace = info.read(7).unwrap();
        assert_eq!((trace.started, trace.duration), (1_795_705_200_123, Some(250)));
        let told = serde_json::to_value(Whole::from(trace)).unwrap();
        assert_eq!(told["trace"]["trace_info"], sent["trace"]["trace_info"]);
    }

    #[test]
    fn durations_and_times_are_protobufs() {
        for (text, ms) in [("1s", Some(1000)), ("0.0015s", Some(2)), ("-1.5s", Some(-1500)), ("1", None), ("xs", None)]
        {
            assert_eq!(duration(text), ms, "{text}");
        }
        assert_eq!(
            (seconds(1234), seconds(-1), time(0)),
            ("1.234s".into(), "-0.001s".into(), "1970-01-01T00:00:00.000Z".into())
        );
        let bad = Info { request_time: "yesterday".into(), ..Info::default() };
        assert_eq!(bad.read(0).unwrap_err().code.status(), 400);
    }
}

//! What MLflow's user interface asks about and this server does not have: whether there are any scorers, queues for review. The
//! answer is that there are none. For the interface alone: a client that calls them for work is told that there is no such call.
//!
//! Source: `mlflow/server/handlers.py`; protobuf's JSON of an empty list is an object without it.

use super::Shared;
use axum::{
    Router,
    http::header,
    routing::{MethodFilter, on},
};

/// Path below `/ajax-api/`, how it is asked, what is said.
const NONE: &[(&str, MethodFilter, &str)] = &[
    ("2.0/mlflow/gateway-proxy", MethodFilter::GET, r#"{"endpoints":[]}"#),
    ("3.0/mlflow/ui-telemetry", MethodFilter::GET, NO_TELEMETRY),
    ("3.0/mlflow/ui-telemetry", MethodFilter::POST, r#"{"status":"disabled"}"#),
    ("3.0/mlflow/scorers/list", MethodFilter::GET, EMPTY),
    ("3.0/mlflow/datasets/search", MethodFilter::POST, EMPTY),
    ("3.0/mlflow/label-schemas/list", MethodFilter::GET, EMPTY),
    ("3.0/mlflow/review-queues/list", MethodFilter::GET, EMPTY),
    ("3.0/mlflow/gateway/endpoints/list", MethodFilter::GET, EMPTY),
    ("3.0/mlflow/gateway/secrets/list", MethodFilter::GET, EMPTY),
    ("3.0/mlflow/mcp-servers", MethodFilter::GET, r#"{"mcp_servers":[],"next_page_token":null}"#),
    (
        "3.0/mlflow/assistant/config",
        MethodFilter::GET,
        r#"{"providers":{},"projects":{},"remote_access_allowed":false}"#,
    ),
    ("3.0/mlflow/assistant/providers", MethodFilter::GET, NO_ASSISTANT),
    ("2.0/mlflow/webhooks", MethodFilter::GET, EMPTY),
];
const EMPTY: &str = "{}";
/// `FALLBACK_UI_CONFIG` in `mlflow/telemetry/constant.py`.
const NO_TELEMETRY: &str = r#"{"disable_ui_telemetry":true,"disable_ui_events":[],"ui_rollout_percentage":0}"#;

const NO_ASSISTANT: &str = r#"{"providers":[],"resolved":null,"gateway_vendor_options":{}}"#;

pub(super) fn router() -> Router<Shared> {
    NONE.iter().fold(Router::new(), |router, (path, method, said)| {
        let answer = async || ([(header::CONTENT_TYPE, "application/json")], *said);
        router.route(&format!("/ajax-api/{path}"), on(*method, answer))
    })
}

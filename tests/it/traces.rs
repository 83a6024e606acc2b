//! Traces as MLflow's clients send and ask for them.

use crate::support::World;
use serde_json::{Value, json};

struct Client {
    address: String,
    token: String,
    http: reqwest::blocking::Client,
}

fn start(w: &mut World) -> Client {
    let (address, token) = w.start_tcp();
    Client { address, token, http: reqwest::blocking::Client::builder().no_proxy().build().unwrap() }
}

impl Client {
    fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}{path}", self.address);
        let request = self.http.request(method.parse().unwrap(), url).bearer_auth(&self.token);
        let request = if method == "GET" { request } else { request.json(&body) };
        let answer = request.send().unwrap();
        (answer.status().as_u16(), answer.json().unwrap_or_default())
    }
}

fn trace(id: &str, second: u32) -> Value {
    let location = json!({"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}});
    let info = json!({
        "trace_id": id, "trace_location": location, "request_time": format!("2026-11-26T15:00:{second:02}Z"),
        "execution_duration": "0.250s", "state": "OK", "request_preview": "{\"x\": 1}",
        "trace_metadata": {"mlflow.trace_schema.version": "3"}, "tags": {"mlflow.traceName": "f"},
    });
    json!({"trace": {"trace_info": info, "trace_data": {}}})
}

#[test]
fn traces_are_kept_found_tagged_and_deleted_with_their_files() {
    let mut w = World::new();
    let c = start(&mut w);
    // Clients take this for an older server, and send spans as a file.
    let (status, said) = c.call("POST", "/v1/traces", json!({}));
    assert_eq!(status, 501);
    assert!(said["message"].as_str().unwrap().starts_with("REST OTLP span logging is not supported"), "{said}");

    for n in 1..=3 {
        let (status, told) = c.call("POST", "/api/3.0/mlflow/traces", trace(&format!("tr-{n}"), n));
        assert_eq!(status, 200, "{told}");
        let info = &told["trace"]["trace_info"];
        assert_eq!(info["tags"]["mlflow.artifactLocation"], format!("mlflow-artifacts:/0/traces/tr-{n}/artifacts"));
        assert_eq!(info["request_time"], format!("2026-11-26T15:00:{n:02}.000Z"));
        let file = format!("/api/2.0/mlflow-artifacts/artifacts/0/traces/tr-{n}/artifacts/traces.json");
        assert_eq!(c.call("PUT", &file, json!({"spans": [n]})).0, 200);
    }
    assert_eq!(
        c.call("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/traces/tr-9/artifacts/traces.json", json!({})).0,
        404
    );
    w.kill();
    let c = start(&mut w);
    let search = |filter: &str| {
        let locations = json!([{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}]);
        let asked = json!({"locations": locations, "filter": filter, "max_results": 2});
        let (status, found) = c.call("POST", "/api/3.0/mlflow/traces/search", asked);
        let ids: Vec<String> = found["traces"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|t| t["trace_id"].as_str().unwrap().to_owned())
            .collect();
        (status, ids, found["next_page_token"].is_string())
    };
    assert_eq!(search(""), (200, vec!["tr-3".into(), "tr-2".into()], true));
    assert_eq!(
        c.call("PATCH", "/api/2.0/mlflow/traces/tr-1/tags", json!({"key": "k", "value": "v"})),
        (200, json!({}))
    );
    assert_eq!(search("tag.k = 'v'"), (200, vec!["tr-1".into()], false));
    assert_eq!(search("span.name = 'v'").0, 400);
    assert_eq!(c.call("DELETE", "/api/2.0/mlflow/traces/tr-1/tags", json!({"key": "k"})), (200, json!({})));
    let (_, told) = c.call("GET", "/api/3.0/mlflow/traces/tr-1", json!({}));
    assert_eq!(told["trace"]["trace_info"]["tags"].as_object().unwrap().len(), 2, "{told}");
    let shown =
        |id: &str| c.call("GET", &format!("/ajax-api/2.0/mlflow/get-trace-artifact?request_id={id}"), json!({}));
    assert_eq!(shown("tr-2"), (200, json!({"spans": [2]})));

    let gone = json!({"experiment_id": "0", "request_ids": ["tr-2"]});
    assert_eq!(c.call("POST", "/api/2.0/mlflow/traces/delete-traces", gone), (200, json!({"traces_deleted": 1})));
    assert_eq!(shown("tr-2").0, 404);
    assert_eq!(search("").1, ["tr-3", "tr-1"]);
    let (status, said) = c.call("GET", "/api/3.0/mlflow/traces/tr-2", json!({}));
    assert_eq!((status, &said["message"]), (404, &json!("Trace with ID 'tr-2' not found.")));

    // As clients before 3 do it.
    let begun =
        json!({"experiment_id": "0", "timestamp_ms": 1000, "tags": [{"key": "mlflow.traceName", "value": "old"}]});
    let (status, told) = c.call("POST", "/api/2.0/mlflow/traces", begun);
    assert_eq!((status, &told["trace_info"]["status"]), (200, &json!("IN_PROGRESS")));
    let id = told["trace_info"]["request_id"].as_str().unwrap();
    let ended = json!({"timestamp_ms": 1500, "status": "ERROR"});
    let (_, told) = c.call("PATCH", &format!("/api/2.0/mlflow/traces/{id}"), ended);
    assert_eq!(
        (&told["trace_info"]["execution_time_ms"], &told["trace_info"]["status"]),
        (&json!(500), &json!("ERROR"))
    );
    let (_, info) = c.call("GET", &format!("/api/2.0/mlflow/traces/{id}/info"), json!({}));
    assert_eq!(info, told);
    let (_, old) = c.call("GET", "/api/2.0/mlflow/traces?experiment_ids=0&filter=status%20%3D%20'ERROR'", json!({}));
    assert_eq!(old["traces"][0]["request_id"], id);
}

//! MLflow's own web interface in a browser (Debian: `apt-get install chromium`): its pages show what the real client logged, and nothing that they
//! ask for fails.

use crate::support::{World, eventually};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Response, header},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

/// What is looked at; prints what the pages' addresses are made of.
const FILL: &str = r#"
import json, mlflow, tempfile
from mlflow import MlflowClient
client = MlflowClient()
experiment = mlflow.set_experiment("fraud").experiment_id
runs = []
for i in range(2):
    with mlflow.start_run(run_name=f"careful-otter-{i}") as run:
        mlflow.log_param("depth", 4 + i)
        for step in range(20):
            mlflow.log_metric("auc", 1 - 0.5 / (step + 1 + i), step=step)
        mlflow.log_text("read me", "notes/hello.txt")
        with mlflow.start_run(run_name=f"child-{i}", nested=True):
            mlflow.log_metric("auc", 0.5)
        runs.append(run.info.run_id)
        model = mlflow.initialize_logged_model(name="scorer", params={"alpha": "0.1"})
        mlflow.log_metric("accuracy", 0.75, model_id=model.model_id)
        with tempfile.TemporaryDirectory() as folder:
            open(folder + "/MLmodel", "w").write("artifact_path: scorer\nflavors: {}\n")
            client.log_model_artifacts(model.model_id, folder)
        mlflow.finalize_logged_model(model.model_id, "READY")
client.create_registered_model("fraud-detector", description="finds it")
client.create_model_version("fraud-detector", f"models:/{model.model_id}", runs[1], model_id=model.model_id)
client.set_registered_model_alias("fraud-detector", "champion", "1")
print("made", json.dumps({"experiment": experiment, "runs": runs, "model": model.model_id}))
"#;

/// Chromium without what it asks its maker for.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // Waits for what the page waits for, without its pauses.
    "--virtual-time-budget=20000",
    "--dump-dom",
];

/// Stands between browser and daemon: shows the token, which a browser would ask its user for, and notes what failed.
#[derive(Clone)]
struct Between {
    daemon: String,
    token: String,
    client: reqwest::Client,
    failed: Arc<Mutex<Vec<String>>>,
}

impl Between {
    /// Its address.
    fn start(self) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let app = Router::new().fallback(pass).with_state(self);
                axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), app).await.unwrap();
            });
        });
        format!("http://{address}")
    }
}

async fn pass(State(between): State<Between>, request: Request) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    head.headers.remove(header::HOST);
    let asked = between.client.request(head.method.clone(), format!("{}{}", between.daemon, head.uri));
    let answer = asked.headers(head.headers).basic_auth("ada", Some(&between.token)).body(body).send().await.unwrap();
    // Asked to learn whether MLflow's plugin for users is there: no server without it knows the call.
    if !answer.status().is_success() && head.uri.path() != "/ajax-api/2.0/mlflow/users/current" {
        between.failed.lock().unwrap().push(format!("{} {} {}", answer.status(), head.method, head.uri));
    }
    let media = answer.headers().get(header::CONTENT_TYPE).cloned();
    let mut passed = Response::builder().status(answer.status());
    passed.headers_mut().unwrap().extend(media.map(|media| (header::CONTENT_TYPE, media)));
    passed.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

/// The page as it stands when it is done.
fn page(profile: &Path, address: &str) -> String {
    let mut browser = Command::new("timeout");
    browser.args(["120", "chromium"]).args(FLAGS).arg(format!("--user-data-dir={}", profile.display())).arg(address);
    let output = browser.output().unwrap();
    assert!(output.status.success(), "{address}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Logs by the real client; says what it made.
fn fill(python: &str, daemon: &str, token: &str) -> Value {
    let mut script = Command::new(python);
    script.args(["-c", FILL]).env("MLFLOW_TRACKING_URI", daemon).env("MLFLOW_TRACKING_TOKEN", token);
    let output = script.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let made = said.lines().find_map(|l| l.strip_prefix("made "));
    serde_json::from_str(made.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)))).unwrap()
}

#[test]
fn pages_of_mlflows_interface_show_what_was_logged_and_no_request_fails() {
    let python = std::env::var("TRIMTAB_TEST_MLFLOW").expect("TRIMTAB_TEST_MLFLOW names a Python that has mlflow");
    let mut world = World::new();
    let settings = format!("schema = \"trimtab/v1\"\n[ui]\nmlflow = true\npython = \"{python}\"\n");
    world.commit("ui", &[("specs/trimtab.toml", Some(&settings))]);
    world.start();
    let read = |name: &str| fs::read_to_string(world.state().join(name)).unwrap();
    let (daemon, token) = (format!("http://{}", read("tracking")), read("token"));
    let made = fill(&python, &daemon, &token);

    let failed = Arc::new(Mutex::new(vec![]));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let base = Between { daemon, token, client, failed: failed.clone() }.start();
    let e = format!("/experiments/{}", made["experiment"].as_str().unwrap());
    let run = format!("{e}/runs/{}", made["runs"][0].as_str().unwrap());
    let model = format!("{e}/models/{}", made["model"].as_str().unwrap());
    let quoted = |v: &Value| form_urlencoded::byte_serialize(v.to_string().as_bytes()).collect::<String>();
    let compared =
        format!("/compare-runs?runs={}&experiments={}", quoted(&made["runs"]), quoted(&json!([made["experiment"]])));
    let profile = world.path("profile");
    for (at, shown) in [
        ("/experiments".to_owned(), &["fraud"][..]),
        (format!("{e}/runs"), &["careful-otter-0", "careful-otter-1"]),
        (format!("{e}/models"), &["scorer"]),
        (run.clone(), &["careful-otter-0", "depth", "auc", "child-0"]),
        (format!("{run}/model-metrics"), &["auc", "Step"]),
        (format!("{run}/artifacts/notes/hello.txt"), &["hello.txt", "read me"]),
        (compared, &["careful-otter-0", "careful-otter-1", "depth", "auc"]),
        (model, &["scorer", "alpha", "accuracy", "fraud-detector"]),
        ("/models".to_owned(), &["fraud-detector", "champion"]),
        ("/models/fraud-detector".to_owned(), &["finds it", "Version 1", "champion"]),
        ("/models/fraud-detector/versions/1".to_owned(), &["Version 1", "careful-otter-1", "champion"]),
    ] {
        let address = format!("{base}/#{at}");
        // A busy machine may have the page not done in time.
        eventually(&format!("{at} shows {shown:?}"), Duration::from_secs(180), || {
            let page = page(&profile, &address);
            shown.iter().all(|word| page.contains(word)).then_some(())
        });
        assert_eq!(*failed.lock().unwrap(), Vec::<String>::new(), "{at}");
    }
}

//! Where the files of MLflow's own web interface are: in the package that the user's Python has.

use std::{path::PathBuf, process::Stdio, time::Duration};
use tokio::{process::Command, sync::Mutex, time::Instant};

/// Says which Python has MLflow, whatever Git says: a machine's folders are its own.
const PYTHON: &str = "TRIMTAB_MLFLOW_PYTHON";
/// Finds the package without running it, which would take seconds.
const PROGRAM: &str = "import importlib.metadata, importlib.util, os\n\
    spec = importlib.util.find_spec('mlflow')\n\
    if spec and spec.origin:\n    \
        print(os.path.join(os.path.dirname(spec.origin), 'server', 'js', 'build'))\n    \
        print(importlib.metadata.version('mlflow'))\n";
/// How long it may take to say so.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a failure holds: MLflow may be installed meanwhile.
const AGAIN: Duration = Duration::from_secs(5);

/// What was found by one Python.
#[derive(Debug, Clone)]
struct Looked {
    python: String,
    found: Result<PathBuf, String>,
    at: Instant,
}

/// The folder, looked for once.
#[derive(Debug, Default)]
pub struct Folder(Mutex<Option<Looked>>);

impl Folder {
    /// The folder with `index.html`, or why there is none. `python` is what Git names.
    pub async fn find(&self, python: Option<&str>) -> Result<PathBuf, String> {
        let named = std::env::var(PYTHON).ok().filter(|p| !p.is_empty());
        let python = named.unwrap_or_else(|| python.unwrap_or("python3").to_owned());
        let mut looked = self.0.lock().await;
        if let Some(before) = looked.as_ref().filter(|l| l.python == python) {
            match &before.found {
                // A package that was taken away is looked for anew.
                Ok(folder) if folder.join("index.html").is_file() => return Ok(folder.clone()),
                Err(why) if before.at.elapsed() < AGAIN => return Err(why.clone()),
                _ => {}
            }
        }
        let found = ask(&python).await;
        match &found {
            Ok(folder) => tracing::info!("MLflow's user interface is served from {}", folder.display()),
            Err(why) => tracing::warn!("{why}"),
        }
        *looked = Some(Looked { python, found: found.clone(), at: Instant::now() });
        found
    }
}

async fn ask(python: &str) -> Result<PathBuf, String> {
    let failed = |what: String| {
        format!(
            "MLflow's user interface cannot be served: {what}. Install it (pip install mlflow=={}), or name the Python that has it: `python` under \
             [ui] in trimtab.toml, or {PYTHON}",
            super::super::server::VERSION
        )
    };
    // Where the daemon happened to be started must not count as a folder of packages.
    let mut command = Command::new(python);
    command.args(["-c", PROGRAM]).current_dir("/").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(e)) => return Err(failed(format!("`{python}` does not run ({e})"))),
        Err(_) => return Err(failed(format!("`{python}` did not say where MLflow is"))),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let mut lines = said.lines();
    let Some(folder) = lines.next().filter(|_| output.status.success()).map(PathBuf::from) else {
        return Err(failed(format!("`{python}` has no package `mlflow`")));
    };
    if !folder.join("index.html").is_file() {
        return Err(failed(format!(
            "the package of `{python}` holds no user interface ({} is missing)",
            folder.display()
        )));
    }
    let (ours, theirs) = (super::super::server::VERSION, lines.next().unwrap_or_default());
    if theirs != ours {
        tracing::warn!(
            "`{python}` has MLflow {theirs}; its user interface is made for another API than {ours}, which is served here"
        );
    }
    folder.canonicalize().map_err(|e| failed(format!("{}: {e}", folder.display())))
}

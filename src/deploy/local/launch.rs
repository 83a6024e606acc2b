//! Starting the process of a replica.

use super::{
    Key, Shared,
    folder::{self, Record},
    lock, probe,
    replica::{GRACE, Live, Recipe},
    runtime,
};
use crate::{
    model::*,
    ports::{PortError, PortResult},
    process::{self, ShimSpec},
};
use std::path::Path;

const LOG_LIMIT: u64 = 16 << 20;

/// Starts the process of a replica; `bin` holds the programs of its Python environment.
pub fn launch(
    shared: &Shared,
    key: &Key,
    release: Release,
    index: u32,
    recipe: &Recipe,
    bin: Option<&Path>,
    folder: &Path,
) -> PortResult<Live> {
    let Recipe { serve, layout, .. } = recipe;
    let generation = layout.generation();
    let argv = runtime::argv(&shared.config.exe, &serve.run, folder)?;
    let mut environment = process::environment::clean(&serve.secrets)?;
    let variables = &mut environment.variables;
    if let Some(bin) = bin {
        let path = variables.get("PATH").map_or(String::new(), |p| format!(":{p}"));
        variables.insert("PATH".into(), format!("{}{path}", bin.display()));
        if let Some(venv) = bin.parent() {
            variables.insert("VIRTUAL_ENV".into(), venv.display().to_string());
        }
    }
    let address =
        probe::free_port(shared).map_err(|e| PortError::retryable(format!("no free port for a replica: {e}")))?;
    let set = [
        ("PORT", address.port().to_string()),
        ("TRIMTAB_ARTIFACT", folder.join("artifact").display().to_string()),
        ("TRIMTAB_MODEL", key.1.to_string()),
        ("TRIMTAB_ENVIRONMENT", key.0.to_string()),
        ("TRIMTAB_VERSION", release.version.to_string()),
        ("PYTHONUNBUFFERED", "1".into()),
    ];
    variables.extend(set.map(|(name, value)| (name.to_owned(), value)));
    let spec = ShimSpec {
        argv,
        env: environment.variables,
        mask: environment.secrets,
        cwd: folder.join("code"),
        log: folder::replica_log(&shared.config.state_dir, &key.0, &key.1, &release, index),
        log_limit: LOG_LIMIT,
        timeout_ms: None,
        memory: serve.memory,
        grace_ms: GRACE.as_millis() as u64,
    };
    let record = Record { release, index, address, drain_ms: serve.drain.0 };
    let started = folder::intend(folder, &record).and_then(|dir| {
        let handle = process::spawn(&shared.config.exe, &dir, &spec).inspect_err(|_| folder::remove(&dir))?;
        Ok(Live { record, dir, handle, generation })
    });
    started.inspect_err(|_| {
        lock(&shared.ports).remove(&address.port());
    })
}

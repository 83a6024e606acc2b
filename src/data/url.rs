//! Datasets on web servers.

use super::DatasetsConfig;
use crate::{model::*, ports::*};
use std::io::{Read, Write};

/// A download may have this many bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// Downloads into the artifact store.
pub fn download(url: &str, config: &DatasetsConfig, artifacts: &dyn ArtifactStore) -> PortResult<Manifest> {
    let failed = |e: reqwest::Error| PortError::retryable(explain(url, &e));
    let client = reqwest::blocking::Client::builder()
        .timeout(config.timeout)
        .connect_timeout(config.timeout)
        .redirect(reqwest::redirect::Policy::limited(5))
        .user_agent(concat!("trimtab/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(failed)?;
    let mut answer = client.get(url).send().map_err(failed)?;
    if !answer.status().is_success() {
        return Err(PortError::retryable(format!("{url} answered {}", answer.status())));
    }
    let expected = answer.content_length();
    let dir = config.state.join("artifacts/tmp");
    let io = |e: std::io::Error| PortError::retryable(format!("{url}: {e}"));
    let mut file = tempfile::NamedTempFile::new_in(&dir).map_err(io)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0u64;
    loop {
        let n = answer.read(&mut buffer).map_err(io)?;
        if n == 0 {
            break;
        }
        size += n as u64;
        if size > MAX_BYTES {
            return Err(PortError::permanent(format!("{url} has more than {MAX_BYTES} bytes")));
        }
        file.write_all(&buffer[..n]).map_err(io)?;
    }
    if expected.is_some_and(|e| e != size) {
        return Err(PortError::retryable(format!("{url} ended after {size} of {} bytes", expected.unwrap_or(0))));
    }
    file.flush().map_err(io)?;
    let name = url
        .split(['?', '#'])
        .next()
        .and_then(|u| u.rsplit('/').next())
        .filter(|n| !n.is_empty() && *n != "..")
        .unwrap_or("data");
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
    let name = if name.trim_matches('.').is_empty() { "data".to_owned() } else { name };
    let entry = artifacts.put_file(file.path(), &name)?;
    Ok(Manifest { files: vec![FileEntry { executable: false, ..entry }] })
}

/// The whole chain of causes: the innermost says what is wrong.
fn explain(url: &str, error: &reqwest::Error) -> String {
    let mut text = format!("cannot download {url}");
    let mut cause = std::error::Error::source(error);
    while let Some(c) = cause {
        text = format!("{text}: {c}");
        cause = c.source();
    }
    if error.is_timeout() { format!("{text}: no answer in time") } else { text }
}

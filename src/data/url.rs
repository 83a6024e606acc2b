//! Datasets on web servers.

use super::DatasetsConfig;
use crate::{model::*, ports::*};
use std::{
    io::{Read, Write},
    time::Instant,
};

/// A download may have this many bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// Downloads into the artifact store.
pub fn download(
    url: &str,
    config: &DatasetsConfig,
    artifacts: &dyn ArtifactStore,
    cancel: &Cancel,
) -> PortResult<Manifest> {
    let begun = Instant::now();
    let failed = |e: reqwest::Error| PortError::retryable(explain(url, &e, config));
    let client = reqwest::blocking::Client::builder()
        // Of a blocking client this is the limit of each wait: for the answer's head, and for each piece of its body.
        .timeout(config.idle)
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
        let read = answer.read(&mut buffer).map_err(|e| {
            let of_http = e.get_ref().and_then(|e| e.downcast_ref::<reqwest::Error>());
            let why = of_http.map_or_else(|| format!("cannot download {url}: {e}"), |e| explain(url, e, config));
            PortError::retryable(format!("{why} (after {size} bytes)"))
        });
        let n = read?;
        if n == 0 {
            break;
        }
        if cancel.is_cancelled() {
            return Err(cancel.error());
        }
        if begun.elapsed() > config.longest {
            let limit = Millis(config.longest.as_millis() as u64);
            return Err(PortError::retryable(format!(
                "{url} is not done after {limit} ({size} bytes): it was given up"
            )));
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
fn explain(url: &str, error: &reqwest::Error, config: &DatasetsConfig) -> String {
    if error.is_timeout() {
        let idle = Millis(config.idle.as_millis() as u64);
        return format!("cannot download {url}: the server sent nothing for {idle}");
    }
    let mut text = format!("cannot download {url}");
    let mut cause = std::error::Error::source(error);
    while let Some(c) = cause {
        text = format!("{text}: {c}");
        cause = c.source();
    }
    text
}

//! Places of files that callers name, checked as MLflow's handlers do.

use super::{Tracked, registry::uri};
use crate::{model::tracking::TrackingError, search::python_text};

/// Schemes that lead to a host of the caller's choice.
const HOSTS: &[&str] = &["ftp", "sftp", "hdfs", "viewfs", "http", "https", "mlflow-artifacts", "r2", "b2", "abfss"];
/// Schemes whose paths have parameters (Python's `urllib.parse.uses_params`).
const WITH_PARAMS: &[&str] = &["", "ftp", "hdl", "http", "https", "mms", "rtsp", "rtspu", "sftp", "sip", "sips", "tel"];
/// Characters of a place.
const LONGEST: usize = 2048;

/// Refuses a place at a host of the caller's choice; `field` is what names it.
pub fn no_host(field: &str, place: &str) -> Tracked<()> {
    let uri::Uri { scheme, host, .. } = uri::parse(place);
    if !HOSTS.contains(&scheme.as_str()) || (scheme == "mlflow-artifacts" && host.is_empty()) {
        return Ok(());
    }
    Err(TrackingError::invalid(format!(
        "'{field}' cannot use the '{scheme}' scheme: the '{scheme}' scheme addresses a host other than the tracking server's \
         configured artifact storage, so the server would connect to the host named in the URI."
    )))
}

/// Checks where an experiment's files are to go; empty is the server's own place.
pub fn check(place: &str) -> Tracked<()> {
    const FIELD: &str = "artifact_location";
    let uri::Uri { scheme, host, path } = uri::parse(place);
    let refused = |words: String| Err(TrackingError::invalid(words));
    let last = path.rsplit('/').next().unwrap_or_default();
    if place.contains('#') || (WITH_PARAMS.contains(&scheme.as_str()) && last.contains(';')) {
        return refused(format!("'{FIELD}' URL can't include fragments or params."));
    }
    let query = place.split_once('?').map_or("", |(_, query)| query);
    if uri::unquoted(query, true).contains("..") {
        return refused("Invalid query string".into());
    }
    no_host(FIELD, place)?;
    if scheme == "runs" {
        return refused(format!("Artifact location cannot be a runs:/ URI. Given: {}", python_text(place)));
    }
    if scheme == "file" && !["", "localhost", "127.0.0.1"].contains(&host) {
        return refused(format!("{place} is not a valid remote uri."));
    }
    if place.chars().count() > LONGEST {
        return refused(format!(
            "Invalid artifact path length. The length of the artifact path cannot be greater than {LONGEST} characters."
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_hosts_and_of_other_things_are_refused() {
        for good in
            ["", "s3://b/x", "/tmp/x", "relative", "file:///x", "dbfs:/x", "mlflow-artifacts:/x", "s3://b/x?y=z"]
        {
            assert!(check(good).is_ok(), "{good}");
        }
        let long = "x".repeat(2049);
        for bad in
            ["http://h/x", "s3://b/x#y", "s3://b/x?y=..", "s3://b/x?y=%2e%2e", "runs:/a/b", "file://h/x", "a;b", &long]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}

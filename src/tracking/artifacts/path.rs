//! Paths of uploaded files, as MLflow's `validate_path_is_safe` (`mlflow/utils/uri.py`) reads them, and stricter: here no name is special.

use crate::{model::tracking::TrackingError, tracking::Tracked};
use percent_encoding::percent_decode_str;

/// As file systems have it: clients lay what they download out as files.
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 2048;
/// The folder of a run, a model or a trace below which its files are.
const FILES: &str = "artifacts";
/// In addresses that name the proxy itself.
const SERVICE: &str = "/mlflow-artifacts/artifacts";

/// A path below the proxy's root that leads nowhere else: clean names with `/` between them. Empty for the root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArtifactPath(String);

fn invalid() -> TrackingError {
    TrackingError::invalid("Invalid path")
}

/// Decoded until nothing changes: what is encoded twice must not pass for something else.
fn decoded(given: &str) -> Option<String> {
    let mut text = given.to_owned();
    for _ in 0..10 {
        let once = percent_decode_str(&text).decode_utf8().ok()?.into_owned();
        if once == text {
            return Some(text);
        }
        text = once;
    }
    None
}

/// A letter and a colon before a separator, `file:` at the beginning: absolute elsewhere.
fn is_absolute(path: &str) -> bool {
    let drive = path.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) && path.get(1..3) == Some(":/");
    let file = path.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:"));
    path.starts_with('/') || drive || file
}

impl ArtifactPath {
    /// Reads a path; empty names and `.` are left out.
    pub fn new(given: &str) -> Tracked<Self> {
        let decoded = decoded(given).ok_or_else(invalid)?;
        if decoded.len() > PATH_MAX || is_absolute(&decoded) || decoded.contains(['\\', '#', '\0']) {
            return Err(invalid());
        }
        let mut path = String::with_capacity(decoded.len());
        for name in decoded.split('/').filter(|n| !n.is_empty() && *n != ".") {
            if name == ".." || name.len() > NAME_MAX {
                return Err(invalid());
            }
            if !path.is_empty() {
                path.push('/');
            }
            for c in name.chars() {
                // As MLflow writes them.
                if c.is_ascii_control() { path.push_str(&format!("%{:02x}", c as u32)) } else { path.push(c) }
            }
        }
        Ok(Self(path))
    }

    /// The path of a file: a folder is refused in the words of MLflow's `artifact_router.py`.
    pub fn of_file(given: &str) -> Tracked<Self> {
        let path = Self::new(given)?;
        if path.0.is_empty() || given.ends_with('/') {
            return Err(TrackingError::invalid("Artifact path must include a filename (cannot end with '/')."));
        }
        Ok(path)
    }

    /// The path that a run's or a model's `artifact_uri` names. `None` when its files are not here.
    pub fn of_uri(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once(':')?;
        let path = match rest.strip_prefix("//") {
            Some(rest) => rest.split_once('/')?.1,
            None => rest,
        };
        let path = match scheme {
            "mlflow-artifacts" => path,
            "http" | "https" => path.split_once(SERVICE)?.1,
            _ => return None,
        };
        Self::new(path.trim_start_matches('/')).ok()
    }

    /// A path below this one.
    pub fn join(&self, relative: &Self) -> Self {
        match (self.0.as_str(), relative.0.as_str()) {
            (_, "") => self.clone(),
            ("", _) => relative.clone(),
            (base, relative) => Self(format!("{base}/{relative}")),
        }
    }

    /// Whether it lies in the folder for files of something, or is that folder.
    pub fn has_owner(&self) -> bool {
        self.0.split('/').skip(2).any(|name| name == FILES)
    }

    /// Whether it lies below the folder for files of something.
    pub fn is_owned(&self) -> bool {
        let names: Vec<&str> = self.0.split('/').collect();
        names.iter().skip(2).position(|n| *n == FILES).is_some_and(|at| at + 3 < names.len())
    }

    /// As it stands in records.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last name.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

/// The folders that a path lies in, the outermost first.
pub(super) fn folders(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_that_lead_elsewhere_are_refused_and_others_are_cleaned() {
        let long = format!("a/{}", "x".repeat(256));
        let deep = "a/".repeat(1100);
        for bad in [
            "..",
            "a/../b",
            "a/..",
            "/etc/passwd",
            "//host/share",
            "%2e%2e/a",
            "a/%2E%2e/b",
            "%252e%252e%252fa",
            "%2Fetc",
            "a\\b",
            "a%5cb",
            "C:/x",
            "c%3A/x",
            "file:a",
            "FILE:///etc",
            "a%00b",
            "a\0b",
            "a#b",
            "a%23b",
            "a/%ff",
            &long,
            &deep,
        ] {
            let refused = ArtifactPath::new(bad).unwrap_err();
            assert_eq!((refused.message.as_str(), refused.code.status()), ("Invalid path", 400), "{bad}");
        }
        for (given, read) in [
            ("", ""),
            (".", ""),
            ("a", "a"),
            ("a//b/./c/", "a/b/c"),
            ("a%20b", "a b"),
            ("a%2Fb", "a/b"),
            ("a b+c&d=e?f;g", "a b+c&d=e?f;g"),
            ("100%", "100%"),
            ("...", "..."),
            ("a..b/..c", "a..b/..c"),
            ("ключ/模型/é", "ключ/模型/é"),
            ("%D0%BA", "к"),
            ("a\nb", "a%0ab"),
            ("c:x", "c:x"),
        ] {
            assert_eq!(ArtifactPath::new(given).unwrap().as_str(), read, "{given}");
        }
        assert!(ArtifactPath::of_file("a/").is_err() && ArtifactPath::of_file("").is_err());
    }

    #[test]
    fn addresses_of_the_proxy_are_paths_and_others_are_not_ours() {
        for uri in [
            "mlflow-artifacts:/0/r/artifacts",
            "mlflow-artifacts://host:5000/0/r/artifacts",
            "mlflow-artifacts:///0/r/artifacts",
            "http://host/api/2.0/mlflow-artifacts/artifacts/0/r/artifacts",
        ] {
            assert_eq!(ArtifactPath::of_uri(uri).unwrap().as_str(), "0/r/artifacts", "{uri}");
        }
        for uri in ["s3://bucket/0", "/local", "file:///x", "http://host/elsewhere", ""] {
            assert_eq!(ArtifactPath::of_uri(uri), None, "{uri}");
        }
    }

    #[test]
    fn only_what_is_below_the_files_of_something_is_owned() {
        let of = |p: &str| {
            let path = ArtifactPath::new(p).unwrap();
            (path.has_owner(), path.is_owned())
        };
        for path in ["0/r/artifacts/x", "0/models/m-1/artifacts/a/b", "0/traces/t/artifacts/traces.json"] {
            assert_eq!(of(path), (true, true), "{path}");
        }
        assert_eq!(of("0/r/artifacts"), (true, false));
        for path in ["", "x", "0/x", "artifacts/x/y", "0/artifacts/x", "0/r/other/x"] {
            assert_eq!(of(path), (false, false), "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_once_reads_the_same(given in "[a-c./%20-9\\\\#:é]{0,24}") {
            if let Ok(path) = ArtifactPath::new(&given) {
                prop_assert!(!path.as_str().split('/').any(|n| n == ".." || n == "." || n.is_empty() && path.as_str() != ""));
                prop_assert_eq!(ArtifactPath::new(path.as_str()).unwrap(), path);
            }
        }
    }
}

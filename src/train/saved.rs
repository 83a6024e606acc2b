//! The Python environment that a model asks for which MLflow saved: its own `requirements.txt`, or what `python_env.yaml` lists.

use super::{
    python,
    workspace::{io, note},
};
use crate::{
    model::*,
    ports::{Cancel, PortError, PortResult},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The programs of the environment that a release runs in; `folder` has its `code` and its `artifact`, and what is built is told in `log`.
/// `None`: the machine's own Python.
pub fn of_release(
    state: &Path,
    exe: &Path,
    version: &Version,
    serving: &Serving,
    folder: &Path,
    log: &Path,
    cancel: &Cancel,
) -> PortResult<Option<PathBuf>> {
    if version.python.is_some() {
        return python::of_version(state, exe, version, &folder.join("code"), log, cancel).map(Some);
    }
    let Serving::Runtime(Runtime::Mlflow(runtime)) = serving else { return Ok(None) };
    let saved = find(&folder.join("artifact"), runtime.file.as_deref())?;
    let listed = listed(&saved);
    let mut file = saved.join("requirements.txt");
    if !file.is_file() {
        if listed.dependencies.is_empty() {
            return Ok(None);
        }
        file = folder.join("requirements.txt");
        fs::write(&file, listed.dependencies.join("\n")).map_err(io(&file))?;
    }
    // Pickles of one Python may not load in another, and packages may not be there for both.
    let here = python::python_version()?;
    let other = listed.python.filter(|p| minor(p) != minor(&here));
    let other = other.map(|p| format!("the model was saved with Python {p}, and this machine has {here}"));
    if let Some(other) = &other {
        note(log, other);
    }
    let told = |e: PortError| {
        let other = other.as_ref().map_or(String::new(), |other| format!("; {other}"));
        PortError { message: format!("the environment of the saved model: {}{other}", e.message), ..e }
    };
    python::environment(state, exe, &file, log, cancel).map(|venv| Some(venv.bin)).map_err(told)
}

/// `3.11` of `Python 3.11.7`.
fn minor(version: &str) -> Vec<&str> {
    version.trim_start_matches("Python ").split('.').take(2).collect()
}

/// The folder with the file `MLmodel`: the one that is named, or the only one.
fn find(artifact: &Path, named: Option<&str>) -> PortResult<PathBuf> {
    if let Some(name) = named {
        return Ok(artifact.join(name));
    }
    let files = walkdir::WalkDir::new(artifact).sort_by_file_name().into_iter().flatten();
    let mut found = files.filter(|f| f.file_name() == "MLmodel").filter_map(|f| Some(f.path().parent()?.to_owned()));
    match (found.next(), found.count()) {
        (Some(one), 0) => Ok(one),
        (one, more) => Err(PortError::permanent(format!(
            "there are {} folders with a file MLmodel in the artifact: say which by `file`",
            more + usize::from(one.is_some())
        ))),
    }
}

/// What `python_env.yaml` says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Listed {
    /// The Python that the model was saved with.
    python: Option<String>,
    /// Without those that are lists of their own.
    dependencies: Vec<String>,
}

fn listed(saved: &Path) -> Listed {
    // Where it is missing, nothing is said.
    fs::read_to_string(saved.join("python_env.yaml")).map_or_else(|_| Listed::default(), |text| read(&text))
}

/// MLflow writes a mapping of texts and of lists of texts, a line for each: that much YAML is read.
fn read(text: &str) -> Listed {
    let plain = |s: &str| s.trim().trim_matches(['\'', '"']).to_owned();
    let (mut out, mut key) = (Listed::default(), "");
    for line in text.lines() {
        if let Some(item) = line.trim_start().strip_prefix("- ") {
            let item = plain(item);
            if key == "dependencies" && !item.starts_with('-') {
                out.dependencies.push(item);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            key = name.trim();
            if key == "python" {
                out.python = Some(plain(value)).filter(|v| !v.is_empty());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mlflow_writes_of_an_environment_is_read() {
        let text = "python: 3.11.7\nbuild_dependencies:\n- pip==23.2.1\ndependencies:\n- -r requirements.txt\n- 'a==1'\n  - b @ file:///c:1\n";
        let dependencies = vec!["a==1".to_owned(), "b @ file:///c:1".to_owned()];
        assert_eq!(read(text), Listed { python: Some("3.11.7".into()), dependencies });
        assert_eq!(read("- a\n: : :\npython:\n"), Listed::default());
    }

    #[test]
    fn the_model_is_the_one_that_is_named_or_the_only_one() {
        let dir = tempfile::tempdir().unwrap();
        let said = |named| find(dir.path(), named).map_err(|e| e.message);
        assert!(said(None).unwrap_err().starts_with("there are 0 folders"));
        for (name, more) in [("a", false), ("b", true)] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("MLmodel"), "").unwrap();
            assert_eq!(said(None).is_err(), more);
        }
        assert!(said(None).unwrap_err().starts_with("there are 2 folders"));
        assert_eq!(said(Some("b")), Ok(dir.path().join("b")));
    }
}

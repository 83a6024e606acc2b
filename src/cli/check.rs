//! `trimtab check`: all diagnostics of a working tree, offline.

use super::{
    fail::{Failure, Outcome},
    global::Global,
};
use crate::{
    model::*,
    ports::{GitTree, Source},
    source::{Credentials, GitSource, SourceConfig, Worktree},
    spec::{Loaded, SETTINGS, render, unread},
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of specs: the one that holds models/, datasets/, environments/
    #[arg(default_value = ".")]
    path: PathBuf,
}

/// The folder of specs: `trimtab check` in a repo whose specs stand in `specs/` means those.
fn root(path: &Path) -> Result<PathBuf, Failure> {
    if !path.is_dir() {
        return Err(Failure::new(format!("{} is no folder", path.display())));
    }
    let inner = path.join("specs");
    let holds = |p: &Path| ["models", "datasets", "environments"].iter().any(|name| p.join(name).is_dir());
    // Settings alone make no folder of specs: beside one they are in the wrong place.
    let inside = !holds(path) && (holds(&inner) || inner.join(SETTINGS).is_file());
    Ok(if inside { inner } else { path.to_owned() })
}

/// Settings above a folder of specs, up to what was named and to the repository's root: the daemon does not read them.
fn unread_settings(path: &Path, root: &Path) -> Result<Vec<Diagnostic>, Failure> {
    let (named, specs, here) = (path.canonicalize()?, root.canonicalize()?, std::env::current_dir()?.canonicalize()?);
    let repo = git2::Repository::discover(&specs).ok();
    let top = repo.and_then(|r| r.workdir()?.canonicalize().ok()).filter(|top| named.starts_with(top)).unwrap_or(named);
    let above = specs.ancestors().skip(1).take_while(|folder| folder.starts_with(&top));
    let told = |folder: &Path| {
        let from = |base: &Path, path: &Path| path.strip_prefix(base).unwrap_or(path).display().to_string();
        let mut found = unread(&from(&top, &folder.join(SETTINGS)), &from(&top, &specs));
        // As the path can be opened from here.
        found.location.iter_mut().for_each(|l| l.file = from(&here, &folder.join(SETTINGS)));
        found
    };
    Ok(above.filter(|folder| folder.join(SETTINGS).is_file()).map(told).collect())
}

/// The specs of a commit of the repository that a folder lies in.
pub fn load_commit(path: &Path, rev: &str) -> Result<Loaded, Failure> {
    let root = root(path)?.canonicalize()?;
    let told = |e: git2::Error| Failure::new(format!("{}: {}", path.display(), e.message()));
    let repo = git2::Repository::discover(&root).map_err(told)?;
    let top = repo.workdir().ok_or_else(|| Failure::new("the repository has no work tree"))?.canonicalize()?;
    let folder = root.strip_prefix(&top).map(|f| f.display().to_string()).unwrap_or_default();
    let scratch = tempfile::tempdir()?;
    let source = GitSource::open(&SourceConfig {
        location: top.display().to_string(),
        branch: None,
        folder: folder.clone(),
        state: scratch.path().to_owned(),
        credentials: Credentials::default(),
        timeout: Duration::from_secs(1),
        ca: None,
        random: || 0,
    })?;
    let revision = source.resolve(rev)?;
    let changes = source.changes(None, &revision.tree, &folder)?;
    Ok(Loaded::update(&Loaded::default(), &changes, &revision, &folder, &source)?.0)
}

/// The specs of a folder on disk, with a revision that says so.
pub fn load(path: &Path) -> Result<Loaded, Failure> {
    let root = root(path)?;
    let tree = Worktree::new(&root);
    let id = ObjectId("working-tree".into());
    let revision = Revision {
        commit: id.clone(),
        tree: id.clone(),
        author: "you".into(),
        email: String::new(),
        summary: "working tree".into(),
        time: WallMs(0),
    };
    let changes = tree.changes(None, &id, "")?;
    Ok(Loaded::update(&Loaded::default(), &changes, &revision, "", &tree)?.0)
}

pub fn run(global: &Global, args: &Args) -> Outcome {
    let loaded = load(&args.path)?;
    let state = loaded.state();
    // As the paths can be opened from here.
    let root = root(&args.path)?;
    let mut found = state.diagnostics.clone();
    for location in found.iter_mut().filter_map(|d| d.location.as_mut()) {
        let path = root.join(&location.file);
        location.file = path.strip_prefix(".").unwrap_or(&path).display().to_string();
    }
    found.splice(0..0, unread_settings(&args.path, &root)?);
    let found = &found;
    let errors = found.iter().any(|d| d.severity == Severity::Error);
    if global.json {
        global
            .print(&serde_json::json!({ "files": state.files, "models": state.models.size(), "diagnostics": found }))?;
    } else if state.files == 0 && found.is_empty() {
        println!(
            "No specs in {}: `trimtab init` makes a repository, `trimtab new NAME` adds a model.",
            args.path.display()
        );
    } else {
        print!("{}", super::text::highlight(&render::text(found)));
        println!("{}", render::summary(found, state.files));
    }
    Ok(ExitCode::from(u8::from(errors)))
}

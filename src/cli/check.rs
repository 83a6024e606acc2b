//! `trimtab check`: all diagnostics of a working tree, offline.

use super::{
    fail::{Failure, Outcome},
    global::Global,
};
use crate::{
    model::*,
    ports::GitTree,
    source::Worktree,
    spec::{Loaded, render},
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of specs: the one that holds models/, datasets/, environments/
    #[arg(default_value = ".")]
    path: PathBuf,
}

/// The specs of a folder on disk, with a revision that says so.
pub fn load(path: &Path) -> Result<Loaded, Failure> {
    if !path.is_dir() {
        return Err(Failure::new(format!("{} is no folder", path.display())));
    }
    // `trimtab check` in a repo whose specs stand in `specs/` means those.
    let inner = path.join("specs");
    let looks = |p: &Path| p.join("models").is_dir() || p.join("trimtab.toml").is_file();
    let root = if !looks(path) && looks(&inner) { inner } else { path.to_owned() };
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
    let found = &state.diagnostics;
    let errors = found.iter().any(|d| d.severity == Severity::Error);
    if global.json {
        global
            .print(&serde_json::json!({ "files": state.files, "models": state.models.size(), "diagnostics": found }))?;
    } else if state.files == 0 {
        println!(
            "No specs in {}: `trimtab init` makes a repository, `trimtab new NAME` adds a model.",
            args.path.display()
        );
    } else {
        print!("{}", render::text(found));
        println!("{}", render::summary(found, state.files));
    }
    Ok(ExitCode::from(u8::from(errors)))
}

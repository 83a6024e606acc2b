//! `trimtab init` and `trimtab new`.

use super::{
    fail::{Failure, Outcome},
    global::Global,
};
use crate::model::Name;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Folder of the new repository
    #[arg(default_value = ".")]
    dir: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct NewArgs {
    /// Name of the model
    #[arg(required_unless_present = "list")]
    name: Option<Name>,
    #[arg(long, default_value = "sklearn-classifier")]
    template: String,
    /// Folder of specs
    #[arg(long)]
    path: Option<PathBuf>,
    /// List the templates
    #[arg(long)]
    list: bool,
}

type Files = &'static [(&'static str, &'static str)];

/// What `trimtab init` writes.
const REPO: Files = &[
    ("specs/trimtab.toml", include_str!("../../templates/repo/trimtab.toml")),
    ("specs/environments/staging.toml", include_str!("../../templates/repo/staging.toml")),
    ("specs/environments/production.toml", include_str!("../../templates/repo/production.toml")),
    (".gitignore", "/state/\n__pycache__/\n"),
];

/// Templates by name; `NAME` in paths and contents is filled in.
const TEMPLATES: &[(&str, &str, Files)] = &[(
    "sklearn-classifier",
    "a scikit-learn classifier on a CSV file, with data check, gates and a canary",
    &[
        ("models/NAME/model.toml", include_str!("../../templates/sklearn-classifier/model.toml")),
        ("models/NAME/check.py", include_str!("../../templates/sklearn-classifier/check.py")),
        ("models/NAME/train.py", include_str!("../../templates/sklearn-classifier/train.py")),
        ("models/NAME/serve.py", include_str!("../../templates/sklearn-classifier/serve.py")),
        ("models/NAME/requirements.txt", include_str!("../../templates/sklearn-classifier/requirements.txt")),
        ("datasets/NAME.toml", include_str!("../../templates/sklearn-classifier/dataset.toml")),
    ],
)];

/// Writes files that are not there yet; returns those it wrote. A file that is there is an error before anything is written.
fn write(root: &Path, files: Files, name: &str) -> Result<Vec<PathBuf>, Failure> {
    let places: Vec<(PathBuf, String)> =
        files.iter().map(|(p, text)| (root.join(p.replace("NAME", name)), text.replace("NAME", name))).collect();
    if let Some((there, _)) = places.iter().find(|(p, _)| p.exists()) {
        return Err(Failure::new(format!("{} is there already: nothing was written", there.display())));
    }
    for (place, text) in &places {
        if let Some(dir) = place.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(place, text)?;
    }
    Ok(places.into_iter().map(|(p, _)| p).collect())
}

pub fn init(global: &Global, args: &InitArgs) -> Outcome {
    std::fs::create_dir_all(&args.dir)?;
    let files = write(&args.dir, REPO, "")?;
    if git2::Repository::open(&args.dir).is_err() {
        git2::Repository::init(&args.dir)
            .map_err(|e| Failure::new(format!("cannot make a repository: {}", e.message())))?;
    }
    global.print_files(&files, "\nNext: `trimtab new NAME`, commit, then `trimtab daemon`.")
}

pub fn new(global: &Global, args: &NewArgs) -> Outcome {
    if args.list && global.json {
        let all = TEMPLATES.iter().map(|(name, what, _)| serde_json::json!({ "name": name, "description": what }));
        global.print(&all.collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.list {
        TEMPLATES.iter().for_each(|(name, what, _)| println!("{name:<24} {what}"));
        return Ok(ExitCode::SUCCESS);
    }
    let names: Vec<&str> = TEMPLATES.iter().map(|t| t.0).collect();
    let found = TEMPLATES.iter().find(|t| t.0 == args.template);
    let (_, _, files) = found
        .ok_or_else(|| Failure::with(64, format!("there is no template `{}`: {}", args.template, names.join(", "))))?;
    let name = args.name.as_ref().ok_or_else(|| Failure::with(64, "name the model"))?;
    let specs = Path::new("specs");
    let root = args.path.clone().unwrap_or_else(|| if specs.is_dir() { specs.to_owned() } else { ".".into() });
    let files = write(&root, files, name.as_str())?;
    let data = root.join("data").join(format!("{name}.csv"));
    let next =
        format!("\nNext: put your data at {} (last column: the label), `trimtab check`, commit.", data.display());
    global.print_files(&files, &next)
}

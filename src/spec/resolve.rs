//! From one parsed model and what it refers to, to its desired state.

use super::{
    decode::{MAX_BYTES, plain},
    load::{Parsed, join, parent},
    lock,
};
use crate::{model::*, ports::*};
use std::{collections::BTreeMap, sync::Arc};

/// Limits of a code folder.
const MAX_CODE_FILES: usize = 20_000;

/// Specs of one kind that models refer to, by path of the file: `FOLDER/datasets/NAME.toml`.
pub(super) type Shared<T> = rpds::RedBlackTreeMapSync<String, Parsed<T>>;

/// What the resolution of one model's file reads.
pub(super) struct Resolver<'a> {
    pub path: &'a str,
    /// The folder of all specs.
    pub folder: &'a str,
    pub tree: &'a dyn GitTree,
    pub revision: &'a Revision,
    pub datasets: &'a Shared<DatasetSpec>,
    pub environments: &'a Shared<EnvironmentSpec>,
}

impl Resolver<'_> {
    fn problem(&self, lines: &Lines, field: &str, message: String, help: String) -> Diagnostic {
        let mut d = plain(self.path, message, &help);
        if let (Some(l), Some(line)) = (d.location.as_mut(), lines.get(field)) {
            l.line = line;
            self.show_line(l);
        }
        d
    }

    /// The line itself, read again: only a broken spec pays for it.
    fn show_line(&self, location: &mut Location) {
        let Ok(Some(entry)) = self.tree.entry(&self.revision.tree, self.path) else { return };
        let Ok(bytes) = self.tree.blob(&entry.id, MAX_BYTES) else { return };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some(line) = text.lines().nth(location.line.saturating_sub(1) as usize) else { return };
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        location.column = indent as u32 + 1;
        location.width = line.trim().chars().count().max(1) as u32;
        location.text = line.to_owned();
    }

    pub(super) fn resolve(&self, parsed: &Parsed<ModelSpec>) -> PortResult<Result<DesiredModel, Vec<Diagnostic>>> {
        let Some(spec) = &parsed.value else { return Ok(Err(parsed.diagnostics.clone())) };
        let lines = &parsed.lines;
        let mut found = Vec::new();
        let datasets = self.lookup(self.datasets, spec.data.values(), "dataset", lines, "data", &mut found);
        let wanted = spec.deploy.iter().map(|d| &d.environment);
        let environments = self.lookup(self.environments, wanted, "environment", lines, "deploy", &mut found);
        let folder = parent(self.path);
        let code_path = join(folder, &spec.code);
        let entries = self.tree.list(&self.revision.tree, &code_path)?;
        let code = code_digest(&code_path, &entries).map_err(|message| {
            found.push(self.problem(lines, "train.code", message, "the code folder holds plain files only".into()));
        });
        let python = self.python(spec, &code_path, &entries, lines, &mut found);
        let lock = self.lock(folder, &mut found)?;
        let Ok(code) = code else { return Ok(Err(found)) };
        if !found.is_empty() {
            return Ok(Err(found));
        }
        Ok(Ok(DesiredModel {
            content: content(spec, &datasets, code),
            spec: spec.clone(),
            file: self.path.to_owned(),
            code_path,
            code,
            python,
            datasets,
            environments,
            lock,
            lines: parsed.lines.clone(),
            changed_by: self.revision.clone(),
        }))
    }

    fn lookup<'n, T>(
        &self,
        known: &Shared<T>,
        wanted: impl Iterator<Item = &'n Name>,
        what: &str,
        lines: &Lines,
        field: &str,
        found: &mut Vec<Diagnostic>,
    ) -> BTreeMap<Name, Arc<T>> {
        let mut out = BTreeMap::new();
        let defined = join(self.folder, &format!("{what}s"));
        for name in wanted {
            // The decoder holds that a file's name is the spec's.
            let value = known.get(&format!("{defined}/{name}.toml")).and_then(|p| p.value.as_ref());
            match value {
                Some(value) => drop(out.insert(name.clone(), value.clone())),
                None => {
                    let all = some_names(known);
                    let help = format!("defined in {defined}/ are: {all}");
                    found.push(self.problem(lines, field, format!("{what} `{name}` is not defined"), help));
                }
            }
        }
        out
    }

    fn python(
        &self,
        spec: &ModelSpec,
        code: &str,
        entries: &[TreeEntry],
        lines: &Lines,
        found: &mut Vec<Diagnostic>,
    ) -> BTreeMap<String, Digest> {
        let mut out = BTreeMap::new();
        for stage in &spec.stages {
            let Some(file) = &stage.python else { continue };
            let path = join(code, file);
            match entries.iter().find(|e| e.path == path) {
                Some(entry) => drop(out.insert(file.clone(), Digest::of(entry.id.0.as_bytes()))),
                None => {
                    let field = if stage.name.as_str() == "train" {
                        "train.python".into()
                    } else {
                        format!("stage.{}.python", stage.name)
                    };
                    found.push(self.problem(
                        lines,
                        &field,
                        format!("there is no file `{path}`"),
                        "commit it, or correct the path".into(),
                    ));
                }
            }
        }
        out
    }

    fn lock(&self, folder: &str, found: &mut Vec<Diagnostic>) -> PortResult<BTreeMap<Name, LockedInput>> {
        let path = join(folder, "trimtab.lock");
        let Some(entry) = self.tree.entry(&self.revision.tree, &path)? else { return Ok(BTreeMap::new()) };
        let bytes = match self.tree.blob(&entry.id, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(e) if e.retryable => return Err(e),
            Err(e) => {
                found.push(plain(&path, e.message, "delete it: trimtab writes it anew"));
                return Ok(BTreeMap::new());
            }
        };
        Ok(lock::parse(&path, &bytes).unwrap_or_else(|diagnostics| {
            found.extend(diagnostics);
            BTreeMap::new()
        }))
    }
}

/// The first of the names that can be referred to.
fn some_names<T>(known: &Shared<T>) -> String {
    const SHOWN: usize = 20;
    let good = || known.iter().filter(|(_, p)| p.value.is_some());
    let mut all: Vec<String> = good().take(SHOWN).map(|(path, _)| stem(path)).collect();
    if good().nth(SHOWN).is_some() {
        all.push("…".into());
    }
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// Where the spec of a dataset lies, below the folder of all specs.
pub fn dataset_file(folder: &str, name: &Name) -> String {
    join(folder, &format!("datasets/{name}.toml"))
}

/// The name of a dataset's or environment's file.
pub(super) fn stem(path: &str) -> String {
    path.rsplit('/').next().and_then(|f| f.strip_suffix(".toml")).unwrap_or_default().to_owned()
}

/// The digest of a code folder without spec and lock files. `Err` names what cannot be part of it.
fn code_digest(folder: &str, entries: &[TreeEntry]) -> Result<Digest, String> {
    if entries.len() > MAX_CODE_FILES {
        return Err(format!("`{folder}` holds {} files, more than {MAX_CODE_FILES}", entries.len()));
    }
    let mut hasher = blake3::Hasher::new();
    for entry in code_files(entries) {
        let inside = entry.path.strip_prefix(folder).unwrap_or(&entry.path).trim_start_matches('/');
        match entry.mode {
            0o120000 => return Err(format!("`{}` is a symbolic link", entry.path)),
            0o160000 => return Err(format!("`{}` is a submodule", entry.path)),
            _ => {}
        }
        if inside.contains('\u{fffd}') {
            return Err(format!("the name of `{}` is not UTF-8", entry.path));
        }
        for part in [inside.as_bytes(), &entry.mode.to_le_bytes(), entry.id.0.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    }
    Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
}

/// The files of a code folder that are code: neither specs nor locks.
pub fn code_files(entries: &[TreeEntry]) -> impl Iterator<Item = &TreeEntry> {
    let kept = |e: &&TreeEntry| !matches!(e.path.rsplit('/').next(), Some("model.toml" | "trimtab.lock"));
    entries.iter().filter(kept)
}

fn content(spec: &ModelSpec, datasets: &BTreeMap<Name, Arc<DatasetSpec>>, code: Digest) -> Digest {
    let sources: BTreeMap<&Name, &DataSource> = datasets.iter().map(|(name, d)| (name, &d.source)).collect();
    // Plain data with string keys: serialising cannot fail, and an empty text would still be a stable key.
    Digest::of(&serde_json::to_vec(&(&spec.name, &spec.stages, &spec.data, sources, code)).unwrap_or_default())
}

//! From files to the desired state, reading only what changed.

use super::{
    decode::{MAX_BYTES, plain},
    lock, model, others,
};
use crate::{model::*, ports::*};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The schema of spec files.
pub const SCHEMA: &str = "trimtab/v1";
/// Limits of a code folder.
const MAX_CODE_FILES: usize = 20_000;

/// What one spec file gave.
#[derive(Debug, Clone)]
struct Parsed<T> {
    value: Option<Arc<T>>,
    lines: Arc<BTreeMap<String, u32>>,
    diagnostics: Vec<Diagnostic>,
}

impl<T> Parsed<T> {
    fn from(read: Result<(T, super::decode::Extra), Vec<Diagnostic>>) -> Self {
        match read {
            Ok((value, extra)) => {
                Self { value: Some(Arc::new(value)), lines: Arc::new(extra.lines), diagnostics: extra.warnings }
            }
            Err(diagnostics) => Self { value: None, lines: Arc::default(), diagnostics },
        }
    }
}

/// The specs of one revision, parsed and resolved; the next revision is made from it and what changed.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    state: Arc<DesiredState>,
    /// By path of the file.
    models: Arc<BTreeMap<String, Parsed<ModelSpec>>>,
    datasets: Arc<BTreeMap<String, Parsed<DatasetSpec>>>,
    environments: Arc<BTreeMap<String, Parsed<EnvironmentSpec>>>,
    settings: Option<Parsed<Settings>>,
}

/// What a path is to trimtab.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Model,
    Dataset,
    Environment,
    Settings,
    Other,
}

fn kind(folder: &str, path: &str) -> Kind {
    let inside = if folder.is_empty() || folder == "." {
        Some(path)
    } else {
        path.strip_prefix(folder).and_then(|p| p.strip_prefix('/'))
    };
    let Some(inside) = inside else { return Kind::Other };
    let toml = inside.ends_with(".toml");
    match inside.split_once('/') {
        None if inside == "trimtab.toml" => Kind::Settings,
        Some(("datasets", rest)) if toml && !rest.contains('/') => Kind::Dataset,
        Some(("environments", rest)) if toml && !rest.contains('/') => Kind::Environment,
        Some(("models", rest)) if rest == "model.toml" || rest.ends_with("/model.toml") => Kind::Model,
        _ => Kind::Other,
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn join(folder: &str, path: &str) -> String {
    match (folder, path) {
        ("", p) => p.to_owned(),
        (f, ".") => f.to_owned(),
        (f, p) => format!("{f}/{p}"),
    }
}

impl Loaded {
    /// The desired state.
    pub fn state(&self) -> &DesiredState {
        &self.state
    }

    /// The specs of `revision`, from those of the revision before and what changed between the two below `folder`. Returns the models
    /// whose desired state is another now. Costs what changed, not what there is.
    pub fn update(
        &self,
        changes: &[TreeChange],
        revision: &Revision,
        folder: &str,
        tree: &dyn GitTree,
    ) -> PortResult<(Self, BTreeSet<Name>)> {
        let mut next = self.clone();
        let mut dirty = Dirty::default();
        for change in changes {
            next.take(change, folder, tree, &mut dirty)?;
        }
        let touched = next.resolve(revision, folder, tree, &dirty)?;
        Ok((next, touched))
    }

    fn take(&mut self, change: &TreeChange, folder: &str, tree: &dyn GitTree, dirty: &mut Dirty) -> PortResult<()> {
        let path = &change.path;
        match kind(folder, path) {
            Kind::Model => {
                dirty.models.insert(path.clone());
                dirty.code.insert(parent(path).to_owned());
                set(Arc::make_mut(&mut self.models), change, tree, model::parse)
            }
            Kind::Dataset => {
                dirty.shared.insert(stem(path));
                set(Arc::make_mut(&mut self.datasets), change, tree, others::dataset)
            }
            Kind::Environment => {
                dirty.shared.insert(stem(path));
                set(Arc::make_mut(&mut self.environments), change, tree, others::environment)
            }
            Kind::Settings => {
                let mut one: BTreeMap<String, Parsed<Settings>> = BTreeMap::new();
                set(&mut one, change, tree, others::settings)?;
                self.settings = one.into_values().next();
                Ok(())
            }
            Kind::Other => {
                dirty.code.insert(parent(path).to_owned());
                Ok(())
            }
        }
    }

    fn resolve(
        &mut self,
        revision: &Revision,
        folder: &str,
        tree: &dyn GitTree,
        dirty: &Dirty,
    ) -> PortResult<BTreeSet<Name>> {
        let state = Arc::make_mut(&mut self.state);
        let old_settings = std::mem::take(&mut state.settings);
        // Broken settings leave those that were in force.
        state.settings = match &self.settings {
            None => Settings::default(),
            Some(s) => s.value.as_deref().cloned().unwrap_or(old_settings),
        };
        state.revision = Some(revision.clone());
        let names = Names::of(&self.models, &self.datasets, &self.environments);
        let affected: Vec<(&String, &Parsed<ModelSpec>)> =
            self.models.iter().filter(|(p, m)| dirty.touches(p, m, &names)).collect();
        let mut touched = BTreeSet::new();
        // A file that went or became another model: the old name loses its state unless another file has it.
        for path in &dirty.models {
            for (name, owner) in &state.owners(path) {
                if names.models.get(name).is_none_or(|files| files.first() != Some(owner)) {
                    state.models.remove(name);
                    state.broken.remove(name);
                    touched.insert(name.clone());
                }
            }
        }
        for (path, parsed) in affected {
            let resolver = Resolver { path, folder, tree, revision, names: &names };
            let name = parsed.value.as_ref().map_or_else(|| name_of(path), |m| Some(m.name.clone()));
            let outcome = resolver.resolve(parsed)?;
            let Some(name) = name else { continue };
            if names.models.get(&name).is_some_and(|files| files.first() != Some(path) && files.contains(path)) {
                continue;
            }
            match outcome {
                Ok(model) => {
                    state.broken.remove(&name);
                    state.models.insert(name.clone(), Arc::new(model));
                }
                Err(diagnostics) => {
                    state.models.remove(&name);
                    state.broken.insert(name.clone(), diagnostics);
                }
            }
            touched.insert(name);
        }
        state.files =
            self.models.len() + self.datasets.len() + self.environments.len() + usize::from(self.settings.is_some());
        let rivals = rivals(&names, &self.models);
        let mut found = self.diagnostics();
        found.extend(rivals);
        Arc::make_mut(&mut self.state).diagnostics = found;
        Ok(touched)
    }

    /// Everything that was found, by file.
    fn diagnostics(&self) -> Vec<Diagnostic> {
        let settings = self.settings.iter().flat_map(|s| &s.diagnostics);
        let datasets = self.datasets.values().flat_map(|p| &p.diagnostics);
        let environments = self.environments.values().flat_map(|p| &p.diagnostics);
        let models = self.models.values().filter(|p| p.value.is_some()).flat_map(|p| &p.diagnostics);
        let broken = self.state.broken.values().flatten();
        settings.chain(datasets).chain(environments).chain(models).chain(broken).cloned().collect()
    }
}

impl DesiredState {
    /// Names that come from this file, in force or broken.
    fn owners(&self, path: &str) -> Vec<(Name, String)> {
        let good = self.models.values().filter(|m| m.file == path).map(|m| (m.spec.name.clone(), path.to_owned()));
        let from_here = |d: &Diagnostic| d.location.as_ref().is_some_and(|l| l.file == path);
        let bad =
            self.broken.iter().filter(|(_, ds)| ds.iter().any(from_here)).map(|(n, _)| (n.clone(), path.to_owned()));
        good.chain(bad).collect()
    }
}

/// The folder's name stands for a model whose spec cannot be read.
fn name_of(path: &str) -> Option<Name> {
    parent(path).rsplit('/').next().and_then(|n| Name::new(n).ok())
}

fn stem(path: &str) -> String {
    path.rsplit('/').next().and_then(|f| f.strip_suffix(".toml")).unwrap_or_default().to_owned()
}

fn set<T>(
    all: &mut BTreeMap<String, Parsed<T>>,
    change: &TreeChange,
    tree: &dyn GitTree,
    parse: fn(&str, &[u8]) -> super::decode::Read<T>,
) -> PortResult<()> {
    let Some(entry) = &change.new else {
        all.remove(&change.path);
        return Ok(());
    };
    let refused = match entry.mode {
        0o120000 => Some(("the spec is a symbolic link", "commit the file itself: links are not followed")),
        0o160000 => Some(("the spec is a submodule", "commit the file itself")),
        _ => None,
    };
    let parsed = match refused {
        Some((what, help)) => {
            Parsed { value: None, lines: Arc::default(), diagnostics: vec![plain(&change.path, what.into(), help)] }
        }
        None => match tree.blob(&entry.id, MAX_BYTES) {
            Ok(bytes) => Parsed::from(parse(&change.path, &bytes)),
            Err(e) if !e.retryable => {
                let diagnostics = vec![plain(&change.path, e.message, "a spec may have at most 1 MiB")];
                Parsed { value: None, lines: Arc::default(), diagnostics }
            }
            Err(e) => return Err(e),
        },
    };
    all.insert(change.path.clone(), parsed);
    Ok(())
}

/// Specs whose name another file took first: they are not in force.
fn rivals(names: &Names, models: &BTreeMap<String, Parsed<ModelSpec>>) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    for (name, files) in names.models.iter().filter(|(_, files)| files.len() > 1) {
        for file in &files[1..] {
            let mut d = plain(
                file,
                format!("two specs are called `{name}`"),
                &format!("the one in {} is in force: rename one of them", files[0]),
            );
            let line = models.get(file).and_then(|m| m.lines.get("model.name"));
            if let (Some(location), Some(line)) = (d.location.as_mut(), line) {
                location.line = *line;
            }
            out.push(d);
        }
    }
    out
}

/// What changed between two revisions.
#[derive(Debug, Default)]
struct Dirty {
    /// Files of models.
    models: BTreeSet<String>,
    /// Names of datasets and environments.
    shared: BTreeSet<String>,
    /// Folders in which any file changed.
    code: BTreeSet<String>,
}

impl Dirty {
    fn touches(&self, path: &str, parsed: &Parsed<ModelSpec>, names: &Names) -> bool {
        if self.models.contains(path) {
            return true;
        }
        let Some(model) = &parsed.value else { return false };
        let folder = parent(path);
        let code = join(folder, &model.code);
        let below = |f: &str| {
            f == code || (f.starts_with(&code) && f.as_bytes().get(code.len()) == Some(&b'/')) || code.is_empty()
        };
        // The set is ordered: only folders from the code folder on can lie below it.
        let in_code = self.code.range(code.clone()..).take_while(|f| f.starts_with(&code)).any(|f| below(f));
        let uses = model
            .data
            .values()
            .chain(model.deploy.iter().map(|d| &d.environment))
            .any(|n| self.shared.contains(n.as_str()));
        let rivals = names
            .models
            .get(&model.name)
            .is_some_and(|files| files.len() > 1 && files.iter().any(|f| self.models.contains(f)));
        in_code || self.code.contains(folder) || uses || rivals
    }
}

/// What can be referred to.
struct Names<'a> {
    datasets: BTreeMap<Name, &'a DatasetSpec>,
    environments: BTreeMap<Name, &'a EnvironmentSpec>,
    /// Files that call themselves by a name, in order.
    models: BTreeMap<Name, Vec<String>>,
}

impl<'a> Names<'a> {
    fn of(
        models: &BTreeMap<String, Parsed<ModelSpec>>,
        datasets: &'a BTreeMap<String, Parsed<DatasetSpec>>,
        environments: &'a BTreeMap<String, Parsed<EnvironmentSpec>>,
    ) -> Self {
        let mut by_name: BTreeMap<Name, Vec<String>> = BTreeMap::new();
        for (path, parsed) in models {
            if let Some(m) = &parsed.value {
                by_name.entry(m.name.clone()).or_default().push(path.clone());
            }
        }
        let datasets = datasets.values().filter_map(|p| p.value.as_deref()).map(|d| (d.name.clone(), d)).collect();
        let environments =
            environments.values().filter_map(|p| p.value.as_deref()).map(|e| (e.name.clone(), e)).collect();
        Self { datasets, environments, models: by_name }
    }
}

struct Resolver<'a> {
    path: &'a str,
    folder: &'a str,
    tree: &'a dyn GitTree,
    revision: &'a Revision,
    names: &'a Names<'a>,
}

impl Resolver<'_> {
    fn problem(&self, lines: &BTreeMap<String, u32>, field: &str, message: String, help: String) -> Diagnostic {
        let mut d = plain(self.path, message, &help);
        if let (Some(l), Some(line)) = (d.location.as_mut(), lines.get(field)) {
            l.line = *line;
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

    fn resolve(&self, parsed: &Parsed<ModelSpec>) -> PortResult<Result<DesiredModel, Vec<Diagnostic>>> {
        let Some(spec) = parsed.value.as_deref() else { return Ok(Err(parsed.diagnostics.clone())) };
        let lines = &parsed.lines;
        let mut found = Vec::new();
        let datasets = self.lookup(&self.names.datasets, spec.data.values(), "dataset", lines, "data", &mut found);
        let wanted = spec.deploy.iter().map(|d| &d.environment);
        let environments = self.lookup(&self.names.environments, wanted, "environment", lines, "deploy", &mut found);
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
            lines: parsed.lines.as_ref().clone(),
            changed_by: self.revision.clone(),
        }))
    }

    fn lookup<'n, T: Clone>(
        &self,
        known: &BTreeMap<Name, &T>,
        wanted: impl Iterator<Item = &'n Name>,
        what: &str,
        lines: &BTreeMap<String, u32>,
        field: &str,
        found: &mut Vec<Diagnostic>,
    ) -> BTreeMap<Name, T> {
        let mut out = BTreeMap::new();
        for name in wanted {
            match known.get(name) {
                Some(value) => drop(out.insert(name.clone(), (*value).clone())),
                None => {
                    let all: Vec<&str> = known.keys().map(Name::as_str).collect();
                    let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
                    let folder = join(self.folder, &format!("{what}s"));
                    let help = format!("defined in {folder}/ are: {all}");
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
        lines: &BTreeMap<String, u32>,
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

    fn lock(&self, folder: &str, found: &mut Vec<Diagnostic>) -> PortResult<BTreeMap<Name, Digest>> {
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
    let name = |e: &TreeEntry| e.path.rsplit('/').next().map(str::to_owned).unwrap_or_default();
    entries.iter().filter(move |e| !matches!(name(e).as_str(), "model.toml" | "trimtab.lock"))
}

fn content(spec: &ModelSpec, datasets: &BTreeMap<Name, DatasetSpec>, code: Digest) -> Digest {
    // Plain data with string keys: serialising cannot fail, and an empty text would still be a stable key.
    Digest::of(&serde_json::to_vec(&(spec, datasets, code)).unwrap_or_default())
}

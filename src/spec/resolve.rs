//! From one parsed model and what it refers to, to its desired state.

use super::{
    decode::{MAX_BYTES, MOST_FINDINGS, locate, plain, strings},
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
    pub revision: &'a Arc<Revision>,
    pub datasets: &'a Shared<DatasetSpec>,
    pub environments: &'a Shared<EnvironmentSpec>,
    pub analyses: &'a Shared<AnalysisTemplate>,
    /// `[groups]`; unknown while the settings cannot be read.
    pub groups: Option<&'a Groups>,
}

impl Resolver<'_> {
    /// Something that is wrong with a field, at its very place: the file is read again, for which only a broken spec pays.
    fn problem(&self, field: &str, message: String, help: String) -> Diagnostic {
        let mut d = plain(self.path, message, &help);
        let place = self.bytes().and_then(|bytes| locate(self.path, &bytes, field));
        d.location = place.or(d.location);
        d
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        let entry = self.tree.entry(&self.revision.tree, self.path).ok().flatten()?;
        self.tree.blob(&entry.id, MAX_BYTES).ok()
    }

    /// What can be said of the references of a spec whose other parts are wrong, so that all is said at once.
    fn references(&self) -> Vec<Diagnostic> {
        let Some(bytes) = self.bytes() else { return vec![] };
        let mut found = Vec::new();
        let named = |pattern: &str| {
            let all = strings(&bytes, pattern).into_iter();
            all.filter_map(|(field, name)| Some((field, Name::new(&name).ok()?))).collect::<Vec<_>>()
        };
        let (datasets, environments) = (named("data.*"), named("deploy.*.environment"));
        self.lookup(self.datasets, datasets.iter().map(|(f, n)| (f.clone(), n)), "dataset", &mut found);
        let wanted = environments.iter().map(|(f, n)| (f.clone(), n));
        self.lookup(self.environments, wanted, "environment", &mut found);
        let analyses = named("deploy.*.analysis.*.use");
        self.lookup(self.analyses, analyses.iter().map(|(f, n)| (f.clone(), n)), "analysis", &mut found);
        let code = strings(&bytes, "train.code").pop().map_or(".".to_owned(), |(_, code)| code);
        let Ok(code) = super::paths::relative(&code) else { return found };
        let code_path = join(parent(self.path), &code);
        if !matches!(self.code_folder(&code_path, &mut found), Ok(true)) {
            return found;
        }
        for (field, file) in strings(&bytes, "train.python").into_iter().chain(strings(&bytes, "stage.*.python")) {
            let Ok(file) = super::paths::relative(&file) else { continue };
            let path = join(&code_path, &file);
            if matches!(self.tree.entry(&self.revision.tree, &path), Ok(None)) {
                found.push(self.missing_file(&field, &path));
            }
        }
        found
    }

    fn missing_file(&self, field: &str, path: &str) -> Diagnostic {
        self.problem(field, format!("there is no file `{path}`"), "commit it, or correct the path".into())
    }

    /// Whether the code folder is a folder of the repository.
    fn code_folder(&self, path: &str, found: &mut Vec<Diagnostic>) -> PortResult<bool> {
        // The folder that the spec itself lies in is there.
        if path == parent(self.path) {
            return Ok(true);
        }
        const FOLDER: u32 = 0o040_000;
        let what = match self.tree.entry(&self.revision.tree, path)?.map(|e| e.mode) {
            Some(FOLDER) => return Ok(true),
            None => format!("there is no folder `{path}`"),
            Some(0o120_000) => format!("`{path}` is a symbolic link, not a folder"),
            Some(0o160_000) => format!("`{path}` is a submodule, not a folder"),
            Some(_) => format!("`{path}` is a file, not a folder"),
        };
        found.push(self.problem("train.code", what, "name a folder beside this file, or commit it".into()));
        Ok(false)
    }

    pub(super) fn resolve(&self, parsed: &Parsed<ModelSpec>) -> PortResult<Result<DesiredModel, Vec<Diagnostic>>> {
        let Some(spec) = &parsed.value else {
            let all = parsed.diagnostics.iter().cloned().chain(self.references());
            return Ok(Err(all.collect()));
        };
        let mut found = Vec::new();
        // What comes from the registry stands in no file of its own.
        let in_files = spec.data.iter().filter(|_| spec.registered.is_none());
        let wanted = in_files.map(|(input, name)| (format!("data.{input}"), name));
        let mut datasets = self.lookup(self.datasets, wanted, "dataset", &mut found);
        datasets.extend(spec.registered.iter().map(|d| (d.name.clone(), Arc::new(d.as_ref().clone()))));
        let wanted = spec.deploy.iter().enumerate().map(|(i, d)| (format!("deploy.{i}.environment"), &d.environment));
        let environments = self.lookup(self.environments, wanted, "environment", &mut found);
        let used = spec.deploy.iter().enumerate().flat_map(|(i, d)| d.uses.iter().map(move |name| (i, name)));
        let wanted = used.map(|(i, name)| (format!("deploy.{i}.analysis"), name));
        let analyses = self.lookup(self.analyses, wanted, "analysis", &mut found);
        self.check_analyses(spec, &analyses, &mut found);
        self.check_groups(spec, &mut found);
        let folder = parent(self.path);
        let code_path = join(folder, &spec.code);
        let (mut code, mut python) = (None, BTreeMap::new());
        if self.code_folder(&code_path, &mut found)? {
            let entries = self.tree.list(&self.revision.tree, &code_path)?;
            python = self.python(spec, &code_path, &entries, &mut found);
            match code_digest(&code_path, &entries) {
                Ok(digest) => {
                    code = Some(digest);
                    found.extend(self.too_large(&entries));
                }
                Err(all) => found.extend(all.into_iter().take(MOST_FINDINGS).map(|message| {
                    self.problem("train.code", message, "the code folder holds plain files only".into())
                })),
            }
        }
        let lock = self.lock(folder, &mut found)?;
        let Some(code) = code else { return Ok(Err(found)) };
        if !found.is_empty() {
            return Ok(Err(found));
        }
        Ok(Ok(DesiredModel {
            content: content(spec, &datasets, code),
            spec: spec.clone(),
            file: self.path.to_owned(),
            code_path,
            code,
            python: python.into_iter().collect(),
            datasets: datasets.into_iter().collect(),
            environments: environments.into_iter().collect(),
            analyses,
            lock,
            lines: parsed.lines.clone(),
            changed_by: self.revision.clone(),
        }))
    }

    /// Analyses of their own and shared ones have each a name of its own, and steps name some that are there.
    fn check_analyses(
        &self,
        spec: &ModelSpec,
        analyses: &BTreeMap<Name, Arc<AnalysisTemplate>>,
        found: &mut Vec<Diagnostic>,
    ) {
        for (i, deploy) in spec.deploy.iter().enumerate().filter(|(_, d)| !d.uses.is_empty()) {
            if !deploy.uses.iter().all(|name| analyses.contains_key(name)) {
                continue;
            }
            let all = deploy.measured(analyses);
            let twice = all.iter().enumerate().find(|(i, a)| all[..*i].iter().any(|b| b.name == a.name));
            if let Some((_, a)) = twice {
                let message = format!("two analyses are called `{}`", a.name);
                found.push(self.problem(
                    &format!("deploy.{i}.analysis"),
                    message,
                    "one comes from a shared file: rename the other".into(),
                ));
            }
            let missing = |name: &&String| !all.iter().any(|a| a.name == **name);
            if let Some(name) = deploy.strategy.steps().iter().flat_map(|s| &s.analysis).find(missing) {
                let there: Vec<&str> = all.iter().map(|a| a.name.as_str()).collect();
                let message = format!("a step asks for analysis `{name}`, which is not there");
                found.push(self.problem(
                    &format!("deploy.{i}.steps"),
                    message,
                    format!("there are: {}", there.join(", ")),
                ));
            }
        }
    }

    /// Who may approve is known.
    fn check_groups(&self, spec: &ModelSpec, found: &mut Vec<Diagnostic>) {
        let Some(groups) = self.groups else { return };
        let all = spec.deploy.iter().enumerate().flat_map(|(i, d)| d.approve.iter().map(move |who| (i, who)));
        let unknown = all.filter_map(|(i, who)| Some((i, who, who.strip_prefix('@')?)));
        for (i, who, group) in unknown.filter(|(_, _, group)| !groups.contains_key(*group)) {
            let there: Vec<&str> = groups.keys().map(Name::as_str).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            let help = format!(
                "groups of {} are: {there}; add {group} = [\"ada@example.com\"] under [groups]",
                join(self.folder, super::SETTINGS)
            );
            found.push(self.problem(
                &format!("deploy.{i}.approve.{who}"),
                format!("there is no group `{group}`"),
                help,
            ));
        }
    }

    /// Files that no training would be given.
    fn too_large(&self, entries: &[TreeEntry]) -> Vec<Diagnostic> {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let of = |entry: &TreeEntry| {
            // What cannot be read now is told by the training.
            let size = self.tree.size(&entry.id).ok().filter(|size| *size > MAX_CODE_FILE)?;
            let (path, limit) = (&entry.path, mib(MAX_CODE_FILE));
            let said =
                format!("`{path}` has {} MiB, more than the {limit} MiB that a file of code may have", mib(size));
            Some(self.problem(
                "train.code",
                said,
                "take it out of the code folder, and name it as a dataset under [data]".into(),
            ))
        };
        code_files(entries).filter_map(of).take(MOST_FINDINGS).collect()
    }

    /// What the names stand for, each with the field that it stands in.
    fn lookup<'n, T>(
        &self,
        known: &Shared<T>,
        wanted: impl Iterator<Item = (String, &'n Name)>,
        what: &str,
        found: &mut Vec<Diagnostic>,
    ) -> BTreeMap<Name, Arc<T>> {
        let mut out = BTreeMap::new();
        let plural = if what == "analysis" { "analyses".to_owned() } else { format!("{what}s") };
        let defined = join(self.folder, &plural);
        for (field, name) in wanted {
            // The decoder holds that a file's name is the spec's.
            let file = format!("{defined}/{name}.toml");
            let parsed = known.get(&file);
            let (message, help) = match parsed.map(|p| (&p.value, &p.diagnostics)) {
                Some((Some(value), _)) => {
                    out.insert(name.clone(), value.clone());
                    continue;
                }
                Some((None, why)) => {
                    let line = Diagnostic::first(why).and_then(|d| d.location.as_ref()).map_or(1, |l| l.line);
                    (format!("{what} `{name}` is broken"), format!("mend {file}:{line}"))
                }
                None => {
                    let near = nearest(known, name).map_or(String::new(), |n| format!("did you mean `{n}`? "));
                    let all = some_names(known);
                    (format!("{what} `{name}` is not defined"), format!("{near}defined in {defined}/ are: {all}"))
                }
            };
            found.push(self.problem(&field, message, help));
        }
        out
    }

    fn python(
        &self,
        spec: &ModelSpec,
        code: &str,
        entries: &[TreeEntry],
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
                    found.push(self.missing_file(&field, &path));
                }
            }
        }
        out
    }

    fn lock(&self, folder: &str, found: &mut Vec<Diagnostic>) -> PortResult<Lock> {
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

/// The name of a shared spec's file.
pub(super) fn stem(path: &str) -> String {
    path.rsplit('/').next().and_then(|f| f.strip_suffix(".toml")).unwrap_or_default().to_owned()
}

/// The name of a spec that is most like this one.
fn nearest<T>(known: &Shared<T>, name: &Name) -> Option<String> {
    let far = |path: &String| (strsim::damerau_levenshtein(name.as_str(), &stem(path)), stem(path));
    let best = known.iter().filter(|(_, p)| p.value.is_some()).map(|(path, _)| far(path)).min()?;
    (best.0 <= 1 + name.as_str().len() / 3).then_some(best.1)
}

/// The digest of a code folder without spec and lock files. `Err` names everything that cannot be part of it.
fn code_digest(folder: &str, entries: &[TreeEntry]) -> Result<Digest, Vec<String>> {
    if entries.len() > MAX_CODE_FILES {
        return Err(vec![format!("`{folder}` holds {} files, more than {MAX_CODE_FILES}", entries.len())]);
    }
    let mut found = Vec::new();
    let mut hasher = blake3::Hasher::new();
    for entry in code_files(entries) {
        let inside = entry.path.strip_prefix(folder).unwrap_or(&entry.path).trim_start_matches('/');
        match entry.mode {
            0o120000 => found.push(format!("`{}` is a symbolic link", entry.path)),
            0o160000 => found.push(format!("`{}` is a submodule", entry.path)),
            _ => {}
        }
        if inside.contains('\u{fffd}') {
            found.push(format!("the name of `{}` is not UTF-8", entry.path));
        }
        for part in [inside.as_bytes(), &entry.mode.to_le_bytes(), entry.id.0.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    }
    if found.is_empty() { Ok(Digest::from_bytes(*hasher.finalize().as_bytes())) } else { Err(found) }
}

/// The files of a code folder that are code: neither specs nor locks.
pub fn code_files(entries: &[TreeEntry]) -> impl Iterator<Item = &TreeEntry> {
    let kept = |e: &&TreeEntry| !matches!(e.path.rsplit('/').next(), Some("model.toml" | "trimtab.lock"));
    entries.iter().filter(kept)
}

fn content(spec: &ModelSpec, datasets: &BTreeMap<Name, Arc<DatasetSpec>>, code: Digest) -> Digest {
    let sources: BTreeMap<&Name, &DataSource> = datasets.iter().map(|(name, d)| (name, &d.source)).collect();
    let data: BTreeMap<&Name, &Name> = spec.data.iter().collect();
    // Plain data with string keys: serialising cannot fail, and an empty text would still be a stable key.
    Digest::of(&serde_json::to_vec(&(&spec.name, &spec.stages, data, sources, code)).unwrap_or_default())
}

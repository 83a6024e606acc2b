//! From files to the desired state, reading only what changed.

use super::{
    analysis,
    approvals::Approvals,
    decode::{MAX_BYTES, locate, plain},
    listed::Listed,
    model, others, promotion,
    relation::Relation,
    replaced::replaced,
    resolve::{Resolver, Shared, stem},
    unread::{self, SETTINGS},
};
use crate::{model::*, ports::*};
use rayon::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The schema of spec files.
pub const SCHEMA: &str = "trimtab/v1";

/// What one spec file gave.
#[derive(Debug)]
pub(super) struct Parsed<T> {
    pub value: Option<Arc<T>>,
    /// Line of each field, by its dotted name.
    pub lines: Arc<Lines>,
    pub diagnostics: Vec<Diagnostic>,
}

// By hand, since a derived one would ask the spec itself to be cloned.
impl<T> Clone for Parsed<T> {
    fn clone(&self) -> Self {
        let (value, lines) = (self.value.clone(), self.lines.clone());
        Self { value, lines, diagnostics: self.diagnostics.clone() }
    }
}

impl<T> Parsed<T> {
    fn from(read: Result<(T, super::decode::Extra), Vec<Diagnostic>>) -> Self {
        match read {
            Ok((value, extra)) => {
                Self { value: Some(Arc::new(value)), lines: Arc::new(extra.lines.into()), diagnostics: extra.warnings }
            }
            Err(diagnostics) => Self { value: None, lines: Arc::default(), diagnostics },
        }
    }
}

impl Parsed<ModelSpec> {
    /// What the file at `path` calls its model, or would, could it be read.
    fn name(&self, path: &str) -> Option<Name> {
        self.value.as_ref().map_or_else(|| name_of(path), |m| Some(m.name.clone()))
    }
}

/// The specs of one revision, parsed and resolved; the next revision is made from it and what changed. The maps share what did not change,
/// and each question about one change is a lookup: no step looks at all models.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    state: DesiredState,
    /// By path of the file.
    models: rpds::RedBlackTreeMapSync<String, Parsed<ModelSpec>>,
    /// Files that call themselves by a name, in order.
    names: Relation,
    /// Names that more than one file gives itself.
    contested: rpds::RedBlackTreeSetSync<Name>,
    /// Models' files by their code folder.
    code: Relation,
    /// Models' files by the name of a dataset, environment or analysis that they refer to.
    uses: Relation,
    /// Models' files that cannot be read, by the name that their folder gives them.
    unreadable: Relation,
    /// Models' files of which something is to be said whatever they refer to.
    noted: rpds::RedBlackTreeSetSync<String>,
    datasets: Shared<DatasetSpec>,
    environments: Shared<EnvironmentSpec>,
    analyses: Shared<AnalysisTemplate>,
    approvals: Approvals,
    settings: Option<Parsed<Settings>>,
    /// What stands in the place of a folder of specs.
    replaced: Vec<Diagnostic>,
    /// Settings that nobody reads.
    unread: Vec<Diagnostic>,
    /// The commit that broke or deleted a model.
    blamed: rpds::RedBlackTreeMapSync<Name, Revision>,
}

/// What a path is to trimtab.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Model,
    Dataset,
    Environment,
    Analysis,
    Approval,
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
        None if inside == SETTINGS => Kind::Settings,
        Some(("datasets", rest)) if toml && !rest.contains('/') => Kind::Dataset,
        Some(("environments", rest)) if toml && !rest.contains('/') => Kind::Environment,
        Some(("analyses", rest)) if toml && !rest.contains('/') => Kind::Analysis,
        Some(("approvals", _)) if toml => Kind::Approval,
        Some(("models", rest)) if rest == "model.toml" || rest.ends_with("/model.toml") => Kind::Model,
        _ => Kind::Other,
    }
}

/// Whether a folder `models/NAME` is a link or a submodule.
fn is_linked_model(folder: &str, change: &TreeChange) -> bool {
    let linked = change.new.as_ref().is_some_and(|e| matches!(e.mode, 0o120000 | 0o160000));
    linked && parent(&change.path) == join(folder, "models")
}

pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

pub(super) fn join(folder: &str, path: &str) -> String {
    match (folder, path) {
        ("" | ".", p) => p.to_owned(),
        (f, ".") => f.to_owned(),
        (f, p) => format!("{f}/{p}"),
    }
}

impl Loaded {
    /// The desired state.
    pub fn state(&self) -> &DesiredState {
        &self.state
    }

    /// Links and the like in the places of folders that hold all specs: what is deleted by them was not meant to be.
    pub fn replaced(&self) -> &[Diagnostic] {
        &self.replaced
    }

    /// Which approvals Git has.
    pub fn approvals(&self) -> &Approvals {
        &self.approvals
    }

    /// Where a field of the settings stands.
    pub fn settings_at(&self, folder: &str, field: &str) -> Location {
        let line = self.settings.as_ref().and_then(|s| s.lines.get(field)).unwrap_or(1);
        Location { file: join(folder, SETTINGS), line, column: 1, text: String::new(), width: 0 }
    }

    /// Takes what is remembered of a model from before, which knows the commit that changed it, in place of what the tree alone says. One
    /// that asks for something else is left aside.
    pub fn remember(&mut self, before: &Arc<DesiredModel>) {
        if self.state.models.get(&before.spec.name).is_some_and(|now| now.asks_the_same(before)) {
            self.state.models.insert_mut(before.spec.name.clone(), before.clone());
        }
    }

    /// Everything that a model is made from, now or as `before` had it: its folder, its code, what it refers to.
    pub fn paths_of(&self, before: &Self, name: &Name, folder: &str) -> Vec<String> {
        let mut out = BTreeSet::new();
        for loaded in [before, self] {
            for path in loaded.names.of(name.as_str()).chain(loaded.unreadable.of(name.as_str())) {
                out.insert(parent(path).to_owned());
                let Some(model) = loaded.models.get(path).and_then(|p| p.value.as_ref()) else { continue };
                out.insert(join(parent(path), &model.code));
                out.extend(model.data.values().map(|d| super::dataset_file(folder, d)));
                let environments = model.deploy.iter().map(|d| &d.environment);
                out.extend(environments.map(|e| join(folder, &format!("environments/{e}.toml"))));
                let analyses = model.deploy.iter().flat_map(|d| &d.uses);
                out.extend(analyses.map(|a| join(folder, &format!("analyses/{a}.toml"))));
            }
        }
        out.into_iter().collect()
    }

    /// Notes who changed, broke or deleted a model.
    pub fn set_blame(&mut self, name: &Name, revision: Arc<Revision>) {
        match self.state.models.get(name) {
            Some(model) => {
                let model = DesiredModel { changed_by: revision, ..DesiredModel::clone(model) };
                self.state.models.insert_mut(name.clone(), Arc::new(model));
            }
            None => self.blamed.insert_mut(name.clone(), Revision::clone(&revision)),
        }
    }

    /// The commit that broke or deleted a model, when it is broken or was deleted.
    pub fn blamed(&self, name: &Name) -> Option<&Revision> {
        self.blamed.get(name)
    }

    /// The specs of `revision`, from those of the revision before and what changed between the two below `folder`. Returns the models
    /// whose desired state is another now. Costs what changed, not what there is. Without a revision before, `changes` are all files.
    pub fn update(
        &self,
        changes: &[TreeChange],
        revision: &Revision,
        folder: &str,
        tree: &dyn GitTree,
    ) -> PortResult<(Self, BTreeSet<Name>)> {
        let mut next = self.clone();
        next.approvals.begin(revision);
        let mut dirty = Dirty::default();
        let files: Vec<SpecFile> =
            changes.par_iter().map(|change| SpecFile::read(change, folder, tree)).collect::<PortResult<_>>()?;
        for (change, file) in changes.iter().zip(files) {
            next.take(&change.path, file, &mut dirty);
        }
        // After the files that were there before it: a link or a submodule in the place of a model's folder is a broken spec, not a deleted
        // one.
        for change in changes.iter().filter(|c| is_linked_model(folder, c)) {
            let spec = join(&change.path, "model.toml");
            next.take(&spec, SpecFile::Model(read(change, tree, model::parse)?), &mut dirty);
        }
        next.replaced = replaced(folder, revision, tree)?;
        next.unread = unread::all(folder, revision, tree)?;
        let tree = Listed::new(tree, folder, self.state.revision.is_none().then_some(changes));
        let touched = next.resolve(revision, folder, &tree, dirty)?;
        Ok((next, touched))
    }

    fn take(&mut self, path: &str, file: SpecFile, dirty: &mut Dirty) {
        match file {
            SpecFile::Model(parsed) => {
                dirty.code.insert(parent(path).to_owned());
                dirty.models.insert(path.to_owned(), self.name_at(path));
                self.set_model(path, parsed);
            }
            SpecFile::Dataset(parsed) => {
                dirty.shared.insert(stem(path));
                set(&mut self.datasets, path, parsed);
            }
            SpecFile::Environment(parsed) => {
                dirty.shared.insert(stem(path));
                set(&mut self.environments, path, parsed);
            }
            SpecFile::Analysis(parsed) => {
                dirty.shared.insert(stem(path));
                set(&mut self.analyses, path, parsed);
            }
            SpecFile::Approval(approval) => self.approvals.set(path, approval),
            SpecFile::Settings(parsed) => self.settings = parsed,
            SpecFile::Other => drop(dirty.code.insert(parent(path).to_owned())),
        }
    }

    /// What the file calls its model, or would, could it be read.
    fn name_at(&self, path: &str) -> Option<Name> {
        self.models.get(path)?.name(path)
    }

    fn set_model(&mut self, path: &str, parsed: Option<Parsed<ModelSpec>>) {
        if let Some(old) = self.models.get(path).cloned() {
            self.index(path, &old, false);
        }
        if let Some(new) = &parsed {
            self.index(path, new, true);
        }
        set(&mut self.models, path, parsed);
    }

    /// Keeps the lookups true when a file comes (`present`) or goes.
    fn index(&mut self, path: &str, parsed: &Parsed<ModelSpec>, present: bool) {
        if present && !parsed.diagnostics.is_empty() {
            self.noted.insert_mut(path.to_owned());
        } else {
            self.noted.remove_mut(path);
        }
        let Some(model) = &parsed.value else {
            let name = name_of(path).map(|n| n.to_string()).unwrap_or_default();
            return self.unreadable.set((name, path.to_owned()), present);
        };
        self.names.set((model.name.to_string(), path.to_owned()), present);
        if self.names.of(model.name.as_str()).nth(1).is_some() {
            self.contested.insert_mut(model.name.clone());
        } else {
            self.contested.remove_mut(&model.name);
        }
        self.code.set((join(parent(path), &model.code), path.to_owned()), present);
        let deployed = model.deploy.iter().flat_map(|d| std::iter::once(&d.environment).chain(&d.uses));
        for name in model.data.values().chain(deployed) {
            self.uses.set((name.to_string(), path.to_owned()), present);
        }
        for group in model.deploy.iter().flat_map(|d| &d.approve).filter(|who| who.starts_with('@')) {
            self.uses.set((group.clone(), path.to_owned()), present);
        }
    }

    /// The file whose spec of that name counts. Of several, the one whose folder has the name: a copied folder takes nothing over. None when
    /// that does not tell them apart.
    fn in_force(&self, name: &Name) -> Option<&String> {
        let mut all = self.names.of(name.as_str());
        let (first, second) = (all.next()?, all.next());
        if second.is_none() {
            return Some(first);
        }
        let mut at_home = self.names.of(name.as_str()).filter(|path| name_of(path).as_ref() == Some(name));
        at_home.next().filter(|_| at_home.next().is_none())
    }

    /// Whether several files give themselves the name and none of them counts.
    fn is_undecided(&self, name: &Name) -> bool {
        self.in_force(name).is_none() && self.names.of(name.as_str()).next().is_some()
    }

    /// Files of models that what changed can make another desired state.
    fn affected(&self, dirty: &Dirty) -> BTreeSet<String> {
        let mut out: BTreeSet<String> = dirty.models.keys().cloned().collect();
        if self.models.size() <= out.len() && self.models.keys().all(|path| out.contains(path)) {
            return out;
        }
        for (path, before) in &dirty.models {
            for name in self.name_at(path).iter().chain(before) {
                out.extend(self.names.of(name.as_str()).cloned());
                out.extend(self.unreadable.of(name.as_str()).cloned());
            }
        }
        for folder in &dirty.code {
            // The lock file beside a spec counts even when the code is elsewhere.
            out.insert(join(folder, "model.toml"));
        }
        // Each once: thousands of models lie below the same few.
        let above: BTreeSet<&str> = dirty.code.iter().flat_map(|folder| folders_above(folder)).collect();
        for folder in above {
            out.extend(self.code.of(folder).cloned());
        }
        for name in &dirty.shared {
            out.extend(self.uses.of(name).cloned());
        }
        if !dirty.shared.is_empty() {
            // What is said of a name that is not defined lists those that are.
            let in_force = |name: &Name| self.in_force(name).cloned();
            out.extend(self.state.broken.keys().filter_map(in_force));
        }
        out
    }

    fn resolve(
        &mut self,
        revision: &Revision,
        folder: &str,
        tree: &dyn GitTree,
        mut dirty: Dirty,
    ) -> PortResult<BTreeSet<Name>> {
        let old_settings = std::mem::take(&mut self.state.settings);
        // Broken settings leave those that were in force.
        self.state.settings = match &self.settings {
            None => Settings::default(),
            Some(Parsed { value: Some(settings), .. }) => settings.as_ref().clone(),
            // With none to go by, nothing is written and nothing rewritten is followed: the broken file may have said so.
            Some(_) if self.state.revision.is_none() => {
                Settings { push: false, allow_rewrite: false, ..old_settings.clone() }
            }
            Some(_) => old_settings.clone(),
        };
        dirty.shared.extend(promotion::other_groups(&old_settings.groups, &self.state.settings.groups));
        // All models that it changed refer to one.
        let revision = &Arc::new(revision.clone());
        self.state.revision = Some(revision.clone());
        let mut touched = BTreeSet::new();
        // A file that went or became another model: the old name loses its state unless another file has it.
        for (path, before) in &dirty.models {
            let Some(name) = before else { continue };
            if self.in_force(name) != Some(path) {
                self.state.models.remove_mut(name);
                self.state.broken.remove_mut(name);
                self.blamed.insert_mut(name.clone(), Revision::clone(revision));
                touched.insert(name.clone());
            }
        }
        let affected = self.affected(&dirty);
        let in_force = affected.iter().filter_map(|path| {
            let parsed = self.models.get(path)?;
            let name = parsed.name(path)?;
            // Another file has the name: this one is not in force, and what is wrong with it holds back nothing.
            let first = self.in_force(&name).is_none_or(|first| first == path) && !self.is_undecided(&name);
            first.then_some((path, parsed, name))
        });
        let in_force: Vec<_> = in_force.collect();
        let undecided: BTreeSet<Name> =
            affected.iter().filter_map(|path| self.name_at(path)).filter(|name| self.is_undecided(name)).collect();
        let (datasets, environments, analyses) = (&self.datasets, &self.environments, &self.analyses);
        // Whether a group is there cannot be said while the file that defines it cannot be read.
        let readable = self.settings.as_ref().is_none_or(|s| s.value.is_some());
        let groups = readable.then_some(&self.state.settings.groups);
        let resolve = |(path, parsed, name): (&String, &Parsed<ModelSpec>, Name)| {
            let resolver = Resolver { path, folder, tree, revision, datasets, environments, analyses, groups };
            Ok((name, resolver.resolve(parsed)?))
        };
        let resolved: Vec<_> = in_force.into_par_iter().map(resolve).collect::<PortResult<_>>()?;
        for (name, outcome) in resolved {
            match outcome {
                Ok(model) => {
                    self.blamed.remove_mut(&name);
                    self.state.broken.remove_mut(&name);
                    self.state.models.insert_mut(name.clone(), Arc::new(model));
                }
                Err(diagnostics) => {
                    self.blamed.insert_mut(name.clone(), Revision::clone(revision));
                    self.state.models.remove_mut(&name);
                    self.state.broken.insert_mut(name.clone(), diagnostics);
                }
            }
            touched.insert(name);
        }
        for name in undecided {
            self.blamed.insert_mut(name.clone(), Revision::clone(revision));
            self.state.models.remove_mut(&name);
            self.state.broken.insert_mut(name.clone(), self.rivals_of(&name, tree, revision));
            touched.insert(name);
        }
        let shared = self.datasets.size() + self.environments.size() + self.analyses.size();
        self.state.files = self.models.size() + shared + usize::from(self.settings.is_some());
        self.state.diagnostics = self.diagnostics(tree, revision);
        Ok(touched)
    }

    /// Everything that was found, by file.
    fn diagnostics(&self, tree: &dyn GitTree, revision: &Revision) -> Vec<Diagnostic> {
        let settings = self.settings.iter().flat_map(|s| &s.diagnostics);
        let datasets = self.datasets.values().flat_map(|p| &p.diagnostics);
        let environments = self.environments.values().flat_map(|p| &p.diagnostics);
        let analyses = self.analyses.values().flat_map(|p| &p.diagnostics);
        // What is held back of a spec that cannot be read has these findings too.
        let told_below = |path: &str| {
            let broken = name_of(path).and_then(|name| self.state.broken.get(&name));
            let of_this = |d: &Diagnostic| d.location.as_ref().is_some_and(|l| l.file == path);
            broken.is_some_and(|all| all.first().is_some_and(of_this))
        };
        let of = |model: Option<Name>| move |d: &Diagnostic| Diagnostic { model: model.clone(), ..d.clone() };
        let models = self.noted.iter().filter_map(|path| Some((path, self.models.get(path)?)));
        let models = models
            .filter(|(path, p)| p.value.is_some() || !told_below(path))
            .flat_map(|(path, p)| p.diagnostics.iter().map(of(p.name(path))));
        let broken = self.state.broken.iter().filter(|(name, _)| !self.contested.contains(*name));
        let broken = broken.flat_map(|(name, found)| found.iter().map(of(Some(name.clone()))));
        let shared = datasets.chain(environments).chain(analyses).chain(self.approvals.diagnostics());
        let found = self.replaced.iter().chain(&self.unread).chain(settings).chain(shared).cloned();
        found
            .chain(models)
            .chain(broken)
            .chain(self.contested.iter().flat_map(|name| self.rivals_of(name, tree, revision)))
            .collect()
    }

    /// Specs that give themselves a name that another file has: which one is in force, or that none is.
    fn rivals_of(&self, name: &Name, tree: &dyn GitTree, revision: &Revision) -> Vec<Diagnostic> {
        let first = self.in_force(name);
        let files = || self.names.of(name.as_str());
        let help = |file: &String| match first {
            Some(first) => format!("the one in {first} is in force: rename this one"),
            None => {
                let others: Vec<&str> = files().filter(|f| *f != file).map(String::as_str).collect();
                format!("also in {}: neither is in force until one is renamed", others.join(", "))
            }
        };
        let rival = |file: &String| {
            let mut d = plain(file, format!("two specs are called `{name}`"), &help(file));
            let entry = tree.entry(&revision.tree, file).ok().flatten();
            let bytes = entry.and_then(|e| tree.blob(&e.id, MAX_BYTES).ok());
            d.location = bytes.and_then(|b| locate(file, &b, "model.name")).or(d.location);
            d
        };
        files().filter(|file| first != Some(file)).map(rival).collect()
    }
}

/// A folder and all that it lies in, up to the root `""`.
fn folders_above(folder: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(folder), |f| (!f.is_empty()).then(|| parent(f)))
}

/// The folder's name stands for a model whose spec cannot be read.
fn name_of(path: &str) -> Option<Name> {
    parent(path).rsplit('/').next().and_then(|n| Name::new(n).ok())
}

fn set<T: Clone>(all: &mut rpds::RedBlackTreeMapSync<String, Parsed<T>>, path: &str, parsed: Option<Parsed<T>>) {
    match parsed {
        Some(parsed) => all.insert_mut(path.to_owned(), parsed),
        None => drop(all.remove_mut(path)),
    }
}

/// What the file is now; `None` when it is gone.
fn read<T>(
    change: &TreeChange,
    tree: &dyn GitTree,
    parse: fn(&str, &[u8]) -> super::decode::Read<T>,
) -> PortResult<Option<Parsed<T>>> {
    let Some(entry) = &change.new else { return Ok(None) };
    let refused = match entry.mode {
        0o120000 => Some(("the spec is a symbolic link", "commit the files themselves: links are not followed")),
        0o160000 => Some(("the spec is a submodule", "commit the files themselves: submodules are not followed")),
        _ => None,
    };
    let broken = |diagnostic| Parsed { value: None, lines: Arc::default(), diagnostics: vec![diagnostic] };
    Ok(Some(match refused {
        Some((what, help)) => broken(plain(&change.path, what.into(), help)),
        None => match tree.blob(&entry.id, MAX_BYTES) {
            Ok(bytes) => Parsed::from(parse(&change.path, &bytes)),
            Err(e) if !e.retryable => broken(plain(&change.path, e.message, "a spec may have at most 1 MiB")),
            Err(e) => return Err(e),
        },
    }))
}

/// What a changed file is now.
enum SpecFile {
    Model(Option<Parsed<ModelSpec>>),
    Dataset(Option<Parsed<DatasetSpec>>),
    Environment(Option<Parsed<EnvironmentSpec>>),
    Analysis(Option<Parsed<AnalysisTemplate>>),
    Approval(Option<(ObjectId, Parsed<Approval>)>),
    Settings(Option<Parsed<Settings>>),
    Other,
}

impl SpecFile {
    fn read(change: &TreeChange, folder: &str, tree: &dyn GitTree) -> PortResult<Self> {
        Ok(match kind(folder, &change.path) {
            Kind::Model => Self::Model(read(change, tree, model::parse)?),
            Kind::Dataset => Self::Dataset(read(change, tree, others::dataset)?),
            Kind::Environment => Self::Environment(read(change, tree, others::environment)?),
            Kind::Analysis => Self::Analysis(read(change, tree, analysis::template)?),
            Kind::Approval => {
                let id = change.new.as_ref().map(|e| e.id.clone());
                Self::Approval(id.zip(read(change, tree, promotion::approval)?))
            }
            Kind::Settings => Self::Settings(read(change, tree, others::settings)?),
            Kind::Other => Self::Other,
        })
    }
}

/// What changed between two revisions.
#[derive(Debug, Default)]
struct Dirty {
    /// Files of models, with the name that each had.
    models: BTreeMap<String, Option<Name>>,
    /// Names of datasets, environments and analyses, and `@groups`.
    shared: BTreeSet<String>,
    /// Folders in which any file changed.
    code: BTreeSet<String>,
}

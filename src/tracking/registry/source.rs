//! Where a new version's files are said to be: checked as MLflow's handlers do, so that nobody registers what is not theirs to read.

use super::{
    Tracked, VersionView,
    models::is_prompt,
    uri::{self, ModelUri, Uri},
};
use crate::{
    model::tracking::{ErrorCode, TrackingError},
    tracking::{Tracker, location},
};
use std::collections::BTreeMap;

/// A source as a caller gives it; what was left out is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GivenSource {
    pub source: String,
    pub run_id: Option<String>,
    pub model_id: Option<String>,
}

/// Sources that prompts, which have no files, give.
const PROMPT_SOURCES: [&str; 2] = ["dummy-source", "prompt-template"];
const PROMPT: &str = "Prompt versions cannot be used as model version sources.";
fn refused(source: &str, why: &str) -> TrackingError {
    TrackingError::invalid(format!("Invalid model version source: '{source}'. {why}"))
}

fn not_of(source: &str, id: &str) -> TrackingError {
    refused(source, &format!("The {id} request parameter must identify the resource that contains the source."))
}

/// What the other sources have to be in: a run or a logged model.
struct Owner<'a> {
    /// The field that names it.
    field: &'static str,
    id: &'a str,
    run: bool,
}

impl Tracker {
    /// Checks a source and fills in what a version that it refers to says.
    pub fn given_source(&self, given: GivenSource, tags: &[(String, String)]) -> Tracked<GivenSource> {
        let tags: BTreeMap<String, String> = tags.iter().cloned().collect();
        let prompt = is_prompt(&tags);
        let source = &given.source;
        if prompt && !PROMPT_SOURCES.contains(&source.as_str()) {
            return Err(TrackingError::invalid(format!(
                "Invalid prompt source: '{source}'. Prompt sources must use an MLflow placeholder."
            )));
        }
        location::no_host("source", source)?;
        if prompt {
            return Ok(given);
        }
        let given = self.of_version(given)?;
        let owner = match given.model_id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => Owner { field: "model_id", id, run: false },
            None => Owner { field: "run_id", id: given.run_id.as_deref().unwrap_or_default(), run: true },
        };
        self.check_source(&given.source, &owner)?;
        Ok(given)
    }

    /// A source that is another version: its number instead of its alias or stage, and its run.
    fn of_version(&self, given: GivenSource) -> Tracked<GivenSource> {
        let source = &given.source;
        let Uri { scheme, host, .. } = uri::parse(source);
        if scheme != "models" {
            return Ok(given);
        }
        if !host.is_empty() {
            return Err(refused(source, "Registered model sources must use the active model registry."));
        }
        let named = uri::model(source).map_err(|_| not_of(source, "model_id"))?;
        let told = |e: TrackingError| if e.message == PROMPT { refused(source, PROMPT) } else { e };
        let Some(VersionView { name, version, .. }) = self.named(named).map_err(told)? else { return Ok(given) };
        let run = |id: &Option<String>| id.clone().unwrap_or_default();
        // Versions do not know their logged models in MLflow's store: a caller who names one is wrong.
        if given.run_id.is_some() && run(&given.run_id) != run(&version.run_id) || !run(&given.model_id).is_empty() {
            let why = "The run_id and model_id request parameters must match the referenced model version.";
            return Err(refused(source, why));
        }
        Ok(GivenSource {
            source: format!("models:/{name}/{}", version.number),
            run_id: given.run_id.or_else(|| version.run_id.clone()),
            model_id: given.model_id,
        })
    }

    /// The version that an address names, if it names one.
    fn named(&self, named: ModelUri<'_>) -> Tracked<Option<VersionView>> {
        let (ModelUri::Version(name, _) | ModelUri::Latest(name) | ModelUri::Stage(name, _) | ModelUri::Alias(name, _)) =
            named
        else {
            return Ok(None);
        };
        if is_prompt(&self.registered_model(name)?.model.tags) {
            return Err(TrackingError::invalid(PROMPT));
        }
        Ok(Some(match named {
            ModelUri::Version(name, number) => self.model_version(name, number)?,
            ModelUri::Stage(name, stage) => self.newest_in(name, Some(stage))?,
            ModelUri::Alias(name, alias) => self.version_by_alias(name, alias)?,
            ModelUri::Latest(name) | ModelUri::Logged(name) => self.newest_in(name, None)?,
        }))
    }

    fn check_source(&self, source: &str, owner: &Owner<'_>) -> Tracked<()> {
        let Uri { scheme, host, path } = uri::parse(source);
        if scheme.is_empty() || scheme == "file" {
            return self.check_local(source, &scheme, path, owner);
        }
        check_path(source)?;
        let not_theirs = || Err(not_of(source, owner.field));
        match scheme.as_str() {
            "runs" => {
                let run = path.trim_start_matches('/').split('/').next().unwrap_or_default();
                let theirs = owner.run && host.is_empty() && !owner.id.is_empty() && run == owner.id;
                if theirs { Ok(()) } else { not_theirs() }
            }
            "models" => match uri::model(source).map_err(|_| not_of(source, "model_id"))? {
                _ if !host.is_empty() => Err(not_of(source, "model_id")),
                ModelUri::Logged(id) if owner.run || id != owner.id => Err(not_of(source, "model_id")),
                _ => Ok(()),
            },
            "mlflow-artifacts" => {
                let root = self.root(source, owner)?;
                let within = root.is_some_and(|root| uri::is_within(source, &root));
                if within { Ok(()) } else { not_theirs() }
            }
            _ => Ok(()),
        }
    }

    /// Where the owner's files are, if one is given.
    fn root(&self, source: &str, owner: &Owner<'_>) -> Tracked<Option<String>> {
        if owner.id.is_empty() {
            return Ok(None);
        }
        let root = if owner.run {
            self.artifact_root(owner.id)
        } else {
            self.logged_model(owner.id).map(|model| model.artifact_uri)
        };
        match root {
            Err(e) if e.code == ErrorCode::ResourceDoesNotExist => Err(not_of(source, owner.field)),
            root => root.map(Some),
        }
    }

    /// A path on the server's own disk has to lie among the owner's files.
    fn check_local(&self, source: &str, scheme: &str, path: &str, owner: &Owner<'_>) -> Tracked<()> {
        let plain = |scheme: &str, text: &str, path: &str| {
            if scheme.is_empty() { text.to_owned() } else { uri::unquoted(path, false) }
        };
        let path = plain(scheme, source, path);
        if let Some(root) = self.root(source, owner)? {
            let Uri { scheme, path: root_path, .. } = uri::parse(&root);
            let local = scheme.is_empty() || scheme == "file";
            let root = plain(&scheme, &root, root_path);
            if local && uri::is_plain(&path) && uri::is_plain(&root) && uri::is_within(&path, &root) {
                return Ok(());
            }
        }
        let field = owner.field;
        // Once an owner is known, MLflow shows the path alone.
        Err(refused(
            if owner.id.is_empty() { source } else { &path },
            &format!(
                "To use a local path as a model version source, the {field} request parameter has to be specified and the local path has \
                 to be contained within the artifact directory of the run specified by the {field}."
            ),
        ))
    }

    /// Where the files of a source are, when it only refers to them, and the run that made them.
    pub(super) fn storage_of(&self, source: &str) -> Tracked<(Option<String>, Option<String>)> {
        if uri::parse(source).scheme != "models" {
            return Ok((None, None));
        }
        let unable = |e: TrackingError| {
            let words = format!(
                "Unable to fetch model from model URI source artifact location '{source}'.Error: {}",
                e.message
            );
            TrackingError::new(e.code, words)
        };
        let found = uri::model(source).and_then(|named| match named {
            ModelUri::Logged(id) => self.logged_model(id).map(|m| (m.artifact_uri, m.source_run_id)),
            other => {
                let version = self.named(other)?;
                let place = version.map(|v| v.version.location().to_owned()).unwrap_or_default();
                Ok((place, None))
            }
        });
        found.map(|(place, run)| (Some(place), run.filter(|r| !r.is_empty()))).map_err(unable)
    }
}

/// No way up, however it is written.
fn check_path(source: &str) -> Tracked<()> {
    let clear = uri::unquoted(source, true);
    let path = uri::parse(&clear).path.trim_end_matches('/').to_owned();
    if clear.split('/').any(|part| part == "..") || !uri::is_plain(&path) {
        return Err(refused(
            source,
            "If supplying a source as an http, https, local file path, ftp, objectstore, or mlflow-artifacts uri, an absolute path must be \
             provided without relative path references present. Please provide an absolute path.",
        ));
    }
    Ok(())
}

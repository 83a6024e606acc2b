//! Searches over models and versions.

use super::{
    ModelView, Tracked, VersionView,
    state::{Model, ModelVersion},
};
use crate::{
    model::tracking::TrackingError,
    search::{Attribute, Filter, IS_PROMPT, Orders, Searched, Subject, page},
    tracking::{Query, Tracker, first::First},
};
use std::sync::Arc;

/// Models of one page, at most.
const MODELS: i64 = 1000;
/// Versions of one page, at most.
const VERSIONS: i64 = 200_000;

struct SeenModel<'a>(&'a Model);

impl Searched for SeenModel<'_> {
    fn attribute(&self, name: &str) -> Attribute<'_> {
        let model = &self.0.record;
        match name {
            "name" => Attribute::Text(model.name.as_str().into()),
            "creation_timestamp" => Attribute::Integer(model.created),
            "last_updated_timestamp" => Attribute::Integer(model.updated),
            _ => Attribute::Missing,
        }
    }
    fn tag(&self, key: &str) -> Option<&str> {
        self.0.record.tags.get(key).map(String::as_str)
    }
}

struct SeenVersion<'a> {
    model: &'a Model,
    version: &'a Arc<ModelVersion>,
    /// Whether any version of the model is a prompt's.
    prompt: bool,
}

impl Searched for SeenVersion<'_> {
    fn attribute(&self, name: &str) -> Attribute<'_> {
        match name {
            "name" => Attribute::Text(self.model.record.name.as_str().into()),
            "version_number" => Attribute::Integer(i64::try_from(self.version.number).unwrap_or(i64::MAX)),
            "run_id" => self.version.run_id.as_deref().map_or(Attribute::Missing, |id| Attribute::Text(id.into())),
            "source_path" => Attribute::Text(self.version.source.as_str().into()),
            "creation_timestamp" => Attribute::Integer(self.version.created),
            "last_updated_timestamp" => Attribute::Integer(self.version.updated),
            _ => Attribute::Missing,
        }
    }
    fn tag(&self, key: &str) -> Option<&str> {
        self.version.tags.get(key).map(String::as_str)
    }
    fn is_prompt(&self) -> bool {
        self.prompt
    }
}

fn limited(max_results: i64, most: i64) -> Tracked<usize> {
    if max_results > most {
        return Err(TrackingError::invalid(format!(
            "Invalid value for request parameter max_results. It must be at most {most}, but got value {max_results}"
        )));
    }
    usize::try_from(max_results).ok().filter(|n| *n > 0).ok_or_else(|| {
        TrackingError::invalid(format!(
            "Invalid value for max_results. It must be a positive integer, but got {max_results}"
        ))
    })
}

impl Tracker {
    /// Models of those that the caller may see.
    pub fn search_models(
        &self,
        query: &Query,
        seen: &dyn Fn(&str) -> bool,
    ) -> Tracked<(Vec<ModelView>, Option<String>)> {
        let most = limited(query.max_results, MODELS)?;
        let filter = Filter::parse(Subject::RegisteredModels, &query.filter)?;
        let orders = Orders::parse(Subject::RegisteredModels, &query.order_by)?;
        let offset = page::offset(&query.page_token)?;
        let registry = self.registry();
        let shown = registry.models().map(SeenModel).filter(|m| filter.matches(m) && seen(&m.0.record.name));
        let found = First::of(offset.saturating_add(most), shown.map(|m| (orders.key(&m), m.0)));
        let (models, next) = found.page(offset);
        // Here the newest versions come by the names of their stages.
        let by_stage = |model: &Model| {
            let mut view = model.view();
            view.latest.sort_by_key(|v| v.stage.name());
            view
        };
        Ok((models.into_iter().map(by_stage).collect(), next))
    }

    /// Versions of models that the caller may see; their aliases are not told.
    pub fn search_versions(
        &self,
        query: &Query,
        seen: &dyn Fn(&str) -> bool,
    ) -> Tracked<(Vec<VersionView>, Option<String>)> {
        let most = limited(query.max_results, VERSIONS)?;
        let filter = Filter::parse(Subject::ModelVersions, &query.filter)?;
        let orders = Orders::parse(Subject::ModelVersions, &query.order_by)?;
        let offset = page::offset(&query.page_token)?;
        let registry = self.registry();
        let mut found = First::until(offset.saturating_add(most));
        for model in registry.models().filter(|m| seen(&m.record.name)) {
            let prompt = model.versions().any(|v| v.tags.get(IS_PROMPT).is_some_and(|t| t == "true"));
            let all = model.versions().map(|version| SeenVersion { model, version, prompt });
            all.filter(|v| filter.matches(v)).for_each(|v| found.put(orders.key(&v), (v.model, v.version)));
        }
        let (versions, next) = found.page(offset);
        let view = |(model, version): (&Model, &Arc<ModelVersion>)| VersionView {
            name: model.record.name.clone(),
            version: version.clone(),
            aliases: vec![],
        };
        Ok((versions.into_iter().map(view).collect(), next))
    }
}

//! Who calls, and what they may: by `[tracking]` of the settings that Git holds now.

use super::Call;
use crate::{
    model::{
        Level, Thing, TrackingSettings,
        tracking::{ErrorCode, TrackingError},
    },
    reconcile::Reconciler,
    tracking::Tracked,
};
use axum::http::Method;
use subtle::ConstantTimeEq;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::api) enum Who {
    /// Whoever holds the daemon's own token or may open its socket; and its runs.
    #[default]
    Owner,
    User(String),
}

/// The user whose secret this is. A name that is given, as basic authentication does, has to be theirs.
pub(in crate::api) fn user(reconciler: &Reconciler, name: Option<&str>, secret: &str) -> Option<Who> {
    let loaded = reconciler.loaded();
    let users = &loaded.state().settings.tracking.users;
    let theirs = |user: &&crate::model::TrackingUser| {
        let known = std::env::var(&user.secret).ok().filter(|s| !s.is_empty());
        let same = known.is_some_and(|known| bool::from(known.as_bytes().ct_eq(secret.as_bytes())));
        same && name.is_none_or(|n| n == user.name)
    };
    users.iter().find(theirs).map(|user| Who::User(user.name.clone()))
}

/// What a call needs: reading needs little, deleting much.
fn needed(method: &Method, path: &str) -> Level {
    let last = path.rsplit('/').next().unwrap_or(path);
    match last {
        _ if method == Method::GET => Level::Read,
        "search" | "search-datasets" | "get-latest-versions" => Level::Read,
        "delete" | "restore" => Level::Manage,
        _ if method == Method::DELETE && path.ends_with("{model_id}") => Level::Manage,
        _ => Level::Edit,
    }
}

impl Call {
    /// Whether the caller may do this with a thing.
    pub fn may(&self, thing: Thing<'_>, level: Level) -> bool {
        let Who::User(name) = &self.who else { return true };
        let loaded = self.api.reconciler.loaded();
        let settings: &TrackingSettings = &loaded.state().settings.tracking;
        settings.level(name, thing) >= level
    }

    /// Whether the caller may see an experiment.
    pub fn sees(&self, experiment: &str) -> bool {
        self.may(Thing::Experiment(experiment), Level::Read)
    }

    /// Of these experiments the ones that the caller may see.
    pub fn seen(&self, ids: Vec<String>) -> Vec<String> {
        if self.who == Who::Owner {
            return ids;
        }
        // What is not there is told by the search.
        let sees = |id: &String| self.tracker().experiment(id).map_or(true, |e| self.sees(&e.name));
        ids.into_iter().filter(sees).collect()
    }

    /// Refuses what the caller may not do with what the call names. What is not there is told by the call itself.
    pub fn check(&self, method: &Method, path: &str) -> Tracked<()> {
        if self.who == Who::Owner {
            return Ok(());
        }
        let level = needed(method, path);
        for (named, experiment) in self.experiments() {
            self.demand(Thing::Experiment(&experiment), &named, level)?;
        }
        if path.starts_with("registered-models/") || path.starts_with("model-versions/") {
            let names = ["name", "new_name"].into_iter().filter_map(|field| self.request.filled(field));
            names.into_iter().try_for_each(|name| self.demand_model(name, level))?;
        }
        if path == "experiments/create" {
            let name = self.request.text("name");
            self.demand(Thing::Experiment(name), &format!("experiment `{name}`"), Level::Edit)?;
        }
        Ok(())
    }

    /// Refuses what the caller may not do with a thing, which is told as the caller `named` it: who may not see it does not learn its name.
    pub fn demand(&self, thing: Thing<'_>, named: &str, level: Level) -> Tracked<()> {
        if self.may(thing, level) {
            return Ok(());
        }
        let level = format!("{level:?}").to_lowercase();
        Err(TrackingError::new(
            ErrorCode::PermissionDenied,
            format!(
                "Permission denied: {named} needs the level `{level}`; [[tracking.permission]] in trimtab.toml gives it"
            ),
        ))
    }

    /// The same for a registered model, which has no other name.
    pub fn demand_model(&self, name: &str, level: Level) -> Tracked<()> {
        self.demand(Thing::Model(name), &format!("registered model `{name}`"), level)
    }

    /// The experiments that the call is about: as it names them, and their names.
    fn experiments(&self) -> Vec<(String, String)> {
        let (tracker, r) = (self.tracker(), &self.request);
        let of_runs = r.texts("run_ids").into_iter().chain([r.run_id().to_owned()]).filter(|id| !id.is_empty());
        let of_run = |id: String| {
            let experiment = tracker.run(&id).ok()?.facts().ok()?.experiment;
            Some((format!("the experiment of run `{id}`"), experiment.to_string()))
        };
        // A logged model's id is in the path, in the body, or both.
        let models = [self.path("model_id"), r.text("model_id")];
        let of_model = |id: &str| {
            let experiment = tracker.logged_model(id).ok()?.experiment;
            Some((format!("the experiment of logged model `{id}`"), experiment.to_string()))
        };
        let of_models = models.into_iter().filter(|id| !id.is_empty()).filter_map(of_model);
        let by_id = r.filled("experiment_id").map(|id| (format!("experiment `{id}`"), id.to_owned()));
        let ids = of_runs.filter_map(of_run).chain(of_models).chain(by_id);
        let named = ids.filter_map(|(named, id)| Some((named, tracker.experiment(&id).ok()?.name)));
        let by_name = r.filled("experiment_name").map(|name| (format!("experiment `{name}`"), name.to_owned()));
        named.chain(by_name).collect()
    }
}

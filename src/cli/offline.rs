//! `trimtab plan`: by the daemon, or of a working tree or a commit against nothing or a backup of a store (`--state FILE`).

use super::{
    check,
    fail::{Failure, Outcome},
    global::Global,
};
use crate::{
    api::client::ClientError,
    model::*,
    plan::{self, Input, Push, render},
    ports::Clock,
    process::SystemClock,
    store::{Store, restore},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Plan for this commit, branch or tag instead of the newest
    #[arg(long)]
    rev: Option<String>,
    /// Without a daemon: specs of this folder
    #[arg(long, default_value = ".")]
    path: PathBuf,
    /// Exit 0 when there is nothing to do, 1 on an error, 2 when there are changes
    #[arg(long)]
    detailed_exitcode: bool,
}

pub fn plan(global: &Global, args: &Args) -> Outcome {
    let plan = if global.state.is_file() { offline(args, Some(&global.state))? } else { asked(global, args)? };
    if global.json {
        global.print(&plan)?;
    } else {
        print!("{}", super::text::highlight(&crate::spec::render::text(&plan.diagnostics)));
        print!("{}", super::text::highlight(&render::fleet(&plan, plan.at)));
    }
    let broken = plan.diagnostics.iter().any(|d| d.severity == Severity::Error);
    Ok(ExitCode::from(match args.detailed_exitcode {
        true if broken => 1,
        true if plan.changes() => 2,
        _ => 0,
    }))
}

/// By the daemon; where none runs, offline against nothing.
fn asked(global: &Global, args: &Args) -> Result<FleetPlan, Failure> {
    let query = args.rev.as_ref().map(|r| format!("?rev={}", encode(r))).unwrap_or_default();
    let answer = global.block(async { Ok(global.client().get::<FleetPlan>(&format!("/api/v1/plan{query}")).await) })?;
    match answer {
        Err(ClientError::Unreachable(_)) if global.api.is_none() => {
            let what = args.rev.as_deref().unwrap_or("the working tree");
            eprintln!(
                "No daemon runs: this is the plan of {what} against nothing; `--state FILE` plans against a backup."
            );
            offline(args, None)
        }
        other => Ok(other?),
    }
}

/// A value in a query.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-._~/".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

fn offline(args: &Args, snapshot: Option<&Path>) -> Result<FleetPlan, Failure> {
    let loaded = match &args.rev {
        Some(rev) => check::load_commit(&args.path, rev)?,
        None => check::load(&args.path)?,
    };
    let state = loaded.state();
    if state.files == 0 && state.diagnostics.is_empty() {
        return Err(Failure::new(format!(
            "no specs in {}: `trimtab init` makes a repository, `trimtab new NAME` adds a model",
            args.path.display()
        )));
    }
    let scratch = tempfile::tempdir()?;
    let store = match snapshot {
        Some(file) => {
            restore(file, scratch.path())
                .map_err(|e| Failure::new(format!("{} is no backup of a state: {e}", file.display())))?;
            Some(Store::open(scratch.path())?)
        }
        None => None,
    };
    let mut observed: BTreeMap<Name, ObservedModel> = BTreeMap::new();
    if let Some(store) = &store {
        observed = store.models()?.into_iter().map(|m| (m.name.clone(), m)).collect();
    }
    let now = SystemClock::continuing(None).now();
    let revision = state
        .revision
        .as_deref()
        .cloned()
        .map(|r| Revision { time: if r.time.0 == 0 { now.wall } else { r.time }, ..r });
    let mut fleet = FleetPlan {
        revision,
        models: vec![],
        unchanged: 0,
        diagnostics: state.diagnostics.clone(),
        held: vec![],
        at: now.wall,
    };
    let mut names: std::collections::BTreeSet<Name> = state.models.keys().cloned().collect();
    names.extend(observed.keys().filter(|n| !state.broken.contains_key(*n)).cloned());
    for name in names {
        let seen = observed.remove(&name).unwrap_or_else(|| ObservedModel::new(name.clone()));
        let model = one(state.models.get(&name).map(Arc::as_ref), &seen, store.as_ref(), now);
        if model.actions.is_empty() && model.waiting.is_empty() {
            fleet.unchanged += 1
        } else {
            fleet.models.push(model)
        }
    }
    Ok(fleet)
}

fn one(desired: Option<&DesiredModel>, observed: &ObservedModel, store: Option<&Store>, now: Now) -> ModelPlan {
    let by = |f: &Digest| store.and_then(|s| s.version_by_fingerprint(&observed.name, f).ok().flatten()).map(Arc::new);
    let live = desired
        .and_then(|d| d.spec.live_environment())
        .and_then(|e| observed.deployments.get(e)?.stable)
        .and_then(|r| store?.version(&observed.name, r.version).ok().flatten());
    // Offline nobody knows of replicas: what was stable is taken to be ready.
    let wanted = desired.and_then(|d| d.spec.serve.as_ref()).map_or(1, |s| s.replicas);
    let ready = |(e, d): (&Name, &Deployment)| {
        let replica = |release, index| ReplicaStatus {
            release,
            index,
            address: None,
            ready: true,
            restarts: 0,
            message: None,
            death: None,
            drift: None,
        };
        (e.clone(), d.stable.iter().flat_map(|r| (0..wanted).map(|i| replica(*r, i))).collect())
    };
    let newest = store.and_then(|s| s.version(&observed.name, VersionNumber(observed.last_version)).ok().flatten());
    plan::plan(&Input {
        now,
        desired,
        observed,
        version: &by,
        live: live.as_ref(),
        replicas: &observed.deployments.iter().map(ready).collect(),
        traffic: &BTreeMap::new(),
        served: &BTreeMap::new(),
        asked: &BTreeMap::new(),
        // Whose approvals are, only the log of the daemon's source says.
        approval: &|_, _| None,
        groups: &Groups::new(),
        push: Push::Never,
        past: newest.and_then(|v| v.expected()),
        deleted_by: None,
    })
}

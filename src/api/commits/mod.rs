//! The time line: commits with what each led to, what one asked for, and undoing one.

mod consequences;
#[cfg(test)]
mod tests;

use super::{
    handlers::body,
    server::{Answer, Failure, Shared, blocking},
    types::*,
    views,
};
use crate::{
    model::*,
    plan::changes,
    reconcile::{Compared, Past, Reconciler, Undoing},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
};

/// Events of one commit from which a row is told.
const ROW_EVENTS: usize = 100;
/// Events of one commit that its page shows.
const PAGE_EVENTS: usize = 500;
/// Fields of one model that a page shows.
const FIELDS: usize = 50;
/// Models whose fields a page shows.
const MODELS: usize = 50;

/// `GET /api/v1/commits`.
pub(super) async fn list(State(api): State<Shared>, Query(query): Query<CommitsQuery>) -> Answer<Vec<CommitRow>> {
    let limit = query.limit.unwrap_or(100).min(1000);
    blocking(move || Ok(Json(rows(&api.reconciler.commits(limit, ROW_EVENTS)?)))).await
}

/// `GET /api/v1/commits/ID`.
pub(super) async fn one(State(api): State<Shared>, Path(id): Path<String>) -> Answer<CommitPage> {
    blocking(move || {
        let r = &api.reconciler;
        let found = r.ports().source.resolve(&id);
        let found = found.map_err(|e| match e.retryable {
            true => e.into(),
            false => Failure(StatusCode::NOT_FOUND, e.message),
        })?;
        Ok(Json(page(r, &r.past(&found.commit, PAGE_EVENTS)?)?))
    })
    .await
}

/// `POST /api/v1/revert`.
pub(super) async fn revert(State(api): State<Shared>, bytes: Bytes) -> Answer<Reverted> {
    let asked: RevertBody = body(&bytes)?;
    if asked.commit.is_empty() {
        return Err(Failure(StatusCode::BAD_REQUEST, "`commit`: say which one is to be reverted".into()));
    }
    blocking(move || {
        let r = &api.reconciler;
        let undoing = r.undoing(&asked.commit, asked.on.as_ref())?;
        let (plan, revision) = match asked.dry_run {
            true => (Some(views::fleet_plan(r, r.as_if_undone(&undoing)?.state())), None),
            false => (None, Some(r.push_undoing(&undoing)?)),
        };
        Ok(Json(reverted(undoing, plan, revision)))
    })
    .await
}

fn reverted(undoing: Undoing, plan: Option<FleetPlan>, revision: Option<Revision>) -> Reverted {
    let Undoing { change, outside, commit } = undoing;
    let short = change.revision.commit.short();
    let message = match &revision {
        Some(by) => format!("{short} is reverted by {}", by.commit.short()),
        None => format!("nothing is pushed yet: this is what reverting {short} would do"),
    };
    Reverted {
        message,
        commit: change.revision,
        on: commit.decided_on,
        text: commit.message,
        files: commit.files.len(),
        outside,
        plan,
        revision,
    }
}

/// The rows of commits, in their order.
fn rows(all: &[Past]) -> Vec<CommitRow> {
    let mut rows: Vec<CommitRow> = all.iter().map(consequences::row).collect();
    // Who reverts comes later, and stands further up.
    for (at, past) in all.iter().enumerate() {
        for target in consequences::reverts(&past.did.change.message) {
            let by = &past.did.change.revision;
            let older = rows.iter_mut().skip(at + 1).find(|r| *r.revision.commit.0 == *target);
            older.into_iter().for_each(|r| r.reverted_by = Some(by.commit.clone()));
        }
    }
    rows
}

fn page(r: &Reconciler, past: &Past) -> Result<CommitPage, Failure> {
    let compared = r.compared(past)?;
    let all: Vec<ModelChanges> = compared.touched.iter().filter_map(|name| model_changes(&compared, name)).collect();
    Ok(CommitPage {
        commit: consequences::row(past),
        message: past.did.change.message.clone(),
        cut: compared.cut || all.len() > MODELS,
        changes: all.into_iter().take(MODELS).collect(),
        events: past.events.clone(),
        events_cut: past.cut,
    })
}

/// What a commit asked of one model; `None` when nothing that counts is another.
fn model_changes(compared: &Compared, name: &Name) -> Option<ModelChanges> {
    let (before, after) = (compared.before.state(), compared.after.state());
    let (old, new) = (before.models.get(name), after.models.get(name));
    let broken = |state: &DesiredState| {
        let first = state.broken.get(name).and_then(|all| Diagnostic::first(all));
        first.map(|d| format!("broken: {}", d.sentence()))
    };
    let (was_broken, is_broken) = (broken(before), broken(after));
    let of_spec =
        |field: &str, old, new| Reason { field: field.into(), old, new, place: None, commit: None, author: None };
    let mut reasons: Vec<Reason> = match (old, new) {
        (_, Some(new)) if was_broken.is_none() => {
            changes(old.map(AsRef::as_ref), new).into_iter().map(|c| c.reason).collect()
        }
        (Some(_), None) if is_broken.is_none() => vec![of_spec("spec deleted", None, None)],
        _ if was_broken == is_broken => vec![],
        (_, new) => vec![of_spec("spec", was_broken, is_broken.or(new.map(|_| "valid".into())))],
    };
    let fields = reasons.len();
    reasons.truncate(FIELDS);
    (fields > 0).then(|| ModelChanges { model: name.clone(), reasons, fields })
}

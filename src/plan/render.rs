//! Plans as text, like the best of `terraform plan`.

use crate::model::*;
use jiff::{Timestamp, tz::TimeZone};
use std::fmt::Write;

/// `train.params.depth 6 → 8`.
pub fn change(r: &Reason) -> String {
    let change = match (&r.old, &r.new) {
        (Some(o), Some(n)) => format!(" {} → {}", clip(o), clip(n)),
        (None, Some(n)) => format!(" set to {}", clip(n)),
        (Some(o), None) => format!(" {} removed", clip(o)),
        (None, None) => String::new(),
    };
    visible(&format!("{}{change}", r.field))
}

/// `train.params.depth 6 → 8 (models/fraud/model.toml:14, 4f1c2ab by Ada)`.
pub fn reason(r: &Reason) -> String {
    let by = match (&r.commit, &r.author) {
        (Some(c), Some(a)) => Some(format!("{} by {a}", c.short())),
        (Some(c), None) => Some(c.short().to_owned()),
        _ => None,
    };
    let origin: Vec<String> = r.place.clone().into_iter().chain(by).collect();
    let origin = if origin.is_empty() { String::new() } else { format!(" ({})", origin.join(", ")) };
    format!("{}{}", change(r), visible(&origin))
}

fn clip(text: &str) -> String {
    const LONGEST: usize = 48;
    if text.chars().count() <= LONGEST {
        text.to_owned()
    } else {
        text.chars().take(LONGEST - 1).chain(['…']).collect()
    }
}

/// How a model's plan is marked and called.
fn headline(plan: &ModelPlan) -> (&'static str, &'static str) {
    let has = |f: fn(&Action) -> bool| plan.actions.iter().any(|p| f(&p.action));
    let is_new = plan.actions.iter().any(|p| p.reasons.iter().any(|r| r.field == "new model"));
    if has(|a| matches!(a, Action::Retire)) {
        ("-", "retire")
    } else if is_new || (plan.version.is_none() && has(|a| matches!(a, Action::ResolveData { .. }))) {
        ("+", "train")
    } else if has(|a| matches!(a, Action::Train { .. })) {
        ("~", "retrain")
    } else if plan.outlook.iter().any(|o| o.text.contains("served before")) {
        ("↺", "roll back")
    } else if has(|a| matches!(a, Action::SetRollout { .. } | Action::FinishRollout { .. })) {
        ("~", "roll out")
    } else if has(|a| matches!(a, Action::Scale { .. })) {
        ("~", "scale")
    } else if plan.actions.is_empty() {
        ("·", "wait")
    } else {
        ("~", "change")
    }
}

/// The revision of a plan, and how many models it changes; `now` for its age.
pub fn head(plan: &FleetPlan, now: WallMs) -> String {
    revision(plan, now) + &counts(plan)
}

fn revision(plan: &FleetPlan, now: WallMs) -> String {
    let Some(r) = &plan.revision else { return "No revision yet\n".to_owned() };
    let age = Millis(now.0.saturating_sub(r.time.0).max(0) as u64);
    let (summary, author, email) = (visible(&r.summary), visible(&r.author), visible(&r.email));
    format!("Revision {} \"{summary}\" by {author} <{email}>, {age} ago\n", r.commit.short())
}

fn counts(plan: &FleetPlan) -> String {
    let changing = plan.models.iter().filter(|m| !m.actions.is_empty()).count();
    let resting = plan.unchanged + plan.models.len() - changing;
    format!("{}, {resting} unchanged\n\n", count(changing, "model changes", "models change"))
}

/// The whole plan for a person; `now` for ages.
pub fn fleet(plan: &FleetPlan, now: WallMs) -> String {
    let how = if plan.changes() { "   Run `trimtab sync` to apply now." } else { "" };
    format!("{}{}{how}\n", revision(plan, now), prospect(plan))
}

/// What would be done; without a word on how, for what Git does not ask for yet. Ends without a line's end.
pub fn prospect(plan: &FleetPlan) -> String {
    let mut out = counts(plan);
    for model in &plan.models {
        out.push_str(&one(model));
    }
    for name in &plan.held {
        let _ = writeln!(out, "  - {name:<16} held         spec deleted: run `trimtab sync --prune` to retire it");
    }
    out.push_str(&foot(plan));
    out
}

/// What a plan comes to: trainings with their time, what is reused, what to do about it.
pub fn foot(plan: &FleetPlan) -> String {
    let changing: Vec<&ModelPlan> = plan.models.iter().filter(|m| !m.actions.is_empty()).collect();
    let waiting = plan.models.len() - changing.len() + plan.held.len();
    if changing.is_empty() && waiting > 0 {
        return format!(
            "\nNothing to do now: {} for what is said above.",
            count(waiting, "model waits", "models wait")
        );
    }
    if changing.is_empty() {
        return "Nothing to do: what is live is what Git says.".into();
    }
    let trains = |p: &Planned| matches!(p.action, Action::Train { .. });
    // New data asks for a training, unless it turns out to be what a version was trained on.
    let resolves = |p: &Planned| matches!(p.action, Action::ResolveData { .. });
    let runs = changing.iter().filter(|m| m.actions.iter().any(|p| trains(p) || resolves(p))).count();
    let expected: u64 = changing.iter().flat_map(|m| &m.actions).filter_map(|p| p.expected).map(|m| m.0).sum();
    let about = if expected > 0 { format!(", about {}", Millis(expected)) } else { String::new() };
    let reused = changing.iter().filter(|m| m.version.is_some()).count();
    format!("\nTraining: {}{about}.   Reused: {}.", count(runs, "run", "runs"), count(reused, "version", "versions"))
}

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// One model's plan, its outlook and what it waits for.
pub fn one(plan: &ModelPlan) -> String {
    let (sign, verb) = headline(plan);
    let mut out = String::new();
    let reasons: Vec<String> = {
        let mut seen: Vec<String> = plan.actions.iter().flat_map(|p| &p.reasons).map(reason).collect();
        seen.dedup();
        seen
    };
    let expected: u64 = plan.actions.iter().filter_map(|p| p.expected).map(|m| m.0).sum();
    let time = if expected > 0 { format!("   ~ {}", Millis(expected)) } else { String::new() };
    let what = what(plan);
    let _ = writeln!(out, "  {sign} {:<16} {verb:<12} {what}{time}", plan.model.as_str());
    for reason in reasons.iter().take(8) {
        let _ = writeln!(out, "      because      {reason}");
    }
    if reasons.len() > 8 {
        let _ = writeln!(out, "      because      … and {} more", reasons.len() - 8);
    }
    for o in &plan.outlook {
        let time = o.expected.map(|m| format!("   ~ {m}")).unwrap_or_default();
        let _ = writeln!(out, "      {:<12} {}{time}", o.what, o.text);
    }
    for w in &plan.waiting {
        let _ = writeln!(out, "      waiting      {}", waiting(w));
    }
    out
}

fn what(plan: &ModelPlan) -> String {
    let mut parts: Vec<String> = Vec::new();
    for planned in &plan.actions {
        parts.push(match &planned.action {
            Action::ResolveData { inputs } => {
                let names: Vec<&str> = inputs.values().map(|d| d.name.as_str()).collect();
                format!("take a snapshot of {}", names.join(", "))
            }
            Action::WriteLock { .. } => "pin the data in trimtab.lock".into(),
            Action::Train { fingerprint, .. } => format!("new version {}", fingerprint.short()),
            Action::CancelTraining { reason, .. } => format!("stop the training: {reason}"),
            Action::JudgeGates { version, .. } => format!("judge the gates of {version} anew"),
            Action::SetRollout { rollout: Some(r), environment } => match plan.fingerprint {
                Some(f) => format!("{environment} to {} ({}), already trained", r.to.version, f.short()),
                None => format!("{environment} to {}", r.to.version),
            },
            Action::SetRollout { rollout: None, environment } => format!("end the rollout in {environment}"),
            Action::FinishRollout { environment, release } => {
                format!("{environment} to {}, already trained", release.version)
            }
            Action::Measure { environment, .. } => format!("note what was measured in {environment}"),
            Action::Reject { environment, reason, .. } => format!("abort in {environment}: {reason}"),
            Action::Revert { environment, rejected } => {
                format!("commit the revert of {}, rejected in {environment}", rejected.version)
            }
            Action::Cool { release, .. } => format!("stop the warm replicas of {}", release.version),
            Action::Undeploy { environment } => format!("traffic off in {environment}"),
            Action::Scale { environment, from, to } => format!("{environment}: {from} → {to} replicas"),
            Action::TakeUp => "taken up, nothing trained".into(),
            Action::Retire => "spec deleted: versions kept".into(),
        });
    }
    parts.join(" · ")
}

/// What a long message comes down to in one line: its first line, and its last, where programs say what was wrong. Untrusted
/// text stays as it is.
pub fn gist(message: &str) -> String {
    let mut lines = message.lines().map(str::trim).filter(|l| !l.is_empty());
    let first = lines.next().unwrap_or_default();
    lines.next_back().map_or(first.to_owned(), |last| format!("{first}: {last}"))
}

/// A time on the clock of a zone, such as `Mon 2026-11-30 08:00 Europe/Berlin`.
fn date(at: WallMs, zone: &str) -> String {
    let time = Timestamp::from_millisecond(at.0).ok().zip(TimeZone::get(zone).ok());
    let shown = |(at, tz): (Timestamp, TimeZone)| format!("{} {zone}", at.to_zoned(tz).strftime("%a %Y-%m-%d %H:%M"));
    time.map_or_else(|| "later".into(), shown)
}

/// What a model waits for, for people.
pub fn waiting(w: &Waiting) -> String {
    let text = match w {
        Waiting::Training { fingerprint, begun: true } => format!("training of {} runs", fingerprint.short()),
        Waiting::Training { fingerprint, begun: false } => {
            format!("training of {} waits for its turn (max_concurrent_training)", fingerprint.short())
        }
        Waiting::TrainingRetry { reason, .. } => {
            format!("training failed and is tried again, at once by `trimtab rollout retry`: {}", gist(reason))
        }
        Waiting::TrainingFailed { reason } => {
            format!("training failed: {}; commit a fix, revert it, or `trimtab rollout retry`", gist(reason))
        }
        Waiting::DataRetry { reason, .. } => format!("data cannot be read, tried again: {}", gist(reason)),
        Waiting::LockPush { reason, .. } => format!("trimtab.lock could not be pushed, tried again: {}", gist(reason)),
        Waiting::Gates { version, failed } => format!("{version} stays out: {}", failed.join("; ")),
        Waiting::Ready { environment, release } => {
            format!("{environment}: replicas of {} to be ready", release.version)
        }
        Waiting::Hold { environment, .. } => format!("{environment}: the hold time of this step"),
        Waiting::Requests { environment, seen, needed, .. } => {
            format!("{environment}: {seen} of {needed} requests seen")
        }
        Waiting::Analysis { environment, analysis, good, needed, said } => {
            let said = said.as_ref().map_or(String::new(), |s| format!(": {s}"));
            format!("{environment}: {analysis}, {good} of {needed} good{said}")
        }
        Waiting::Person { environment, reason } => format!("{environment}: {reason}; `trimtab rollout resume`"),
        Waiting::Promotion { environment, after } => format!("{environment}: the version to be healthy in {after}"),
        Waiting::Soak { environment, after, soak, .. } => {
            format!("{environment}: the version to have all traffic in {after} for {soak} without a death")
        }
        Waiting::Approval { environment, version, by, refused } => {
            let may_not = refused.as_ref().map_or(String::new(), |who| format!("; {who} approved it, who may not"));
            format!("{environment}: {version} to be approved by {}: `trimtab approve`{may_not}", by.join(" or "))
        }
        Waiting::Frozen { environment, until, zone, why } => {
            format!("{environment}: frozen until {} ({why})", date(*until, zone))
        }
        Waiting::Rejected { environment, reason, unreverted } => {
            let left = unreverted.as_ref().map_or(String::new(), |why| format!("; not reverted by trimtab: {why}"));
            format!("{environment}: rejected: {reason}{left}; fix the spec, revert it, or `trimtab rollout retry`")
        }
        Waiting::SpecFix => "the newest spec is broken: nothing of it is done until it is fixed".into(),
        Waiting::Resume => "suspended; `trimtab resume`".into(),
    };
    visible(&text)
}

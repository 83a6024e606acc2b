//! Commands that show.

use super::{
    fail::{Failure, Outcome},
    global::Global,
    text::{Output, ago, paint, table, table_in_colour, visible, visible_lines},
};
use crate::{api::types::*, model::*};
use futures::StreamExt;
use std::{io::Write, process::ExitCode, time::Duration};

#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    model: Option<Name>,
    /// Print again whenever something changes
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, clap::Args)]
pub struct WaitArgs {
    model: Name,
    /// healthy, synced, or version=v7 (in the live environment)
    #[arg(long = "for", default_value = "healthy", value_name = "WHAT")]
    what: String,
    #[arg(long, default_value = "10m", value_parser = crate::spec::duration)]
    timeout: Millis,
}

#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    model: Name,
    /// This run; the newest when left out
    #[arg(long)]
    run: Option<String>,
    /// The newest replica of this environment instead of a run
    #[arg(long)]
    env: Option<Name>,
    /// With --env: the newest release that did not come up and was given up, instead of what serves
    #[arg(long, requires = "env")]
    rejected: bool,
    /// Go on as it grows
    #[arg(short, long)]
    follow: bool,
}

#[derive(Debug, clap::Args)]
pub struct EventsArgs {
    /// Go on as they come
    #[arg(short, long)]
    follow: bool,
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// The colour of a word of health or sync.
fn colour_of(word: &str) -> Option<u8> {
    Some(match word {
        "Healthy" | "Synced" => 32,
        "Progressing" => 36,
        "Degraded" | "Missing" => 31,
        "Suspended" | "Unknown" | "OutOfSync" => 33,
        _ => return None,
    })
}

fn coloured(word: &str) -> String {
    colour_of(word).map_or(word.to_owned(), |sgr| paint(word, sgr))
}

/// `v6 → v7 25 %`, or the version alone.
fn traffic(e: &EnvironmentSummary) -> String {
    let version = e.version.map_or("-".to_owned(), |v| v.to_string());
    match &e.rollout {
        Some(r) => format!("{version} → {} {} %", r.to, r.weight),
        // What serves may not be up, and another release that still is answers for it.
        None => match e.routed.filter(|r| Some(*r) != e.version) {
            Some(routed) => format!("{version} ({routed} answers)"),
            None => version,
        },
    }
}

/// Replicas that are not as they should be, with why.
fn unready(all: &[EnvironmentReplicas]) -> impl Iterator<Item = String> {
    let why = |r: &ReplicaStatus| {
        let died = r.death.as_ref().map(|d| format!("died {} in a row: {}", d.in_a_row, d.reason));
        died.or_else(|| r.message.clone().filter(|_| !r.ready)).or_else(|| r.drift.clone())
    };
    all.iter().flat_map(move |e| {
        let of = e.replicas.iter().filter_map(move |r| Some((r, why(r)?)));
        of.map(|(r, why)| format!("{} {} replica {}: {}", e.environment, r.release.version, r.index, visible(&why)))
    })
}

/// What keeps the source from being followed or written to.
fn print_source(source: &SourceStatus, now: WallMs) {
    if let Some(e) = &source.error {
        let seconds = |ms: i64| ago(ms / 1000 * 1000);
        println!("{}", paint(&format!("source: {}", visible(e)), 31));
        let since = source.since.map(|at| format!("for {}", seconds(now.0 - at.0)));
        let again = source.retry_at.map(|at| format!("asked again in {}, or by `trimtab sync`", seconds(at.0 - now.0)));
        println!("        {}", [since, again].into_iter().flatten().collect::<Vec<_>>().join("; "));
    }
    if let Some(why) = &source.pins_in_store {
        println!("{}", paint(&format!("lock commits: {}", visible(why)), 2));
    }
    if let Some(e) = &source.push_error {
        println!("{}", paint(&format!("lock commits: {}", visible(e)), 31));
    }
}

fn print_fleet(fleet: &Fleet) {
    let revision = fleet
        .source
        .revision
        .as_ref()
        .map_or("no revision yet".to_owned(), |r| format!("{} \"{}\"", r.commit.short(), visible(&r.summary)));
    // The default branch of a remote that was not reached yet is not known.
    let branch = Some(visible(&fleet.source.branch)).filter(|b| !b.is_empty()).unwrap_or("(default branch)".into());
    println!("{} {branch} @ {revision}", visible(&fleet.source.url));
    if let Some(e) = &fleet.store_error {
        println!("{}", paint(&format!("state: {}", visible(e)), 31));
    }
    print_source(&fleet.source, fleet.now.wall);
    if let Some(e) = &fleet.mirror_error {
        println!("{}", paint(&format!("mirror: {}", visible(e)), 33));
    }
    if let Some(e) = fleet.specs_trouble() {
        println!("{}", paint(&format!("specs: {}", visible(&e)), 31));
    }
    fleet.settings_doubts().for_each(|e| println!("{}", paint(&format!("settings: {}", visible(&e)), 33)));
    if fleet.models.is_empty() {
        println!("No models yet: `trimtab new NAME` makes one; commit it and it is trained.");
        return;
    }
    let row = |m: &ModelSummary| {
        let live = m.environments.last();
        let changed = m
            .changed_by
            .as_ref()
            .map_or(String::new(), |r| format!("{} {}", ago(fleet.now.wall.0 - r.time.0), visible(&r.author)));
        vec![
            m.name.to_string(),
            m.sync.to_string(),
            m.health.to_string(),
            live.map(traffic).unwrap_or_default(),
            changed,
            said(m),
        ]
    };
    let rows: Vec<Vec<String>> = fleet.models.iter().map(row).collect();
    let sgr = |column: usize, word: &str| colour_of(word).filter(|_| column == 1 || column == 2);
    print!("{}", table_in_colour(&["MODEL", "SYNC", "HEALTH", "VERSION", "CHANGED", ""], &rows, sgr));
    for name in &fleet.held {
        println!("{name}: its spec was deleted; `trimtab sync --prune` retires it");
    }
}

/// What is wrong or awaited, else what a release does not keep.
fn said(m: &ModelSummary) -> String {
    visible(&m.message.lines().next().map(str::to_owned).or_else(|| m.unkept()).unwrap_or_default())
}

fn print_model(m: &ModelDetail) {
    println!(
        "{}   {}   {}",
        m.summary.name,
        coloured(&m.summary.sync.to_string()),
        coloured(&m.summary.health.to_string())
    );
    if !m.summary.message.is_empty() {
        println!("  {}", visible_lines(&m.summary.message));
    }
    for e in &m.summary.environments {
        if e.version.is_none() && e.rollout.is_none() {
            println!("  {:<12} nothing is deployed", e.environment);
            continue;
        }
        println!(
            "  {:<12} {}   {}   {:.1} req/s   p99 {:.1} ms   errors {:.2} %",
            e.environment,
            traffic(e),
            m.readiness(e),
            e.requests_per_s,
            e.p99_ms,
            e.error_share * 100.0
        );
        if let Some(unkept) = e.unkept() {
            println!("  {} {}", paint("!", 33), visible(&unkept));
        }
        if e.stood_in > 0 {
            let many = if e.stood_in == 1 { "call" } else { "calls" };
            println!(
                "  {} {} {many} of the last 10 s answered by a warm version, as {} could not",
                paint("·", 33),
                e.stood_in,
                traffic(e)
            );
        }
    }
    for line in unready(&m.replicas) {
        println!("  {} {line}", paint("·", 33));
    }
    for s in m.pipeline.iter().flat_map(|p| &p.stages) {
        println!("  stage {:<12} {}{}", s.name, s.state, s.duration.map_or(String::new(), |d| format!(" in {d}")));
    }
    for c in &m.conditions {
        let mark = if c.status { paint("✓", 32) } else { paint("·", 33) };
        println!("  {mark} {:<12} {} {}", c.kind, c.reason, visible(c.message.lines().next().unwrap_or("")));
        if let Some(next) = m.next_try().filter(|_| c.kind == "Trained" && !c.status) {
            println!("                 {next}");
        }
    }
}

/// 3 when degraded.
fn code(health: Health) -> ExitCode {
    ExitCode::from(if matches!(health, Health::Degraded | Health::Missing) { 3 } else { 0 })
}

pub fn status(global: &Global, args: &StatusArgs) -> Outcome {
    global.block(async {
        let client = global.client();
        let mut events = if args.watch { Some(client.events(None).await?) } else { None };
        loop {
            let exit = match &args.model {
                Some(name) => {
                    let detail: ModelDetail = client.get(&format!("/api/v1/models/{name}")).await?;
                    if global.json {
                        global.print(&detail)?
                    } else {
                        print_model(&detail)
                    }
                    code(detail.summary.health)
                }
                None => {
                    let fleet: Fleet = client.get("/api/v1/fleet").await?;
                    if global.json {
                        global.print(&fleet)?
                    } else {
                        print_fleet(&fleet)
                    }
                    code(if fleet.counts.degraded > 0 { Health::Degraded } else { Health::Healthy })
                }
            };
            match events.as_mut() {
                None => return Ok(exit),
                Some(e) => {
                    e.next().await.ok_or_else(|| Failure::with(69, "the daemon is gone"))?;
                    println!();
                }
            }
        }
    })
}

pub fn rollout(global: &Global, model: &Name) -> Outcome {
    let detail: ModelDetail =
        global.block(async { Ok(global.client().get(&format!("/api/v1/models/{model}")).await?) })?;
    let rollouts: Vec<_> = detail.summary.environments.iter().filter_map(|e| Some((e, e.rollout.as_ref()?))).collect();
    if global.json {
        global.print(&rollouts.iter().map(|(e, _)| e).collect::<Vec<_>>())?;
    } else if rollouts.is_empty() {
        println!("{model} has no rollout under way.");
    }
    for (e, r) in rollouts.iter().filter(|_| !global.json) {
        let left = r.until.map_or(String::new(), |u| format!(", next step in {}", Millis(u.since(detail.now.steady))));
        println!(
            "{} · {}   {} → {}   {} {} of {} ({} %){left}",
            model,
            e.environment,
            e.version.map_or("nothing".into(), |v| v.to_string()),
            r.to,
            r.phase,
            r.step,
            r.steps.len(),
            r.weight
        );
        let figures = |who: &str, t: &TrafficStats| {
            let TrafficStats { requests, errors, p50_ms, p99_ms, .. } = t;
            println!("  {who}: {requests} requests, {errors} errors, p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms");
        };
        figures(&r.to.to_string(), &r.traffic.new);
        if let Some(stable) = e.version {
            figures(&stable.to_string(), &r.traffic.stable);
        }
        if let Some(a) = &r.traffic.agreement {
            let Agreement { compared, agreed, failed, mean_difference, max_difference } = a;
            println!(
                "  copies: {agreed} of {compared} answers agree, {failed} failed, difference {mean_difference:.4} \
                 (at most {max_difference:.4})"
            );
        }
        for run in &r.analysis {
            let said = run.last.as_ref().map_or("not measured yet".to_owned(), |m| visible(&m.text));
            println!("  {} {}: {said}", run.spec.name, run.spec.bound());
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn wait(global: &Global, args: &WaitArgs) -> Outcome {
    let wanted: Box<dyn Fn(&ModelSummary) -> bool> = match args.what.split_once('=') {
        None if args.what == "healthy" => Box::new(|m| m.health == Health::Healthy && m.sync == SyncStatus::Synced),
        None if args.what == "synced" => Box::new(|m| m.sync == SyncStatus::Synced),
        Some(("version", v)) => {
            let v = format!("v{}", v.trim_start_matches('v'));
            Box::new(move |m| {
                m.environments
                    .last()
                    .is_some_and(|e| e.rollout.is_none() && e.routed.is_some_and(|n| n.to_string() == v))
            })
        }
        _ => {
            return Err(Failure::with(
                64,
                format!("`{}` is nothing to wait for: healthy, synced or version=v7", args.what),
            ));
        }
    };
    let path = format!("/api/v1/models/{}", args.model);
    let task = async {
        let client = global.client();
        // Subscribed first: nothing falls between the look and the wait.
        let mut events = client.events(None).await?;
        loop {
            match client.get::<ModelDetail>(&path).await {
                Ok(d) if wanted(&d.summary) => return Ok(d.summary),
                // A model may be waited for before its first commit was seen.
                Ok(_) | Err(crate::api::client::ClientError::NotFound(_)) => {}
                Err(e) => return Err(e.into()),
            }
            // That the router has moved has no event of its own: it is looked for at least this often.
            const LOOK: Duration = Duration::from_millis(100);
            if let Ok(None) = tokio::time::timeout(LOOK, events.next()).await {
                return Err(Failure::with(69, "the daemon is gone"));
            }
        }
    };
    let limit = Duration::from_millis(args.timeout.0);
    let late = || {
        Failure::new(format!(
            "{} was not {} within {}; `trimtab status {}` says why",
            args.model, args.what, args.timeout, args.model
        ))
    };
    let summary = global.block(async { tokio::time::timeout(limit, task).await.unwrap_or_else(|_| Err(late())) })?;
    if global.json {
        global.print(&summary)?;
    } else {
        println!("{} is {}: {}", summary.name, args.what, summary.environments.last().map(traffic).unwrap_or_default());
    }
    Ok(ExitCode::SUCCESS)
}

/// `succeeded`, or what went wrong in one line.
fn outcome(status: &RunStatus) -> String {
    match status {
        RunStatus::Running => "running".into(),
        RunStatus::Succeeded => "succeeded".into(),
        RunStatus::Failed { reason } => format!("failed: {}", visible(reason.lines().next().unwrap_or(""))),
        RunStatus::Cancelled { reason } => format!("cancelled: {}", visible(reason.lines().next().unwrap_or(""))),
    }
}

/// Executions of a model's stages, newest first.
pub fn stages(global: &Global, model: &Name) -> Outcome {
    let path = format!("/api/v1/models/{model}/runs");
    let runs: Vec<Run> = global.block(async { Ok(global.client().get(&path).await?) })?;
    if global.json {
        global.print(&runs)?;
        return Ok(ExitCode::SUCCESS);
    }
    if runs.is_empty() {
        println!("{model} had no run yet: `trimtab status {model}` says what it waits for.");
        return Ok(ExitCode::SUCCESS);
    }
    let row = |r: &Run| {
        vec![
            r.id.to_string(),
            r.stage.to_string(),
            r.fingerprint.short(),
            r.attempt.to_string(),
            r.duration.map_or("-".to_owned(), |d| d.to_string()),
            outcome(&r.status),
        ]
    };
    let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
    print!("{}", table(&["RUN", "STAGE", "CONTENT", "ATTEMPT", "TOOK", "OUTCOME"], &rows));
    Ok(ExitCode::SUCCESS)
}

pub fn logs(global: &Global, args: &LogsArgs) -> Outcome {
    global.block(async {
        let client = global.client();
        let follow = if args.follow { "?follow=true" } else { "" };
        let path = match (&args.run, &args.env) {
            (Some(run), _) => format!("/api/v1/runs/{run}/log{follow}"),
            (None, Some(env)) => {
                let query = format!("?follow={}&rejected={}", args.follow, args.rejected);
                format!("/api/v1/models/{}/replicas/{env}/log{query}", args.model)
            }
            (None, None) => {
                let runs: Vec<Run> = client.get(&format!("/api/v1/models/{}/runs", args.model)).await?;
                let newest = runs.first().ok_or_else(|| Failure::new(format!("{} had no run yet", args.model)))?;
                format!("/api/v1/runs/{}/log{follow}", newest.id)
            }
        };
        let mut chunks = client.stream(&path).await?;
        if global.json {
            let (mut shown, mut text) = (Output::default(), String::new());
            while let Some(chunk) = chunks.next().await {
                text.push_str(&shown.push(&chunk?));
            }
            text.push_str(&shown.finish());
            return global.print_text(text.as_bytes());
        }
        let mut out = std::io::stdout();
        let mut shown = Output::default();
        while let Some(chunk) = chunks.next().await {
            out.write_all(shown.push(&chunk?).as_bytes())?;
            out.flush()?;
        }
        out.write_all(shown.finish().as_bytes())?;
        Ok(ExitCode::SUCCESS)
    })
}

fn print_event(e: &Event) {
    let at = jiff::Timestamp::from_millisecond(e.at.0)
        .map(|t| t.strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default();
    let kind = serde_json::to_value(e.kind).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let model = e.model.as_ref().map_or("-", Name::as_str);
    let by = e.commit.as_ref().map_or(String::new(), |c| {
        format!(" ({}{})", c.short(), e.author.as_ref().map_or(String::new(), |a| format!(" by {}", visible(a))))
    });
    println!("{at}  {kind:<18} {model:<16} {}{by}", visible(e.message.lines().next().unwrap_or("")));
}

pub fn events(global: &Global, args: &EventsArgs) -> Outcome {
    global.block(async {
        let client = global.client();
        let show = |e: &Event| -> Result<(), Failure> {
            if global.json {
                println!("{}", serde_json::to_string(e)?)
            } else {
                print_event(e)
            }
            Ok(())
        };
        let stored: Vec<Event> = client.get(&format!("/api/v1/events?limit={}", args.limit)).await?;
        if !args.follow && global.json {
            global.print(&stored)?;
            return Ok(ExitCode::SUCCESS);
        }
        for e in &stored {
            show(e)?;
        }
        if args.follow {
            let mut live = client.events(Some(stored.last().map_or(0, |e| e.seq))).await?;
            while let Some(next) = live.next().await {
                if let Some(e) = next.filter(|e| e.seq > 0) {
                    show(&e)?;
                }
            }
            return Err(Failure::with(69, "the daemon ended; run this again when one is up"));
        }
        Ok(ExitCode::SUCCESS)
    })
}

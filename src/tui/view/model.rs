//! A model's page.
//!
//! ```text
//!  ↻ tumour   OutOfSync   Progressing   2f1f18e tumour: deeper trees (Ada)
//!
//!  production   v1 → v2   canary, step 1 of 2   ████████████▒▒▒▒   next step in 3s
//!    10 % → 50 % → 100 %     canary: 120 requests, 0 errors, p50 2.1 ms, p99 4.0 ms
//!  stages       ✓ check-data 60ms   ↻ train
//!  versions     v2  b3:a78dd014  ✓  3s  auc 0.98  2f1f18e Ada
//!  conditions   ✓ SpecValid   ✓ Trained   · Deployed: a rollout is under way
//! ```

use super::{
    paint::{accent, age, bad, bar, dim, good, health, strong, visible, warn},
    simple, symbol,
};
use crate::{api::types::*, model::*, tui::state::State};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

/// Draws the page.
pub fn draw(frame: &mut Frame, area: Rect, state: &State) {
    let Some(m) = state.model.as_ref().filter(|m| state.screen == crate::tui::Screen::Model(m.summary.name.clone()))
    else {
        return simple::lines(frame, area, 0, "", vec![Line::from(dim("  loading"))]);
    };
    simple::lines(frame, area, state.scroll, "", page(m, state.now()));
}

fn page(m: &ModelDetail, now: Now) -> Vec<Line<'static>> {
    let s = &m.summary;
    let mut head = vec![
        health(s.health, &format!(" {} {}", symbol(s.health), s.name)),
        Span::raw(format!("   {}   ", s.sync)),
        health(s.health, &s.health.to_string()),
    ];
    if let Some(r) = &s.changed_by {
        head.push(dim(&format!(
            "   {} {} ({}, {})",
            r.commit.short(),
            visible(&r.summary),
            visible(&r.author),
            age(now.wall.0 - r.time.0)
        )));
    }
    let mut out = vec![Line::from(head)];
    out.extend(s.message.lines().take(8).map(|l| Line::from(warn(&format!("   {}", visible(l))))));
    out.push(Line::raw(""));
    s.environments.iter().for_each(|e| environment(e, m, now, &mut out));
    out.push(Line::raw(""));
    if let Some(p) = &m.pipeline {
        out.push(stages(p));
    }
    for (i, v) in m.versions.iter().take(12).enumerate() {
        out.push(version(v, i == 0, now));
    }
    if m.versions.is_empty() {
        out.push(Line::from(vec![strong(" versions     "), dim("none yet: the first is being made")]));
    }
    let mut conditions = vec![strong(" conditions   ")];
    for c in &m.conditions {
        conditions.push(if c.status { good("✓ ") } else { warn("· ") });
        let why = if c.status || c.reason.is_empty() { String::new() } else { format!(" {}", c.reason) };
        conditions.push(Span::raw(format!("{}{why}   ", c.kind)));
    }
    out.push(Line::from(conditions));
    out.push(Line::raw(""));
    out.push(Line::from(strong(" events")));
    out.extend(m.events.iter().rev().take(30).map(|e| simple::event(e, now)));
    out
}

fn environment(e: &EnvironmentSummary, m: &ModelDetail, now: Now, out: &mut Vec<Line<'static>>) {
    let version = e.version.map_or("-".to_owned(), |v| v.to_string());
    let replicas = m.replicas.iter().find(|r| r.environment == e.environment);
    let (ready, all) = replicas.map_or((0, 0), |r| (r.replicas.iter().filter(|x| x.ready).count(), r.replicas.len()));
    let figures = format!(
        "   {ready}/{all} replicas   {:.1} req/s   p99 {:.1} ms   {:.1} % errors",
        e.requests_per_s,
        e.p99_ms,
        e.error_share * 100.0
    );
    let name = strong(&format!(" {:<13}", e.environment.as_str()));
    let Some(r) = &e.rollout else {
        out.push(Line::from(vec![name, Span::raw(format!("{version:<6}")), accent(&bar(0.0, 16)), dim(&figures)]));
        if let Some(why) = &e.rejected {
            out.push(Line::from(bad(&format!("   rejected: {}", visible(why)))));
        }
        return;
    };
    let left = r
        .until
        .map_or(String::new(), |u| format!("   next step in {}", Millis(u.since(now.steady).div_ceil(1000) * 1000)));
    let line = format!(
        "{version} → {}   {}, step {} of {}   ",
        r.to,
        if r.phase == "step" { "canary".to_owned() } else { visible(&r.phase) },
        r.step,
        r.steps.len()
    );
    out.push(Line::from(vec![
        name,
        accent(&line),
        accent(&bar(r.weight, 24)),
        Span::raw(format!(" {} %{left}", r.weight)),
    ]));
    let mut steps: Vec<String> = r.steps.iter().map(|s| format!("{} %", s.weight)).collect();
    steps.push("100 %".into());
    let t = r.traffic;
    out.push(Line::from(dim(&format!(
        "   {}   canary: {} requests, {} errors, p50 {:.1} ms, p99 {:.1} ms",
        steps.join(" → "),
        t.requests,
        t.errors,
        t.p50_ms,
        t.p99_ms
    ))));
    out.push(Line::from(dim(&figures)));
}

fn stages(p: &Pipeline) -> Line<'static> {
    let mut spans = vec![strong(" stages       ")];
    for s in &p.stages {
        let took = s.duration.map_or(String::new(), |d| format!(" {d}"));
        let text = format!("{}{took}   ", s.name);
        spans.push(match s.state.as_str() {
            "succeeded" => good(&format!("✓ {text}")),
            "cached" => good(&format!("✓ {text}(cached) ")),
            "running" => accent(&format!("↻ {text}")),
            "failed" => bad(&format!("✗ {text}")),
            _ => dim(&format!("· {text}")),
        });
    }
    Line::from(spans)
}

fn version(v: &VersionBrief, first: bool, now: Now) -> Line<'static> {
    let passed = v.gates.iter().all(|g| g.passed);
    let metrics: Vec<String> = v.metrics.iter().take(4).map(|(k, m)| format!("{} {m:.4}", visible(k))).collect();
    let serves: Vec<&str> = v.serves.iter().map(Name::as_str).collect();
    Line::from(vec![
        strong(if first { " versions     " } else { "              " }),
        Span::raw(format!("{:<5}{}  ", v.number, v.fingerprint.short())),
        if passed { good("✓") } else { bad("✗") },
        Span::raw(format!("  {:<8} {}  ", v.duration.to_string(), metrics.join("  "))),
        dim(&format!("{} {} {}  ", v.commit.short(), visible(&v.author), age(now.wall.0 - v.created.0))),
        accent(&serves.join(", ")),
    ])
}

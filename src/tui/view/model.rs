//! A model's page.
//!
//! ```text
//!  ↻ tumour   OutOfSync   Progressing   risk@example.com
//!    2f1f18e tumour: deeper trees (Ada, 6s)
//!
//!  staging      v2         ━━━━━━━━━━━━━━━━        1/1 ready   no traffic
//!  production   v1 → v2    ━━━━━━━━━━━━━━╌╌ 10 %   2/2 ready   12.0 req/s   p99 2.9 ms   0.0 % errors
//!    canary, step 1 of 2, next step in 3s   10 % → 50 % → 100 %
//!    v2 so far: 21 requests, 0 errors, p50 2.1 ms, p99 2.9 ms
//!
//!  stages       ✓ check-data 60ms   ↻ train
//!  versions     v2   ✓ staging      accuracy 0.9357  auc 0.9812   2.7s   e7e3db6 Ada 10s   b3:a78dd014
//!  conditions   ✓ SpecValid   ✓ Trained
//!               · Deployed: RollingOut: a rollout is under way
//! ```

use super::{
    fleet::stage,
    paint::{accent, age, bad, bar, dim, good, health, strong, told, visible, warn},
    simple, symbol,
};
use crate::{
    api::types::*,
    model::*,
    tui::state::{Extent, Screen, State},
};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

/// Draws the page.
pub fn draw(frame: &mut Frame, area: Rect, state: &State) -> Extent {
    let Some(m) = state.model.as_ref().filter(|m| state.screen == Screen::Model(m.summary.name.clone())) else {
        return simple::lines(frame, area, 0, None, vec![Line::from(dim("  loading"))]);
    };
    simple::lines(frame, area, state.scroll, None, page(m, state.now(), area))
}

fn page(m: &ModelDetail, now: Now, area: Rect) -> Vec<Line<'static>> {
    let width = usize::from(area.width);
    let mut out = head(&m.summary, now, width);
    out.push(Line::raw(""));
    m.summary.environments.iter().for_each(|e| environment(e, m, now, width, &mut out));
    if m.summary.environments.is_empty() {
        out.push(Line::from(dim(" deployed nowhere")));
    }
    out.push(Line::raw(""));
    out.extend(m.pipeline.as_ref().map(stages));
    let conditions = conditions(m, width);
    // Conditions and the newest events are seen without scrolling, where that leaves room for any version.
    const BELOW: usize = 5;
    let room = usize::from(area.height).saturating_sub(out.len() + conditions.len() + BELOW);
    versions(m, now, room, &mut out);
    out.extend(conditions);
    out.push(Line::raw(""));
    out.push(Line::from(strong(" events")));
    out.extend(m.events.iter().rev().take(50).map(|e| simple::event(e, now, false)));
    out
}

fn head(s: &ModelSummary, now: Now, width: usize) -> Vec<Line<'static>> {
    let mut first = vec![
        health(s.health, &format!(" {} ", symbol(s.health))),
        strong(s.name.as_str()),
        Span::raw(format!("   {}   ", s.sync)),
        health(s.health, &s.health.to_string()),
    ];
    first.extend(s.owner.as_ref().map(|o| dim(&format!("   {}", visible(o)))));
    let mut out = vec![Line::from(first)];
    if let Some(r) = &s.changed_by {
        let by = format!("({}, {})", visible(&r.author), age(now.wall.0 - r.time.0));
        out.push(Line::from(dim(&format!("   {} {by} {}", r.commit.short(), visible(&r.summary)))));
    }
    let rolling = s.environments.iter().any(|e| e.rollout.is_some());
    if rolling && s.health == Health::Progressing && !s.spec_broken {
        // The rollout below says it better.
        return out;
    }
    let wrong = matches!(s.health, Health::Degraded | Health::Missing) || s.spec_broken;
    let tell = |l: &str| Line::from(if wrong { warn(l) } else { dim(l) });
    let rows = ends(&s.message).into_iter().flat_map(|l| told(&l, width.saturating_sub(3), 2));
    out.extend(rows.map(|l| tell(&format!("   {l}"))));
    out
}

/// The first line of a message and its last ones, where programs say what was wrong.
fn ends(message: &str) -> Vec<String> {
    const LAST: usize = 7;
    let all: Vec<&str> = message.lines().collect();
    let mut out: Vec<String> = all.iter().take(1).map(|l| visible(l)).collect();
    let rest = all.len().saturating_sub(1);
    if rest > LAST {
        out.push(format!("… {} lines, l shows all", rest - LAST));
    }
    out.extend(all.iter().skip(1.max(all.len().saturating_sub(LAST))).map(|l| visible(l)));
    out
}

fn environment(e: &EnvironmentSummary, m: &ModelDetail, now: Now, width: usize, out: &mut Vec<Line<'static>>) {
    let version = e.version.map_or("-".to_owned(), |v| v.to_string());
    let replicas: Vec<&ReplicaStatus> =
        m.replicas.iter().filter(|r| r.environment == e.environment).flat_map(|r| &r.replicas).collect();
    let what = e.rollout.as_ref().map_or(version.clone(), |r| format!("{version} → {}", r.to));
    let mut line = vec![strong(&format!(" {:<12} ", e.environment.as_str())), Span::raw(format!("{what:<11}"))];
    if e.version.is_none() && e.rollout.is_none() {
        line.push(dim("nothing is deployed"));
        out.push(Line::from(line));
    } else {
        let share = e.rollout.as_ref().map_or(0.0, |r| r.weight);
        line.extend(bar(share, 16));
        line.push(Span::raw(if share > 0.0 { format!(" {share:>3} %   ") } else { " ".repeat(9) }));
        let figures = dim(&format!("{}   {}", m.readiness(e), traffic(e)));
        let beside = line.iter().map(Span::width).sum::<usize>() + figures.width() <= width;
        if beside {
            line.push(figures);
            out.push(Line::from(line));
        } else {
            out.extend([Line::from(line), Line::from(vec![Span::raw("   "), figures])]);
        }
    }
    if let Some(r) = &e.rollout {
        rollout(e, r, now, width, out);
    }
    for r in replicas.iter().filter(|r| !r.ready) {
        let why = r.message.as_deref().map(visible).unwrap_or_else(|| "starts".to_owned());
        let text = format!("{} replica {}: {why}", r.release.version, r.index);
        out.extend(told(&text, width.saturating_sub(3), 2).iter().map(|l| Line::from(warn(&format!("   {l}")))));
    }
    if let Some(why) = &e.rejected {
        let text = format!("rejected: {}", visible(why));
        out.extend(told(&text, width.saturating_sub(3), 2).iter().map(|l| Line::from(bad(&format!("   {l}")))));
    }
}

fn traffic(e: &EnvironmentSummary) -> String {
    if e.requests_per_s == 0.0 {
        return "no traffic".to_owned();
    }
    let errors = e.error_share * 100.0;
    format!("{:.1} req/s   p99 {:.1} ms   {errors:.1} % errors", e.requests_per_s, e.p99_ms)
}

fn rollout(e: &EnvironmentSummary, r: &RolloutSummary, now: Now, width: usize, out: &mut Vec<Line<'static>>) {
    let mut line = vec![accent(&format!("   {}   ", stage(r, now)))];
    let weights = r.steps.iter().map(|s| s.weight).chain([100.0]);
    for (i, weight) in weights.enumerate() {
        line.push(dim(if i == 0 { "" } else { " → " }));
        let text = format!("{weight} %");
        line.push(if i + 1 == r.step { strong(&text) } else { dim(&text) });
    }
    out.push(Line::from(line));
    let t = &r.traffic.new;
    let seen = format!("{} requests, {} failed, p50 {:.1} ms, p99 {:.1} ms", t.requests, t.errors, t.p50_ms, t.p99_ms);
    out.push(Line::from(dim(&format!("   {} so far: {seen}", r.to))));
    let indented = |mut l: Line<'static>| {
        l.spans.insert(0, Span::raw("  "));
        l
    };
    out.extend(super::rollout::analyses(e, r, width.saturating_sub(2), None).into_iter().map(indented));
}

fn stages(p: &Pipeline) -> Line<'static> {
    let mut spans = vec![strong(" stages       ")];
    for s in &p.stages {
        let took = s.duration.map_or(String::new(), |d| format!(" {d}"));
        let name = &s.name;
        spans.push(match s.state.as_str() {
            "succeeded" => good(&format!("✓ {name}{took}")),
            "cached" => good(&format!("✓ {name} (cached)")),
            "running" => accent(&format!("↻ {name}")),
            "failed" => bad(&format!("✗ {name}{took}")),
            _ => dim(&format!("· {name}")),
        });
        spans.push(Span::raw("   "));
    }
    Line::from(spans)
}

/// What matters most first: a narrow screen cuts the end. The newest ones, in about so many lines.
fn versions(m: &ModelDetail, now: Now, room: usize, out: &mut Vec<Line<'static>>) {
    let most = room.clamp(2, 12);
    // The last line says how many more there are.
    let shown = if m.versions.len() > most { most - 1 } else { most };
    if m.versions.is_empty() {
        let being_made = m.summary.training.is_some() || m.summary.health == Health::Progressing;
        let text = if being_made { "none yet: the first is being made" } else { "none yet" };
        out.push(Line::from(vec![strong(" versions     "), dim(text)]));
    }
    let serves = |v: &VersionBrief| v.serves.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
    let longest = m.versions.iter().take(shown).map(|v| serves(v).len()).max().unwrap_or(0);
    for (i, v) in m.versions.iter().take(shown).enumerate() {
        let metrics: Vec<String> = v.metrics.iter().take(4).map(|(k, m)| format!("{} {m:.4}", visible(k))).collect();
        let failed: Vec<String> = v.gates.iter().filter(|g| !g.passed).map(|g| visible(&g.condition)).collect();
        let mut line = vec![
            strong(if i == 0 { " versions     " } else { "              " }),
            Span::raw(format!("{:<5}", v.number)),
            if failed.is_empty() { good("✓ ") } else { bad("✗ ") },
            accent(&format!("{:<longest$}  ", serves(v))),
        ];
        if !failed.is_empty() {
            line.push(bad(&format!("{}  ", failed.join(", "))));
        }
        line.push(Span::raw(format!("{}   {:<7}  ", metrics.join("  "), v.duration.to_string())));
        line.push(dim(&format!(
            "{} {} {}   {}",
            v.commit.short(),
            visible(&v.author),
            age(now.wall.0 - v.created.0),
            v.fingerprint.short()
        )));
        out.push(Line::from(line));
    }
    if m.versions.len() > shown {
        let more = m.versions.len() - shown;
        out.push(Line::from(dim(&format!("              … {more} older: trimtab history {}", m.summary.name))));
    }
}

/// Those that hold in one line, each of the others with its reason.
fn conditions(m: &ModelDetail, width: usize) -> Vec<Line<'static>> {
    let mut line = vec![strong(" conditions   ")];
    for c in m.conditions.iter().filter(|c| c.status) {
        line.extend([good("✓ "), Span::raw(format!("{}   ", visible(&c.kind)))]);
    }
    let mut out = vec![Line::from(line)];
    for c in m.conditions.iter().filter(|c| !c.status) {
        let why = [&*c.reason, c.message.lines().next().unwrap_or_default()];
        let why: Vec<String> = why.iter().filter(|w| !w.is_empty()).map(|w| visible(w)).collect();
        let text = format!("{}: {}", visible(&c.kind), why.join(": "));
        for (i, row) in told(&text, width.saturating_sub(16), 0).into_iter().enumerate() {
            let sign = if i == 0 { warn("· ") } else { Span::raw("  ") };
            out.push(Line::from(vec![Span::raw("              "), sign, Span::raw(row)]));
        }
    }
    out
}

//! One environment of a model: what serves, its traffic, its replicas, its rollout.

use super::super::{
    fleet::stage,
    paint::{accent, bad, bar, dim, strong, told, visible, warn},
    rollout,
};
use crate::{api::types::*, model::*};
use ratatui::text::{Line, Span};

/// Its lines.
pub fn environment(e: &EnvironmentSummary, m: &ModelDetail, now: Now, width: usize, out: &mut Vec<Line<'static>>) {
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
        moving(e, r, now, width, out);
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

fn moving(e: &EnvironmentSummary, r: &RolloutSummary, now: Now, width: usize, out: &mut Vec<Line<'static>>) {
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
    out.extend(rollout::analyses(e, r, width.saturating_sub(2), None).into_iter().map(indented));
}

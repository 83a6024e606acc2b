//! Where a version came from: commit, author, code, data, environment, figures.

use super::super::paint::{age, bad, dim, fold, good, strong, visible};
use crate::model::*;
use ratatui::text::{Line, Span};

/// Its lines, each folded to the width.
pub fn draw(v: &Version, now: Now, width: usize) -> Vec<Line<'static>> {
    let mut out = vec![];
    let mut say = |what: &str, text: String, paint: fn(&str) -> Span<'static>| {
        for (i, row) in fold(&text, width.saturating_sub(12), 0).into_iter().enumerate() {
            let label = if i == 0 { what } else { "" };
            out.push(Line::from(vec![strong(&format!(" {label:<10} ")), paint(&row)]));
        }
    };
    let plain: fn(&str) -> Span<'static> = |text| Span::raw(text.to_owned());
    let r = &v.revision;
    say("commit", format!("{} {}", r.commit.short(), visible(&r.summary)), plain);
    let ago = age(now.wall.0 - v.created.0);
    let origin = if v.origin == Origin::Client { "registered by a client" } else { "trained" };
    say("by", format!("{}, {origin} {ago} ago on {}", visible(&r.author), visible(&v.host)), plain);
    for g in &v.gates {
        let figure = g.value.map_or("no figure".to_owned(), |v| format!("{v:.4}"));
        let sign = if g.passed { "✓" } else { "✗" };
        say("gate", format!("{sign} {}: {figure}", visible(&g.condition)), if g.passed { good } else { bad });
    }
    for (input, snapshot) in &v.snapshots {
        say("data", format!("{input} at {}", snapshot.short()), plain);
    }
    say("code", format!("{} at {}", visible(&v.code_path), v.code.short()), plain);
    let params: Vec<String> = v.params.iter().map(|(k, p)| format!("{}={p}", visible(k))).collect();
    if !params.is_empty() {
        say("params", params.join("  "), plain);
    }
    if let Some(python) = &v.python {
        say("python", format!("{} with {} packages", python.short(), v.packages.len()), plain);
    }
    let stage = |s: &StageOutcome| match s.cached {
        true => format!("{} (cached)", s.name),
        false => format!("{} {}", s.name, s.duration),
    };
    let stages: Vec<String> = v.stages.iter().map(stage).collect();
    if !stages.is_empty() {
        say("stages", stages.join(", "), plain);
    }
    let files = v.artifact.files.len();
    say(
        "artifact",
        format!("{files} {}, {} bytes", if files == 1 { "file" } else { "files" }, v.artifact.size()),
        plain,
    );
    say("named", v.fingerprint.to_string(), dim);
    out
}

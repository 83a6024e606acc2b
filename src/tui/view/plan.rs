//! What the daemon does next, and why, as a tree.
//!
//! ```text
//!  Revision 4f1c2ab "fraud: deeper trees" by Ada, 2m ago
//!  2 models change, 9,996 unchanged
//!
//!  ▾ ~ fraud    retrain      new version b3:1f0a…                                        ~ 4m
//!        because      train.params.depth 6 → 8 (models/fraud/model.toml:14, 4f1c2ab by Ada)
//!  ▸ ↺ churn    roll back    production to v3 (b3:91fa…), already trained
//! ```

use super::{
    Targets,
    fleet::diagnostic,
    paint::{accent, bad, barred, clip, dim, fold, good, strong, visible},
    row_target, simple,
};
use crate::{
    model::*,
    plan::render,
    tui::{
        outline::{Entry, Outline},
        state::{Extent, State},
    },
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::Paragraph,
};

/// Draws the plan of the fleet.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, targets: &mut Targets) -> Extent {
    let title = Line::from(vec![strong(" plan"), dim("  what the daemon does next, and why")]);
    match &state.plan {
        Some(plan) => tree(frame, area, state, plan, title, targets),
        None => simple::lines(frame, area, 0, Some(title), vec![Line::from(dim(" loading"))]),
    }
}

/// A plan under a title.
fn tree(
    frame: &mut Frame,
    area: Rect,
    state: &State,
    plan: &FleetPlan,
    title: Line<'static>,
    targets: &mut Targets,
) -> Extent {
    let width = usize::from(area.width);
    let mut top = vec![title];
    let head = render::head(plan, plan.at.max(state.now().wall));
    top.extend(head.lines().map(|l| Line::raw(format!(" {}", visible(l)))));
    let foot: Vec<Line> = render::foot(plan).lines().flat_map(|l| simple::planned(l, width)).collect();
    let rows = |n: usize| Constraint::Length(u16::try_from(n).unwrap_or(u16::MAX));
    let [head, body, below] = Layout::vertical([rows(top.len()), Constraint::Min(0), rows(foot.len())]).areas(area);
    let clipped = |all: Vec<Line<'static>>| all.into_iter().map(|l| clip(l, width)).collect::<Vec<_>>();
    frame.render_widget(Paragraph::new(clipped(top)), head);
    frame.render_widget(Paragraph::new(clipped(foot)), below);
    let entries = Outline::entries(plan);
    let chosen = state.outline.chosen.min(entries.len().saturating_sub(1));
    let height = usize::from(body.height);
    let lines = |i: usize| entry(state, plan, entries[i], width, i == chosen);
    // From the chosen one up, as far as half of the room goes; only what is near it is built.
    let rest: usize = (chosen..entries.len()).take(height).map(|i| lines(i).len()).sum();
    let (mut above, mut first) = (0, chosen);
    while let Some(before) = first.checked_sub(1).filter(|_| !entries.is_empty()) {
        let more = lines(before).len();
        if above + more > (height / 2).max(height.saturating_sub(rest)) {
            break;
        }
        (above, first) = (above + more, before);
    }
    let mut shown: Vec<Line> = vec![];
    for i in first..entries.len() {
        if shown.len() >= height {
            break;
        }
        let from = shown.len();
        shown.extend(lines(i));
        targets.push(row_target(body, from, shown.len(), i));
    }
    shown.truncate(height);
    frame.render_widget(Paragraph::new(clipped(shown)), body);
    Extent { last: entries.len().saturating_sub(1), page: (height / 3).max(1), width: 0 }
}

/// An entry and, where it is open, what is below it.
fn entry(state: &State, plan: &FleetPlan, entry: Entry, width: usize, chosen: bool) -> Vec<Line<'static>> {
    let open = state.outline.is_open(plan, entry);
    let sign = if open { " ▾" } else { " ▸" };
    let (head, below): (Vec<Span>, Vec<Line>) = match entry {
        Entry::Mistakes => {
            let n = plan.diagnostics.len();
            let text = if n == 1 { "1 finding in the specs".to_owned() } else { format!("{n} findings in the specs") };
            let room = width.saturating_sub(8);
            let rows = plan.diagnostics.iter().flat_map(|d| fold(&diagnostic(d), room, 2));
            (vec![bad(&format!(" {text}"))], rows.map(|l| Line::from(bad(&format!("       {l}")))).collect())
        }
        Entry::Model(m) => {
            let text = render::one(m);
            let mut all = text.lines();
            let head = all.next().unwrap_or_default().trim_start().to_owned();
            let below = all.flat_map(|l| simple::planned(l, width.saturating_sub(3)));
            let indented = below.map(|mut l| {
                l.spans.insert(0, Span::raw("  "));
                l
            });
            (vec![signed(&format!(" {}", visible(&head)))], indented.collect())
        }
        Entry::Held(name) => {
            let below = "       the spec was deleted: `trimtab sync --prune` retires it, or restore it";
            (vec![bad(&format!(" - {name:<16} held"))], vec![Line::raw(below)])
        }
    };
    let head = [vec![dim(if below.is_empty() { "  " } else { sign })], head].concat();
    let mut out = vec![if chosen { barred(&head, width) } else { Line::from(head) }];
    out.extend(below.into_iter().filter(|_| open));
    out
}

/// In the colour of its sign.
fn signed(text: &str) -> Span<'static> {
    match text.trim_start().chars().next() {
        Some('+') => good(text),
        Some('~' | '↺') => accent(text),
        Some('-') => bad(text),
        _ => Span::raw(text.to_owned()),
    }
}

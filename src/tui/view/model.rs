//! A model's page: how far its pipeline is, what serves where, and in parts that are chosen with tab: versions, where the chosen one came
//! from, its metrics over versions, conditions, events. A large screen shows all of them at once.
//!
//! ```text
//!  ↻ tumour   OutOfSync   Progressing   risk@example.com
//!    2f1f18e tumour: deeper trees (Ada, 6s)
//!    waits for: production: canary, step 1 of 2, next step in 3s
//!
//!  ╭ data ─╮  ╭ train ─╮  ╭ register ╮  ╭ staging ╮  ╭ production ──╮
//!  │ ✓     ├─▶│ ✓ 2.7s ├─▶│ ✓ v2     ├─▶│ ✓ v2    ├─▶│ ↻ v1 → v2 5 %│
//!  ╰───────╯  ╰────────╯  ╰──────────╯  ╰─────────╯  ╰──────────────╯
//!
//!  staging      v2         ━━━━━━━━━━━━━━━━        1/1 ready   no traffic
//!  production   v1 → v2    ━━━━━━━━━━━━━━╌╌ 10 %   2/2 ready   12.0 req/s   p99 2.9 ms   0.0 % errors
//!
//!  versions   lineage   metrics   conditions   events
//!    ✓v2    staging      0.9357    0.9812 2.7s      e7e3db6 Ada 10s
//!   ★✓v1    production   0.9320    0.9803 2.6s      2f1f18e Ada 1h
//! ```

mod environment;
mod graph;
mod lineage;
mod versions;

use super::{
    Targets,
    fleet::stage,
    paint::{age, clip, dim, good, health, strong, told, visible, warn},
    panes::parted,
    rollout, simple, symbol,
};
use crate::{
    api::types::*,
    model::*,
    tui::{
        borders::Border,
        keymap::Act,
        state::{Extent, Part, Screen, State},
    },
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::Paragraph,
};
use unicode_width::UnicodeWidthStr;

/// Columns and rows from which on all parts are shown.
const WIDE: u16 = 110;
const TALL: u16 = 32;
/// Rows from which on the graph has boxes.
const BOXED: u16 = 28;

/// Draws the page.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, targets: &mut Targets) -> Extent {
    let Some(m) = state.model.as_ref().filter(|m| state.screen == Screen::Model(m.summary.name.clone())) else {
        return simple::lines(frame, area, 0, None, vec![Line::from(dim("  loading"))]);
    };
    let (now, width) = (state.now(), usize::from(area.width));
    let mut top = head(&m.summary, state, width);
    top.extend(awaited(m, now, width));
    top.push(Line::raw(""));
    let newest = state.version.as_ref().filter(|v| v.model == m.summary.name);
    top.extend(graph::draw(&graph::nodes(m, newest, now), width, area.height >= BOXED));
    top.push(Line::raw(""));
    m.summary.environments.iter().for_each(|e| environment::environment(e, m, now, width, &mut top));
    if m.summary.environments.is_empty() {
        top.push(Line::from(dim(" deployed nowhere")));
    }
    top.push(Line::raw(""));
    // What can be chosen below is seen, however long the top is.
    const BELOW: usize = 5;
    top.truncate(usize::from(area.height).saturating_sub(BELOW).max(4));
    let height = u16::try_from(top.len()).unwrap_or(u16::MAX);
    let [above, below] = Layout::vertical([Constraint::Length(height), Constraint::Min(0)]).areas(area);
    let top: Vec<Line> = top.into_iter().map(|l| clip(l, width)).collect();
    frame.render_widget(Paragraph::new(top), above);
    if area.width >= WIDE && below.height >= TALL.saturating_sub(16) && area.height >= TALL {
        all_parts(frame, below, state, m, targets)
    } else {
        let [bar, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(below);
        frame.render_widget(Paragraph::new(tabs(state)), bar);
        part(frame, body, state, m, state.page.part)
    }
}

/// The names of the parts, the chosen one marked.
fn tabs(state: &State) -> Line<'static> {
    let mut line = vec![Span::raw(" ")];
    for part in Part::ALL {
        line.push(if part == state.page.part {
            strong(&format!("▸{}", part.word()))
        } else {
            dim(&format!(" {}", part.word()))
        });
        line.push(Span::raw("  "));
    }
    line.extend(state.key(Act::Part).map(|k| dim(&k)));
    Line::from(line)
}

/// All parts beside and above each other; `j` and `k` move in the one that is chosen.
fn all_parts(frame: &mut Frame, area: Rect, state: &State, m: &ModelDetail, targets: &mut Targets) -> Extent {
    let (left, right) = parted(frame, area, state, Border::Model, area.width * 13 / 25, targets);
    let rows = u16::try_from(m.versions.len() + 2).unwrap_or(u16::MAX).clamp(3, area.height / 2);
    let [versions, lineage] = Layout::vertical([Constraint::Length(rows), Constraint::Min(0)]).areas(left);
    let conditions = u16::try_from(conditions(m, right.width.into()).len() + 2).unwrap_or(u16::MAX).min(8);
    let [curve, conditions, events] =
        Layout::vertical([Constraint::Percentage(50), Constraint::Length(conditions), Constraint::Min(0)]).areas(right);
    let mut extent = Extent::default();
    for (place, which) in [
        (versions, Part::Versions),
        (lineage, Part::Lineage),
        (curve, Part::Metrics),
        (conditions, Part::Conditions),
        (events, Part::Events),
    ] {
        let [title, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(place);
        let sign = if state.page.part == which {
            strong(&format!("▸{}", which.word()))
        } else {
            dim(&format!(" {}", which.word()))
        };
        frame.render_widget(Paragraph::new(Line::from(sign)), title);
        let drawn = part(frame, body, state, m, which);
        if state.page.part == which {
            extent = drawn;
        }
    }
    extent
}

fn part(frame: &mut Frame, area: Rect, state: &State, m: &ModelDetail, which: Part) -> Extent {
    let (now, width) = (state.now(), usize::from(area.width));
    let scroll = if state.page.part == which { state.scroll } else { 0 };
    match which {
        Part::Versions => {
            let table = versions::table(m, &state.page, now, width, area.height.into());
            simple::lines(frame, area, 0, None, table);
            // A version is chosen rather than lines scrolled.
            Extent::default()
        }
        Part::Lineage => {
            let number = m.versions.get(state.page.version).map(|v| v.number);
            let of = |v: &&Version| v.model == m.summary.name && Some(v.number) == number;
            let lines = match (state.version.as_ref().filter(of), number) {
                (Some(v), _) => lineage::draw(v, now, width),
                (None, Some(number)) => vec![Line::from(dim(&format!(" loading {number}")))],
                (None, None) => vec![Line::from(dim(" no version yet"))],
            };
            simple::lines(frame, area, scroll, None, lines)
        }
        Part::Metrics => {
            versions::curve(frame, area, m, state);
            Extent::default()
        }
        Part::Conditions => simple::lines(frame, area, scroll, None, conditions(m, width)),
        Part::Events => {
            let events = m.events.iter().rev().take(50).map(|e| simple::event(e, now, false)).collect();
            simple::lines(frame, area, scroll, None, events)
        }
    }
}

/// What the model waits for, in a sentence.
fn awaited(m: &ModelDetail, now: Now, width: usize) -> Vec<Line<'static>> {
    let s = &m.summary;
    let text = match rollout::moving(s) {
        Some((e, r)) if s.health == Health::Progressing && !s.spec_broken => {
            format!("{}: {}", e.environment, stage(r, now))
        }
        // What is wrong is said above.
        _ if !s.message.is_empty() => return vec![],
        _ => match s.environments.last().and_then(|e| e.version.map(|v| (e, v))) {
            Some((e, v)) => {
                format!("nothing: {} serves {v} as Git says; the next commit, or new data, is acted on", e.environment)
            }
            None => "the next commit".to_owned(),
        },
    };
    told(&format!("waits for: {text}"), width.saturating_sub(3), 2)
        .iter()
        .map(|l| Line::from(dim(&format!("   {l}"))))
        .collect()
}

fn head(s: &ModelSummary, state: &State, width: usize) -> Vec<Line<'static>> {
    let now = state.now();
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
    let rows = ends(&s.message, &state.called(Act::Log)).into_iter().flat_map(|l| told(&l, width.saturating_sub(3), 2));
    out.extend(rows.map(|l| tell(&format!("   {l}"))));
    out
}

/// The first line of a message and its last ones, where programs say what was wrong.
fn ends(message: &str, key: &str) -> Vec<String> {
    const LAST: usize = 7;
    let all: Vec<&str> = message.lines().collect();
    let mut out: Vec<String> = all.iter().take(1).map(|l| visible(l)).collect();
    let rest = all.len().saturating_sub(1);
    if rest > LAST {
        out.push(format!("… {} lines, {key} shows all", rest - LAST));
    }
    out.extend(all.iter().skip(1.max(all.len().saturating_sub(LAST))).map(|l| visible(l)));
    out
}

/// Those that hold beside each other, each of the others with its reason.
fn conditions(m: &ModelDetail, width: usize) -> Vec<Line<'static>> {
    let (mut out, mut line) = (vec![], Line::raw(" "));
    for c in m.conditions.iter().filter(|c| c.status) {
        let said = format!("{}   ", visible(&c.kind));
        if line.width() + said.trim_end().width() + 2 > width {
            out.push(std::mem::replace(&mut line, Line::raw(" ")));
        }
        line.spans.extend([good("✓ "), Span::raw(said)]);
    }
    out.push(line);
    for c in m.conditions.iter().filter(|c| !c.status) {
        let why = [&*c.reason, c.message.lines().next().unwrap_or_default()];
        let why: Vec<String> = why.iter().filter(|w| !w.is_empty()).map(|w| visible(w)).collect();
        let text = format!("{}: {}", visible(&c.kind), why.join(": "));
        for (i, row) in told(&text, width.saturating_sub(4), 0).into_iter().enumerate() {
            let sign = if i == 0 { warn("· ") } else { Span::raw("  ") };
            out.push(Line::from(vec![Span::raw(" "), sign, Span::raw(row)]));
        }
    }
    out
}

//! The pipeline of a model from its data to production, as far as it got.
//!
//! ```text
//! ╭ data ────╮  ╭ train ───╮  ╭ register ╮  ╭ staging ─╮  ╭ production ──╮
//! │ ✓        ├─▶│ ↻ 12s    ├─▶│ ·        ├─▶│ ✓ v6     ├─▶│ ↻ v6 → v7 5 %│
//! ╰──────────╯  ╰──────────╯  ╰──────────╯  ╰──────────╯  ╰──────────────╯
//! ```

use super::super::paint::{accent, bad, cut, dim, good, pad, strong, warn};
use crate::{api::types::*, model::*};
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

/// How far a node of the graph is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Ahead,
    Running,
    Done,
    Failed,
    /// It waits for something.
    Waiting,
}

/// A stage, or a place where versions are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub progress: Progress,
    /// How long it took, or takes already; which version is there.
    pub note: String,
}

impl Node {
    fn new(name: &str, progress: Progress, note: impl Into<String>) -> Self {
        Self { name: name.to_owned(), progress, note: note.into() }
    }

    fn sign(&self) -> &'static str {
        match self.progress {
            Progress::Ahead => "·",
            Progress::Running => "↻",
            Progress::Done => "✓",
            Progress::Failed => "✗",
            Progress::Waiting => "‖",
        }
    }

    fn paint(&self, text: &str) -> Span<'static> {
        match self.progress {
            Progress::Ahead => dim(text),
            Progress::Running => accent(text),
            Progress::Done => good(text),
            Progress::Failed => bad(text),
            Progress::Waiting => warn(text),
        }
    }

    fn said(&self) -> String {
        if self.note.is_empty() { self.sign().to_owned() } else { format!("{} {}", self.sign(), self.note) }
    }
}

/// The nodes of a model: what is made now, or else what made the newest version.
pub fn nodes(m: &ModelDetail, newest: Option<&Version>, now: Now) -> Vec<Node> {
    let running = m.pipeline.as_ref().filter(|p| p.state == PipelineState::Running);
    let failed = m.pipeline.as_ref().filter(|p| p.state != PipelineState::Running);
    let mut out = vec![data(m, running.is_some())];
    match m.pipeline.as_ref() {
        Some(p) => out.extend(p.stages.iter().map(|s| stage(s, m, now))),
        None => out.extend(newest.iter().flat_map(|v| &v.stages).map(|s| {
            let note = if s.cached { "cached".to_owned() } else { s.duration.to_string() };
            Node::new(s.name.as_str(), Progress::Done, note)
        })),
    }
    if m.pipeline.is_none() && newest.is_none_or(|v| v.stages.is_empty()) {
        let progress = if m.versions.is_empty() { Progress::Ahead } else { Progress::Done };
        out.push(Node::new("train", progress, ""));
    }
    out.push(match m.versions.first() {
        _ if running.is_some() || failed.is_some() => Node::new("register", Progress::Ahead, ""),
        Some(v) if v.gates.iter().any(|g| !g.passed) => Node::new("gates", Progress::Failed, v.number.to_string()),
        Some(v) => Node::new("register", Progress::Done, v.number.to_string()),
        None => Node::new("register", Progress::Ahead, ""),
    });
    let newest = m.versions.iter().find(|v| v.gates.iter().all(|g| g.passed)).map(|v| v.number);
    out.extend(m.summary.environments.iter().map(|e| environment(e, newest, running.is_some())));
    out
}

fn data(m: &ModelDetail, running: bool) -> Node {
    let ready = m.conditions.iter().find(|c| c.kind == "DataReady");
    match ready {
        Some(c) if !c.status => Node::new("data", Progress::Failed, ""),
        None if !running && m.versions.is_empty() => Node::new("data", Progress::Ahead, ""),
        _ => Node::new("data", Progress::Done, ""),
    }
}

fn stage(s: &StageProgress, m: &ModelDetail, now: Now) -> Node {
    let run = s.run.as_ref().and_then(|id| m.runs.iter().find(|r| r.id == *id));
    let took = s.duration.map_or(String::new(), |d| d.to_string());
    let (progress, note) = match s.state.as_str() {
        "succeeded" => (Progress::Done, took),
        "cached" => (Progress::Done, "cached".to_owned()),
        "running" => {
            let since = run.map(|r| now.wall.0.saturating_sub(r.started.0).max(0) as u64 / 1000 * 1000);
            (Progress::Running, since.map_or(String::new(), |ms| Millis(ms).to_string()))
        }
        "failed" => (Progress::Failed, took),
        "cancelled" => (Progress::Waiting, "cancelled".to_owned()),
        _ => (Progress::Ahead, String::new()),
    };
    Node::new(s.name.as_str(), progress, note)
}

fn environment(e: &EnvironmentSummary, newest: Option<VersionNumber>, running: bool) -> Node {
    let version = e.version.map_or("-".to_owned(), |v| v.to_string());
    let (progress, note) = match (&e.rollout, &e.rejected) {
        (Some(r), _) => {
            let progress = if r.held { Progress::Waiting } else { Progress::Running };
            (progress, format!("{version} → {} {} %", r.to, r.weight))
        }
        (None, Some(_)) => (Progress::Failed, version),
        (None, None) if e.version.is_none() => (Progress::Ahead, String::new()),
        (None, None) if running || newest > e.version => (Progress::Ahead, version),
        (None, None) => (Progress::Done, version),
    };
    Node::new(e.environment.as_str(), progress, note)
}

/// As boxes, where that is asked for and they have room; else in as many rows as needed.
pub fn draw(nodes: &[Node], width: usize, boxed: bool) -> Vec<Line<'static>> {
    let inner = |n: &Node| n.name.width().max(n.said().width()) + 2;
    let room: usize = nodes.iter().map(|n| inner(n) + 2).sum::<usize>() + 2 * nodes.len();
    if boxed && room <= width { boxes(nodes, inner) } else { rows(nodes, width) }
}

fn boxes(nodes: &[Node], inner: impl Fn(&Node) -> usize) -> Vec<Line<'static>> {
    let (mut top, mut middle, mut bottom) = (vec![], vec![], vec![]);
    for (i, n) in nodes.iter().enumerate() {
        let (w, last) = (inner(n), i + 1 == nodes.len());
        let gap = if last { "" } else { "  " };
        top.extend([dim(" ╭ "), strong(&n.name), dim(&format!(" {}╮", "─".repeat(w - 2 - n.name.width())))]);
        top.push(Span::raw(gap.get(1..).unwrap_or_default()));
        middle.extend([dim(if i == 0 { " │ " } else { "│ " }), n.paint(&pad(&n.said(), w - 1))]);
        middle.push(dim(if last { "│" } else { "├─▶" }));
        bottom.extend([dim(&format!(" ╰{}╯", "─".repeat(w))), Span::raw(gap.get(1..).unwrap_or_default())]);
    }
    vec![Line::from(top), Line::from(middle), Line::from(bottom)]
}

/// `✓ data → ✓ train 12s → ✓ register v6 → …`
fn rows(nodes: &[Node], width: usize) -> Vec<Line<'static>> {
    let (mut out, mut line, mut used) = (vec![], vec![Span::raw(" ")], 1);
    for (i, n) in nodes.iter().enumerate() {
        let said = if n.note.is_empty() { String::new() } else { format!(" {}", n.note) };
        let text = cut(&format!("{} {}{said}", n.sign(), n.name), width.saturating_sub(4));
        let arrow = if i + 1 == nodes.len() { "" } else { " → " };
        if used + text.width() + arrow.width() > width && line.len() > 1 {
            out.push(Line::from(std::mem::replace(&mut line, vec![Span::raw("   ")])));
            used = 3;
        }
        used += text.width() + arrow.width();
        line.extend([n.paint(&text), dim(arrow)]);
    }
    out.push(Line::from(line));
    out
}

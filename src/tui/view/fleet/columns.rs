//! Which columns the width has room for, and what stands in them.

use super::super::{
    paint::{age, bar, cut, dim, health, pad, strong, visible, warn},
    spark::levels,
    symbol,
};
use crate::{
    api::types::*,
    model::*,
    tui::ranking::{Ranking, needs_a_person},
};
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

/// A column; those of figures stand to the right of their width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Sync,
    Health,
    /// The version in an environment before the last of the chain, by its place among those of the fleet.
    Before(usize),
    /// The version in the last one, with its rollout.
    Live,
    Bar,
    Rate,
    History,
    P99,
    Errors,
    Drift,
    Changed,
}

/// What the width has room for.
pub struct Columns<'a> {
    width: usize,
    name: usize,
    /// Whether words are written out, and latencies and authors shown.
    wide: bool,
    /// With their widths, the spaces behind them included.
    all: Vec<(Column, usize)>,
    /// Environments of the fleet, in the order of chains.
    environments: &'a [Name],
    /// Whether commits and their summaries are shown.
    commits: bool,
}

impl<'a> Columns<'a> {
    /// For models with names of at most so many cells.
    pub fn new(width: usize, longest: usize, environments: &'a [Name]) -> Self {
        use Column::*;
        let wide = width >= 112;
        let mut all = match width {
            0..74 => vec![(Sync, 10), (Health, 9), (Live, 13)],
            74..112 => vec![(Sync, 10), (Health, 9), (Live, 13), (Bar, 6), (Rate, 7), (Errors, 7)],
            112..150 => vec![
                (Sync, 10),
                (Health, 12),
                (Live, 15),
                (Bar, 8),
                (Rate, 7),
                (History, 9),
                (P99, 8),
                (Errors, 7),
                (Drift, 6),
            ],
            _ => vec![
                (Sync, 11),
                (Health, 13),
                (Live, 16),
                (Bar, 16),
                (Rate, 8),
                (History, 21),
                (P99, 9),
                (Errors, 8),
                (Drift, 7),
            ],
        };
        all.push((Changed, if wide { 13 } else { 11 }));
        let used = |all: &[(Column, usize)]| 2 + all.iter().map(|(_, w)| w).sum::<usize>();
        // The one before the last, and others as far as there is room for them beside the names.
        let least = (longest + 1).clamp(13, 22);
        let mut before = environments.len().saturating_sub(1);
        while wide && before > 0 && used(&all) + 8 + least <= width {
            before -= 1;
            all.insert(2, (Before(before), 8));
        }
        let room = width.saturating_sub(used(&all));
        let name = (longest + if wide { 2 } else { 1 }).min(room).max(13);
        if let Some((_, cells)) = all.iter_mut().find(|(c, _)| *c == Bar) {
            *cells += room.saturating_sub(name).min(if wide { 8 } else { 2 });
        }
        Self { width, name, wide, all, environments, commits: width >= 150 }
    }

    /// `MODEL         SYNC       HEALTH …`
    pub fn heading(&self, ranking: Ranking) -> Line<'static> {
        let mark = |title: &str, of: Ranking| if ranking == of { format!("{title}▾") } else { title.to_owned() };
        let last = match self.environments {
            [.., last] if self.wide => last.as_str().to_uppercase(),
            _ => "LIVE".to_owned(),
        };
        let mut out = format!("  {}", pad(&mark("MODEL", Ranking::Name), self.name));
        for (column, cells) in &self.all {
            let title = match column {
                Column::Sync => "SYNC".to_owned(),
                Column::Health => "HEALTH".to_owned(),
                Column::Before(n) => self.environments.get(*n).map_or(String::new(), |e| e.as_str().to_uppercase()),
                Column::Live => last.clone(),
                Column::Bar => if *cells < 9 { "SPLIT" } else { "TRAFFIC" }.to_owned(),
                Column::Rate => mark("REQ/S", Ranking::Requests),
                Column::History => "5 MIN".to_owned(),
                Column::P99 => mark("P99", Ranking::Latency),
                Column::Errors => mark("ERR", Ranking::Errors),
                Column::Drift => "DRIFT".to_owned(),
                Column::Changed => mark("CHANGED", Ranking::Changed),
            };
            out += &match column {
                Column::Rate | Column::P99 | Column::Errors => format!("{title:>w$} ", w = cells - 1),
                _ => pad(&cut(&title, cells - 1), *cells),
            };
        }
        Line::from(strong(&out))
    }

    /// One model; those that the person marked have a star.
    pub fn row(&self, m: &ModelSummary, now: Now, marked: bool) -> Vec<Span<'static>> {
        let wrong = m.health == Health::Healthy && needs_a_person(m);
        let sign = if wrong { warn("!") } else { health(m.health, symbol(m.health)) };
        let mut out =
            vec![sign, warn(if marked { "★" } else { " " }), Span::raw(pad(m.name.as_str(), self.name - 1) + " ")];
        for (column, cells) in &self.all {
            self.cell(m, *column, *cells, now, &mut out);
        }
        out
    }

    fn cell(&self, m: &ModelSummary, column: Column, cells: usize, now: Now, out: &mut Vec<Span<'static>>) {
        let live = m.environments.last();
        let serves = live.filter(|e| e.version.is_some() || e.rollout.is_some());
        let padded = |text: &str| format!("{} ", pad(text, cells - 1));
        match column {
            Column::Sync => {
                let text = padded(&m.sync.to_string());
                out.push(if m.sync == SyncStatus::OutOfSync { warn(&text) } else { Span::raw(text) });
            }
            Column::Health => out.push(health(m.health, &padded(&word(m.health, self.wide)))),
            Column::Before(n) => {
                // A shorter chain has its last environment where all have it.
                let name = self.environments.get(n);
                let here = m.environments.iter().rev().skip(1).find(|e| Some(&e.environment) == name);
                out.push(Span::raw(padded(&here.map_or(String::new(), |e| version(e, m, false)))));
            }
            Column::Live => out.push(Span::raw(padded(&live.map_or("-".to_owned(), |e| version(e, m, self.wide))))),
            Column::Bar => match serves {
                Some(e) => {
                    let gap = if self.wide { 2 } else { 1 };
                    out.extend(bar(e.rollout.as_ref().map_or(0.0, |r| r.weight), cells - gap));
                    out.push(Span::raw(" ".repeat(gap)));
                }
                None => out.push(Span::raw(" ".repeat(cells))),
            },
            Column::Rate | Column::P99 | Column::Errors => {
                out.push(serves.map_or_else(|| Span::raw(" ".repeat(cells)), |e| figure(e, column, cells)));
            }
            Column::History => {
                let points = |e: &EnvironmentSummary| {
                    let skipped = e.history.len().saturating_sub(cells - 1);
                    let shown = e.history.iter().skip(skipped).enumerate();
                    shown.map(|(at, n)| (at as f64, *n as f64)).collect::<Vec<_>>()
                };
                let drawn = serves.map_or(String::new(), |e| levels(&points(e), cells - 1));
                out.push(dim(&padded(&drawn)));
            }
            Column::Drift => out.extend(drifts(m, cells)),
            Column::Changed => self.changed(m, now, out),
        }
    }

    fn changed(&self, m: &ModelSummary, now: Now, out: &mut Vec<Span<'static>>) {
        let Some(r) = &m.changed_by else { return };
        let commit = if self.commits || !self.wide { r.commit.short() } else { "" };
        out.push(Span::raw(format!("{:<4}{commit}", age(now.wall.0 - r.time.0))));
        let gap = if commit.is_empty() { "" } else { " " };
        let used: usize = out.iter().map(Span::width).sum();
        let room = self.width.saturating_sub(used + gap.len());
        let author = visible(&r.author);
        if room >= author.width().min(4) {
            out.push(Span::raw(format!("{gap}{}", cut(&author, room))));
        }
        if self.commits {
            out.push(dim(&format!("  {}", visible(&r.summary))));
        }
    }
}

fn word(h: Health, wide: bool) -> String {
    match h {
        Health::Progressing if !wide => "Progress".to_owned(),
        Health::Suspended if !wide => "Suspend".to_owned(),
        health => health.to_string(),
    }
}

/// `v6`, `v6 → v7 25 %`, `v6 training`.
fn version(e: &EnvironmentSummary, m: &ModelSummary, wide: bool) -> String {
    let version = e.version.map_or("-".to_owned(), |v| v.to_string());
    let is_last = m.environments.last().is_some_and(|l| l.environment == e.environment);
    match &e.rollout {
        Some(r) if wide => format!("{version} → {} {} %", r.to, r.weight),
        Some(r) if is_last => format!("{version}→{} {}%", r.to, r.weight),
        Some(r) => format!("{version}→{}", r.to),
        None if m.training.is_some() && is_last => format!("{version} training"),
        None => version,
    }
}

/// Nothing was measured where nothing was asked.
fn figure(e: &EnvironmentSummary, column: Column, cells: usize) -> Span<'static> {
    let laid = |text: &str| format!("{text:>w$} ", w = cells - 1);
    if e.requests_per_s == 0.0 {
        return dim(&laid("-"));
    }
    match column {
        Column::P99 => Span::raw(laid(&format!("{:.0}ms", e.p99_ms))),
        Column::Errors => {
            let text = laid(&format!("{:.1}%", e.error_share * 100.0));
            if e.error_share > 0.0 { warn(&text) } else { Span::raw(text) }
        }
        _ if e.requests_per_s < 1000.0 => Span::raw(laid(&format!("{:.1}", e.requests_per_s))),
        _ => Span::raw(laid(&format!("{:.0}", e.requests_per_s))),
    }
}

/// `c·q`: configuration, SLO, quality; a letter where there is one.
fn drifts(m: &ModelSummary, cells: usize) -> Vec<Span<'static>> {
    let any = |of: fn(&EnvironmentSummary) -> bool| m.environments.iter().any(of);
    let signs = [
        ("c", m.sync == SyncStatus::OutOfSync),
        ("s", any(EnvironmentSummary::burns)),
        ("q", any(EnvironmentSummary::differs_from_promised)),
    ];
    let mut out: Vec<Span> = signs.iter().map(|(sign, is)| if *is { warn(sign) } else { dim("·") }).collect();
    out.push(Span::raw(" ".repeat(cells.saturating_sub(signs.len()))));
    out
}

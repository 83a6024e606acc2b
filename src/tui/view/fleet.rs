//! The fleet: what needs a person first.
//!
//! ```text
//!  drift:  config 1   SLO burn 0   quality 0   data: not watched yet   1 rollout
//!   MODEL      SYNC      HEALTH      STAGING PRODUCTION     SPLIT    REQ/S 5 MIN        P99    ERR DRIFT CHANGED
//! ! pricing    OutOfSync Degraded    v12     v12            ━━━━━━    41.0 ▂▃▂▁▂▃▂▁    88ms   2.1% c··   6m  Lin
//!     v13 stays out: mae ≤ 4: 4.31 · fix it, or R to revert it
//! ↻ fraud      Synced    Progressing v7      v6 → v7 25 %   ━━━━╌╌   910.0 ▅▆▆▇▅▆▆▇    12ms   0.0% ···   2m  Ada
//!     production: canary, step 2 of 3, next step in 36m
//! ```

mod columns;

use super::{
    Targets,
    paint::{age, bad, barred, clip, dim, fold, gist, strong, visible, warn},
    row_target,
};
use crate::{
    api::types::*,
    model::*,
    tui::{
        grouping::Grouping,
        keymap::Act,
        ranking::needs_a_person,
        state::{Extent, State},
    },
};
use columns::Columns;
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};
use std::collections::HashMap;

/// Draws the table; only rows that fit are built.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, targets: &mut Targets) -> Extent {
    let width = usize::from(area.width);
    let mut lines = banner(state, width);
    let shown = state.shown();
    if shown.is_empty() {
        lines.extend(empty(state));
        frame.render_widget(Paragraph::new(lines), area);
        return Extent::default();
    }
    lines.extend(state.fleet.as_ref().filter(|_| area.height > 8).map(|f| summary(f, state, width)));
    let columns = Columns::new(width, state.longest, &state.environments);
    lines.push(columns.heading(state.ranking));
    let height = usize::from(area.height).saturating_sub(lines.len()).max(1);
    let rows = Rows { shown: &shown, now: state.now(), state };
    let (place, top) = (state.place_among(&shown), lines.len());
    let counts = rows.counts();
    let mut drawn = 0;
    for (i, m) in shown.iter().enumerate().skip(rows.first(place, height)) {
        if lines.len() >= top + height {
            break;
        }
        lines.extend(rows.heading(i).map(|name| group(name, counts.get(name).copied().unwrap_or_default())));
        let row = columns.row(m, rows.now, state.marked.contains(&m.name));
        let from = lines.len();
        lines.push(if i == place { barred(&row, width) } else { Line::from(row) });
        lines.extend(note(m, rows.now, state).map(Line::from));
        targets.push(row_target(area, from, lines.len(), i));
        drawn += 1;
    }
    lines.truncate(top + height);
    frame.render_widget(Paragraph::new(lines.into_iter().map(|l| clip(l, width)).collect::<Vec<_>>()), area);
    Extent { last: 0, page: drawn, width: 0 }
}

/// The models that are shown, and what stands above and below the row of each.
struct Rows<'a> {
    shown: &'a [&'a ModelSummary],
    now: Now,
    state: &'a State,
}

impl<'a> Rows<'a> {
    /// The group that begins with this row.
    fn heading(&self, i: usize) -> Option<&'a str> {
        let group = |i: usize| self.shown.get(i).and_then(|m| self.state.grouping.of(m));
        let here = group(i)?;
        (i == 0 || group(i - 1) != Some(here)).then_some(here)
    }

    fn lines(&self, i: usize) -> usize {
        1 + usize::from(self.heading(i).is_some()) + usize::from(note(self.shown[i], self.now, self.state).is_some())
    }

    /// The first row that is drawn: the selected one is in the middle, where the list does not end before. Only the rows near it
    /// are looked at.
    fn first(&self, place: usize, height: usize) -> usize {
        // The farthest row before `end` from which on the rows up to it take at most so many lines.
        let back = |end: usize, mut room: usize| {
            let fit = (0..end).rev().take_while(|i| {
                let fits = self.lines(*i) <= room;
                room = room.saturating_sub(self.lines(*i));
                fits
            });
            fit.last().unwrap_or(end)
        };
        let above = (height / 2).min(height.saturating_sub(self.lines(place)));
        back(place, above).min(back(self.shown.len(), height))
    }

    /// How many models each group has, and how many of them need a person.
    fn counts(&self) -> HashMap<&'a str, (usize, usize)> {
        let mut out: HashMap<&str, (usize, usize)> = HashMap::new();
        for m in self.shown {
            let Some(group) = self.state.grouping.of(m) else { return out };
            let (all, wrong) = out.entry(group).or_default();
            *all += 1;
            *wrong += usize::from(needs_a_person(m));
        }
        out
    }
}

/// `── risk@example.com  12 models, 2 need a person`
fn group(name: &str, (all, wrong): (usize, usize)) -> Line<'static> {
    let models = if all == 1 { "1 model".to_owned() } else { format!("{all} models") };
    let mut line = vec![dim("── "), strong(&visible(name)), dim(&format!("  {models}"))];
    let verb = if wrong == 1 { "needs" } else { "need" };
    line.extend((wrong > 0).then(|| warn(&format!(", {wrong} {verb} a person"))));
    Line::from(line)
}

/// How far live is from what was asked for and promised, in four ways.
fn summary(fleet: &Fleet, state: &State, width: usize) -> Line<'static> {
    let c = fleet.counts;
    let mut line = vec![if width >= 100 { dim(" drift:  ") } else { dim(" drift ") }];
    for (what, n) in [("config", c.out_of_sync), ("SLO burn", c.burning), ("quality", c.off_promise)] {
        let text = format!("{what} {n}");
        line.extend([if n > 0 { warn(&text) } else { dim(&text) }, Span::raw("   ")]);
    }
    line.push(dim(if width >= 100 { "data: not watched yet   " } else { "data -   " }));
    for (n, one, many) in [(state.moving, "rollout", "rollouts"), (state.training, "training", "trainings")] {
        if n > 0 {
            line.push(super::paint::accent(&format!("{n} {}   ", if n == 1 { one } else { many })));
        }
    }
    if state.grouping != Grouping::Nothing {
        line.push(dim(state.grouping.told()));
    }
    Line::from(line)
}

/// What is wrong with the whole.
fn banner(state: &State, width: usize) -> Vec<Line<'static>> {
    let Some(fleet) = &state.fleet else { return vec![] };
    let source = &fleet.source;
    // The fleet itself needs the room more.
    let rows = |text: String| fold(&text, width.saturating_sub(1), 2).into_iter().take(2).map(|l| format!(" {l}"));
    let mut out: Vec<Line> = vec![];
    let mut say =
        |text: String, paint: fn(&str) -> Span<'static>| out.extend(rows(text).map(|l| Line::from(paint(&l))));
    fleet.store_error.iter().for_each(|e| say(format!("state: {}", gist(e)), bad));
    source.error.iter().for_each(|e| say(format!("source: {}", gist(e)), bad));
    source.pins_in_store.iter().for_each(|why| say(format!("lock commits: {}", gist(why)), dim));
    source.push_error.iter().for_each(|e| say(format!("lock commits: {}", gist(e)), bad));
    fleet
        .specs_trouble()
        .iter()
        .filter(|_| !fleet.models.is_empty())
        .for_each(|e| say(format!("specs: {}", gist(e)), bad));
    fleet
        .settings_doubts()
        .filter(|_| !fleet.models.is_empty())
        .for_each(|e| say(format!("settings: {}", gist(&e)), warn));
    if !fleet.held.is_empty() {
        let names: Vec<&str> = fleet.held.iter().map(Name::as_str).take(5).collect();
        let (specs, them) = if fleet.held.len() == 1 {
            ("1 spec".into(), "it")
        } else {
            (format!("{} specs", fleet.held.len()), "them")
        };
        let names = names.join(", ");
        let text = format!("{specs} deleted, held: {names}. `trimtab sync --prune` retires {them}; or restore {them}");
        say(text, warn);
    }
    out
}

fn empty(state: &State) -> Vec<Line<'static>> {
    let text = |l: &str| Line::raw(format!("  {l}"));
    let Some(fleet) = &state.fleet else {
        return vec![Line::raw(""), Line::from(dim("  waiting for the daemon"))];
    };
    if !state.filter.is_empty() {
        let so_far = if state.whole { "" } else { " that are read so far" };
        let what = format!("None of {} models{so_far} matches /{}", fleet.models.len(), visible(&state.filter));
        return vec![Line::raw(""), text(&what), Line::from(dim(&state.with_key(Act::Back, "  {} clears the filter")))];
    }
    let place =
        visible(&format!("{}, branch {}, folder {}/", fleet.source.url, fleet.source.branch, fleet.source.path));
    let mut out =
        vec![Line::raw(""), text("No models yet."), Line::from(dim(&format!("  Watching {place}"))), Line::raw("")];
    out.extend(
        [
            ("trimtab new NAME", "makes one from a template"),
            ("git commit, push", "and it is trained, checked and served"),
        ]
        .map(|(what, does)| Line::from(vec![strong(&format!("  {what:<20}")), Span::raw(does)])),
    );
    if let Some(count @ 1..) = state.tracked.experiments.all.as_ref().map(Vec::len) {
        let (what, them) = if count == 1 { ("experiment is", "it") } else { ("experiments are", "them") };
        out.push(Line::raw(""));
        let told = format!("  {count} {what} tracked: ");
        out.push(Line::from(vec![
            Span::raw(told),
            strong(&state.called(Act::Runs)),
            Span::raw(format!(" lists {them}")),
        ]));
    }
    out.extend(fleet.diagnostics.iter().take(5).map(|d| Line::from(bad(&format!("  {}", diagnostic(d))))));
    out
}

/// `models/fraud/model.toml:14: unknown key`.
pub fn diagnostic(d: &Diagnostic) -> String {
    let place = d.location.as_ref().map(|l| format!("{}:{}: ", l.file, l.line)).unwrap_or_default();
    let label = if d.label.is_empty() { String::new() } else { format!(" ({})", d.label) };
    visible(&format!("{place}{}{label}", d.message))
}

/// What goes on, or what is wrong and what to do about it.
fn note(m: &ModelSummary, now: Now, state: &State) -> Option<Span<'static>> {
    let rolling = m.environments.iter().find_map(|e| Some((e, e.rollout.as_ref()?)));
    let wrong = needs_a_person(m);
    let text = match rolling {
        Some((e, r)) if m.health == Health::Progressing && !m.spec_broken => {
            format!("{}: {}", e.environment, stage(r, now))
        }
        _ if m.health == Health::Healthy && m.sync == SyncStatus::Synced && !m.spec_broken => kept_badly(m, state)?,
        _ if m.message.is_empty() => return None,
        _ if m.unapproved.is_some() && m.health != Health::Degraded && !m.spec_broken => {
            // The key stands for the verb of the command line.
            gist(&m.message.replace("`trimtab approve`", &state.with_key(Act::Approve, "{} approves it")))
        }
        _ if m.health != Health::Missing && wrong && !m.message.contains("fix the spec") => {
            format!("{} · {}", gist(&m.message), state.with_key(Act::Rollback, "fix it, or {} to revert it"))
        }
        _ => gist(&m.message),
    };
    let text = format!("    {text}");
    Some(if wrong { warn(&text) } else { dim(&text) })
}

/// What a healthy release does not keep.
fn kept_badly(m: &ModelSummary, state: &State) -> Option<String> {
    Some(format!("{} · {}", visible(&m.unkept()?), state.with_key(Act::Diff, "{} tells more")))
}

/// `canary, step 2 of 3, next step in 36m`.
pub fn stage(r: &RolloutSummary, now: Now) -> String {
    let word = if r.phase == "step" { r.strategy.word().replace('_', " ") } else { visible(&r.phase) };
    let step = if r.step == 0 { String::new() } else { format!(", step {} of {}", r.step, r.steps.len()) };
    let left = |u: SteadyMs| i64::try_from(u.since(now.steady).div_ceil(1000) * 1000).unwrap_or(i64::MAX);
    let next = r.until.map_or(String::new(), |u| format!(", next step in {}", age(left(u))));
    format!("{word}{step}{next}")
}

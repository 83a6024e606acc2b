//! The time line, a commit's page, and what undoing one would do.
//!
//! ```text
//!  time line  newest first
//!  4f1c2ab  2m  Ada       fraud: deeper trees   ↻ fraud trained v7 (4m 02s), production v7 at 25 %
//!  c09e771  1h  bot       lock: fraud           ✓ fraud data pinned: PSI(amount) 0.31 > 0.20, trained v6
//!           2h            the source answers again
//! ```

use super::{
    Targets,
    fleet::diagnostic,
    paint::{accent, age, bad, barred, clip, dim, fold, good, pad, strong, told, visible, warn},
    row_target,
    simple::{lines, planned, toned},
};
use crate::{
    api::types::*,
    model::*,
    plan::render,
    tui::{
        keymap::Act,
        state::{Extent, State},
        timeline::Row,
    },
};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

/// Cells before a row's summary.
const BEFORE: usize = 25;
/// Rows that a screen has to have for the selected commit to be told in several.
const ROOMY: u16 = 12;

/// Draws the time line.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, targets: &mut Targets) -> Extent {
    let title = Line::from(vec![strong(" time line"), dim("  commits, and what came of each")]);
    let (timeline, width) = (&state.timeline, usize::from(area.width));
    if timeline.known().is_empty() {
        let said = match timeline.commits {
            None => " loading",
            Some(_) => {
                " no commit changed the specs yet: `trimtab new NAME` adds a model; push the commit, and it shows here"
            }
        };
        let rows = fold(said, width.saturating_sub(1), 1);
        return lines(frame, area, 0, Some(title), rows.iter().map(|r| Line::from(dim(r))).collect());
    }
    let (mut all, mut at, mut commits) = (vec![], 0..0, vec![]);
    for row in timeline.rows(&state.events) {
        let Row::Commit(commit) = row else {
            if let Row::Event(e) = row {
                all.push(alone(e, state.now()));
            }
            continue;
        };
        let begin = all.len();
        if commits.len() == timeline.place() {
            if area.height >= ROOMY && !commit.consequences.is_empty() {
                all.push(barred(&summed_up(commit, state.now(), width.saturating_sub(BEFORE + 2)), width));
                all.extend(in_full(commit, state, width));
            } else {
                all.push(barred(&spans(commit, state.now(), width), width));
            }
            at = begin..all.len();
        } else {
            all.push(Line::from(spans(commit, state.now(), width)));
        }
        commits.push(begin..all.len());
    }
    let page = usize::from(area.height).saturating_sub(1).max(1);
    let first = at.start.saturating_sub(page / 2).max(at.end.saturating_sub(page)).min(all.len().saturating_sub(page));
    for (n, lines) in commits.iter().enumerate().filter(|(_, lines)| lines.end > first && lines.start < first + page) {
        // The title stands above.
        let row = |line: usize| (line.saturating_sub(first) + 1).min(page + 1);
        targets.push(row_target(area, row(lines.start), row(lines.end), n));
    }
    let shown = all.into_iter().skip(first).take(page).map(|l| clip(l, width));
    frame.render_widget(Paragraph::new([title].into_iter().chain(shown).collect::<Vec<_>>()), area);
    Extent { last: 0, page, width: 0 }
}

/// What a commit is, its summary in so many cells.
fn summed_up(c: &CommitRow, now: Now, room: usize) -> Vec<Span<'static>> {
    let author = if c.bot { accent(&pad("bot", 9)) } else { Span::raw(pad(&visible(&c.revision.author), 9)) };
    vec![
        strong(&format!(" {}", c.revision.commit.short())),
        dim(&format!(" {:>4}  ", age(now.wall.0 - c.revision.time.0))),
        author,
        Span::raw(format!(" {}  ", pad(&visible(&c.revision.summary), room))),
    ]
}

/// A commit in one row.
fn spans(c: &CommitRow, now: Now, width: usize) -> Vec<Span<'static>> {
    let mut spans = summed_up(c, now, (width.saturating_sub(BEFORE) * 2 / 5).clamp(12, 44));
    if let Some(by) = &c.reverted_by {
        spans.push(dim(&format!("reverted by {}  ", by.short())));
    }
    for (n, told) in c.consequences.iter().enumerate() {
        spans.extend((n > 0).then(|| dim("  ")));
        spans.push(consequence(told));
    }
    if c.consequences.is_empty() {
        spans.push(dim(&nothing(c)));
    } else if c.more {
        spans.push(dim("  …"));
    }
    spans
}

/// `✓ fraud trained v7 (4m 02s)`: told by a sign and by colour.
fn consequence(c: &Consequence) -> Span<'static> {
    let model = c.model.as_ref().map_or(String::new(), |m| format!("{m} "));
    let text = format!("{model}{}", visible(&c.words));
    match c.outcome {
        Outcome::Done => good(&format!("✓ {text}")),
        Outcome::Going => accent(&format!("↻ {text}")),
        Outcome::Failed => bad(&format!("! {text}")),
    }
}

/// What was changed, where nothing came of it.
fn nothing(c: &CommitRow) -> String {
    let names: Vec<String> = c.models.iter().take(3).chain(&c.others).map(|n| visible(n)).collect();
    let more = c.models_changed.saturating_sub(c.models.len().min(3));
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}: nothing came of it", names.join(", "))
}

/// The selected commit's consequences, each in rows of its own.
fn in_full(c: &CommitRow, state: &State, width: usize) -> Vec<Line<'static>> {
    const INDENT: usize = 10;
    let room = width.saturating_sub(INDENT + 1);
    let reverted = c.reverted_by.as_ref().map(|by| format!("{}reverted by {}", " ".repeat(INDENT), by.short()));
    let mut out: Vec<Line> = reverted.iter().map(|r| Line::from(dim(r))).collect();
    for one in &c.consequences {
        let span = consequence(one);
        let rows = told(&span.content, room, 2);
        out.extend(
            rows.into_iter().map(|r| Line::from(Span::styled(format!("{}{r}", " ".repeat(INDENT)), span.style))),
        );
    }
    if c.more {
        out.push(Line::from(dim(&format!(
            "{}{}",
            " ".repeat(INDENT),
            state.with_key(Act::Open, "and more: {} shows it")
        ))));
    }
    out
}

/// What no commit caused.
fn alone(e: &Event, now: Now) -> Line<'static> {
    let model = e.model.as_ref().map_or(String::new(), |m| format!("{m}: "));
    let said = format!("{:8} {:>4}  {:10}{model}{}", "", age(now.wall.0 - e.at.0), "", super::paint::gist(&e.message));
    Line::from(dim(&said))
}

/// What a commit asked for, field by field, and what came of it.
pub fn commit(frame: &mut Frame, area: Rect, state: &State, id: &ObjectId) -> Extent {
    let width = usize::from(area.width);
    let Some(page) = state.timeline.page_of(id) else {
        let title = Line::from(strong(&format!(" {}", id.short())));
        return lines(frame, area, 0, Some(title), vec![Line::from(dim(" loading"))]);
    };
    let (c, now) = (&page.commit, state.now());
    let title = Line::from(vec![strong(&format!(" {}  ", id.short())), strong(&visible(&c.revision.summary))]);
    let mut all = vec![Line::from(dim(&by(c, now)))];
    let body = page.message.lines().skip(1).map(visible).skip_while(|l| l.is_empty());
    all.extend(body.flat_map(|l| fold(&format!(" {l}"), width.saturating_sub(1), 1)).map(|l| Line::from(dim(&l))));
    all.extend([Line::raw(""), Line::from(strong(" what it asked for"))]);
    all.extend(page.changes.iter().flat_map(|m| asked(m, width)));
    if page.changes.is_empty() {
        all.push(Line::from(dim("  no field of any model is another by it")));
    }
    if page.cut {
        all.push(Line::from(dim(&format!("  and more: {} models were changed", c.models_changed))));
    }
    all.extend([Line::raw(""), Line::from(strong(" what came of it"))]);
    if page.events.is_empty() {
        all.push(Line::from(dim("  nothing yet")));
    }
    all.extend(page.events.iter().flat_map(|e| happened(e, now, width)));
    if page.events_cut {
        all.push(Line::from(dim("  the first events and the newest; `trimtab events` has all")));
    }
    lines(frame, area, state.scroll, Some(title), all)
}

/// An event in full; whose commit it is stands above.
fn happened(e: &Event, now: Now, width: usize) -> Vec<Line<'static>> {
    const TEXT_AT: usize = 23;
    let model = e.model.as_ref().map_or("", Name::as_str);
    let before =
        [dim(&format!(" {:>4}  ", age(now.wall.0 - e.at.0))), accent(&format!("{} ", pad(model, TEXT_AT - 8)))];
    let rows = told(&super::paint::gist(&e.message), width.saturating_sub(TEXT_AT + 1), 0);
    let rows = rows.iter().enumerate().map(|(n, row)| {
        let text = toned(e.kind, row);
        if n == 0 {
            Line::from([&before[..], &[text]].concat())
        } else {
            Line::from(vec![Span::raw(" ".repeat(TEXT_AT)), text])
        }
    });
    rows.collect()
}

fn by(c: &CommitRow, now: Now) -> String {
    let (author, email) = (visible(&c.revision.author), visible(&c.revision.email));
    let bot = if c.bot { ", made by trimtab itself" } else { "" };
    let merged = match c.merged {
        0 => String::new(),
        1 => ", merges 1 commit".to_owned(),
        n => format!(", merges {n} commits"),
    };
    let reverted = c.reverted_by.as_ref().map_or(String::new(), |r| format!(", reverted by {}", r.short()));
    format!(" {author} <{email}>, {} ago{bot}{merged}{reverted}", age(now.wall.0 - c.revision.time.0))
}

/// A model's fields with their places.
fn asked(m: &ModelChanges, width: usize) -> Vec<Line<'static>> {
    let mut out = vec![Line::from(accent(&format!("  {}", m.model)))];
    for r in &m.reasons {
        let place = r.place.as_ref().map_or(String::new(), |p| format!("   {}", visible(p)));
        let rows = fold(&format!("    {}{place}", render::change(r)), width.saturating_sub(1), 6);
        out.extend(rows.into_iter().map(Line::raw));
    }
    let more = m.fields.saturating_sub(m.reasons.len());
    out.extend((more > 0).then(|| Line::from(dim(&format!("    and {more} more fields")))));
    out
}

/// What undoing a commit would do; nothing of it is pushed yet.
pub fn revert(frame: &mut Frame, area: Rect, state: &State, id: &ObjectId) -> Extent {
    let width = usize::from(area.width);
    let room = width.saturating_sub(1);
    let title =
        |more: Span<'static>| Line::from(vec![strong(&format!(" what reverting {} would do", id.short())), more]);
    let undo = match state.timeline.undo_of(id) {
        None => return lines(frame, area, 0, Some(title(Span::raw(""))), vec![Line::from(dim(" working it out"))]),
        Some(Err(why)) => {
            let rows = fold(&format!(" {}", visible(why)), room, 1).into_iter().map(|r| Line::from(bad(&r)));
            return lines(frame, area, state.scroll, Some(title(bad(": it cannot be done"))), rows.collect());
        }
        Some(Ok(undo)) => undo,
    };
    let text = undo.text.lines().filter(|l| !l.is_empty()).flat_map(|l| fold(&format!("   {}", visible(l)), room, 3));
    let mut all: Vec<Line> = vec![Line::from(dim(" the commit that it would push:"))];
    all.extend(text.map(|l| Line::from(dim(&l))));
    if !undo.outside.is_empty() {
        let names = undo.outside.iter().take(3).map(|p| visible(p)).collect::<Vec<_>>().join(", ");
        let said = match undo.outside.len() {
            1 => format!(" 1 file outside of the specs stays as it is: {names}"),
            n => format!(" {n} files outside of the specs stay as they are: {names}"),
        };
        all.extend(fold(&said, room, 1).iter().map(|l| Line::from(warn(l))));
    }
    all.push(Line::raw(""));
    if let Some(plan) = &undo.plan {
        let mistakes = plan.diagnostics.iter().flat_map(|d| fold(&diagnostic(d), room, 2));
        all.extend(mistakes.map(|l| Line::from(bad(&format!(" {l}")))));
        all.extend(render::prospect(plan).lines().flat_map(|l| planned(l, width)));
    }
    lines(frame, area, state.scroll, Some(title(warn(": nothing is pushed yet"))), all)
}

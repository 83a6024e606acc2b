//! Screens that are lists of lines: log, time line, plan, diff, help.

use super::{
    fleet::diagnostic,
    paint::{accent, age, bad, clip, dim, fold, good, pad, strong, visible, warn, wrap},
};
use crate::{
    model::*,
    plan::render,
    tui::{
        log::{Flow, Output},
        state::{Extent, State},
    },
};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

/// Lines from `scroll` on, under a title.
pub fn lines(
    frame: &mut Frame,
    area: Rect,
    scroll: usize,
    title: Option<Line<'static>>,
    all: Vec<Line<'static>>,
) -> Extent {
    let mut shown: Vec<Line> = title.into_iter().collect();
    let page = usize::from(area.height).saturating_sub(shown.len());
    let last = all.len().saturating_sub(page);
    shown.extend(all.into_iter().skip(scroll.min(last)).take(page));
    let shown: Vec<Line> = shown.into_iter().map(|l| clip(l, area.width.into())).collect();
    frame.render_widget(Paragraph::new(shown), area);
    Extent { last, page }
}

/// ```text
///  tumour  output of train, as it comes
///  trained on 398 rows …
/// ```
pub fn log(frame: &mut Frame, area: Rect, state: &State, name: &Name, output: &Output) -> Extent {
    let page = usize::from(area.height).saturating_sub(1);
    let width = usize::from(area.width).saturating_sub(2);
    let log = &state.log;
    let text = |l: &Vec<u8>| visible(&String::from_utf8_lossy(l).trim_end_matches(['\n', '\r']).replace('\t', "    "));
    let rows: Vec<String> = log.lines.iter().flat_map(|l| wrap(&text(l), width)).collect();
    let last = rows.len().saturating_sub(page);
    let first = if log.following { last } else { state.scroll.min(last) };
    let shown: Vec<Line> = match (rows.is_empty(), output, log.flow) {
        (true, _, Flow::Asked) => vec![Line::from(dim(" loading"))],
        (true, Output::Runs, Flow::Ended) if log.run.is_none() => {
            vec![Line::from(dim(" no run yet: it shows here as soon as one begins"))]
        }
        (true, Output::Replica(_), Flow::Ended) => {
            vec![Line::from(dim(" no replica there: it shows here as soon as one starts"))]
        }
        (true, ..) => vec![Line::from(dim(" nothing was written yet"))],
        _ => rows[first..].iter().take(page).map(|r| Line::raw(format!(" {r}"))).collect(),
    };
    let whose = match (output, &log.run) {
        (Output::Replica(e), _) => format!("  output of the newest replica in {e}"),
        (Output::Runs, Some(r)) => format!("  output of {}", r.stage),
        (Output::Runs, None) => String::new(),
    };
    let how = match (last - first, log.flow) {
        (below, _) if below > 0 => warn(&format!(", {below} lines below (G follows)")),
        (_, Flow::Open) => accent(", as it comes"),
        (_, Flow::Cut) => warn(", cut off: it goes on with the daemon"),
        (_, Flow::Asked | Flow::Ended) => dim(", ended"),
    };
    let mut title = vec![strong(&format!(" {name}")), Span::raw(whose)];
    title.extend((log.run.is_some() || !rows.is_empty()).then_some(how));
    lines(frame, area, 0, Some(Line::from(title)), shown);
    Extent { last, page }
}

/// ```text
///  4f1c2ab  2m   Ada   fraud        training b3:a78dd014: train.params.depth 6 → 8
/// ```
pub fn events(frame: &mut Frame, area: Rect, state: &State) -> Extent {
    let now = state.now();
    let all: Vec<Line> = state.events.iter().rev().map(|e| event(e, now, true)).collect();
    let all = if all.is_empty() { vec![Line::from(dim(" nothing happened yet"))] } else { all };
    let title = Line::from(vec![strong(" time line"), dim("  newest first")]);
    lines(frame, area, state.scroll, Some(title), all)
}

/// One event; on a model's own page without its name.
pub fn event(e: &Event, now: Now, named: bool) -> Line<'static> {
    let commit = e.commit.as_ref().map_or("       ".to_owned(), |c| c.short().to_owned());
    let author = e.author.as_deref().map(visible).unwrap_or_default();
    let model = e.model.as_ref().map_or("", Name::as_str);
    let message = super::paint::gist(&e.message);
    let message = match e.kind {
        EventKind::RunFailed
        | EventKind::GateFailed
        | EventKind::RolloutAborted
        | EventKind::RevertCommitted
        | EventKind::SpecBroken
        | EventKind::SourceUnreachable => bad(&message),
        EventKind::Promoted | EventKind::VersionRegistered | EventKind::RolledBack => good(&message),
        EventKind::RetireHeld | EventKind::ReplicaDied => warn(&message),
        _ => Span::raw(message),
    };
    let mut spans =
        vec![dim(&format!(" {commit} {:>4}  ", age(now.wall.0 - e.at.0))), Span::raw(format!("{} ", pad(&author, 9)))];
    if named {
        spans.push(accent(&format!("{} ", pad(model, 14))));
    }
    spans.push(message);
    Line::from(spans)
}

/// A line of a rendered plan in the colour of its sign; what follows it stands below its text.
fn planned(l: &str, width: usize) -> Vec<Line<'static>> {
    let l = visible(l);
    let text_at = if l.starts_with("  ") { 19 } else { 0 };
    let paint: fn(&str) -> Span<'static> = match l.trim_start().chars().next() {
        Some('+') => good,
        Some('~' | '↺') => accent,
        Some('-') => bad,
        _ => |l| Span::raw(l.to_owned()),
    };
    fold(&l, width.saturating_sub(1), text_at).iter().map(|l| Line::from(paint(&format!(" {l}")))).collect()
}

/// The plan, as `trimtab plan` prints it, after the mistakes in the specs.
pub fn plan(frame: &mut Frame, area: Rect, state: &State) -> Extent {
    let title = Line::from(vec![strong(" plan"), dim("  what the daemon does next, and why")]);
    let Some(plan) = &state.plan else {
        return lines(frame, area, 0, Some(title), vec![Line::from(dim(" loading"))]);
    };
    let width = usize::from(area.width);
    let mistakes = plan.diagnostics.iter().flat_map(|d| fold(&diagnostic(d), width.saturating_sub(1), 2));
    let mut all: Vec<Line> = mistakes.map(|l| Line::from(bad(&format!(" {l}")))).collect();
    all.extend(render::fleet(plan, plan.at.max(state.now().wall)).lines().flat_map(|l| planned(l, width)));
    lines(frame, area, state.scroll, Some(title), all)
}

/// ```text
///  fraud  what Git asks for against what is live
///  train.params.depth   6  →  8
/// ```
pub fn diff(frame: &mut Frame, area: Rect, state: &State, name: &Name) -> Extent {
    let title = Line::from(vec![strong(&format!(" {name}")), dim("  what is live → what Git asks for")]);
    let Some(d) = state.diff.as_ref().filter(|d| d.model == *name) else {
        return lines(frame, area, 0, Some(title), vec![Line::from(dim(" loading"))]);
    };
    let longest = d.fields.iter().map(|f| f.field.len()).max().unwrap_or(0).min(40);
    let side = |v: &Option<String>| v.as_deref().map_or("-".to_owned(), visible);
    let mut all: Vec<Line> = d
        .fields
        .iter()
        .map(|f| {
            Line::from(vec![
                Span::raw(format!(" {:<longest$}  ", visible(&f.field))),
                bad(&side(&f.live)),
                dim("  →  "),
                good(&side(&f.desired)),
            ])
        })
        .collect();
    if all.is_empty() {
        all.push(Line::from(good(" no difference: what is live is what Git asks for")));
    }
    all.push(Line::raw(""));
    all.extend(render::one(&d.plan).lines().flat_map(|l| planned(l, area.width.into())));
    lines(frame, area, state.scroll, Some(title), all)
}

//! The runs of an experiment.
//!
//! ```text
//!  fraud  128 runs, newest first   /metrics.auc > 0.9                2 marked, c compares
//!    NAME              STATUS      STARTED     TOOK  USER        auc      loss
//!  A brave-cat-12      ↻ running    3m ago  3m 12s  Ada      0.9812    0.1021
//!    train             ✓ finished   2h ago    4.2s  Lin      0.9790    0.1180
//! ```

use super::{
    super::paint::{
        accent, age, bad, barred, clip, cut, dim, fold, good, letter, of_curve, pad, strong, visible, warn,
    },
    super::{Targets, row_target},
    status, took,
};
use crate::tui::{
    keymap::Act,
    state::{Extent, State},
    tracked::{Figure, List, Order, TrackedRun, better},
};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};
use unicode_width::UnicodeWidthStr;

/// Draws the list; only rows that fit are built.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, targets: &mut Targets) -> Extent {
    let (list, width) = (&state.tracked.list, usize::from(area.width));
    let mut lines = vec![title(state, width)];
    lines.extend(refusal(state, width));
    if list.runs.is_empty() {
        lines.push(Line::raw(""));
        lines.extend(empty(state, width));
        frame.render_widget(Paragraph::new(lines), area);
        return Extent::default();
    }
    let columns = Columns::new(state, width);
    lines.push(columns.heading(&list.asked.order));
    let height = usize::from(area.height).saturating_sub(lines.len()).max(1);
    let (place, now) = (list.place(), state.now().wall.0);
    let first = place.saturating_sub(height / 2).min(list.runs.len().saturating_sub(height));
    let rows = list.runs.iter().enumerate().skip(first).take(height);
    let top = lines.len();
    targets.extend(
        (first..list.runs.len()).take(height).map(|i| row_target(area, top + i - first, top + i - first + 1, i)),
    );
    lines.extend(rows.map(|(i, r)| columns.row(list, r, now, i == place)));
    frame.render_widget(Paragraph::new(lines.into_iter().map(|l| clip(l, width)).collect::<Vec<_>>()), area);
    Extent { last: 0, page: height, width: 0 }
}

/// `12,345`.
fn counted(n: usize) -> String {
    if n < 1000 { n.to_string() } else { format!("{},{:03}", counted(n / 1000), n % 1000) }
}

fn title(state: &State, width: usize) -> Line<'static> {
    let list = &state.tracked.list;
    let mut left = vec![super::heading(list.experiment(), width)];
    let (count, before) = (list.runs.len(), list.skipped());
    if count > 0 {
        let runs = match (before, &list.next) {
            (0, None) => format!("  {} {}", counted(count), if count == 1 { "run" } else { "runs" }),
            _ => {
                let more = state.with_key(Act::NextPage, if list.next.is_some() { ", {} for more" } else { "" });
                format!("  runs {} to {}{more}", counted(before + 1), counted(before + count))
            }
        };
        left.push(Span::raw(runs));
        let order = match &list.asked.order {
            Order::Newest => ", newest first".to_owned(),
            Order::Highest(key) => format!(", highest {} first", visible(key)),
            Order::Lowest(key) => format!(", lowest {} first", visible(key)),
        };
        left.push(dim(&order));
    }
    if !list.asked.filter.is_empty() {
        left.push(accent(&format!("   /{}", visible(&list.asked.filter))));
    }
    let right = match list.marked.len() {
        0 => String::new(),
        1 => state.with_key(Act::Mark, "1 marked, {} marks more "),
        n => format!("{n} marked, {}", state.with_key(Act::Compare, "{} compares ")),
    };
    let room = width.saturating_sub(left.iter().map(Span::width).sum::<usize>() + right.width());
    if room > 1 {
        left.extend([Span::raw(" ".repeat(room)), warn(&right)]);
    }
    clip(Line::from(left), width)
}

/// Why the filter that was typed is none.
fn refusal(state: &State, width: usize) -> Vec<Line<'static>> {
    let list = &state.tracked.list;
    let Some((typed, words)) = &list.refused else { return vec![] };
    let words: Vec<String> = words.lines().map(visible).collect();
    let text = format!("/{}: {}", visible(typed), words.join(" "));
    let mut out: Vec<Line> = fold(&text, width.saturating_sub(2), 2)
        .into_iter()
        .take(4)
        .map(|l| Line::from(bad(&format!(" {l}"))))
        .collect();
    let metric = list.metrics().first().map_or("auc".to_owned(), |m| visible(m));
    let hint =
        format!(" {} edits it, such as metrics.{metric} > 0.9 AND status = 'FINISHED'", state.called(Act::Filter));
    out.push(Line::from(dim(&hint)));
    out
}

/// What to do next, where there is no run.
fn empty(state: &State, width: usize) -> Vec<Line<'static>> {
    let list = &state.tracked.list;
    let Some(shown) = list.shown() else { return vec![Line::from(dim("  loading"))] };
    let name = visible(&shown.experiment);
    if !shown.filter.is_empty() {
        let what = format!("  No run of {name} is as /{} asks.", visible(&shown.filter));
        return vec![
            Line::raw(cut(&what, width)),
            Line::from(dim(&state.with_key(Act::Filter, "  {} and esc clear the filter"))),
        ];
    }
    if !list.is_there() && state.subject().is_none() {
        return astray(state, &shown.experiment, width);
    }
    let mut out = vec![Line::raw(cut(&format!("  No run of {name} is tracked yet."), width))];
    if state.subject().is_some() {
        out.push(Line::from(dim("  Each stage of its pipeline shows here, live, as soon as one begins.")));
    }
    out.extend(how_to(&name, width));
    out
}

/// There is no such experiment.
fn astray(state: &State, name: &str, width: usize) -> Vec<Line<'static>> {
    let experiments = &state.tracked.experiments;
    let mut out = vec![Line::from(bad(&cut(&format!("  There is no experiment `{}`.", visible(name)), width)))];
    let alike: Vec<String> = experiments.alike(name).into_iter().map(|n| format!("`{}`", visible(n))).collect();
    if !alike.is_empty() {
        out.push(Line::raw(cut(&format!("  Did you mean {}?", alike.join(" or ")), width)));
    }
    out.push(Line::from(dim(&match experiments.known().len() {
        0 => "  None is there yet.".to_owned(),
        1 => state.with_key(Act::Runs, "  {} shows the one that is there."),
        n => {
            format!("  {} lists the {n} that are there; after `:runs ` tab completes a name.", state.called(Act::Runs))
        }
    })));
    out.push(Line::raw(""));
    out.extend(how_to(&visible(name), width));
    out
}

/// How a script logs to an experiment.
pub fn how_to(name: &str, width: usize) -> Vec<Line<'static>> {
    let told = "  A script that logs to this daemon shows here (STATE: its --state folder):";
    let mut out = vec![Line::from(dim(told)), Line::raw("")];
    out.extend(
        [
            "export MLFLOW_TRACKING_URI=http://$(cat STATE/tracking)".to_owned(),
            "export MLFLOW_TRACKING_TOKEN=$(cat STATE/token)".to_owned(),
            format!("python: import mlflow; mlflow.set_experiment(\"{name}\")"),
            "        mlflow.log_metric(\"auc\", 0.9)".to_owned(),
        ]
        .map(|l| Line::from(strong(&cut(&format!("    {l}"), width)))),
    );
    out
}

/// What the width has room for.
struct Columns {
    width: usize,
    name: usize,
    /// 0 where all runs are of one user, and the width is needed for metrics.
    user: usize,
    /// Metrics with their columns' widths.
    metrics: Vec<(String, usize)>,
    chosen: Option<String>,
    /// The best value of the chosen metric.
    best: Option<Figure>,
}

/// Mark, status, age and duration.
const FIXED: usize = 2 + 12 + 9 + 9;

impl Columns {
    fn new(state: &State, width: usize) -> Self {
        let (list, chosen) = (&state.tracked.list, state.tracked.metric.clone());
        let longest = |of: fn(&TrackedRun) -> &str| list.runs.iter().map(|r| of(r).width()).max().unwrap_or(0);
        let (least, most) = if width >= 100 { (14, 34) } else { (10, 20) };
        let name = longest(|r| &r.name).clamp(least, most) + 2;
        let one_user = list.runs.windows(2).all(|w| w[0].user == w[1].user);
        let user = if one_user && width < 100 { 0 } else { longest(|r| &r.user).clamp(4, 14) + 1 };
        let keys = list.metrics();
        let wide = |key: &str| (visible(key).width() + 1).clamp(9, 18) + 1;
        let mut room = width.saturating_sub(FIXED + name + user);
        let mut metrics: Vec<(String, usize)> = vec![];
        for key in &keys {
            let needs = wide(key);
            if needs > room {
                break;
            }
            room -= needs;
            metrics.push(((*key).to_owned(), needs));
        }
        let known = chosen.as_deref().filter(|c| keys.contains(c));
        if let (Some(key), Some(last)) = (known.filter(|c| metrics.iter().all(|(m, _)| m != c)), metrics.last_mut()) {
            // The chosen one is always seen.
            *last = (key.to_owned(), last.1);
        }
        let best = chosen.as_deref().and_then(|key| best(list, key));
        Self { width, name, user, metrics, chosen, best }
    }

    fn heading(&self, order: &Order) -> Line<'static> {
        let user = if self.user > 0 { pad("USER", self.user) } else { String::new() };
        let fixed = format!("  {}{:<12}{:>8} {:>8}  {user}", pad("NAME", self.name), "STATUS", "STARTED", "TOOK");
        let mut spans = vec![strong(fixed.trim_end_matches(' ')), Span::raw(trailing(&fixed))];
        for (key, width) in &self.metrics {
            let sign = match order {
                Order::Highest(by) if by == key => "▼",
                Order::Lowest(by) if by == key => "▲",
                _ => "",
            };
            let text = cut(&format!("{sign}{}", visible(key)), width - 1);
            spans.push(Span::raw(" ".repeat(width - text.width())));
            spans.push(if self.chosen.as_ref() == Some(key) { accent(&text) } else { strong(&text) });
        }
        Line::from(spans)
    }

    fn row(&self, list: &List, r: &TrackedRun, now: i64, selected: bool) -> Line<'static> {
        let mark = list.marked.iter().position(|m| *m == r.id);
        let word = status(r.status, true);
        let rest = 12usize.saturating_sub(word.width());
        let ago = format!("{} ago", age(now - r.started));
        let mut spans = vec![
            mark.map_or(Span::raw(" "), |n| of_curve(&letter(n).to_string(), n)),
            Span::raw(format!(" {}", pad(&visible(&r.name), self.name - 1) + " ")),
            word,
            Span::raw(format!("{}{ago:>8} {:>8}  ", " ".repeat(rest), took(r, now))),
        ];
        if self.user > 0 {
            spans.push(Span::raw(pad(&visible(&r.user), self.user - 1) + " "));
        }
        for (key, width) in &self.metrics {
            let value = r.metrics.get(key).map(|n| n.value);
            let text = super::pane::cell(value, *width);
            let best = self.chosen.as_ref() == Some(key) && value.is_some() && value == self.best;
            spans.push(match value {
                None => dim(&text),
                Some(_) if best => good(&text),
                Some(v) if !v.0.is_finite() => warn(&text),
                Some(_) => Span::raw(text),
            });
        }
        if selected { barred(&spans, self.width) } else { Line::from(spans) }
    }
}

fn trailing(text: &str) -> String {
    " ".repeat(text.len() - text.trim_end_matches(' ').len())
}

/// The best value of a metric among those listed.
fn best(list: &List, key: &str) -> Option<Figure> {
    let values = list.runs.iter().filter_map(|r| r.metrics.get(key)).map(|n| n.value.0);
    better(key).best(values).map(Figure)
}

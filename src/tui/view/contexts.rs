//! Daemons beside each other.
//!
//! ```text
//!  contexts  3 daemons, ● is open; asked every 5 seconds
//!    NAME      ADDRESS                    REVISION MODELS    ✓    ↻    !    ‖ DRIFT     AGE
//!  ● prod      https://models.example.com 4f1c2ab      12    9    1    1    1 c1 q1      2s
//!  ○ staging   /srv/staging/state         4f1c2ab      12   12    0    0    0 -          9m
//!      no daemon answers at /srv/staging/state/trimtab.sock
//! ```

use super::{
    Targets,
    paint::{accent, age, bad, barred, clip, cut, dim, fold, good, pad, strong, tail, visible, warn},
    row_target,
};
use crate::{
    api::types::Counts,
    tui::{
        contexts::{AGAIN, Beside, Contexts},
        state::{Extent, State},
    },
};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};
use unicode_width::UnicodeWidthStr;

/// Cells beside name, address and counts: sign, revision, models, drift and age.
const FIXED: usize = 3 + 9 + 6 + 1 + 9 + 5;

/// Draws the list.
pub fn draw(frame: &mut Frame, area: Rect, state: &State, targets: &mut Targets) -> Extent {
    let (contexts, width) = (&state.contexts, usize::from(area.width));
    let columns = Columns::new(contexts, width);
    let mut lines = vec![title(contexts), columns.heading()];
    let (top, height) = (lines.len(), usize::from(area.height).saturating_sub(2).max(1));
    let built: Vec<Vec<Line>> = (0..contexts.rows.len()).map(|i| columns.row(contexts, i)).collect();
    // Rows take a line or a few: as many as fit above the chosen one.
    let place = contexts.place();
    let mut room = height.saturating_sub(built.get(place).map_or(0, Vec::len));
    let above = built[..place].iter().rev().take_while(|l| {
        let fits = l.len() <= room;
        room = room.saturating_sub(l.len());
        fits
    });
    let first = place - above.count();
    for (i, row) in built.into_iter().enumerate().skip(first) {
        let from = lines.len();
        lines.extend(row);
        targets.push(row_target(area, from, lines.len(), i));
    }
    lines.truncate(top + height);
    if contexts.names().next().is_none() && lines.len() < top + height {
        lines.push(Line::from(dim("   [contexts] in tui.toml names more daemons")));
    }
    frame.render_widget(Paragraph::new(lines.into_iter().map(|l| clip(l, width)).collect::<Vec<_>>()), area);
    Extent { last: 0, page: height, width: 0 }
}

fn title(contexts: &Contexts) -> Line<'static> {
    let daemons =
        if contexts.rows.len() == 1 { "1 daemon".to_owned() } else { format!("{} daemons", contexts.rows.len()) };
    let told = format!("  {daemons}, ● is open; asked every {AGAIN} seconds");
    Line::from(vec![strong(" contexts"), dim(&told)])
}

/// What the width has room for.
struct Columns {
    name: usize,
    address: usize,
    /// Of each count of models by health.
    count: usize,
    width: usize,
}

impl Columns {
    fn new(contexts: &Contexts, width: usize) -> Self {
        let longest = |of: &dyn Fn(&Beside) -> String| contexts.rows.iter().map(|r| of(r).width()).max().unwrap_or(0);
        let name = longest(&name).clamp(4, if width >= 100 { 24 } else { 12 }) + 1;
        let most = contexts.rows.iter().filter_map(|r| r.told.as_ref()).map(|(told, _)| told.counts.models).max();
        let count = most.unwrap_or(0).to_string().len().max(3) + 1;
        let address = longest(&|r| visible(&r.address)).max(7) + 1;
        let room = width.saturating_sub(FIXED + name + 4 * count);
        Self { name, address: address.min(room.max(8)), count, width }
    }

    fn heading(&self) -> Line<'static> {
        let (name, address) = (pad("NAME", self.name), pad("ADDRESS", self.address));
        let count = self.count;
        let signs = ["✓", "↻", "!", "‖"].map(|sign| format!("{sign:>count$}")).concat();
        Line::from(strong(&format!("   {name}{address}REVISION MODELS{signs} {:<9}{:>5}", "DRIFT", "AGE")))
    }

    /// A daemon, and below it why it gave no answer.
    fn row(&self, contexts: &Contexts, at: usize) -> Vec<Line<'static>> {
        let r = &contexts.rows[at];
        let mut spans = vec![
            sign(r, at == contexts.here),
            strong(&pad(&cut(&name(r), self.name - 1), self.name)),
            // What tells addresses apart stands at their end.
            Span::raw(pad(&tail(&visible(&r.address), self.address - 1), self.address)),
        ];
        match &r.told {
            Some((told, when)) => {
                let revision = told.source.revision.as_ref().map_or("none", |r| r.commit.short());
                spans.push(Span::raw(pad(&visible(revision), 9)));
                spans.extend(counts(told.counts, self.count));
                let ago = age((contexts.seconds - when) as i64 * 1000);
                spans.push(dim(&format!("{ago:>5}")));
            }
            None => spans.push(dim(why_nothing(r))),
        }
        let mut out = vec![if at == contexts.place() { barred(&spans, self.width) } else { Line::from(spans) }];
        let mut say = |text: &str, paint: fn(&str) -> Span<'static>| {
            let rows = fold(&visible(text), self.width.saturating_sub(7), 0);
            out.extend(rows.iter().take(2).map(|l| Line::from(paint(&format!("      {l}")))));
        };
        r.trouble.iter().for_each(|t| say(&t.why, bad));
        let told = r.told.iter().filter(|_| r.trouble.is_none()).map(|(told, _)| told);
        told.flat_map(|t| [&t.store_error, &t.source.error]).flatten().for_each(|why| say(why, warn));
        out
    }
}

/// Whether it is open, gone, or says that something is wrong.
fn sign(r: &Beside, open: bool) -> Span<'static> {
    match &r.trouble {
        _ if open => accent(" ● "),
        Some(t) if t.reached => bad(" ! "),
        Some(_) => bad(" ○ "),
        None => Span::raw("   "),
    }
}

/// In the place of figures.
fn why_nothing(r: &Beside) -> &'static str {
    match &r.trouble {
        None => "asking",
        Some(t) if t.reached => "refused",
        Some(_) => "not reachable",
    }
}

fn name(r: &Beside) -> String {
    r.name.as_deref().map_or("(no name)".to_owned(), visible)
}

/// How many models are how, and how many are not as they were asked for or promised.
fn counts(c: Counts, width: usize) -> Vec<Span<'static>> {
    let mut out = vec![Span::raw(format!("{:>6}", c.models))];
    for (n, paint) in [
        (c.healthy, good as fn(&str) -> Span<'static>),
        (c.progressing, accent),
        (c.degraded, bad),
        (c.suspended, warn),
    ] {
        let text = format!("{n:>width$}");
        out.push(if n == 0 { dim(&text) } else { paint(&text) });
    }
    let drifts = [("c", c.out_of_sync), ("s", c.burning), ("q", c.off_promise)];
    let told: Vec<String> = drifts.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{what}{n}")).collect();
    let none = told.is_empty();
    let text = format!(" {}", pad(&if none { "-".to_owned() } else { told.join(" ") }, 9));
    out.push(if none { dim(&text) } else { warn(&text) });
    out
}

/// The texts that change by time alone.
pub fn ages(contexts: &Contexts) -> Vec<String> {
    let told = contexts.rows.iter().filter_map(|r| r.told.as_ref());
    told.map(|(_, when)| age((contexts.seconds - when) as i64 * 1000)).collect()
}

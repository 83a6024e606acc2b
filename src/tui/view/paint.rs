//! Text in roles, whose colours are the theme's, and small words. Nothing hangs on colour alone.

use crate::{model::*, plan::render, tui::theme::Role};
use ratatui::{
    buffer::CellWidth,
    style::{Color, Modifier, Style},
    text::{Line, Span},
};
use unicode_segmentation::UnicodeSegmentation;

fn ink(text: &str, role: Role) -> Span<'static> {
    Span::styled(text.to_owned(), Style::new().fg(role.colour()))
}
pub fn good(text: &str) -> Span<'static> {
    ink(text, Role::Good)
}
pub fn bad(text: &str) -> Span<'static> {
    ink(text, Role::Bad)
}
pub fn warn(text: &str) -> Span<'static> {
    ink(text, Role::Warn)
}
pub fn accent(text: &str) -> Span<'static> {
    ink(text, Role::Accent)
}
/// The stable release's share of a bar.
pub fn stable(text: &str) -> Span<'static> {
    ink(text, Role::Stable)
}
/// The new one's.
pub fn new(text: &str) -> Span<'static> {
    ink(text, Role::New)
}
pub fn dim(text: &str) -> Span<'static> {
    Span::styled(text.to_owned(), Style::new().add_modifier(Modifier::DIM))
}
pub fn strong(text: &str) -> Span<'static> {
    Span::styled(text.to_owned(), Style::new().add_modifier(Modifier::BOLD))
}

/// The colour of the n-th curve of a chart.
pub fn curve_colour(n: usize) -> Color {
    Role::Curve(n).colour()
}

/// The letter of the n-th of some runs: curves are told apart by it as well.
pub fn letter(n: usize) -> char {
    char::from(b'A' + (n % 26) as u8)
}

/// Text in the colour of the n-th curve, and no more.
pub fn ink_of(text: &str, n: usize) -> Span<'static> {
    Span::styled(text.to_owned(), Style::new().fg(curve_colour(n)))
}

/// Text in the colour of the n-th curve.
pub fn of_curve(text: &str, n: usize) -> Span<'static> {
    Span::styled(text.to_owned(), Style::new().fg(curve_colour(n)).add_modifier(Modifier::BOLD))
}

/// A selected row: one bar over the whole width, with no colours of its own in it.
pub fn barred(spans: &[Span<'static>], width: usize) -> Line<'static> {
    let text: String = spans.iter().map(|s| s.content.as_ref()).collect();
    Line::from(Span::styled(pad(&text, width), Style::new().add_modifier(Modifier::REVERSED)))
}

/// A health in its colour.
pub fn health(h: Health, text: &str) -> Span<'static> {
    match h {
        Health::Healthy => good(text),
        Health::Progressing => accent(text),
        Health::Degraded | Health::Missing => bad(text),
        Health::Suspended | Health::Unknown => warn(text),
    }
}

/// Untrusted text: what could steer the terminal is shown, never sent.
pub use crate::model::visible;

/// What a long message comes down to in one line.
pub fn gist(message: &str) -> String {
    visible(&render::gist(message))
}

/// `3s`, `6m`, `2h`, `5d`.
pub fn age(ms: i64) -> String {
    let s = ms.max(0) / 1000;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m", s / 60),
        3600..86_400 => format!("{}h", s / 3600),
        _ => format!("{}d", s / 86_400),
    }
}

/// `━━━━━━╌╌` : stable and new share of `width` cells, told apart by form and by colour.
pub fn bar(new_share: f64, width: usize) -> [Span<'static>; 2] {
    let cells = ((new_share / 100.0) * width as f64).round() as usize;
    let cells = if new_share > 0.0 { cells.clamp(1, width) } else { 0 };
    [stable(&"━".repeat(width - cells)), new(&"╌".repeat(cells))]
}

/// Cells of a column in which the new release has `part` cells from the bottom: below 0 none, above 1 all.
pub fn share(part: f64, cells: usize) -> Span<'static> {
    const EIGHTHS: [char; 7] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇'];
    let eighths = (part * 8.0).round();
    if eighths >= 8.0 {
        return new(&"█".repeat(cells));
    }
    if eighths < 1.0 {
        return stable(&"█".repeat(cells));
    }
    let text = EIGHTHS[(eighths as usize).clamp(1, 7) - 1].to_string().repeat(cells);
    Span::styled(text, Style::new().fg(Role::New.colour()).bg(Role::Stable.colour()))
}

/// A text in what cannot be parted, each with its cells, as ratatui writes it: a letter with its marks, an emoji with its signs. A chain of
/// letters that is wider than any sign is parted after all.
fn clusters(text: &str) -> impl Iterator<Item = (&str, usize)> {
    const WIDEST: usize = 2;
    // Control characters are not written at all.
    let width = |part: &str| if part.contains(char::is_control) { 0 } else { usize::from(part.cell_width()) };
    let parts = text.graphemes(true).flat_map(move |g| {
        let chain = width(g) > WIDEST;
        g.split_inclusive(move |_: char| chain)
    });
    parts.map(move |part| (part, width(part)))
}

/// The cells that a text takes.
fn cells(text: &str) -> usize {
    // Bars and lines are most of what is not ASCII.
    let plain = |c: char| matches!(c, ' '..='~' | '\u{2500}'..='\u{259f}');
    if text.chars().all(plain) { text.chars().count() } else { clusters(text).map(|(_, w)| w).sum() }
}

/// The line in at most `width` cells; `…` says that it was longer.
pub fn clip(line: Line<'static>, width: usize) -> Line<'static> {
    if line.spans.iter().map(|s| cells(&s.content)).sum::<usize>() <= width {
        return line;
    }
    if width == 0 {
        return Line::default();
    }
    let mut room = width.saturating_sub(1);
    let mut spans = vec![];
    for span in line.spans {
        let mut kept = String::new();
        for (cluster, w) in clusters(&span.content) {
            if w > room {
                spans.push(Span::styled(kept + "…", span.style));
                return Line::from(spans).style(line.style);
            }
            room -= w;
            kept.push_str(cluster);
        }
        spans.push(Span::styled(kept, span.style));
    }
    Line::from(spans).style(line.style)
}

/// The text in exactly `width` cells.
pub fn pad(text: &str, width: usize) -> String {
    let text = cut(text, width);
    let rest = width.saturating_sub(cells(&text));
    text + &" ".repeat(rest)
}

/// The text in at most `width` cells; `…` says that it was longer.
pub fn cut(text: &str, width: usize) -> String {
    clip(Line::raw(text.to_owned()), width).spans.iter().map(|s| s.content.as_ref()).collect()
}

/// The end of the text in at most `width` cells; `…` says that more stands before.
pub fn tail(text: &str, width: usize) -> String {
    if cells(text) <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let all: Vec<(&str, usize)> = clusters(text).collect();
    let fit = all.iter().rev().take_while(|(_, w)| {
        let fits = *w <= room;
        room = room.saturating_sub(*w);
        fits
    });
    let from = all.len() - fit.count();
    let kept: String = all[from..].iter().map(|(cluster, _)| *cluster).collect();
    if width == 0 { String::new() } else { format!("…{kept}") }
}

/// Text in rows of at most `width` cells, parted between words where it can be; further rows are indented.
pub fn fold(text: &str, width: usize, indent: usize) -> Vec<String> {
    let (width, indent) = (width.max(2), if width < 2 * indent + 8 { String::new() } else { " ".repeat(indent) });
    let (mut rows, mut row) = (vec![], String::new());
    for word in text.split_inclusive(' ') {
        if !row.trim().is_empty() && cells(&row) + cells(word.trim_end()) > width {
            rows.push(std::mem::replace(&mut row, indent.clone()).trim_end().to_owned());
        }
        row.push_str(word);
        while cells(row.trim_end()) > width {
            let mut pieces = wrap(&row, width).into_iter();
            rows.extend(pieces.next());
            row = indent.clone() + &pieces.collect::<String>();
        }
    }
    rows.push(row.trim_end().to_owned());
    rows
}

/// A message in a few rows.
pub fn told(text: &str, width: usize, indent: usize) -> Vec<String> {
    const ROWS: usize = 6;
    let mut rows = fold(text, width, indent);
    if rows.len() > ROWS {
        rows.truncate(ROWS);
        if let Some(last) = rows.last_mut() {
            *last = cut(&format!("{last} …"), width);
        }
    }
    rows
}

/// Text in rows of at most `width` cells.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    let mut used = 0;
    for (cluster, w) in clusters(text) {
        if used + w > width.max(2) {
            rows.push(String::new());
            used = 0;
        }
        if let Some(row) = rows.last_mut() {
            row.push_str(cluster);
        }
        used += w;
    }
    rows
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::{prelude::*, strategy::Strategy};
    use ratatui::{
        buffer::Buffer,
        layout::Rect,
        widgets::{Paragraph, Widget},
    };
    use unicode_width::UnicodeWidthStr;

    /// Text as nobody should write it, and as many do.
    pub fn odd_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<char>().prop_map(String::from),
            "[a-zA-Z0-9 _-]{1,12}",
            proptest::sample::select(vec![
                "\u{202e}",
                "\u{2066}",
                "\u{200d}",
                "\u{200f}",
                "\t",
                "\x1b[2J",
                "\r\n",
                "\u{301}",
                "\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}\u{307}",
                "👨\u{200d}👩\u{200d}👧",
                "❤\u{fe0f}",
                "👍🏽",
                "🇩🇪",
                "1\u{fe0f}\u{20e3}",
                "漢字かな",
                "ﷺ",
                "لا",
                "क्ष्म्य",
                "ก็",
                "각",
                "ä",
                "a\u{308}",
            ])
            .prop_map(str::to_owned),
        ];
        proptest::collection::vec(piece, 0..20).prop_map(|p| p.concat())
    }

    proptest! {
        #[test]
        fn whatever_is_written_what_stands_after_it_stays_in_its_column(text in odd_text(), width in 0usize..40) {
            let area = Rect::new(0, 0, width as u16 + 1, 1);
            let mut buffer = Buffer::empty(area);
            let line = Line::from(vec![Span::raw(pad(&visible(&text), width)), Span::raw("X")]);
            Paragraph::new(line).render(area, &mut buffer);
            prop_assert_eq!(buffer[(width as u16, 0)].symbol(), "X", "{:?}", buffer);
        }

        #[test]
        fn whatever_is_written_rows_are_no_wider_than_they_may_be(text in odd_text(), width in 2usize..40) {
            let text = visible(&text);
            for row in wrap(&text, width).iter().chain(&fold(&text, width, 2)).chain(&told(&text, width, 2)) {
                prop_assert!(cells(row) <= width, "{row:?}");
            }
            prop_assert!(cells(&tail(&text, width)) <= width);
            prop_assert_eq!(wrap(&text, width).concat(), text);
        }
    }

    #[test]
    fn text_is_folded_between_words_and_nothing_is_lost() {
        assert_eq!(fold("one two three", 12, 2), ["one two", "  three"]);
        for text in ["", "  a word-that-is-longer-than-any-row and more", "漢字かな交じり文 と words"] {
            for width in 0..40 {
                let rows = fold(text, width, 2);
                assert!(rows.iter().all(|r| r.width() <= width.max(2)), "{width}: {rows:?}");
                let bare = |t: &str| t.replace(' ', "");
                assert_eq!(bare(&rows.concat()), bare(text), "{width}");
            }
        }
        assert_eq!(pad("山田太郎と仲間", 9), "山田太郎…");
        assert_eq!(pad("山田太", 9), "山田太   ");
        assert_eq!(
            (tail("one two", 4), tail("山田太郎", 6), tail("one", 3)),
            ("…two".into(), "…太郎".into(), "one".into())
        );
    }
}

//! Words and tables for people.

use crate::model::visible_but;
use std::io::IsTerminal;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Untrusted text on one line: what could steer the terminal is shown, never sent to it.
pub use crate::model::visible;

/// Untrusted text that may have several lines.
pub fn visible_lines(text: &str) -> String {
    text.lines().map(visible).collect::<Vec<_>>().join("\n")
}

/// Untrusted output as it comes in pieces: escapes are shown as text, lines and tabs stay. A character that is cut by the end of
/// a piece is held until the rest of it comes.
#[derive(Debug, Default)]
pub struct Output(Vec<u8>);

impl Output {
    /// What can be shown of all that came.
    pub fn push(&mut self, piece: &[u8]) -> String {
        self.0.extend_from_slice(piece);
        let cut = match std::str::from_utf8(&self.0) {
            // Only the beginning of a character is left: more may come.
            Err(e) if e.error_len().is_none() => e.valid_up_to(),
            // Broken in the middle: shown as U+FFFD, but for a cut character at the end.
            Err(_) => self.0.len() - cut_tail(&self.0),
            Ok(_) => self.0.len(),
        };
        let rest = self.0.split_off(cut);
        shown(&std::mem::replace(&mut self.0, rest))
    }
    /// What is left at the end.
    pub fn finish(self) -> String {
        shown(&self.0)
    }
}

/// Bytes at the end that begin a character without completing it; at most three.
fn cut_tail(bytes: &[u8]) -> usize {
    (1..=bytes.len().min(3))
        .find(|n| {
            let tail = &bytes[bytes.len() - n..];
            tail[0] >= 0xc0 && std::str::from_utf8(tail).is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
        })
        .unwrap_or(0)
}

fn shown(bytes: &[u8]) -> String {
    visible_but(&String::from_utf8_lossy(bytes), "\n\t")
}

/// Whether colours are wanted on standard output.
pub fn colour() -> bool {
    let asked = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    asked && std::env::var_os("TERM").is_none_or(|t| t != "dumb") && std::io::stdout().is_terminal()
}

/// Paints when colours are wanted: an SGR number such as 32 for green.
pub fn paint(text: &str, sgr: u8) -> String {
    if colour() { painted(text, sgr) } else { text.to_owned() }
}

fn painted(text: &str, sgr: u8) -> String {
    format!("\x1b[{sgr}m{text}\x1b[0m")
}

/// A plan or diagnostics, its signs and words painted when colours are wanted.
pub fn highlight(text: &str) -> String {
    if !colour() {
        return text.to_owned();
    }
    text.split_inclusive('\n').map(highlight_line).collect()
}

/// By the sign or word that the line begins with.
fn highlight_line(line: &str) -> String {
    let body = line.trim_start();
    let begin = &line[..line.len() - body.len()];
    let head = body.split(' ').next().unwrap_or_default().trim_end();
    let rest = &body[head.len()..];
    let sgr = match head {
        "+" => 32,
        "~" | "waiting" | "warning:" => 33,
        "-" | "error:" => 31,
        "↺" => 36,
        "because" | "·" | "┌─" | "│" | "=" => 2,
        // The number of a line that is shown.
        _ if head.bytes().all(|b| b.is_ascii_digit()) && rest.starts_with(" │") => 2,
        _ => return line.to_owned(),
    };
    format!("{begin}{}{rest}", painted(head, sgr))
}

/// Milliseconds ago, for people.
pub fn ago(ms: i64) -> String {
    crate::model::Millis(ms.max(0) as u64).to_string()
}

/// How wide the terminal is, when standard output is one: what goes elsewhere is never cut.
pub fn room() -> Option<usize> {
    let size = std::io::stdout().is_terminal().then(crossterm::terminal::size)?;
    size.ok().map(|(columns, _)| usize::from(columns)).filter(|columns| *columns > 0)
}

/// The text in at most `width` cells; `…` says that it was longer.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fitting = text.chars().take_while(|c| {
        let wide = c.width().unwrap_or(0);
        let fits = wide <= room;
        room = room.saturating_sub(wide);
        fits
    });
    let kept: String = fitting.collect();
    if width == 0 { kept } else { kept + "…" }
}

/// Columns as wide as their widest cell.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    table_in_colour(head, rows, |_, _| None)
}

/// As [`table`]; `sgr` names the colour of a cell, given its column and text, for when colours are wanted.
pub fn table_in_colour(head: &[&str], rows: &[Vec<String>], sgr: impl Fn(usize, &str) -> Option<u8>) -> String {
    table_within(head, rows, None, sgr)
}

/// Space between columns.
const GAP: usize = 2;

/// Widths of the columns; where they have no room beside each other, the widest give way.
fn widths(head: &[&str], rows: &[Vec<String>], room: Option<usize>) -> Vec<usize> {
    const LEAST: usize = 6;
    let width = |i: usize| {
        rows.iter().filter_map(|r| r.get(i)).map(|c| c.width()).chain(head.get(i).map(|h| h.width())).max().unwrap_or(0)
    };
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0).max(head.len());
    let mut widths: Vec<usize> = (0..columns).map(width).collect();
    while room.is_some_and(|room| whole(&widths) > room) {
        let Some(widest) = widths.iter_mut().max().filter(|w| **w > LEAST) else { break };
        *widest -= 1;
    }
    widths
}

fn whole(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// How wide a table is when nothing of it is cut.
pub fn width_of(head: &[&str], rows: &[Vec<String>]) -> usize {
    whole(&widths(head, rows, None))
}

/// As [`table_in_colour`], in at most so many columns of the terminal.
pub fn table_within(
    head: &[&str],
    rows: &[Vec<String>],
    room: Option<usize>,
    sgr: impl Fn(usize, &str) -> Option<u8>,
) -> String {
    let widths = widths(head, rows, room);
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let (mut out, mut left) = (String::new(), room.unwrap_or(usize::MAX));
        for (i, cell) in cells.enumerate() {
            let width = widths[i].min(left);
            let text = cut(cell, width);
            let rest = (width + GAP).min(left).saturating_sub(text.width());
            out.push_str(&sgr(i, cell).map_or(text.clone(), |sgr| paint(&text, sgr)));
            out.push_str(&" ".repeat(rest));
            left = left.saturating_sub(width + GAP);
        }
        format!("{}\n", out.trim_end())
    };
    let mut out = line(&mut head.iter().copied());
    rows.iter().for_each(|r| out.push_str(&line(&mut r.iter().map(String::as_str))));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_the_same_however_it_is_cut() {
        for text in ["größer → ✓ 🦀\n".as_bytes(), b"a\xffb\xe2\x86\x92\x1b[31mred\x1b[0m\tx\n", b"\xe2\x86"] {
            let whole = shown(text);
            assert!(!whole.contains('\x1b'));
            for cut in 0..=text.len() {
                let mut out = Output::default();
                let parts = out.push(&text[..cut]) + &out.push(&text[cut..]);
                assert_eq!(parts + &out.finish(), whole, "{cut}");
            }
        }
    }

    #[test]
    fn the_signs_of_a_plan_and_the_words_of_a_diagnostic_are_painted() {
        for (line, shown) in [
            ("  + fraud  train\n", "  \x1b[32m+\x1b[0m fraud  train\n"),
            ("  - old  retire\n", "  \x1b[31m-\x1b[0m old  retire\n"),
            ("      because  x\n", "      \x1b[2mbecause\x1b[0m  x\n"),
            ("error: no such dataset\n", "\x1b[31merror:\x1b[0m no such dataset\n"),
            ("12 │ x = 1\n", "\x1b[2m12\x1b[0m │ x = 1\n"),
            ("1 model changes\n", "1 model changes\n"),
            ("\n", "\n"),
        ] {
            assert_eq!(highlight_line(line), shown);
        }
    }

    #[test]
    fn a_table_gives_way_at_its_widest_column_until_it_fits() {
        let rows = [vec!["a".repeat(30), "b".repeat(12), "1".into()]];
        let line =
            |room| table_within(&["NAME", "WHAT", "N"], &rows, room, |_, _| None).lines().nth(1).unwrap().to_owned();
        assert_eq!(line(Some(30)), format!("{}…  {}  1", "a".repeat(12), "b".repeat(12)));
        assert_eq!(line(Some(21)), "aaaaaaa…  bbbbbbb…  1");
        assert_eq!(line(Some(10)), "aaaaa…  b…");
        assert_eq!(line(None).len(), 47);
        assert_eq!(cut("漢字かな", 5), "漢字…");
        assert_eq!(cut("漢字", 0), "");
    }

    #[test]
    fn columns_line_up_by_what_is_seen() {
        let text = table(&["A", "B"], &[vec!["漢字".into(), "1".into()], vec!["x".into(), "2".into()]]);
        assert_eq!(text, "A     B\n漢字  1\nx     2\n");
    }
}

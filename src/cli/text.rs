//! Words and tables for people.

use std::io::IsTerminal;
use unicode_width::UnicodeWidthStr;

/// Untrusted text on one line: control characters are shown, never sent to the terminal.
pub fn visible(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// Untrusted text that may have several lines.
pub fn visible_lines(text: &str) -> String {
    text.lines().map(visible).collect::<Vec<_>>().join("\n")
}

/// Whether colours are wanted on standard output.
pub fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Paints when colours are wanted: an SGR number such as 32 for green.
pub fn paint(text: &str, sgr: u8) -> String {
    if colour() { format!("\x1b[{sgr}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Milliseconds ago, for people.
pub fn ago(ms: i64) -> String {
    crate::model::Millis(ms.max(0) as u64).to_string()
}

/// Columns as wide as their widest cell.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |i: usize| {
        rows.iter().filter_map(|r| r.get(i)).map(|c| c.width()).chain(head.get(i).map(|h| h.width())).max().unwrap_or(0)
    };
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .enumerate()
            .map(|(i, c)| format!("{c}{}", " ".repeat(width(i).saturating_sub(c.width()))))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut out = line(head.to_vec());
    rows.iter().for_each(|r| out.push_str(&line(r.iter().map(String::as_str).collect())));
    out
}

//! How far an import is: bars on a terminal, else a line now and then, both on standard error.

use crate::{
    cli::text::visible,
    model::{ImportKind, ImportProgress, size},
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::IsTerminal,
    time::{Duration, Instant},
};

/// Between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(5);

/// Of one kind, seen and done with.
#[derive(Default)]
struct Count {
    found: u64,
    done: u64,
    bar: Option<ProgressBar>,
}

#[derive(Default)]
struct Counts {
    by_kind: BTreeMap<ImportKind, Count>,
    bytes: u64,
    told: Option<Instant>,
}

pub struct Screen {
    bars: Option<MultiProgress>,
    counts: RefCell<Counts>,
}

fn bar(bars: &MultiProgress, kind: ImportKind) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:<18} {bar:30} {pos}/{len} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bars.add(ProgressBar::new(0).with_style(style).with_prefix(format!("{}s", kind.word())))
}

impl Screen {
    pub fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self { bars, counts: RefCell::default() }
    }

    pub fn show(&self, progress: &ImportProgress) {
        let counts = &mut *self.counts.borrow_mut();
        let (kind, found, done) = match progress {
            ImportProgress::Found { what, count } => (*what, *count, 0),
            ImportProgress::Done { what, .. } => (*what, 0, 1),
            ImportProgress::Came { bytes } => {
                counts.bytes += bytes;
                (ImportKind::File, 0, 0)
            }
            // The summary tells them.
            ImportProgress::Noted(_) | ImportProgress::End { .. } | ImportProgress::Failed { .. } => return,
        };
        let count = counts.by_kind.entry(kind).or_default();
        (count.found, count.done) = (count.found + found, count.done + done);
        match &self.bars {
            Some(bars) => {
                let bar = count.bar.get_or_insert_with(|| bar(bars, kind));
                bar.set_length(count.found);
                bar.set_position(count.done);
                if kind == ImportKind::File {
                    bar.set_message(size(counts.bytes));
                } else if let ImportProgress::Done { name, .. } = progress {
                    bar.set_message(visible(name));
                }
            }
            None if counts.told.is_none_or(|told| told.elapsed() >= PAUSE) => {
                eprintln!("{}", counts.line());
                counts.told = Some(Instant::now());
            }
            None => {}
        }
    }

    /// Makes room for the summary.
    pub fn clear(&self) {
        if let Some(bars) = &self.bars {
            // A terminal that went away shows nothing more.
            let _ = bars.clear();
        }
    }
}

impl Counts {
    fn line(&self) -> String {
        let told = |(kind, count): (&ImportKind, &Count)| format!("{}s {}/{}", kind.word(), count.done, count.found);
        let all: Vec<String> = self.by_kind.iter().map(told).collect();
        format!("{}, {}", all.join(", "), size(self.bytes))
    }
}

//! `trimtab gc`: what is beyond the limits goes.

use super::{fail::Outcome, global::Global, text};
use crate::{api::types::*, model::*};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

pub fn run(global: &Global, args: &Args) -> Outcome {
    let body = GcBody { dry_run: args.dry_run };
    let report: GcReport = global.block(async { Ok(global.client().post("/api/v1/gc", &body).await?) })?;
    if global.json {
        global.print(&report)?;
    } else {
        println!("{}", text::visible_lines(&shown(&report)));
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(report: &GcReport) -> String {
    let word = |kind| match kind {
        GcKind::Version => "version",
        GcKind::Run => "run",
        GcKind::Snapshot => "snapshot",
        GcKind::Environment => "environment",
        GcKind::Pins => "pins",
        GcKind::Leftovers => "leftovers",
    };
    let row = |i: &GcItem| {
        let name = i.of.as_ref().map_or(i.name.clone(), |of| format!("{of} {}", i.name));
        vec![word(i.kind).to_owned(), name, size(i.bytes), i.why.clone()]
    };
    let rows: Vec<Vec<String>> = report.items.iter().map(row).collect();
    let mut out = if rows.is_empty() { String::new() } else { text::table(&["KIND", "NAME", "SIZE", "WHY"], &rows) };
    for what in &report.postponed {
        out.push_str(&format!("left for the next time: {what}\n"));
    }
    out.push_str(&match (rows.is_empty(), report.dry_run) {
        (true, _) => "Nothing is beyond the limits.\n".to_owned(),
        (false, true) => format!("Would go: {}. Nothing was removed.\n", report.summary()),
        (false, false) => format!("Removed: {}.\n", report.summary()),
    });
    out
}

//! `trimtab import mlflow`: asks the daemon to bring in what another server has, and shows how far it is.

mod screen;

use super::{
    fail::{Failure, Outcome},
    global::Global,
    text::visible,
};
use crate::{
    api::types::{ImportBody, ImportLogin},
    model::*,
};
use futures::StreamExt;
use screen::Screen;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, clap::Subcommand)]
enum From {
    /// Bring in what an MLflow server has; what is here already is not brought twice
    #[command(after_help = HELP)]
    Mlflow(MlflowArgs),
}

const HELP: &str = "Run ids, times, tags, all values of metrics, files, versions with their numbers and aliases stay as they are. Repeat it at any \
time: only what is new or changed is brought, and what was cut off goes on.

The login is read from MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.

Example: trimtab import mlflow http://mlflow.example.com:5000 --dry-run";

#[derive(Debug, clap::Args)]
struct MlflowArgs {
    /// Address of the server, as the daemon reaches it
    #[arg(value_parser = url)]
    url: String,
    /// Only this experiment; may be given more than once
    #[arg(long, value_name = "NAME")]
    experiment: Vec<String>,
    /// Only this registered model, with the runs that its versions came from; may be given more than once
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,
    /// Only say what would be brought
    #[arg(long)]
    dry_run: bool,
}

fn url(text: &str) -> Result<String, String> {
    crate::mlflow::check_url(text).map(|()| text.to_owned())
}

/// As MLflow's own clients find it.
fn login() -> ImportLogin {
    let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    ImportLogin {
        username: var("MLFLOW_TRACKING_USERNAME"),
        password: var("MLFLOW_TRACKING_PASSWORD"),
        token: var("MLFLOW_TRACKING_TOKEN"),
    }
}

pub fn run(global: &Global, args: &Args) -> Outcome {
    let From::Mlflow(args) = &args.from;
    let body = ImportBody {
        url: args.url.clone(),
        experiments: args.experiment.clone(),
        models: args.model.clone(),
        dry_run: args.dry_run,
        login: login(),
    };
    let screen = Screen::new();
    let end = global.block(async { followed(global, &body, &screen).await });
    screen.clear();
    let report = end?;
    if global.json {
        global.print(&report)?;
    } else {
        print!("{}", shown(&report, &args.url));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads line after line until the last one.
async fn followed(global: &Global, body: &ImportBody, screen: &Screen) -> Result<ImportReport, Failure> {
    let mut chunks = global.client().post_stream("/api/v1/import", body).await?;
    let (mut held, mut reached) = (Vec::new(), false);
    let goes_on = |reached: bool| reached && !body.dry_run;
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else { break };
        held.extend_from_slice(&chunk);
        while let Some(end) = held.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = held.drain(..=end).collect();
            match serde_json::from_slice(&line)? {
                ImportProgress::End { report } => return Ok(report),
                ImportProgress::Failed { error, reason } => return Err(failure(&error, reason, goes_on(reached))),
                progress => screen.show(&progress),
            }
            // The first line comes once the other server told what it has.
            reached = true;
        }
    }
    Err(failure("the daemon went away", ImportFailure::Unreachable, goes_on(reached)))
}

/// `goes_on`: something may have been brought.
fn failure(error: &str, reason: ImportFailure, goes_on: bool) -> Failure {
    let (code, help) = match reason {
        ImportFailure::Unreachable if goes_on => (69, "\nWhat was brought stays; the same command goes on from there."),
        ImportFailure::Unreachable => (69, ""),
        ImportFailure::Denied => {
            (77, "\nSet MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.")
        }
        ImportFailure::Other => (1, ""),
    };
    Failure::with(code, format!("{error}{help}"))
}

fn plural(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn shown(report: &ImportReport, url: &str) -> String {
    let mut out = String::new();
    let mut anything = false;
    for kind in ImportKind::ALL {
        let Some(tally) = report.counts.get(&kind) else { continue };
        anything |= tally.new + tally.changed > 0;
        let parts = [(tally.new, "new"), (tally.changed, "changed"), (tally.same, "as before"), (tally.left, "left")];
        let told: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        let all = tally.new + tally.changed + tally.same + tally.left;
        out.push_str(&format!("{}: {}\n", plural(all, kind.word()), told.join(", ")));
    }
    for note in &report.notes {
        out.push_str(&format!("left: {} {}: {}\n", note.what.word(), visible(&note.name), visible(&note.why)));
    }
    if report.more_notes > 0 {
        out.push_str(&format!("left: {} more\n", report.more_notes));
    }
    let amount = format!("{} of metrics, {} of files", plural(report.points, "value"), size(report.bytes));
    out.push_str(&match (report.dry_run, anything) {
        (true, true) => "Nothing was brought. Files are not looked at by --dry-run.\n".to_owned(),
        (true, false) | (false, false) => format!("Nothing is new at {}.\n", visible(url)),
        (false, true) => format!("Brought from {}: {amount}.\n", visible(url)),
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_what_came_and_names_what_did_not() {
        let mut report = ImportReport { points: 1, bytes: 1200, ..ImportReport::default() };
        report.counts.insert(ImportKind::Run, ImportTally { new: 2, same: 1, ..ImportTally::default() });
        let note = ImportNote { what: ImportKind::Run, name: "r\x1b".into(), why: "its files lie at s3://b/r".into() };
        report.notes.push(note);
        let text = shown(&report, "http://old:5000");
        assert_eq!(
            text,
            "3 runs: 2 new, 1 as before\nleft: run r\\u{1b}: its files lie at s3://b/r\n\
             Brought from http://old:5000: 1 value of metrics, 1.2 kB of files.\n"
        );
        assert!(shown(&ImportReport::default(), "http://old").ends_with("Nothing is new at http://old.\n"));
    }

    #[test]
    fn what_was_brought_is_said_to_stay_only_where_something_may_have_been() {
        let stays = |reason, goes_on| format!("{:?}", failure("x", reason, goes_on)).contains("goes on from there");
        assert!(stays(ImportFailure::Unreachable, true));
        assert!(!stays(ImportFailure::Unreachable, false) && !stays(ImportFailure::Denied, true));
    }

    #[test]
    fn only_addresses_of_servers_are_taken() {
        assert!(url("http://127.0.0.1:5000").is_ok() && url("https://m.example.com/mlflow/").is_ok());
        for bad in ["", "m.example.com", "sqlite:///x.db", "http://", "http://ada:pw@m.example.com"] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}

//! One thin file a command; the composition root.

mod check;
mod daemon;
mod demo;
mod fail;
mod gc;
mod global;
mod history;
mod import;
mod init;
mod observe;
mod offline;
mod predict;
mod promotion;
mod run;
mod runs;
mod show;
mod steer;
mod store;
mod text;
mod tui;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};
use global::Global;
use std::{path::PathBuf, process::ExitCode};

/// Holds machine-learning models at what Git says.
#[derive(Debug, Parser)]
#[command(
    name = "trimtab",
    version,
    about,
    after_help = "Begin with `trimtab demo`: the whole story on a real dataset, in a scratch folder."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the whole story: train, serve, canary, revert, on a real dataset
    #[command(after_help = "Example: trimtab demo --json")]
    Demo(demo::Args),
    /// Make a repository of specs
    #[command(after_help = "Example: trimtab init risk-models")]
    Init(init::InitArgs),
    /// Add a model from a template
    #[command(after_help = "Example: trimtab new churn --template sklearn-classifier")]
    New(init::NewArgs),
    /// Check the specs of a working tree, offline
    #[command(after_help = "Example: trimtab check specs")]
    Check(check::Args),
    /// Show what would happen, with reasons; nothing is changed
    #[command(
        after_help = "Example: trimtab plan --rev HEAD~1 --detailed-exitcode\n\nWithout a daemon, --state may name a file that `trimtab backup` made: the plan is then against that state."
    )]
    Plan(offline::Args),
    /// Watch a repository and reconcile
    #[command(
        after_help = "Example: trimtab daemon --repo https://git.example.com/risk/models.git --branch main --path specs"
    )]
    Daemon(daemon::Args),
    /// Show sync, health, versions and traffic
    #[command(after_help = "Example: trimtab status fraud --watch")]
    Status(observe::StatusArgs),
    /// Wait until a model is healthy, synced, or serves a version
    #[command(after_help = "Example: trimtab wait fraud --for healthy --timeout 10m")]
    Wait(observe::WaitArgs),
    /// Open the terminal UI
    #[command(after_help = "Example: trimtab tui --state state")]
    Tui(tui::Args),
    /// Fetch now and reconcile now
    #[command(after_help = "Example: trimtab sync --prune")]
    Sync(steer::SyncArgs),
    /// Take new snapshots of a model's data
    #[command(after_help = "Example: trimtab refresh fraud")]
    Refresh(steer::ModelArgs),
    /// Compare desired with live, field by field
    #[command(after_help = "Example: trimtab diff fraud")]
    Diff(steer::ModelArgs),
    /// Run a model's pipeline once, without a daemon
    #[command(after_help = "Example: trimtab run tumour --path specs")]
    Run(run::Args),
    /// List a model's versions
    #[command(after_help = "Example: trimtab history fraud")]
    History(steer::ModelArgs),
    /// List the runs of a model or an experiment, with what they logged
    #[command(
        after_help = "Example: trimtab runs fraud --filter \"metrics.auc > 0.9\" --order-by \"metrics.auc DESC\""
    )]
    Runs(runs::Args),
    /// Compare runs or versions: params that differ, metrics with their change
    #[command(after_help = "Example: trimtab compare fraud@v6 fraud@champion")]
    Compare(runs::CompareArgs),
    /// Bring experiments, runs and models in from another server
    #[command(after_help = "Example: trimtab import mlflow http://mlflow.example.com:5000 --experiment churn")]
    Import(import::Args),
    /// Show one version with its lineage
    #[command(after_help = "Example: trimtab show fraud@champion")]
    Show(show::Args),
    /// Print a run's or a replica's output
    #[command(after_help = "Example: trimtab logs fraud -f")]
    Logs(observe::LogsArgs),
    /// List what happened
    #[command(after_help = "Example: trimtab events --follow")]
    Events(observe::EventsArgs),
    /// Steer a rollout
    #[command(after_help = "Example: trimtab rollout promote fraud --env production")]
    Rollout(steer::RolloutArgs),
    /// Approve a version for an environment by a commit of yours
    #[command(after_help = "Example: trimtab approve fraud --env production -m \"checked the drift report\"")]
    Approve(promotion::ApproveArgs),
    /// Let a release through before its time; recorded with the reason
    #[command(
        after_help = "Example: trimtab promote fraud --env production --override \"v6 loses money, risk agreed by phone\""
    )]
    Promote(promotion::PromoteArgs),
    /// Undo a model's newest change, or any commit, by a commit as git revert makes it
    #[command(
        after_help = "Example: trimtab rollback fraud --to v6\n         trimtab rollback --commit 4f1c2ab --dry-run"
    )]
    Rollback(steer::RollbackArgs),
    /// Stop reconciling a model; what serves goes on
    #[command(after_help = "Example: trimtab suspend fraud")]
    Suspend(steer::ModelArgs),
    /// Reconcile a suspended model again
    #[command(after_help = "Example: trimtab resume fraud")]
    Resume(steer::ModelArgs),
    /// Send one request through the router
    #[command(after_help = "Example: trimtab predict tumour request.json")]
    Predict(predict::Args),
    /// Write the store to one file, while the daemon runs or not
    #[command(after_help = "Example: trimtab backup /backup/trimtab-monday")]
    Backup(store::Args),
    /// Put a backup in the place of the store; the daemon must be stopped
    #[command(after_help = "Example: trimtab restore /backup/trimtab-monday")]
    Restore(store::Args),
    /// Remove versions, runs, snapshots and environments beyond the limits of trimtab.toml
    #[command(after_help = GC_HELP)]
    Gc(gc::Args),
    /// Print completions for a shell
    #[command(after_help = "Example: trimtab completions bash > /etc/bash_completion.d/trimtab")]
    Completions { shell: clap_complete::Shell },
    /// Print the manual page
    #[command(after_help = "Example: trimtab man > trimtab.1")]
    Man,
    /// Holds one child process (internal).
    #[command(hide = true)]
    InternalShim { dir: PathBuf },
    /// Splits traffic (internal).
    #[command(hide = true)]
    InternalRouter { dir: PathBuf },
    /// Serves an ONNX model (internal).
    #[command(hide = true)]
    InternalServe { settings: String },
}

const GC_HELP: &str = "Never removed is what is live, warm or under rollout, what was live last, what runs, and what a commit of the last \
`keep` asks for. Beyond that trimtab.toml says how many of the newest stay (these are the defaults):

  [gc]
  keep = \"30d\"
  versions = 50       # of each model
  runs = 100          # of each model
  snapshots = 10      # of each dataset
  environments = 5

The daemon does it by itself at most once an hour (`trimtab daemon --gc-every`).

Example: trimtab gc --dry-run";

/// Parses the arguments, runs the command and returns its exit code.
pub fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are answers, everything else is a usage error (sysexits: 64).
            let code = if e.use_stderr() { 64 } else { 0 };
            if code != 0 && std::env::args().any(|a| a == "--json") {
                return fail::Failure::with(code, e.to_string().trim_end()).tell(true);
            }
            // Nowhere to say that nothing can be said.
            let _ = e.print();
            return ExitCode::from(code);
        }
    };
    let global = &cli.global;
    if !matches!(
        cli.verb,
        Verb::Daemon(_) | Verb::InternalShim { .. } | Verb::InternalRouter { .. } | Verb::InternalServe { .. }
    ) {
        fail::end_with_the_reader();
    }
    let result = match cli.verb {
        Verb::InternalShim { dir } => return crate::process::shim::main(&dir),
        Verb::InternalRouter { dir } => {
            log_to_stderr();
            return crate::route::run(&dir);
        }
        Verb::InternalServe { settings } => {
            log_to_stderr();
            return crate::serve::run(&settings);
        }
        Verb::Demo(args) => demo::run(global, &args),
        Verb::Init(args) => init::init(global, &args),
        Verb::New(args) => init::new(global, &args),
        Verb::Check(args) => check::run(global, &args),
        Verb::Plan(args) => offline::plan(global, &args),
        Verb::Daemon(args) => {
            log_to_stderr();
            daemon::run(global, &args)
        }
        Verb::Status(args) => observe::status(global, &args),
        Verb::Wait(args) => observe::wait(global, &args),
        Verb::Tui(args) => tui::run(global, &args),
        Verb::Sync(args) => steer::sync(global, &args),
        Verb::Refresh(args) => steer::post(global, &args, "refresh"),
        Verb::Diff(args) => steer::diff(global, &args),
        Verb::Run(args) => run::run(global, &args),
        Verb::History(args) => history::history(global, &args),
        Verb::Runs(args) => runs::runs(global, &args),
        Verb::Compare(args) => runs::compare(global, &args),
        Verb::Import(args) => import::run(global, &args),
        Verb::Show(args) => show::show(global, &args),
        Verb::Logs(args) => observe::logs(global, &args),
        Verb::Events(args) => observe::events(global, &args),
        Verb::Rollout(args) => steer::rollout(global, &args),
        Verb::Approve(args) => promotion::approve(global, &args),
        Verb::Promote(args) => promotion::promote(global, &args),
        Verb::Rollback(args) => steer::rollback(global, &args),
        Verb::Suspend(args) => steer::post(global, &args, "suspend"),
        Verb::Resume(args) => steer::post(global, &args, "resume"),
        Verb::Predict(args) => predict::run(global, &args),
        Verb::Backup(args) => store::backup(global, &args),
        Verb::Restore(args) => store::restore(global, &args),
        Verb::Gc(args) => gc::run(global, &args),
        Verb::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "trimtab", &mut text);
            global.print_text(&text)
        }
        Verb::Man => {
            let mut text = Vec::new();
            let made = clap_mangen::Man::new(Cli::command()).render(&mut text);
            made.map_err(Into::into).and_then(|()| global.print_text(&text))
        }
    };
    result.unwrap_or_else(|failure| failure.tell(global.json))
}

/// Flags beat environment variables: `--state` is not overruled by TRIMTAB_API.
fn parse() -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches()?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let from = |flag: &str| matches.value_source(flag);
    if from("state") == Some(ValueSource::CommandLine) && from("api") == Some(ValueSource::EnvVariable) {
        cli.global.api = None;
    }
    Ok(cli)
}

/// Log lines of long-running parts, without colour: they end in files.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TRIMTAB_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

//! One thin file a command; the composition root.

use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// Holds machine-learning models at what Git says.
#[derive(Debug, Parser)]
#[command(name = "trimtab", version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Holds one child process (internal).
    #[command(hide = true)]
    InternalShim { dir: PathBuf },
    /// Splits traffic (internal).
    #[command(hide = true)]
    InternalRouter { dir: PathBuf },
}

/// Parses the arguments, runs the command and returns its exit code.
pub fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::InternalShim { dir } => crate::process::shim::main(&dir),
        Verb::InternalRouter { dir } => {
            log_to_stderr();
            crate::route::run(&dir)
        }
    }
}

/// Log lines of long-running parts, without colour: they end in files.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TRIMTAB_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

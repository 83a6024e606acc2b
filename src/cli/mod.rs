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
        Verb::InternalShim { .. } | Verb::InternalRouter { .. } => ExitCode::from(64),
    }
}

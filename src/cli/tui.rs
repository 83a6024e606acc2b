//! `trimtab tui`.

use super::{
    fail::{Failure, Outcome},
    global::Global,
};
use crate::tui::{End, Options, Theme};
use std::{io::IsTerminal, process::ExitCode};

/// Flags of `trimtab tui`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// Colours: default (the terminal's own), dark, light, colour-blind or mono
    #[arg(long, env = "TRIMTAB_THEME", value_name = "NAME")]
    pub theme: Option<Theme>,
}

pub fn run(global: &Global, args: &Args) -> Outcome {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::with(64, "the terminal UI needs a terminal; `trimtab status` prints the same to a pipe"));
    }
    let options = Options { theme: args.theme.unwrap_or_default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    // A daemon that is not there is said before the screen is taken.
    let client = global.client();
    runtime.block_on(client.get::<crate::api::types::Fleet>("/api/v1/fleet"))?;
    let done = runtime.block_on(crate::tui::run(client, options));
    runtime.shutdown_background();
    Ok(match done? {
        End::Left => ExitCode::SUCCESS,
        // As a shell shows a process that the signal ended.
        End::Signal(number) => ExitCode::from(u8::try_from(128 + number).unwrap_or(1)),
    })
}

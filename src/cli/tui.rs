//! `trimtab tui`.

use super::{
    fail::{Failure, Outcome},
    global::Global,
};
use crate::{
    ports::Clock,
    process::SystemClock,
    spec::render,
    tui::{Access, Config, End, Reports, Setup, Theme},
};
use std::{
    io::{ErrorKind, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Flags of `trimtab tui`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// Colours: default (the terminal's own), dark, light, colour-blind or mono
    #[arg(long, env = "TRIMTAB_THEME", value_name = "NAME")]
    pub theme: Option<Theme>,
    /// Colours, keys and the like, instead of ~/.config/trimtab/tui.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Change nothing: keys and commands that would say so instead
    #[arg(long)]
    pub read_only: bool,
}

pub fn run(global: &Global, args: &Args) -> Outcome {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::with(64, "the terminal UI needs a terminal; `trimtab status` prints the same to a pipe"));
    }
    let mut config = settled(args)?;
    config.theme = args.theme.unwrap_or(config.theme);
    let access = if args.read_only { Access::ReadOnly } else { Access::Full };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    // A daemon that is not there is said before the screen is taken.
    let client = global.client();
    runtime.block_on(client.get::<crate::api::types::Fleet>("/api/v1/fleet"))?;
    let done = runtime.block_on(crate::tui::run(client, Setup { config, access, reports: reports(global) }));
    runtime.shutdown_background();
    Ok(match done? {
        End::Left => ExitCode::SUCCESS,
        // As a shell shows a process that the signal ended.
        End::Signal(number) => ExitCode::from(u8::try_from(128 + number).unwrap_or(1)),
    })
}

/// Reports of panics go to the state folder, where there is one.
fn reports(global: &Global) -> Reports {
    let folder = Some(global.state.clone()).filter(|f| global.api.is_none() && f.is_dir());
    let now = || SystemClock::continuing(None).now().wall.0 / 1000;
    Reports { folder: folder.unwrap_or_else(std::env::temp_dir), now }
}

/// What the person settled in the file that was named, or in theirs where there is one.
fn settled(args: &Args) -> Result<Config, Failure> {
    let own = || Some(home("XDG_CONFIG_HOME", ".config")?.join("trimtab/tui.toml"));
    let Some(path) = args.config.clone().or_else(own) else { return Ok(Config::default()) };
    match std::fs::read(&path) {
        Ok(bytes) => Config::read(&path.to_string_lossy(), &bytes).map_err(|found| {
            Failure::with(64, format!("these settings cannot be read\n{}", render::text(&found).trim_end()))
        }),
        Err(e) if e.kind() == ErrorKind::NotFound && args.config.is_none() => Ok(Config::default()),
        Err(e) => Err(Failure::with(64, format!("{}: {e}", path.display()))),
    }
}

/// A folder of the person's, as the XDG base directories are found.
fn home(variable: &str, below: &str) -> Option<PathBuf> {
    let set = std::env::var_os(variable).map(PathBuf::from).filter(|p| p.is_absolute());
    set.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(below)))
}

//! `trimtab tui`.

use super::{
    fail::{Failure, Outcome},
    global::Global,
};
use crate::{
    ports::Clock,
    process::SystemClock,
    spec::render,
    tui::{Access, Config, End, Memory, Reports, Setup, Theme, View},
};
use std::{
    io::{ErrorKind, IsTerminal, Write},
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

/// Opens the UI as it was left, and remembers how it is left.
pub fn run(global: &Global, args: &Args) -> Outcome {
    open(global, args, home("XDG_STATE_HOME", ".local/state").map(|h| h.join("trimtab/tui.toml")))
}

/// Opens the UI, with what is remembered in a file, if any is.
pub fn open(global: &Global, args: &Args, remembered: Option<PathBuf>) -> Outcome {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::with(64, "the terminal UI needs a terminal; `trimtab status` prints the same to a pipe"));
    }
    let mut config = settled(args)?;
    config.theme = args.theme.unwrap_or(config.theme);
    let address = global.api.clone().unwrap_or_else(|| {
        let state = global.state.canonicalize().unwrap_or_else(|_| global.state.clone());
        state.to_string_lossy().into_owned()
    });
    let (memory, note) = remembered.as_deref().map(recall).unwrap_or_default();
    let mut view = memory.of(&address);
    let access = if args.read_only { Access::ReadOnly } else { Access::Full };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    // A daemon that is not there is said before the screen is taken.
    let client = global.client();
    runtime.block_on(client.get::<crate::api::types::Fleet>("/api/v1/fleet"))?;
    let done = runtime.block_on(crate::tui::run(
        client,
        Setup { config, access, reports: reports(global), themed: args.theme.is_some(), note },
        &mut view,
    ));
    runtime.shutdown_background();
    if let Some(path) = remembered {
        remember(&path, &address, view)?;
    }
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

/// What is remembered; what is damaged is not, and that is said.
fn recall(path: &Path) -> (Memory, String) {
    let read = match std::fs::read_to_string(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Default::default(),
        read => read.map_err(|e| e.to_string()).and_then(|text| Memory::read(&text)),
    };
    let lost = |e| format!("what was remembered is damaged and not used: {}: {e}", path.display());
    read.map_or_else(|e| (Memory::default(), lost(e)), |memory| (memory, String::new()))
}

/// Notes how the UI was left: another one may have been, meanwhile, and a kill leaves the file whole.
fn remember(path: &Path, address: &str, view: View) -> Result<(), Failure> {
    let text = recall(path).0.with(address, view).text().map_err(Failure::new)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
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

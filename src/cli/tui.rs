//! `trimtab tui`.

use super::{
    fail::{Failure, Outcome},
    global::Global,
    promotion,
};
use crate::{
    api::client::{Client, Endpoint},
    ports::Clock,
    process::SystemClock,
    spec::render,
    tui::{Access, Config, Context, End, Memory, Place, Reports, Setup, Theme, URGENT},
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
    /// A daemon that tui.toml names under [contexts], instead of --state and --api
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
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
    let places = places(global, args, &config)?;
    let (mut memory, note) = remembered.as_deref().map(recall).unwrap_or_default();
    let access = if args.read_only { Access::ReadOnly } else { Access::Full };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    // A daemon that is not there is said before the screen is taken.
    let first = places.first().map(|place| runtime.block_on(place.client.get(URGENT))).transpose()?;
    let setup = Setup {
        config,
        access,
        author: promotion::author(None).ok(),
        reports: reports(global),
        themed: args.theme.is_some(),
        note,
        places,
        first,
    };
    let done = runtime.block_on(crate::tui::run(setup, &mut memory));
    runtime.shutdown_background();
    if let Some(path) = remembered {
        // The person left in good order: it is said, and no more.
        remember(&path, &memory).unwrap_or_else(|e| eprintln!("trimtab: {} is not written: {e}", path.display()));
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

/// Notes how the UI was left: a kill leaves the file whole.
fn remember(path: &Path, memory: &Memory) -> std::io::Result<()> {
    let text = memory.text().map_err(std::io::Error::other)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// The daemon that is opened, before those that the person named.
fn places(global: &Global, args: &Args, config: &Config) -> Result<Vec<Place>, Failure> {
    let of_state = |folder: &Path| {
        let address = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        (address.to_string_lossy().into_owned(), Client::new(Endpoint::Socket(folder.join("trimtab.sock"))))
    };
    let named = |(name, context): &(String, Context)| {
        let (address, client) = match context {
            Context::State(folder) => of_state(Path::new(folder)),
            Context::Api { url, token_env } => {
                let token = token_env.as_ref().and_then(|name| std::env::var(name).ok());
                (url.clone(), Client::new(Endpoint::Http { url: url.clone(), token }))
            }
        };
        Place { name: Some(name.clone()), address, client }
    };
    let mut places: Vec<Place> = config.contexts.iter().map(named).collect();
    let Some(wanted) = &args.context else {
        let address = global.api.clone().unwrap_or_else(|| of_state(&global.state).0);
        // A folder that is named already is that; an address may be asked with another token.
        match places.iter().position(|p| global.api.is_none() && p.address == address) {
            Some(at) => places[..=at].rotate_right(1),
            None => places.insert(0, Place { name: None, address, client: global.client() }),
        }
        return Ok(places);
    };
    let Some(at) = places.iter().position(|p| p.name.as_ref() == Some(wanted)) else {
        let all = config.contexts.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Failure::with(64, format!("there is no context `{wanted}` in tui.toml; there are: {all}")));
    };
    places[..=at].rotate_right(1);
    Ok(places)
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

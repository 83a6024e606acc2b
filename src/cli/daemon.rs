//! `trimtab daemon`: wires the adapters to the loop and serves the API.

use super::{
    fail::{Failure, Outcome},
    global::Global,
};
use crate::{
    api::{self, Api, ServerConfig},
    artifact::{FileStore, StateDisk},
    data::{DatasetsConfig, LocalDatasets},
    deploy::local::{LocalTarget, LocalTargetConfig},
    exchange::mirror::Mirror,
    measure::Measurer,
    model::*,
    ports::*,
    process::{ClockBase, SystemClock, give_back, raise_file_limit, share_arenas},
    reconcile::{Config, Ports, Reconciler},
    source::{Credentials, GitSource, SourceConfig},
    store::{Batch, NewEvent, Store},
    tracking::{PipelineRuns, Tracker, TrackingAccess},
    train::{LocalTrainer, TrainerConfig, saved},
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc, OnceLock,
        mpsc::{SyncSender, sync_channel},
    },
    time::Duration,
};

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Repository to watch: a path or a URL (file, http, https, ssh)
    #[arg(long, default_value = ".")]
    pub repo: String,
    /// Branch to follow; the repository's default when left out
    #[arg(long)]
    pub branch: Option<String>,
    /// Folder of specs inside the repository
    #[arg(long, default_value = "specs")]
    pub path: String,
    /// Folder that holds datasets with a `path`; the checkout's specs when the repository is a work tree, else STATE/data
    #[arg(long, env = "TRIMTAB_DATA")]
    pub data: Option<PathBuf>,
    /// Serve the API on TCP too, with the token in STATE/token
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where clients of MLflow are served; a free port of this machine when left out, kept in STATE/tracking
    #[arg(long, value_name = "ADDR:PORT")]
    pub tracking: Option<SocketAddr>,
    /// Where traffic enters
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    pub router: SocketAddr,
    /// Pause between two looks at a remote
    #[arg(long, default_value = "30s", value_parser = crate::spec::duration)]
    pub poll: Millis,
    /// Time limit of one conversation with the remote
    #[arg(long, default_value = "60s", value_parser = crate::spec::duration)]
    pub git_timeout: Millis,
    /// Least pause between two clean-ups of the state folder; 0s: only by `trimtab gc`
    #[arg(long, default_value = "1h", value_parser = crate::spec::duration)]
    pub gc_every: Millis,
}

/// Where datasets lie when nobody says.
fn data_root(args: &Args, state: &Path) -> PathBuf {
    if let Some(root) = &args.data {
        return root.clone();
    }
    let checkout = Path::new(&args.repo).join(&args.path);
    if checkout.is_dir() { checkout } else { state.join("data") }
}

/// Credentials of the remote, from the daemon's own environment.
fn credentials() -> Credentials {
    let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    Credentials {
        username: var("TRIMTAB_GIT_USERNAME"),
        secret: var("TRIMTAB_GIT_TOKEN").or_else(|| var("TRIMTAB_GIT_PASSWORD")),
        ssh_key: var("TRIMTAB_GIT_SSH_KEY").map(PathBuf::from),
        known_hosts: var("TRIMTAB_GIT_KNOWN_HOSTS").map(PathBuf::from),
    }
}

/// To spread retries by.
fn random() -> u64 {
    // Without randomness all that is lost is the spreading.
    getrandom::u64().unwrap_or_default()
}

/// Everything that a running daemon holds.
struct Daemon {
    reconciler: Reconciler,
    store: Store,
    clock: Arc<SystemClock>,
    target: Arc<LocalTarget>,
    artifacts: Arc<dyn ArtifactStore>,
    tracker: Tracker,
}

const CLOCK: &str = "clock";

fn open(store: Store, state: &Path, args: &Args, access: TrackingAccess) -> Result<Daemon, Failure> {
    let clock = Arc::new(SystemClock::continuing(store.fact::<ClockBase>(CLOCK)?));
    store.commit(Batch::new().put_fact(CLOCK, &clock.base()))?;
    let tracker = Tracker::open(store.clone(), clock.clone()).map_err(|e| Failure::new(e.to_string()))?;
    let exe = std::env::current_exe()?;
    let source = Arc::new(GitSource::open(&SourceConfig {
        location: args.repo.clone(),
        branch: args.branch.clone(),
        folder: if args.path == "." { String::new() } else { args.path.trim_matches('/').to_owned() },
        state: state.to_owned(),
        credentials: credentials(),
        timeout: Duration::from_millis(args.git_timeout.0),
        ca: std::env::var_os("TRIMTAB_GIT_CA").map(PathBuf::from),
        random,
    })?);
    if store.source()?.is_none_or(|s| s.revision.is_none()) {
        // Nothing depends on it yet. Later what was served goes on, and the status says what is wrong.
        source.is_there()?;
    }
    let files = FileStore::open(state)?;
    let (disk, claims) = (Arc::new(StateDisk::new(state, files.clone())), files.claims());
    let artifacts: Arc<dyn ArtifactStore> = Arc::new(files);
    let data = DatasetsConfig::new(state.to_owned(), data_root(args, state));
    std::fs::create_dir_all(&data.root)?;
    let registry: Arc<dyn Registry> = Arc::new(tracker.clone());
    let datasets: Arc<dyn Datasets> =
        Arc::new(LocalDatasets::new(data, artifacts.clone()).with_registry(registry.clone()));
    let woken: Arc<OnceLock<Reconciler>> = Arc::default();
    let (wake, envs, shims) = (woken.clone(), state.to_owned(), exe.clone());
    let target = Arc::new(LocalTarget::start(LocalTargetConfig {
        state_dir: state.to_owned(),
        exe: exe.clone(),
        router_address: args.router,
        artifacts: artifacts.clone(),
        python_bin: Arc::new(move |p| {
            saved::of_release(&envs, &shims, p.version, &p.serve.run, p.folder, p.log, p.cancel)
        }),
        wake: Arc::new(move |_, model| {
            if let Some(r) = wake.get() {
                r.wake(model);
            }
        }),
    })?);
    let trainer = LocalTrainer::new(TrainerConfig {
        state: state.to_owned(),
        exe,
        clock: clock.clone(),
        source: source.clone(),
        artifacts: artifacts.clone(),
        datasets: datasets.clone(),
        tracker: Some(Arc::new(PipelineRuns::new(tracker.clone(), access))),
    });
    let (trainer, target_port, clock_port) = (Arc::new(trainer), target.clone(), clock.clone());
    let metrics = Arc::new(Measurer { serve: state.join("serve") });
    let ports =
        Ports { source, trainer, target: target_port, metrics, datasets, registry, clock: clock_port, disk, claims };
    let config = Config { poll: args.poll, workers: 4, gc_every: args.gc_every, random };
    let reconciler = Reconciler::open(store.clone(), ports, config)?;
    // Set once, here.
    let _ = woken.set(reconciler.clone());
    let moved = reconciler.clone();
    tracker.watch_aliases(move |name| {
        let (moved, name) = (moved.clone(), name.to_owned());
        // It takes a snapshot and perhaps a commit: whoever moved the alias does not wait for that.
        std::thread::spawn(move || moved.registered_moved(&name));
    });
    Ok(Daemon { reconciler, store, clock, target, artifacts, tracker })
}

/// Enough for a large fleet; runs and replicas inherit it, and some programs take long to close a million files.
const OPEN_FILES: u64 = 65_536;

pub fn run(global: &Global, args: &Args) -> Outcome {
    share_arenas();
    let state = &global.state;
    std::fs::create_dir_all(state)
        .map_err(|e| Failure::new(format!("cannot use the state folder {}: {e}", state.display())))?;
    let state = state.canonicalize()?;
    raise_file_limit(Some(OPEN_FILES));
    // The store's lock comes first: of two daemons the second must not take the first one's socket. Processes are started last.
    let store = Store::open(&state)?;
    let (socket, address, token) = (state.join("trimtab.sock"), state.join("listen"), api::token(&state)?);
    let config = ServerConfig {
        socket,
        tcp: args.listen,
        address,
        tracking: args.tracking,
        tracking_address: state.join("tracking"),
        token,
    };
    let (key, listening) = (config.token.clone(), api::bind(&config)?);
    let access = TrackingAccess { url: listening.tracking_url()?, token: api::tracking_token(&config.token) };
    let tracking = access.url.clone();
    let daemon = open(store, &state, args, access)?;
    tracing::info!("clients of MLflow are served on {tracking}");
    let started = NewEvent {
        at: daemon.clock.now().wall,
        kind: EventKind::DaemonStarted,
        model: None,
        environment: None,
        commit: None,
        author: None,
        message: format!("trimtab {} started", env!("CARGO_PKG_VERSION")),
    };
    daemon.store.commit(Batch::new().event(started))?;
    let threads = daemon.reconciler.run()?;
    let api = Api {
        tracker: daemon.tracker.clone(),
        artifacts: daemon.artifacts.clone(),
        reconciler: daemon.reconciler.clone(),
        state: state.clone(),
        key,
        webhook_secret: std::env::var("TRIMTAB_WEBHOOK_SECRET").ok().filter(|s| !s.is_empty()),
    };
    let address = daemon.target.address().unwrap_or_default();
    tracing::info!(
        "watching {} ({}), traffic on {address}, state in {}",
        daemon.reconciler.source_status().url,
        args.path,
        state.display()
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mirror = start_mirror(&daemon)?;
    let served = runtime.block_on(async {
        tokio::spawn(tell_mirror(daemon.reconciler.subscribe(), mirror));
        let housekeeping = tokio::spawn(keep_house(
            daemon.reconciler.clone(),
            daemon.target.clone(),
            daemon.store.clone(),
            daemon.clock.clone(),
        ));
        let served = api::serve(api, listening, stop_signal()).await;
        housekeeping.abort();
        served
    });
    tracing::info!("stopping; runs, replicas and the router go on");
    daemon.reconciler.stop();
    for thread in threads {
        // A thread that panicked has said so.
        let _ = thread.join();
    }
    daemon.store.commit(Batch::new().put_fact(CLOCK, &daemon.clock.base()))?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    served.map(|()| ExitCode::SUCCESS).map_err(Into::into)
}

/// The mirror's thread, and by what it is told that something moved. It ends with the process: what it was at is found by the next one.
fn start_mirror(daemon: &Daemon) -> std::io::Result<SyncSender<()>> {
    let (moved, news) = sync_channel(1);
    let (reconciler, told) = (daemon.reconciler.clone(), daemon.reconciler.clone());
    let mirror = Mirror {
        store: daemon.store.clone(),
        tracker: daemon.tracker.clone(),
        artifacts: daemon.artifacts.clone(),
        settings: Box::new(move || reconciler.loaded().state().settings.registry.clone()),
        commit: Box::new(move |batch| told.commit(batch)),
    };
    std::thread::Builder::new().name("mirror".into()).spawn(move || mirror.run(&news))?;
    Ok(moved)
}

async fn tell_mirror(mut events: tokio::sync::broadcast::Receiver<Event>, moved: SyncSender<()>) {
    use tokio::sync::broadcast::error::RecvError;
    while !matches!(events.recv().await, Err(RecvError::Closed)) {
        // One that waits says it for all.
        let _ = moved.try_send(());
    }
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// Keeps the steady clock's place, and once every model was looked at lets go of replicas that nobody wants and of memory that only the
/// start needed.
async fn keep_house(reconciler: Reconciler, target: Arc<LocalTarget>, store: Store, clock: Arc<SystemClock>) {
    /// Rounds of a minute until every model is looked at again, in case a wake-up was lost.
    const HOUR: u32 = 60;
    let (mut swept, mut rounds) = (false, 0u32);
    loop {
        // A disk that is full is tried every second, also when it became so in the middle of a round: whoever makes room waits for it.
        for _ in 0..if swept { 60 } else { 1 } {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if store.trouble().is_some() {
                break;
            }
        }
        let (reconciler, target, store, clock) = (reconciler.clone(), target.clone(), store.clone(), clock.clone());
        let work = move || {
            let before = store.trouble();
            match store.commit(Batch::new().put_fact(CLOCK, &clock.base())) {
                Ok(_) if before.is_some() => {
                    tracing::info!("the state can be written again");
                    reconciler.look_again_at_all();
                }
                Ok(_) => {}
                Err(e) if before.as_ref() == Some(&e.to_string()) => {}
                Err(e) => tracing::error!("the clock's place cannot be kept: {e}"),
            }
            if rounds % HOUR == HOUR - 1 {
                reconciler.look_again_at_all();
            }
            let ready = reconciler.looked_at_all();
            if ready && !swept {
                target.retain(&reconciler.deployed());
                give_back();
            }
            ready
        };
        rounds = rounds.wrapping_add(1);
        swept |= tokio::task::spawn_blocking(work).await.unwrap_or(false);
    }
}

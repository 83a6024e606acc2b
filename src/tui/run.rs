//! The terminal and the loop.

use super::{
    access::Access,
    config::{Bell, Config},
    crash::{self, Reports},
    escapes,
    fetch::{Hands, Sender},
    guard::Guard,
    state::{Command, Drawn, Message, State},
    theme::{Depth, Look},
    update::update,
    view,
};
use crate::api::client::Client;
use crossterm::event::{Event as Input, EventStream, KeyEventKind};
use futures::StreamExt;
use jiff::tz::TimeZone;
use ratatui::{Terminal, backend::CrosstermBackend};
use std::{
    io::{self, Stdout, Write as _},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// Why the UI ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The person left, or their terminal did.
    Left,
    /// This signal asked for it.
    Signal(i32),
}

/// What the UI is opened with.
#[derive(Debug)]
pub struct Setup {
    pub config: Config,
    pub access: Access,
    pub reports: Reports,
}

/// Opens the UI on this terminal until the person leaves or a signal asks for the end. The terminal is then as it was, also
/// after an error or a panic.
pub async fn run(client: Client, setup: Setup) -> io::Result<End> {
    let Setup { config, access, reports } = setup;
    let mut state = State::new();
    state.look = Look::new(config.theme, depth());
    state.bindings = config.bindings;
    state.access = access;
    state.zone = TimeZone::system();
    // Before the terminal is taken: a signal that comes first ends the process as ever.
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let _guard = Guard::take(config.mouse, reports)?;
    let (send, receive) = mpsc::unbounded_channel();
    // All in one task: a panic anywhere in it unwinds through the guard.
    tokio::select! {
        done = show(client.clone(), state, config.bell, send.clone(), receive) => done.map(|()| End::Left),
        () = type_in(send.clone()) => Ok(End::Left),
        () = listen(client, send.clone()) => Ok(End::Left),
        () = tick(send) => Ok(End::Left),
        _ = term.recv() => Ok(End::Signal(libc::SIGTERM)),
        _ = interrupt.recv() => Ok(End::Signal(libc::SIGINT)),
        _ = hangup.recv() => Ok(End::Signal(libc::SIGHUP)),
    }
}

/// How many colours this terminal shows.
fn depth() -> Depth {
    let of = |name| std::env::var(name).unwrap_or_default();
    Depth::of(&of("NO_COLOR"), &of("COLORTERM"), &of("TERM"))
}

/// Draws what messages change, and does what they ask for.
async fn show(
    client: Client,
    mut state: State,
    bell: Bell,
    send: Sender,
    mut receive: mpsc::UnboundedReceiver<Message>,
) -> io::Result<()> {
    let mut terminal: Terminal<CrosstermBackend<Stdout>> = Terminal::new(CrosstermBackend::new(io::stdout()))?;
    let mut hands = Hands::new(client, send);
    let mut shown = String::new();
    picture(&mut terminal, &mut state)?;
    while let Some(first) = receive.recv().await {
        let mut batch = vec![first];
        while let Ok(more) = receive.try_recv() {
            batch.push(more);
        }
        batch.iter().for_each(crash::note);
        let (quiet, revision) = (batch.iter().all(|m| is_quiet(m, &state)), state.tracked.revision);
        let commands: Vec<Command> = batch.into_iter().flat_map(|m| update(&mut state, m)).collect();
        if commands.contains(&Command::Quit) {
            return Ok(());
        }
        // Here, between two frames: nothing else is half written.
        let sent: String = commands.iter().filter_map(|c| escapes::of(c, bell, &state.note)).collect();
        io::stdout().write_all(sent.as_bytes()).and_then(|()| io::stdout().flush())?;
        commands.into_iter().for_each(|c| hands.carry_out(c));
        // A second that changes no text is no reason to draw, nor is an answer that tells what is known.
        let ages = view::ages(&state);
        if !quiet || ages != shown || revision != state.tracked.revision {
            picture(&mut terminal, &mut state)?;
            shown = ages;
        }
    }
    Ok(())
}

/// Whether a message may change nothing: then it is no reason to draw by itself.
fn is_quiet(message: &Message, state: &State) -> bool {
    match message {
        Message::Tick | Message::Beat | Message::Tracked(_) => true,
        // What goes on is asked for each second: what is wrong with it is said once.
        Message::Said(text) => *text == state.note,
        Message::Reachable(up) => !*up && !state.reachable,
        _ => false,
    }
}

/// Draws, and notes what was drawn.
fn picture(terminal: &mut Terminal<CrosstermBackend<Stdout>>, state: &mut State) -> io::Result<()> {
    let mut drawn = Drawn::default();
    terminal.draw(|f| drawn = view::draw(f, state))?;
    state.drawn(drawn);
    Ok(())
}

/// Hands on the daemon's events, and comes back to a daemon that was gone: with what happened since.
async fn listen(client: Client, send: Sender) {
    const AGAIN: Duration = Duration::from_secs(1);
    let mut last = None;
    while !send.is_closed() {
        if let Ok(mut events) = client.events(last).await {
            let _ = send.send(Message::Reachable(true));
            while let Some(event) = events.next().await {
                last = event.as_ref().map(|e| e.seq).filter(|seq| *seq > 0).or(last);
                let _ = send.send(Message::Happened(event));
            }
        }
        let _ = send.send(Message::Reachable(false));
        tokio::time::sleep(AGAIN).await;
    }
}

async fn type_in(send: Sender) {
    let mut input = EventStream::new();
    while let Some(Ok(event)) = input.next().await {
        let message = match event {
            Input::Key(key) if key.kind != KeyEventKind::Release => Message::Key(key),
            Input::Mouse(event) => Message::Mouse(event),
            Input::Resize(..) => Message::Resized,
            _ => continue,
        };
        if send.send(message).is_err() {
            return;
        }
    }
}

async fn tick(send: Sender) {
    let mut halves = tokio::time::interval(Duration::from_millis(500));
    halves.tick().await;
    loop {
        for message in [Message::Beat, Message::Tick] {
            halves.tick().await;
            if send.send(message).is_err() {
                return;
            }
        }
    }
}

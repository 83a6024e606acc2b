//! The terminal and the loop.

use super::{
    access::Access,
    config::{Bell, Config},
    contexts::Contexts,
    crash::{self, Reports},
    escapes,
    fetch::{Hands, Sender},
    guard::Guard,
    memory::{Memory, View},
    outside::{self, Outside},
    state::{Command, Drawn, Message, State},
    theme::{Depth, Look},
    update::update,
    view,
};
use crate::api::{client::Client, types::Fleet};
use crossterm::{
    event::{Event as Input, EventStream, KeyEventKind},
    terminal::disable_raw_mode,
};
use futures::StreamExt;
use jiff::tz::TimeZone;
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    layout::{Position, Rect},
};
use std::{
    collections::BTreeSet,
    io::{self, Stdout, Write as _},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Mutex, Notify, mpsc},
};
use tokio_util::task::AbortOnDropHandle;

/// Why the UI ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The person left, or their terminal did.
    Left,
    /// This signal asked for it.
    Signal(i32),
}

/// A daemon.
#[derive(Debug)]
pub struct Place {
    /// What the person calls it.
    pub name: Option<String>,
    /// What it is remembered by.
    pub address: String,
    pub client: Client,
}

/// What the UI is opened with.
#[derive(Debug)]
pub struct Setup {
    pub config: Config,
    pub access: Access,
    /// Name and address of the person, as git knows them: approvals are in that name.
    pub author: Option<(String, String)>,
    pub reports: Reports,
    /// Whether its theme was asked for now.
    pub themed: bool,
    /// Said when it opens.
    pub note: String,
    /// The daemon that is opened, before those that can be gone to.
    pub places: Vec<Place>,
    /// What needs a person first in the first of them.
    pub first: Option<Box<Fleet>>,
}

/// What comes after a daemon.
enum Next {
    End(End),
    /// Another one, by its place among them.
    Place(usize),
}

/// Opens the UI on this terminal until the person leaves or a signal asks for the end, with each daemon as it was left. The
/// terminal is then as it was, also after an error or a panic.
pub async fn run(setup: Setup, memory: &mut Memory) -> io::Result<End> {
    let Setup { config, access, author, reports, themed, note, places, first } = setup;
    let mut state = State::new();
    state.look = Look::new(config.theme, depth());
    state.bindings = config.bindings;
    state.access = access.clone();
    state.author = author;
    state.zone = TimeZone::system();
    state.contexts = Contexts::new(places.iter().map(|p| (p.name.clone(), p.address.clone())));
    let all: Vec<Client> = places.iter().map(|p| p.client.clone()).collect();
    // Before the terminal is taken: a signal that comes first ends the process as ever.
    let mut signals = Signals {
        term: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup: signal(SignalKind::hangup())?,
    };
    // Until the terminal was given back.
    let _ended = ended_anyway(signal(SignalKind::terminate())?);
    let guard = Guard::take(config.mouse, reports)?;
    let keyboard = Keyboard::default();
    let at = Terminals { guard: &guard, keyboard: &keyboard, bell: config.bell };
    let mut place = 0;
    let mut note = Some(note);
    let mut told = first.map(|fleet| Message::Some { asked: BTreeSet::new(), fleet });
    while let Some(here) = places.get(place) {
        state.contexts.here = place;
        let mut first = memory.of(&here.address).open(&mut state, themed);
        first.extend(told.take().into_iter().flat_map(|told| update(&mut state, told)));
        state.note = note.take().unwrap_or_default();
        let hands = |send| Hands::new(here.client.clone(), send).among(all.clone());
        let next = stay(here, hands, &at, &mut state, first, &mut signals).await;
        *memory = std::mem::take(memory).with(&here.address, View::of(&state));
        match next? {
            Next::End(end) => return Ok(end),
            Next::Place(there) => place = there,
        }
        state = state.elsewhere(access.clone());
    }
    Ok(End::Left)
}

/// A terminal that takes nothing (`ctrl-s`, a link that hangs) holds up whoever writes to it. Asked to end, the UI ends all the same.
fn ended_anyway(mut term: Signal) -> AbortOnDropHandle<()> {
    const PATIENCE: Duration = Duration::from_secs(2);
    AbortOnDropHandle::new(tokio::spawn(async move {
        term.recv().await;
        tokio::time::sleep(PATIENCE).await;
        // What is on the screen stays; how lines are typed is as it was. Fails where there is no terminal any more.
        let _ = disable_raw_mode();
        std::process::exit(128 + libc::SIGTERM);
    }))
}

struct Signals {
    term: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// Shows one daemon.
async fn stay(
    here: &Place,
    hands: impl FnOnce(Sender) -> Hands,
    at: &Terminals<'_>,
    state: &mut State,
    first: Vec<Command>,
    signals: &mut Signals,
) -> io::Result<Next> {
    let (send, receive) = mpsc::unbounded_channel();
    let hands = hands(send.clone());
    let left = Next::End(End::Left);
    let signalled = |number| Ok(Next::End(End::Signal(number)));
    // All in one task: a panic anywhere in it unwinds through the guard.
    tokio::select! {
        done = show(hands, at, state, first, receive) => done,
        () = type_in(send.clone(), at.keyboard) => Ok(left),
        () = listen(here.client.clone(), send.clone()) => Ok(left),
        () = tick(send) => Ok(left),
        _ = signals.term.recv() => signalled(libc::SIGTERM),
        () = interrupted(&mut signals.interrupt, at.keyboard) => signalled(libc::SIGINT),
        _ = signals.hangup.recv() => signalled(libc::SIGHUP),
    }
}

/// How many colours this terminal shows.
fn depth() -> Depth {
    let of = |name| std::env::var(name).unwrap_or_default();
    Depth::of(&of("NO_COLOR"), &of("COLORTERM"), &of("TERM"))
}

/// What is at the other end.
struct Terminals<'a> {
    guard: &'a Guard,
    keyboard: &'a Keyboard,
    bell: Bell,
}

impl Terminals<'_> {
    /// Lets a program have terminal and keys until it ends, and draws all anew.
    async fn lend(&self, terminal: &mut Screen, state: &mut State, outside: &Outside) -> io::Result<()> {
        self.keyboard.wanted.notify_one();
        let held = self.keyboard.held.lock().await;
        self.keyboard.lent.store(true, Ordering::Relaxed);
        self.guard.lend();
        let done = outside::run(outside).await;
        self.guard.again()?;
        self.keyboard.lent.store(false, Ordering::Relaxed);
        drop(held);
        if let Err(why) = done {
            state.note = why;
        }
        anew(terminal)?;
        picture(terminal, state)
    }
}

type Screen = Terminal<CrosstermBackend<Stdout>>;

/// Has the next frame drawn whole. `clear` would ask the terminal where its cursor is, and wait for the answer.
fn anew(terminal: &mut Screen) -> io::Result<()> {
    let size = terminal.size()?;
    terminal.resize(Rect::from((Position::ORIGIN, size)))
}

/// Draws what messages change, and does what they ask for.
async fn show(
    mut hands: Hands,
    at: &Terminals<'_>,
    state: &mut State,
    first: Vec<Command>,
    mut receive: mpsc::UnboundedReceiver<Message>,
) -> io::Result<Next> {
    let mut terminal: Screen = Terminal::new(CrosstermBackend::new(io::stdout()))?;
    // Another daemon may have been shown before.
    anew(&mut terminal)?;
    first.into_iter().for_each(|c| hands.carry_out(c));
    let mut shown = String::new();
    picture(&mut terminal, state)?;
    while let Some(first) = receive.recv().await {
        let mut batch = vec![first];
        while let Ok(more) = receive.try_recv() {
            batch.push(more);
        }
        batch.iter().for_each(crash::note);
        let (quiet, revision) = (batch.iter().all(|m| is_quiet(m, state)), state.tracked.revision);
        let commands: Vec<Command> = batch.into_iter().flat_map(|m| update(state, m)).collect();
        if commands.contains(&Command::Quit) {
            return Ok(Next::End(End::Left));
        }
        // Here, between two frames: nothing else is half written.
        let sent: String = commands.iter().filter_map(|c| escapes::of(c, at.bell, &state.note)).collect();
        io::stdout().write_all(sent.as_bytes()).and_then(|()| io::stdout().flush())?;
        for command in commands {
            match command {
                Command::Switch(place) => return Ok(Next::Place(place)),
                Command::Outside(outside) => at.lend(&mut terminal, state, &outside).await?,
                command => hands.carry_out(command),
            }
        }
        // A second that changes no text is no reason to draw, nor is an answer that tells what is known.
        let ages = view::ages(state);
        if !quiet || ages != shown || revision != state.tracked.revision {
            picture(&mut terminal, state)?;
            shown = ages;
        }
    }
    Ok(Next::End(End::Left))
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
fn picture(terminal: &mut Screen, state: &mut State) -> io::Result<()> {
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

/// Who hears the keys: this UI, or the program that has the terminal.
#[derive(Default)]
struct Keyboard {
    held: Mutex<()>,
    wanted: Notify,
    lent: AtomicBool,
}

/// Hands on what is typed.
async fn type_in(send: Sender, keyboard: &Keyboard) {
    loop {
        // Who waits for it longest has it first, so that what was asked for is given.
        let held = keyboard.held.lock().await;
        let mut input = EventStream::new();
        loop {
            let event = tokio::select! {
                () = keyboard.wanted.notified() => break,
                event = input.next() => event,
            };
            let message = match event {
                Some(Ok(Input::Key(key))) if key.kind != KeyEventKind::Release => Message::Key(key),
                Some(Ok(Input::Mouse(event))) => Message::Mouse(event),
                Some(Ok(Input::Resize(..))) => Message::Resized,
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return,
            };
            if send.send(message).is_err() {
                return;
            }
        }
        // It would take keys that are another's.
        drop(input);
        drop(held);
    }
}

/// Until somebody interrupts this UI: while another program has the terminal, it is meant.
async fn interrupted(interrupt: &mut Signal, keyboard: &Keyboard) {
    while interrupt.recv().await.is_some() && keyboard.lent.load(Ordering::Relaxed) {}
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

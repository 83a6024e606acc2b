//! The terminal and the loop.

use super::{
    guard::Guard,
    state::{Command, Difference, Extent, Message, State, update},
    view,
};
use crate::{
    api::{
        client::{Client, ClientError},
        types::*,
    },
    model::*,
};
use crossterm::event::{Event as Input, EventStream, KeyEventKind};
use futures::StreamExt;
use ratatui::{Terminal, backend::CrosstermBackend};
use std::{
    io::{self, Stdout},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::AbortHandle,
};

/// Why the UI ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The person left, or their terminal did.
    Left,
    /// This signal asked for it.
    Signal(i32),
}

/// Opens the UI on this terminal until the person leaves or a signal asks for the end. The terminal is then as it was, also
/// after an error or a panic.
pub async fn run(client: Client) -> io::Result<End> {
    // Before the terminal is taken: a signal that comes first ends the process as ever.
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let _guard = Guard::take()?;
    let (send, receive) = mpsc::unbounded_channel();
    // All in one task: a panic anywhere in it unwinds through the guard.
    tokio::select! {
        done = show(client.clone(), send.clone(), receive) => done.map(|()| End::Left),
        () = type_in(send.clone()) => Ok(End::Left),
        () = listen(client, send.clone()) => Ok(End::Left),
        () = tick(send) => Ok(End::Left),
        _ = term.recv() => Ok(End::Signal(libc::SIGTERM)),
        _ = interrupt.recv() => Ok(End::Signal(libc::SIGINT)),
        _ = hangup.recv() => Ok(End::Signal(libc::SIGHUP)),
    }
}

/// Draws what messages change, and does what they ask for.
async fn show(client: Client, send: Sender, mut receive: mpsc::UnboundedReceiver<Message>) -> io::Result<()> {
    let mut terminal: Terminal<CrosstermBackend<Stdout>> = Terminal::new(CrosstermBackend::new(io::stdout()))?;
    let mut hands = Hands { client, send, log: None };
    let mut state = State::new();
    let mut shown = String::new();
    hands.carry_out(Command::FetchFleet);
    picture(&mut terminal, &mut state)?;
    while let Some(first) = receive.recv().await {
        let mut batch = vec![first];
        while let Ok(more) = receive.try_recv() {
            batch.push(more);
        }
        let only_ticks = batch.iter().all(|m| matches!(m, Message::Tick));
        let mut commands: Vec<Command> = batch.into_iter().flat_map(|m| update(&mut state, m)).collect();
        // A burst of events is one fetch of each kind.
        commands.dedup();
        if commands.contains(&Command::Quit) {
            return Ok(());
        }
        commands.into_iter().for_each(|c| hands.carry_out(c));
        // A second that changes no text is no reason to draw.
        let ages = view::ages(&state);
        if !only_ticks || ages != shown {
            picture(&mut terminal, &mut state)?;
            shown = ages;
        }
    }
    Ok(())
}

/// Draws, and notes how far that can be scrolled.
fn picture(terminal: &mut Terminal<CrosstermBackend<Stdout>>, state: &mut State) -> io::Result<()> {
    let mut extent = Extent::default();
    terminal.draw(|f| extent = view::draw(f, state))?;
    state.extent = extent;
    state.scroll = state.scroll.min(extent.last);
    Ok(())
}

type Sender = mpsc::UnboundedSender<Message>;

/// Does what `update` asks for; answers come back as messages. A send fails only when the UI is gone.
struct Hands {
    client: Client,
    send: Sender,
    log: Option<AbortHandle>,
}

impl Hands {
    fn carry_out(&mut self, command: Command) {
        let (client, send) = (self.client.clone(), self.send.clone());
        let follows = matches!(command, Command::FollowLog { .. });
        let task = tokio::spawn(async move {
            if let Err(e) = carry_out(&client, &send, command).await {
                let gone = matches!(e, ClientError::Unreachable(_));
                let _ = send.send(if gone { Message::Reachable(false) } else { Message::Said(e.to_string()) });
            }
        });
        if follows && let Some(before) = self.log.replace(task.abort_handle()) {
            before.abort();
        }
    }
}

async fn carry_out(client: &Client, send: &Sender, command: Command) -> Result<(), ClientError> {
    let message = match command {
        Command::FetchFleet => Message::Fleet(Box::new(client.get("/api/v1/fleet").await?)),
        Command::FetchModel(m) => Message::Model(Box::new(client.get(&format!("/api/v1/models/{m}")).await?)),
        Command::FetchEvents => Message::Events(client.get("/api/v1/events?limit=500").await?),
        Command::FetchPlan => Message::Plan(Box::new(client.get("/api/v1/plan").await?)),
        Command::Sync => Message::Said(client.post::<Done>("/api/v1/sync", &SyncBody::default()).await?.message),
        Command::Post { model, verb } => {
            let body = serde_json::json!({});
            Message::Said(client.post::<Done>(&format!("/api/v1/models/{model}/{verb}"), &body).await?.message)
        }
        Command::FetchDiff(m) => Message::Diff(Box::new(Difference {
            fields: client.get(&format!("/api/v1/models/{m}/diff")).await?,
            plan: client.get(&format!("/api/v1/models/{m}/plan")).await?,
            model: m,
        })),
        Command::FollowLog { model, after } => {
            let streamed = follow(client, send, &model, after).await;
            let _ = send.send(Message::LogEnded { streamed: *streamed.as_ref().unwrap_or(&false) });
            return streamed.map(drop);
        }
        Command::Quit => return Ok(()),
    };
    let _ = send.send(message);
    Ok(())
}

/// Whether there was output of another run than `after`. A send fails only when the UI is gone, which ends this task too.
async fn follow(client: &Client, send: &Sender, model: &Name, after: Option<RunId>) -> Result<bool, ClientError> {
    let runs: Vec<Run> = client.get(&format!("/api/v1/models/{model}/runs")).await?;
    let Some(newest) = runs.into_iter().next().filter(|r| Some(&r.id) != after.as_ref()) else { return Ok(false) };
    let path = format!("/api/v1/runs/{}/log?follow=true", newest.id);
    let _ = send.send(Message::LogOf(Box::new(newest)));
    let mut chunks = client.stream(&path).await?;
    while let Some(chunk) = chunks.next().await {
        let _ = send.send(Message::Log(String::from_utf8_lossy(&chunk?).into_owned()));
    }
    Ok(true)
}

/// Hands on the daemon's events, and comes back to a daemon that was gone.
async fn listen(client: Client, send: Sender) {
    const AGAIN: Duration = Duration::from_secs(1);
    while !send.is_closed() {
        if let Ok(mut events) = client.events(None).await {
            let _ = send.send(Message::Reachable(true));
            while let Some(event) = events.next().await {
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
            Input::Resize(..) => Message::Resized,
            _ => continue,
        };
        if send.send(message).is_err() {
            return;
        }
    }
}

async fn tick(send: Sender) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.tick().await;
    while send.send(Message::Tick).is_ok() {
        seconds.tick().await;
    }
}

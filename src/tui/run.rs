//! The terminal and the loop.

use super::{
    state::{Command, Message, State, update},
    view,
};
use crate::{
    api::{
        client::{Client, ClientError},
        types::*,
    },
    model::*,
};
use crossterm::{
    event::{Event as Input, EventStream, KeyEventKind},
    execute,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
};
use futures::StreamExt;
use ratatui::{Terminal, backend::CrosstermBackend};
use std::{
    io::{self, Stdout},
    time::Duration,
};
use tokio::{sync::mpsc, task::AbortHandle};

/// Gives the terminal back as it was, whatever happens.
struct Guard;
impl Guard {
    fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            before(info);
        }));
        Ok(Self)
    }
}
impl Drop for Guard {
    fn drop(&mut self) {
        restore();
    }
}
fn restore() {
    // Nowhere to say that the terminal is gone.
    let _ = disable_raw_mode();
    let _ = execute!(io::stdout(), LeaveAlternateScreen, crossterm::cursor::Show);
}

/// Opens the UI on this terminal until the person leaves.
pub async fn run(client: Client) -> io::Result<()> {
    let _guard = Guard::enter()?;
    let mut terminal: Terminal<CrosstermBackend<Stdout>> = Terminal::new(CrosstermBackend::new(io::stdout()))?;
    let (send, mut receive) = mpsc::unbounded_channel();
    tokio::spawn(listen(client.clone(), send.clone()));
    tokio::spawn(type_in(send.clone()));
    tokio::spawn(tick(send.clone()));
    let mut hands = Hands { client, send, log: None };
    let mut state = State::new();
    let mut shown = String::new();
    hands.carry_out(Command::FetchFleet);
    terminal.draw(|f| view::draw(f, &state))?;
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
            terminal.draw(|f| view::draw(f, &state))?;
            shown = ages;
        }
    }
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
        let follows = matches!(command, Command::FollowLog(_));
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
        Command::FollowLog(model) => return follow(client, send, &model).await,
        Command::Quit => return Ok(()),
    };
    let _ = send.send(message);
    Ok(())
}

async fn follow(client: &Client, send: &Sender, model: &Name) -> Result<(), ClientError> {
    let runs: Vec<Run> = client.get(&format!("/api/v1/models/{model}/runs")).await?;
    let Some(newest) = runs.first() else {
        let _ = send.send(Message::Said(format!("{model} had no run yet")));
        return Ok(());
    };
    let mut chunks = client.stream(&format!("/api/v1/runs/{}/log?follow=true", newest.id)).await?;
    while let Some(chunk) = chunks.next().await {
        if send.send(Message::Log(String::from_utf8_lossy(&chunk?).into_owned())).is_err() {
            break;
        }
    }
    Ok(())
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

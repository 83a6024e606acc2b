//! Does what `update` asks for; answers come back as messages.

use super::{
    contexts,
    log::{Flowed, Follow, Output},
    state::{Command, Difference, Message},
    timeline::{LISTED, Lately},
    tracked,
};
use crate::{
    api::{
        client::{Client, ClientError},
        types::*,
    },
    model::*,
};
use futures::StreamExt;
use std::{
    collections::{BTreeSet, HashMap},
    io::Write as _,
    mem::{Discriminant, discriminant},
};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};

/// What needs a person first.
pub const URGENT: &str = "/api/v1/fleet?urgent=true";

pub(super) type Sender = mpsc::UnboundedSender<Message>;

/// A send fails only when the UI is gone.
pub(super) struct Hands {
    client: Client,
    /// Of all daemons that can be gone to.
    all: Vec<Client>,
    send: Sender,
    /// What is fetched again and again: the newest wish of each kind.
    fetches: HashMap<Discriminant<Command>, watch::Sender<Command>>,
    log: Option<AbortHandle>,
}

impl Hands {
    pub fn new(client: Client, send: Sender) -> Self {
        Self { client, all: vec![], send, fetches: HashMap::new(), log: None }
    }

    /// The same, of a daemon beside others.
    pub fn among(mut self, all: Vec<Client>) -> Self {
        self.all = all;
        self
    }

    pub fn carry_out(&mut self, command: Command) {
        let (client, send) = (self.client.clone(), self.send.clone());
        match command {
            Command::Save { file, text } => {
                tokio::task::spawn_blocking(move || drop(send.send(Message::Said(saved(&file, &text)))));
            }
            Command::FetchContexts => contexts::ask(&self.all, &send),
            Command::Quit | Command::Ring | Command::Copy(_) | Command::Outside(_) | Command::Switch(_) => {}
            Command::Follow(follow) => {
                let task = tokio::spawn(async move { followed(&client, &send, follow).await });
                if let Some(before) = self.log.replace(task.abort_handle()) {
                    before.abort();
                }
            }
            Command::Sync | Command::Post { .. } | Command::Revert { .. } | Command::Let(_) => {
                // Who may not approve this may do the rest.
                let personal = matches!(command, Command::Let(_));
                tokio::spawn(async move {
                    match answer(&client, command).await {
                        Err(ClientError::Denied(why)) if !personal => drop(send.send(Message::Denied(why))),
                        answer => tell(&send, answer),
                    }
                });
            }
            fetch => self.fetch(fetch),
        }
    }

    /// One of each kind is under way at any time, and however often it is wished for meanwhile, one more follows: answers come
    /// in the order of what they tell, and the last one is newer than the last wish.
    fn fetch(&mut self, command: Command) {
        let kind = discriminant(&command);
        if let Some(wish) = self.fetches.get(&kind) {
            wish.send_replace(command);
            return;
        }
        let (client, send) = (self.client.clone(), self.send.clone());
        let (wish, mut wishes) = watch::channel(command);
        wishes.mark_changed();
        self.fetches.insert(kind, wish);
        tokio::spawn(async move {
            while wishes.changed().await.is_ok() {
                let command = wishes.borrow_and_update().clone();
                match command {
                    Command::FetchFleet => fleet(&client, &send).await.unwrap_or_else(|e| tell(&send, Err(e))),
                    command => tell(&send, answer(&client, command).await),
                }
            }
        });
    }
}

/// Writes a new file in the folder that the UI was started in.
fn saved(file: &str, text: &[u8]) -> String {
    let written = std::fs::File::create_new(file).and_then(|mut f| f.write_all(text));
    let place = || std::path::absolute(file).unwrap_or_else(|_| file.into());
    match written {
        Ok(()) => format!("saved as {}", place().display()),
        Err(e) => format!("cannot save {}: {e}", place().display()),
    }
}

impl Drop for Hands {
    /// The others end with what they were asked by.
    fn drop(&mut self) {
        self.log.iter().for_each(AbortHandle::abort);
    }
}

fn tell(send: &Sender, answer: Result<Message, ClientError>) {
    let _ = send.send(answer.unwrap_or_else(|e| match e {
        ClientError::Unreachable(_) => Message::Reachable(false),
        e => Message::Said(e.to_string()),
    }));
}

async fn answer(client: &Client, command: Command) -> Result<Message, ClientError> {
    Ok(match command {
        Command::FetchModels(asked) => {
            let names: Vec<&str> = asked.iter().map(Name::as_str).collect();
            let path = format!("/api/v1/fleet?models={}", names.join(","));
            Message::Some { fleet: Box::new(client.get(&path).await?), asked }
        }
        Command::FetchBusy => {
            let fleet = Box::new(client.get("/api/v1/fleet?busy=true").await?);
            Message::Some { asked: BTreeSet::new(), fleet }
        }
        Command::FetchModel(m) => Message::Model(Box::new(client.get(&format!("/api/v1/models/{m}")).await?)),
        Command::FetchVersion(m, v) => {
            Message::Version(Box::new(client.get(&format!("/api/v1/models/{m}/versions/{v}")).await?))
        }
        Command::FetchEvents => Message::Events(client.get("/api/v1/events?limit=500").await?),
        Command::FetchCommits => {
            Message::Lately(Lately::Commits(client.get(&format!("/api/v1/commits?limit={LISTED}")).await?))
        }
        Command::FetchCommit(id) => {
            Message::Lately(Lately::Page(Box::new(client.get(&format!("/api/v1/commits/{id}")).await?)))
        }
        Command::FetchRevert(id) => {
            let body = RevertBody { commit: id.to_string(), dry_run: true, on: None };
            let undo = match client.post("/api/v1/revert", &body).await {
                // Why it cannot be done is what the screen is to show.
                Err(ClientError::Refused(why)) => Err(why),
                other => Ok(Box::new(other?)),
            };
            Message::Lately(Lately::Undo(id, undo))
        }
        Command::Revert { commit, on } => {
            let body = RevertBody { commit: commit.to_string(), dry_run: false, on: Some(on) };
            Message::Said(client.post::<Reverted>("/api/v1/revert", &body).await?.message)
        }
        Command::FetchWaits(m, way) => {
            Message::Waits(way, Box::new(client.get(&format!("/api/v1/models/{m}/plan")).await?))
        }
        Command::Let(letting) => {
            let (path, body) = letting.call();
            Message::Said(client.post::<Done>(&path, &body).await?.message)
        }
        Command::FetchPlan => Message::Plan(Box::new(client.get("/api/v1/plan").await?)),
        Command::FetchDiff(m) => Message::Diff(Box::new(Difference {
            fields: client.get(&format!("/api/v1/models/{m}/diff")).await?,
            plan: client.get(&format!("/api/v1/models/{m}/plan")).await?,
            detail: client.get(&format!("/api/v1/models/{m}")).await?,
            model: m,
        })),
        Command::FetchExperiments => Message::Tracked(tracked::fetch::experiments(client).await?),
        Command::FetchRuns(wish) => Message::Tracked(tracked::fetch::runs(client, wish).await?),
        Command::FetchLiving(wish) => Message::Tracked(tracked::fetch::living(client, wish).await?),
        Command::FetchTracked(ids) => Message::Tracked(tracked::fetch::whole(client, ids).await?),
        Command::FetchCurves(wants) => Message::Tracked(tracked::fetch::curves(client, wants).await?),
        Command::Sync => Message::Said(client.post::<Done>("/api/v1/sync", &SyncBody::default()).await?.message),
        Command::Post { model, verb } => {
            let body = serde_json::json!({});
            Message::Said(client.post::<Done>(&format!("/api/v1/models/{model}/{verb}"), &body).await?.message)
        }
        // They have answers of their own.
        Command::FetchFleet
        | Command::FetchContexts
        | Command::Follow(_)
        | Command::Save { .. }
        | Command::Quit
        | Command::Ring
        | Command::Copy(_)
        | Command::Outside(_)
        | Command::Switch(_) => Message::Said(String::new()),
    })
}

/// What needs a person first, then all in pages: the first screen waits for a hundred models, not for ten thousand, and neither
/// side holds the whole fleet as text.
async fn fleet(client: &Client, send: &Sender) -> Result<(), ClientError> {
    const PAGE: usize = 500;
    let urgent = client.get(URGENT).await?;
    let _ = send.send(Message::Some { asked: BTreeSet::new(), fleet: Box::new(urgent) });
    let mut path = format!("/api/v1/fleet?limit={PAGE}");
    loop {
        let page: Fleet = client.get(&path).await?;
        let next = page.next.as_ref().map(|last| format!("/api/v1/fleet?limit={PAGE}&after={last}"));
        let _ = send.send(Message::Fleet(Box::new(page)));
        match next {
            Some(next) => path = next,
            None => return Ok(()),
        }
    }
}

async fn followed(client: &Client, send: &Sender, follow: Follow) {
    let turn = follow.turn;
    let done = match &follow.output {
        Output::Runs => runs(client, send, &follow).await,
        Output::Replica(environment) => replica(client, send, &follow, environment).await,
    };
    let flowed = match &done {
        Err(ClientError::Unreachable(_)) => Flowed::Cut,
        Ok(streamed) => Flowed::Ended { streamed: *streamed },
        Err(_) => Flowed::Ended { streamed: false },
    };
    let _ = send.send(Message::Log { turn, flowed });
    match done {
        // No replica is there yet: the screen says so.
        Ok(_) | Err(ClientError::NotFound(_)) => {}
        Err(e) => tell(send, Err(e)),
    }
}

/// The rest of the run that was read last, and the runs after it; or the newest one. Whether there was any output.
async fn runs(client: &Client, send: &Sender, follow: &Follow) -> Result<bool, ClientError> {
    // Newest first.
    let runs: Vec<Run> = client.get(&format!("/api/v1/models/{}/runs", follow.model)).await?;
    let read = runs.iter().position(|r| Some(&r.id) == follow.run.as_ref());
    let mut streamed = false;
    for run in runs.into_iter().take(read.map_or(1, |at| at + 1)).rev() {
        let known = Some(&run.id) == follow.run.as_ref();
        let path = format!("/api/v1/runs/{}/log?follow=true&from={}", run.id, if known { follow.from } else { 0 });
        streamed |= !known;
        if !known || run.status == RunStatus::Running {
            let _ = send.send(Message::Log { turn: follow.turn, flowed: Flowed::Of(Box::new(run)) });
        }
        streamed |= stream(client, send, follow.turn, &path).await?;
    }
    Ok(streamed)
}

async fn replica(client: &Client, send: &Sender, follow: &Follow, environment: &Name) -> Result<bool, ClientError> {
    let path = format!("/api/v1/models/{}/replicas/{environment}/log?follow=true&from={}", follow.model, follow.from);
    stream(client, send, follow.turn, &path).await
}

async fn stream(client: &Client, send: &Sender, turn: u64, path: &str) -> Result<bool, ClientError> {
    let mut chunks = client.stream(path).await?;
    let mut streamed = false;
    while let Some(chunk) = chunks.next().await {
        streamed = true;
        let _ = send.send(Message::Log { turn, flowed: Flowed::More(chunk?.to_vec()) });
    }
    Ok(streamed)
}

//! What a burst of events costs the daemon.

use super::*;
use crate::{
    api::client::{Client, Endpoint},
    tui::fetch::Hands,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::mpsc,
};

/// The next request's path; it waits for its answer.
pub(super) async fn asked(listener: &UnixListener) -> (String, UnixStream) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut text = Vec::new();
    while !text.windows(4).any(|w| w == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        let n = stream.read(&mut piece).await.unwrap();
        text.extend_from_slice(&piece[..n]);
    }
    (String::from_utf8(text).unwrap().split(' ').nth(1).unwrap().to_owned(), stream)
}

async fn answered(stream: UnixStream, body: &impl serde::Serialize) {
    answered_with(200, stream, body).await;
}

pub(super) async fn answered_with(status: u16, mut stream: UnixStream, body: &impl serde::Serialize) {
    let body = serde_json::to_string(body).unwrap();
    let answer = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_burst_of_events_is_one_more_fetch_and_answers_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let (send, mut told) = mpsc::unbounded_channel();
    let mut hands = Hands::new(Client::new(Endpoint::Socket(socket)), send);
    let mut state = filled();
    let mut event = |hands: &mut Hands| {
        let moved = Message::Happened(Some(super::event(EventKind::RunStarted, "train")));
        update(&mut state, moved).into_iter().for_each(|c| hands.carry_out(c));
    };
    event(&mut hands);
    let (path, first) = asked(&listener).await;
    assert_eq!(path, "/api/v1/fleet?models=fraud");
    (0..112).for_each(|_| event(&mut hands));
    let of = |models: &[&str]| fleet(models.iter().map(|m| summary(m, Health::Healthy, false)).collect());
    answered(first, &of(&["old"])).await;
    let (path, second) = asked(&listener).await;
    assert_eq!(path, "/api/v1/fleet?models=fraud");
    answered(second, &of(&["new"])).await;
    // The next that is asked for is something else.
    hands.carry_out(Command::FetchPlan);
    assert_eq!(asked(&listener).await.0, "/api/v1/plan");
    let mut names = vec![];
    while let Ok(Message::Some { fleet, .. }) = told.try_recv() {
        names.push(fleet.models[0].name.to_string());
    }
    assert_eq!(names, ["old", "new"]);
}

//! A plain request to a replica, and the answer back.

use super::{
    Ready,
    read::{self, Timer},
    response::{self, Body, Head},
};
use crate::route::{
    Lookup, Route,
    attempts::{Attempts, Fault},
    exchange::Reuse,
    gate::Ticket,
    heads::Caller,
    proxy::Proxy,
    refusal::Refusal,
    replica::Replica,
    split::{Choice, Lease, Missing},
};
use http::StatusCode;
use std::{io, ops::ControlFlow, pin::Pin, sync::atomic::Ordering::Relaxed, task::Poll};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

/// Largest head of an answer.
const HEAD: usize = 64 << 10;

/// What becomes of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It can have another request.
    Stays,
    /// Its client was told that it ends.
    Goes,
    /// It is cut in the middle of an answer, or its client has gone.
    Cut,
}

impl Connection {
    fn after(closes: bool) -> Self {
        if closes { Self::Goes } else { Self::Stays }
    }
}

/// Why an attempt brought no answer.
enum Failure {
    /// The client has gone.
    Gone,
    Of(Fault, Refusal),
}

impl Failure {
    fn connect(e: &io::Error) -> Self {
        Self::Of(Fault::Connect, Refusal::unreachable(e))
    }
    fn timeout() -> Self {
        Self::Of(Fault::Timeout, Refusal::timeout())
    }
    fn broken(why: &dyn std::fmt::Display) -> Self {
        Self::Of(Fault::Broken, Refusal::broke_off(why))
    }
}

/// An answer that began.
struct Answer {
    status: StatusCode,
    /// What the client gets next: first the head, and what came of the body with it.
    bytes: Vec<u8>,
    body: Body,
    /// Whether the replica's connection can be used again after it.
    keeps: bool,
    /// Whether it tells the client that its connection ends.
    closes: bool,
}

impl Answer {
    /// The answer that begins with these bytes, its head as `rewritten`; `None`: more of its head is to come.
    fn begun(bytes: &[u8], rewritten: impl FnOnce(&Head<'_>) -> (Vec<u8>, bool)) -> Result<Option<Self>, Failure> {
        let mut rest = bytes;
        let head = loop {
            let Some(head) = response::parse(rest).map_err(|e| Failure::broken(&e))? else { return Ok(None) };
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(Failure::Of(Fault::Unasked, Refusal::unasked_upgrade()));
            }
            rest = &rest[head.size..];
            if !head.status.is_informational() {
                break head;
            }
        };
        let (bytes, closes) = rewritten(&head);
        let mut answer = Self { status: head.status, bytes, body: head.body, keeps: head.keeps, closes };
        if !rest.is_empty() {
            answer.pass(rest)?;
        }
        Ok(Some(answer))
    }

    /// Takes in more of the body. What nobody asked for behind it is no beginning of the next answer.
    fn pass(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.keeps &= self.body.pass(bytes, &mut self.bytes).map_err(|e| Failure::broken(&e))?;
        Ok(())
    }
}

/// An answer, and who gives it.
struct Answered {
    lease: Lease,
    link: TcpStream,
    answer: Answer,
}

/// One exchange between a client and a replica.
struct Exchange<'a> {
    proxy: &'a Proxy,
    client: &'a mut TcpStream,
    timer: &'a mut Timer,
    /// The client sent something behind its request: nothing can be seen of its end until that is read.
    spoke: bool,
}

/// Sends a request to a replica, and its answer to the client.
pub async fn forward(
    proxy: &Proxy,
    caller: &Caller,
    client: &mut TcpStream,
    timer: &mut Timer,
    mut ready: Ready,
) -> io::Result<Connection> {
    let mut exchange = Exchange { proxy, client, timer, spoke: false };
    match exchange.attempts(caller, &mut ready).await {
        Ok(answered) => {
            let (status, version) = (answered.answer.status, &answered.lease.release.header);
            proxy.note(ready.noted, status, Some(version));
            exchange.deliver(caller.worker, answered, ready.ticket).await
        }
        Err(None) => Ok(Connection::Cut),
        Err(Some(refusal)) => exchange.refuse(refusal, ready).await,
    }
}

impl Exchange<'_> {
    /// Tells the client why there is no answer.
    async fn refuse(self, refusal: Refusal, ready: Ready) -> io::Result<Connection> {
        if refusal.version.is_none() {
            self.proxy.table.meters().refused(refusal.model.as_deref().unwrap_or_default(), refusal.status);
        }
        let closes = self.proxy.leaving.load(Relaxed);
        let (status, version) = (refusal.status, refusal.version.clone());
        let bytes = refusal.into_bytes(ready.id(), closes, &self.proxy.date());
        self.proxy.note(ready.noted, status, version.as_ref());
        self.client.write_all(&bytes).await?;
        Ok(Connection::after(closes))
    }

    /// An answer that began; or what the client is told, if it is still there.
    async fn attempts(&mut self, caller: &Caller, ready: &mut Ready) -> Result<Answered, Option<Refusal>> {
        let proxy = self.proxy;
        let mut attempts = Attempts::new(ready.repeatable);
        loop {
            let begun = std::time::Instant::now();
            let lease = proxy.table.lease(&mut ready.route, Choice::Weight, attempts.tried(), proxy.table.ms_at(begun));
            let lease = match lease {
                Ok(lease) => lease,
                Err(missing) => return Err(Some(refused(missing, ready))),
            };
            let waits = lease.release.stats.waits(caller.worker, begun);
            let answered = self.attempt(&lease, caller.worker, ready, attempts.reuse()).await;
            drop(waits);
            match answered {
                Ok((link, answer)) => {
                    proxy.record(&lease, caller.worker, begun, answer.status);
                    return Ok(Answered { lease, link, answer });
                }
                Err(Failure::Gone) => return Err(None),
                Err(Failure::Of(fault, refusal)) => {
                    if !attempts.again(fault, refusal.status, (&proxy.table, caller.worker), &lease, begun) {
                        return Err(Some(refusal.by(lease.release.header.clone())));
                    }
                }
            }
        }
    }

    async fn attempt(
        &mut self,
        lease: &Lease,
        worker: usize,
        ready: &Ready,
        reuse: Reuse,
    ) -> Result<(TcpStream, Answer), Failure> {
        let mut link = link(&lease.replica, worker, reuse).await?;
        let until = Instant::now() + self.proxy.timeout_of(&ready.route);
        let mut left = &*ready.bytes;
        while !left.is_empty() {
            match self.write(&mut link, left, until).await? {
                Ok(n) if n > 0 => left = &left[n..],
                _ if left.len() == ready.bytes.len() => return Err(Failure::Of(Fault::Unsent, Refusal::unsent())),
                // It may have answered all the same.
                _ => break,
            }
        }
        let sent = left.is_empty();
        let proxy = self.proxy;
        let rewritten = |head: &Head<'_>| {
            let closes = proxy.leaving.load(Relaxed);
            (head.rewritten(lease.release.header.as_bytes(), ready.id(), closes, || proxy.date()), closes)
        };
        let answer = self.begun(&mut link, until, |bytes| Answer::begun(bytes, rewritten)).await?;
        Ok((link, Answer { keeps: answer.keeps && sent, ..answer }))
    }

    /// Sends some of the bytes.
    async fn write(
        &mut self,
        link: &mut TcpStream,
        bytes: &[u8],
        until: Instant,
    ) -> Result<io::Result<usize>, Failure> {
        std::future::poll_fn(|cx| match Pin::new(&mut *link).poll_write(cx, bytes) {
            Poll::Ready(written) => Poll::Ready(Ok(written)),
            Poll::Pending => self.timer.poll(until, cx).map(|()| Err(Failure::timeout())),
        })
        .await
    }

    /// Waits for the head of an answer.
    async fn begun(
        &mut self,
        link: &mut TcpStream,
        until: Instant,
        begins: impl Fn(&[u8]) -> Result<Option<Answer>, Failure>,
    ) -> Result<Answer, Failure> {
        let mut before = vec![];
        loop {
            let take = |bytes: &[u8]| {
                if bytes.is_empty() {
                    return Err(Failure::broken(&"it closed the connection"));
                }
                if before.is_empty()
                    && let Some(begun) = begins(bytes)?
                {
                    return Ok(ControlFlow::Break(begun));
                }
                Ok(ControlFlow::Continue(bytes.to_vec()))
            };
            match self.hear(link, Some(until), take).await? {
                ControlFlow::Break(begun) => return Ok(begun),
                ControlFlow::Continue(more) => before.extend(more),
            }
            if before.len() > HEAD {
                return Err(Failure::broken(&"its head is too long"));
            }
            if let Some(begun) = begins(&before)? {
                return Ok(begun);
            }
        }
    }

    /// Waits for what the replica sends, and for the end of the client.
    async fn hear<T>(
        &mut self,
        link: &mut TcpStream,
        until: Option<Instant>,
        mut take: impl FnMut(&[u8]) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        std::future::poll_fn(|cx| {
            match read::read(link, cx, &mut take) {
                Poll::Ready(Ok(taken)) => return Poll::Ready(taken),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(Failure::broken(&e))),
                Poll::Pending => {}
            }
            if !self.spoke {
                let mut one = [0];
                match self.client.poll_peek(cx, &mut tokio::io::ReadBuf::new(&mut one)) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Failure::Gone)),
                    Poll::Ready(Ok(_)) => self.spoke = true,
                    Poll::Pending => {}
                }
            }
            match until {
                Some(until) => self.timer.poll(until, cx).map(|()| Err(Failure::timeout())),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Passes an answer on.
    async fn deliver(&mut self, worker: usize, answered: Answered, ticket: Option<Ticket>) -> io::Result<Connection> {
        let Answered { lease, mut link, mut answer } = answered;
        while !answer.body.is_over() {
            self.client.write_all(&answer.bytes).await?;
            answer.bytes.clear();
            match self.hear(&mut link, None, |more| answer.pass(more)).await {
                Ok(()) => {}
                Err(Failure::Gone) => return Ok(Connection::Cut),
                Err(Failure::Of(..)) => {
                    lease.broke_off(worker, self.proxy.table.now_ms());
                    return Ok(Connection::Cut);
                }
            }
        }
        // A client that takes its time for the rest holds up nobody else.
        if answer.keeps {
            lease.replica.give_back_plain(worker, link);
        }
        drop((lease, ticket));
        self.client.write_all(&answer.bytes).await?;
        Ok(Connection::after(answer.closes))
    }
}

async fn link(replica: &Replica, worker: usize, reuse: Reuse) -> Result<TcpStream, Failure> {
    let reused = if reuse == Reuse::No { None } else { replica.reuse_plain(worker, reuse == Reuse::Any) };
    match reused {
        Some(link) => Ok(link),
        None => replica.connect_plain().await.map_err(|e| Failure::connect(&e)),
    }
}

fn refused(missing: Missing, ready: &Ready) -> Refusal {
    let Route { environment, model, .. } = &ready.route.config;
    let (environment, model) = (environment.as_str(), model.as_str());
    let whom = if ready.live { Lookup::Live { model } } else { Lookup::In { environment, model } };
    Refusal::missing(missing, whom, Some(&ready.route))
}

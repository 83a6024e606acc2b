//! Requests through the router while the story goes on: every answer is counted, and by whom it was given.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    requests: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
    /// The newest failure, and the version that gave the newest answer with the number of answers in a row.
    last: Mutex<(Option<String>, String, u64)>,
}

/// A caller in the background.
pub struct Load {
    seen: Arc<Seen>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Time between two requests.
const PAUSE: Duration = Duration::from_millis(5);

impl Load {
    /// Calls `url` with `body` until stopped.
    pub fn start(url: String, body: String) -> Self {
        let seen: Arc<Seen> = Arc::default();
        let shared = seen.clone();
        // The router is on this machine, where no proxy of the environment leads.
        let client = reqwest::blocking::Client::builder().no_proxy().build();
        let thread = std::thread::spawn(move || {
            let client = match client {
                Ok(client) => client,
                Err(e) => return shared.note(Err(e)),
            };
            while !shared.stop.load(Ordering::Relaxed) {
                shared.requests.fetch_add(1, Ordering::Relaxed);
                let answer = client.post(&url).header("content-type", "application/json").body(body.clone()).send();
                shared.note(answer);
                std::thread::sleep(PAUSE);
            }
        });
        Self { seen, thread: Some(thread) }
    }

    /// Requests so far, and how many failed.
    pub fn counts(&self) -> (u64, u64) {
        (self.seen.requests.load(Ordering::Relaxed), self.seen.failed.load(Ordering::Relaxed))
    }

    /// The newest failure.
    pub fn failure(&self) -> Option<String> {
        self.seen.last.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// The version of the newest answer, and how many in a row it gave.
    pub fn newest(&self) -> (String, u64) {
        let last = self.seen.last.lock().unwrap_or_else(PoisonError::into_inner);
        (last.1.clone(), last.2)
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.seen.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It cannot panic; if it did, its counts stand.
            let _ = thread.join();
        }
    }
}

impl Seen {
    fn note(&self, answer: reqwest::Result<reqwest::blocking::Response>) {
        let told = answer.map(|a| {
            let version = a.headers().get("x-trimtab-version").and_then(|v| v.to_str().ok()).map(str::to_owned);
            (a.status(), version, a.text().unwrap_or_else(|e| e.to_string()))
        });
        let (result, version) = match told {
            Ok((status, version, _)) if status.is_success() => (Ok(()), version),
            Ok((status, _, body)) => (Err(format!("{status}: {body}")), None),
            Err(e) => (Err(e.to_string()), None),
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match (result, version) {
            (Ok(()), Some(v)) if v == last.1 => last.2 += 1,
            (Ok(()), Some(v)) => (last.1, last.2) = (v, 1),
            (result, _) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                last.0 = Some(result.err().unwrap_or_else(|| "no x-trimtab-version".into()));
            }
        }
    }
}

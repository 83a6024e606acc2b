//! One call: built, sent, tried again where that does no harm, and read.

use super::{Login, Remote, RemoteError, Trouble};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Method,
    blocking::{RequestBuilder, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{io::Read, time::Duration};

/// MLflow's own calls are below it.
pub(super) const API: &str = "/api/2.0/mlflow/";
/// Files that the server keeps itself.
pub(super) const FILES: &str = "/api/2.0/mlflow-artifacts/artifacts";
/// Of an answer that is no file: a history of many points is paged, so that none is longer.
const ANSWER: u64 = 256 * 1024 * 1024;
/// What may stand in a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Before the second try; each further one waits twice as long.
const PAUSE: Duration = Duration::from_millis(300);

/// A path with its names encoded.
pub(super) fn encoded(path: &str) -> String {
    path.split('/').map(|name| utf8_percent_encode(name, SEGMENT).to_string()).collect::<Vec<_>>().join("/")
}

/// An error that may be gone with the next try.
pub trait Passing {
    fn passes(&self) -> bool;
}

impl Passing for RemoteError {
    fn passes(&self) -> bool {
        self.trouble == Trouble::Unreachable
    }
}

impl Remote {
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.login {
            Login::Nobody => request,
            Login::Token(token) => request.bearer_auth(token),
            Login::Password { user, password } => request.basic_auth(user, Some(password)),
        }
    }

    /// Sends it once; what is no success is an error.
    pub(super) fn send(&self, path: &str, request: RequestBuilder) -> Result<Response, RemoteError> {
        let answer = request.send().map_err(|e| RemoteError::of(&self.base, &e))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let mut said = Vec::new();
        // What is told of a refusal is short; a page of HTML says nothing.
        let _ = answer.take(16 * 1024).read_to_end(&mut said);
        Err(RemoteError::answered(&self.base, path, status.as_u16(), &String::from_utf8_lossy(&said)))
    }

    /// Tries what only reads until it goes through, or has failed often enough.
    pub fn patiently<T, E: Passing>(&self, mut call: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        let mut pause = PAUSE;
        for _ in 1..self.tries {
            match call() {
                Err(e) if e.passes() => {
                    std::thread::sleep(pause);
                    pause *= 2;
                }
                done => return done,
            }
        }
        call()
    }

    pub(super) fn read<T: DeserializeOwned>(&self, path: &str, answer: Response) -> Result<T, RemoteError> {
        let mut body = Vec::new();
        let broken = |e| RemoteError::new(Trouble::Unreachable, format!("{} broke off its answer: {e}", self.base));
        answer.take(ANSWER).read_to_end(&mut body).map_err(broken)?;
        serde_json::from_slice(&body).map_err(|e| {
            let words = format!("{} answers {path} with what no MLflow server says: {e}", self.base);
            RemoteError::new(Trouble::Foreign, words)
        })
    }

    /// A call that reads, by its query.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, RemoteError> {
        self.patiently(|| {
            let request = self.request(Method::GET, &format!("{API}{path}")).query(query);
            self.read(path, self.send(path, request)?)
        })
    }

    /// A call that reads, by its body.
    pub(super) fn ask<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, RemoteError> {
        self.patiently(|| {
            let request = self.request(Method::POST, &format!("{API}{path}")).json(body);
            self.read(path, self.send(path, request)?)
        })
    }
}

//! Another MLflow server, as a client sees it: what `trimtab import` reads from it and what the mirror writes to it.
//!
//! Calls block. Source: `mlflow` 3.17.2, `protos/` (fields) and `server/handlers.py` (what is refused, and how).

mod call;
mod error;
mod read;
pub mod wire;
mod write;

pub use call::Passing;
pub use error::{RemoteError, Trouble};
pub use read::Page;
pub use write::{NewRun, NewVersion};

use std::{fmt, time::Duration};

/// How a caller shows who they are.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    Nobody,
    Token(String),
    Password { user: String, password: String },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Token(_) => "Token",
            Self::Password { .. } => "Password",
        })
    }
}

/// Says what is wrong with an address, if anything is.
pub fn check_url(url: &str) -> Result<(), String> {
    let known = url.parse::<reqwest::Url>().ok().filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
    match known {
        None => Err(format!("`{url}` is no address of a server: write one that begins with http:// or https://")),
        Some(u) if !u.username().is_empty() || u.password().is_some() => {
            Err("credentials do not belong into an address: set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD".into())
        }
        Some(_) => Ok(()),
    }
}

/// Waits for an answer's head, and for each piece of its body.
const IDLE: Duration = Duration::from_secs(120);
const CONNECT: Duration = Duration::from_secs(10);

/// Another MLflow server.
#[derive(Debug)]
pub struct Remote {
    base: String,
    login: Login,
    client: reqwest::blocking::Client,
    /// How often a call that reads is made before it counts as failed.
    tries: u32,
}

impl Remote {
    /// Asks nothing yet.
    pub fn new(url: &str, login: Login, tries: u32) -> Result<Self, RemoteError> {
        let base = url.trim_end_matches('/').to_owned();
        let builder = reqwest::blocking::Client::builder()
            .timeout(IDLE)
            .connect_timeout(CONNECT)
            // A token must not follow to wherever a server points.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("trimtab/", env!("CARGO_PKG_VERSION")));
        // A proxy of the environment would look for this machine on its own.
        let builder = if is_here(&base) { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|e| RemoteError::of(&base, &e))?;
        Ok(Self { base, login, client, tries })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.base
    }
}

fn is_here(url: &str) -> bool {
    let Some(host) = url.parse::<reqwest::Url>().ok().and_then(|u| u.host_str().map(str::to_owned)) else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    address.map_or(host == "localhost", |a| a.is_loopback() || a.is_unspecified())
}

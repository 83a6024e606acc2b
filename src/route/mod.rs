//! The router process: splits traffic by weight and measures it.
//!
//! One TCP port takes requests; the unix socket `DIR/router.sock` takes orders ([`control`]). The last routes are kept in
//! `DIR/routes/`, one file a route, so that a restarted router serves at once and a change to one model costs one small file.
//! A new router is handed the listening socket by the old one ([`handover`]), which then drains.

mod access;
mod answer;
mod attempts;
mod body;
mod client;
mod compare;
mod config;
mod control;
mod exchange;
mod fast_path;
mod gate;
mod handover;
mod heads;
mod measure;
mod meters;
mod proxy;
mod refusal;
mod replica;
mod server;
mod shadow;
mod split;
mod table;
mod tunnel;
mod upstream;
mod workers;

pub use client::RouterClient;
pub use config::{
    AccessLog, Agreement, Ejection, Identity, ReleaseRoute, ReleaseStats, Route, RouterSettings, RoutesFile, Shadow,
    Started, StatsAnswer, Window,
};
pub use server::run;
pub use table::{Lookup, Table};

/// Why the router or a call to it failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RouteError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {reason}")]
    Bind { address: std::net::SocketAddr, reason: String },
    /// A file or socket of the router's folder.
    #[error("{path}: {reason}")]
    File { path: std::path::PathBuf, reason: String },
    /// No router answers on the socket.
    #[error("no router answers on {path}: {reason}")]
    Unreachable { path: std::path::PathBuf, reason: String },
    /// The route that was sent is older than the one in use.
    #[error("the router already has generation {current} of this route")]
    Stale { current: u64 },
    /// The router refused or answered nonsense.
    #[error("the router answered {status}: {body}")]
    Refused { status: u16, body: String },
}

impl RouteError {
    pub(crate) fn file(path: impl Into<std::path::PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |e| Self::File { path, reason: e.to_string() }
    }
}

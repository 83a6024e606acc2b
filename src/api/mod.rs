//! JSON over HTTP: routes, wire types, server-sent events, client.

mod again;
pub mod client;
mod commits;
mod handlers;
mod import;
mod kept;
mod listen;
mod metrics;
mod mlflow;
mod openapi;
mod overview;
mod routes;
mod server;
mod streams;
mod summaries;
pub mod types;
mod urgency;
mod views;
mod webhook;

pub use listen::{ServerConfig, bind, serve, token, tracking_token};
pub use server::Api;

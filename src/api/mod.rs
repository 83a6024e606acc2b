//! JSON over HTTP: routes, wire types, server-sent events, client.

pub mod client;
mod metrics;
mod openapi;
mod server;
pub mod types;
mod views;

pub use server::{Api, ServerConfig, serve, token};

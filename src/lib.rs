//! trimtab holds machine-learning models at what Git says.
//!
//! ```text
//!  Git ──source──▶ spec ──▶ desired ──┐
//!                                     ├──▶ plan (pure) ──▶ reconcile ──▶ effects: data · train · deploy · route
//!  sled ──store──▶ observed ──────────┘                        │
//!    ▲─────────────────────────────────────────────────────────┘──▶ events ──▶ api ──▶ cli · tui
//! ```
//!
//! Imports run downward only: [`model`] imports nothing of ours; [`spec`], [`plan`], [`rollout`] are pure and see `model` alone;
//! adapters (`source`, `store`, `artifact`, `data`, `train`, `deploy`, `route`) see `model`, [`ports`] and [`process`] (`deploy` also `route`); `reconcile` sees
//! the pure modules, the ports and the store; `api` sees a handle to `reconcile`; `tui` sees `api`'s client and types; `cli` wires it all.

pub mod api;
pub mod artifact;
pub mod cli;
pub mod data;
pub mod deploy;
pub mod model;
pub mod plan;
pub mod ports;
pub mod process;
pub mod reconcile;
pub mod rollout;
pub mod route;
pub mod source;
pub mod spec;
pub mod store;
pub mod train;
pub mod tui;

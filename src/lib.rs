//! trimtab holds machine-learning models at what Git says.
//!
//! ```text
//!  Git ──source──▶ spec ──▶ desired ──┐
//!                                     ├──▶ plan (pure) ──▶ reconcile ──▶ effects: data · train · deploy · route
//!  sled ──store──▶ observed ──────────┘                        │
//!    ▲─────────────────────────────────────────────────────────┘──▶ events ──▶ api ──▶ cli · tui
//! ```
//!
//! Imports run downward only, as the table in `ARCHITECTURE.md` says and a test holds: [`model`] imports nothing of ours, and [`ports`] only it;
//! [`gc`], [`rollout`], [`plan`] (which asks `rollout`) and [`spec`] (which reads Git's tree through a port) are pure; adapters ([`source`], [`store`], [`artifact`],
//! [`data`], [`train`], [`deploy`], [`route`], [`serve`], [`mlflow`]) do not see each other, but for `deploy`, which drives `route`, and `train`, which asks `spec` for the order of stages;
//! [`exchange`] drives `mlflow` and [`tracking`];
//! [`reconcile`] sees the pure modules, the ports and the store, and no adapter; [`api`] adds a handle to `reconcile`; [`tui`] sees `api`'s client and types;
//! [`cli`] wires it all.
//!
//! # Words
//!
//! - **spec**: one TOML file in Git ([`spec`]). **Source**: the repository, branch and folder that are watched. **Revision**: a commit of it.
//! - **desired state**: all specs of one revision, resolved and checked ([`model::DesiredModel`]). **Observed state**: what the store last saw to be true
//!   ([`model::ObservedModel`]). **Plan**: the actions from observed to desired, each with its reason ([`model::ModelPlan`]).
//! - **look**: one pass over one model: observe, plan, write the intention, act ([`reconcile`]).
//! - **snapshot**: an immutable state of a dataset, named by its content. **Pin**: the snapshot that an input of a model stands at. **Lock**: `trimtab.lock`
//!   beside a model's spec, which keeps its pins in Git.
//! - **run**: one execution of a stage under a **shim**. **Pipeline**: the stages of a model, run in the order of their inputs.
//! - **fingerprint**: the content hash that names a **version**, an immutable trained artifact, shown as `v7`. **Gate**: what a version must pass.
//! - **environment**: where versions are deployed, by a **target**. **Release**: a version as one `[serve]` runs it; **replicas** are its processes.
//! - **rollout**: moving an environment's traffic from one release to another, in steps, under analysis. **Stable**: the release that has traffic between
//!   rollouts. **Warm**: a release that still runs so that a revert is quick.
//! - **sync status**: whether what runs is what Git asks for. **Health**: whether what runs is well. Both in [`model`].

pub mod api;
pub mod artifact;
pub mod cli;
pub mod data;
pub mod deploy;
pub mod exchange;
pub mod gc;
pub mod mlflow;
pub mod model;
pub mod plan;
pub mod ports;
pub mod process;
pub mod reconcile;
pub mod rollout;
pub mod route;
pub mod search;
pub mod serve;
pub mod source;
pub mod spec;
pub mod store;
pub mod tracking;
pub mod train;
pub mod tui;

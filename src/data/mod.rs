//! Datasets and their snapshots.

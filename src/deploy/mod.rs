//! Targets: the local one supervises replica processes.

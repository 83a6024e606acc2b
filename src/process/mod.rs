//! Child processes that outlive the daemon: the shim, process identity, adoption.

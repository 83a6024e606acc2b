//! The terminal UI: state, update, view.

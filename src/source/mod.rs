//! The watched Git repository: fetch, read by object id, push bot commits, notifications.

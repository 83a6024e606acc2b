//! The observed state on disk: records, group commit, backup. The only folder that names sled.

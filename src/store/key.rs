//! Keys: a letter for the kind, then names, so that one kind is one range. Names hold no byte below `-`, so `/` separates.

use crate::model::*;

pub const SOURCE: &[u8] = b"s/source";
/// What sled holds: see `content`.
pub const CONTENT: &[u8] = b"_/content";
pub const EVENTS: &[u8] = b"e/";
pub const MODELS: &[u8] = b"m/";
pub const SNAPSHOTS: &[u8] = b"d/";

pub fn model(name: &Name) -> Vec<u8> {
    format!("m/{name}").into_bytes()
}
pub fn versions(model: &Name) -> Vec<u8> {
    format!("v/{model}/").into_bytes()
}
pub fn version(model: &Name, number: VersionNumber) -> Vec<u8> {
    format!("v/{model}/{:010}", number.0).into_bytes()
}
pub fn fingerprint(model: &Name, fingerprint: &Digest) -> Vec<u8> {
    format!("f/{model}/{}", fingerprint.hex()).into_bytes()
}
pub fn run(id: &RunId) -> Vec<u8> {
    format!("r/{id}").into_bytes()
}
pub fn runs_of_model(model: &Name) -> Vec<u8> {
    format!("R/{model}/").into_bytes()
}
/// Ordered by start.
pub fn run_of_model(run: &Run) -> Vec<u8> {
    format!("R/{}/{:020}/{}", run.model, run.started_steady.0, run.id).into_bytes()
}
pub fn stage(key: &Digest) -> Vec<u8> {
    format!("k/{}", key.hex()).into_bytes()
}
pub fn snapshots(dataset: &Name) -> Vec<u8> {
    format!("d/{dataset}/").into_bytes()
}
pub fn snapshot(dataset: &Name, digest: &Digest) -> Vec<u8> {
    format!("d/{dataset}/{}", digest.hex()).into_bytes()
}
pub fn event(seq: u64) -> Vec<u8> {
    let mut key = EVENTS.to_vec();
    key.extend_from_slice(&seq.to_be_bytes());
    key
}
pub fn event_of_model(model: &Name, seq: u64) -> Vec<u8> {
    let mut key = events_of_model(model);
    key.extend_from_slice(&seq.to_be_bytes());
    key
}
pub fn events_of_model(model: &Name) -> Vec<u8> {
    format!("E/{model}/").into_bytes()
}
pub fn override_of_model(model: &Name, seq: u64) -> Vec<u8> {
    let mut key = format!("O/{model}/").into_bytes();
    key.extend_from_slice(&seq.to_be_bytes());
    key
}
pub fn event_of_commit(commit: &ObjectId, seq: u64) -> Vec<u8> {
    let mut key = events_of_commit(commit);
    key.extend_from_slice(&seq.to_be_bytes());
    key
}
pub fn events_of_commit(commit: &ObjectId) -> Vec<u8> {
    format!("C/{commit}/").into_bytes()
}
pub fn fact(name: &str) -> Vec<u8> {
    format!("x/{name}").into_bytes()
}

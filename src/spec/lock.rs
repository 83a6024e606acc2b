//! `trimtab.lock`: the snapshots that a model's inputs are pinned to.

use super::decode::File;
use crate::model::*;
use std::collections::BTreeMap;

const SCHEMA: &str = "trimtab/lock/v1";

/// The lock's text; the same pins give the same bytes.
pub fn render(snapshots: &BTreeMap<Name, Digest>) -> String {
    let mut out = format!(
        "# Written by trimtab: pins this model's data, so that a revert brings the data back too.\nschema = \"{SCHEMA}\"\n\n[snapshots]\n"
    );
    for (input, digest) in snapshots {
        out.push_str(&format!("{input} = \"{digest}\"\n"));
    }
    out
}

/// Reads a lock.
pub fn parse(path: &str, bytes: &[u8]) -> Result<BTreeMap<Name, Digest>, Vec<Diagnostic>> {
    File::read(path, bytes, SCHEMA, |root| {
        let mut pins = BTreeMap::new();
        if let Some(mut table) = root.table("snapshots") {
            for key in table.keys() {
                let name = table.checked_key(&key, |k| Name::new(k).map_err(|e| e.to_string()));
                let digest = table.checked(&key, |s| Digest::try_from(s.to_owned()).map_err(|e| e.to_string()));
                if let (Some(name), Some(digest)) = (name, digest) {
                    pins.insert(name, digest);
                }
            }
            table.finish();
        }
        pins
    })
    .map(|(pins, _)| pins)
}

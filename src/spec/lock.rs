//! `trimtab.lock`: the snapshots that a model's inputs are pinned to.

use super::{
    decode::{File, Table},
    paths,
};
use crate::model::*;

const SCHEMA: &str = "trimtab/lock/v1";

/// The lock's text; the same pins give the same bytes.
pub fn render(pins: &Lock) -> String {
    let mut out = format!(
        "# Written by trimtab: pins this model's data, so that a revert brings the data back too.\nschema = \"{SCHEMA}\"\n"
    );
    for (input, pin) in pins {
        let LockedInput { dataset, source, snapshot } = pin.as_ref();
        let source = toml::Value::String(source.to_string());
        out.push_str(&format!(
            "\n[inputs.{input}]\ndataset = \"{dataset}\"\nsource = {source}\nsnapshot = \"{snapshot}\"\n"
        ));
    }
    out
}

/// Reads a lock.
pub fn parse(path: &str, bytes: &[u8]) -> Result<Lock, Vec<Diagnostic>> {
    File::read(path, bytes, SCHEMA, |root| {
        let mut pins = Lock::new();
        if let Some(mut inputs) = root.table("inputs") {
            for (key, mut table) in inputs.named_tables() {
                let name = inputs.checked_key(&key, |k| Name::new(k).map_err(|e| e.to_string()));
                pins.extend(name.zip(input(&mut table).map(Box::new)));
                table.finish();
            }
        }
        pins
    })
    .map(|(pins, _)| pins)
}

fn input(table: &mut Table) -> Option<LockedInput> {
    for key in ["dataset", "source", "snapshot"].into_iter().filter(|k| !table.has(k)) {
        table.error(format!("missing key `{key}`: delete the lock, trimtab writes it anew"));
    }
    let dataset = table.name("dataset");
    let source = table.parsed("source", |s| match paths::url(s) {
        Ok(url) => Ok(DataSource::Url(url)),
        Err(_) => paths::relative(s).map(DataSource::Path),
    });
    let snapshot = table.parsed("snapshot", |s| Digest::try_from(s.to_owned()).map_err(|e| e.to_string()));
    Some(LockedInput { dataset: dataset?, source: source?, snapshot: snapshot? })
}

//! `trimtab.lock`: the snapshots that a model's inputs are pinned to.

use super::{
    decode::{File, Table},
    paths,
};
use crate::model::*;
use std::collections::BTreeMap;

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

/// Why a model's lock has to be written when its data is pinned to these snapshots, for people: one line.
pub fn why(model: &DesiredModel, snapshots: &BTreeMap<Name, Digest>) -> String {
    let wanted = model.lock_for(snapshots);
    let of_input = |input: &Name, new: &LockedInput| {
        let said = match model.lock.get(input) {
            None => "data resolved for the first time".to_owned(),
            Some(old) if old.dataset != new.dataset => format!("reads {} instead of {} now", new.dataset, old.dataset),
            Some(old) if old.source != new.source => {
                format!("the source of {} changed from {} to {}", new.dataset, old.source, new.source)
            }
            Some(old) if old.snapshot != new.snapshot => "new data".to_owned(),
            Some(_) => return None,
        };
        Some(format!("{input}: {said}"))
    };
    let gone = model.lock.keys().filter(|input| !wanted.contains_key(*input));
    let all: Vec<String> = wanted
        .iter()
        .filter_map(|(input, new)| of_input(input, new))
        .chain(gone.map(|i| format!("{i}: no input any more")))
        .collect();
    all.join("; ")
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
    let source = table.parsed("source", |s| {
        if s.starts_with("registry:") {
            return paths::registry(s).map(DataSource::Registry);
        }
        match paths::url(s) {
            Ok(url) => Ok(DataSource::Url(url)),
            Err(_) => paths::relative(s).map(DataSource::Path),
        }
    });
    let snapshot = table.parsed("snapshot", |s| Digest::try_from(s.to_owned()).map_err(|e| e.to_string()));
    Some(LockedInput { dataset: dataset?, source: source?, snapshot: snapshot? })
}

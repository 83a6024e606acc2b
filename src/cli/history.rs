//! A model's versions, and what people let through of them.

use super::{
    fail::Outcome,
    global::Global,
    steer::ModelArgs,
    text::{table, visible},
};
use crate::{
    api::{client::ClientError, types::*},
    model::*,
};
use std::process::ExitCode;

pub fn history(global: &Global, args: &ModelArgs) -> Outcome {
    let path = format!("/api/v1/models/{}", args.model);
    let (versions, words) = global.block(async {
        let client = global.client();
        let versions: Vec<VersionBrief> = client.get(&format!("{path}/versions")).await?;
        let mut words: Vec<Event> = vec![];
        // What only clients registered has versions, and nothing that waits for a person's word.
        let page = |before: Option<u64>| before.map_or(String::new(), |seq| format!("?before={seq}"));
        loop {
            let path = format!("{path}/overrides{}", page(words.last().map(|w| w.seq)));
            match client.get::<Vec<Event>>(&path).await {
                Ok(more) if !more.is_empty() => words.extend(more),
                Ok(_) | Err(ClientError::NotFound(_)) => return Ok((versions, words)),
                Err(e) => return Err(e.into()),
            }
        }
    })?;
    if global.json {
        global.print(&versions)?;
        return Ok(ExitCode::SUCCESS);
    }
    if versions.is_empty() {
        println!("{} has no version yet: `trimtab status {}` says what it waits for.", args.model, args.model);
        return Ok(ExitCode::SUCCESS);
    }
    let row = |v: &VersionBrief| {
        let metrics: Vec<String> = v.metrics.iter().map(|(k, m)| format!("{} {m:.4}", visible(k))).collect();
        let gates = if v.gates.iter().all(|g| g.passed) { "✓" } else { "✗" };
        let serves: Vec<&str> = v.serves.iter().map(Name::as_str).collect();
        vec![
            v.number.to_string(),
            v.fingerprint.short(),
            gates.into(),
            v.duration.to_string(),
            metrics.join(", "),
            match v.origin {
                Origin::Pipeline => v.commit.short().to_owned(),
                Origin::Client => "client".to_owned(),
            },
            visible(&v.author),
            visible(&v.summary),
            serves.join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = versions.iter().rev().map(row).collect();
    print!(
        "{}",
        table(&["VERSION", "CONTENT", "GATES", "TRAINED", "METRICS", "COMMIT", "AUTHOR", "SUMMARY", "SERVES"], &rows)
    );
    for word in words.iter().rev() {
        println!("{}", visible(&word.message));
    }
    Ok(ExitCode::SUCCESS)
}

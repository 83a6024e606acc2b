//! `trimtab show`: one version with its lineage.

use super::{
    fail::{Failure, Outcome},
    global::Global,
    runs::{
        find, now,
        wire::{Tracking, VersionDoc},
    },
    text::{ago, visible},
};
use crate::{
    api::client::{Client, ClientError},
    model::{Name, Origin, Version},
};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// MODEL@VERSION or MODEL@ALIAS
    version: String,
}

pub fn show(global: &Global, args: &Args) -> Outcome {
    let (model, word) = args
        .version
        .rsplit_once('@')
        .ok_or_else(|| Failure::with(64, "write MODEL@VERSION, such as fraud@v7, or MODEL@ALIAS"))?;
    let (made, registered) = global.block(async {
        let tracking = Tracking(global.client());
        let registered = tracking.version(model, word).await?;
        let number = find::number(word).or(registered.as_ref().map(|r| r.version.as_str()));
        let made = match (model.parse::<Name>(), number) {
            (Ok(model), Some(number)) => made(&tracking.0, &model, number).await?,
            // The registry has names that no model of the loop can have.
            _ => None,
        };
        match (&made, &registered) {
            (None, None) => Err(find::missing(&tracking, model, word).await?),
            _ => Ok((made, registered)),
        }
    })?;
    if global.json {
        match (&made, &registered) {
            (Some(version), _) => global.print(version)?,
            (None, registered) => global.print(registered)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(version) = made.as_ref().filter(|v| v.origin == Origin::Pipeline) {
        print_pipeline(version);
    }
    if let Some(registered) = &registered {
        print_registered(registered, made.as_ref());
    }
    let Some(v) = &made else { return Ok(ExitCode::SUCCESS) };
    v.metrics.iter().for_each(|(k, m)| println!("  metric      {} = {m}", visible(k)));
    for g in &v.gates {
        println!("  gate        {} {}", if g.passed { "✓" } else { "✗" }, visible(&g.condition));
    }
    for s in &v.stages {
        println!("  stage       {} {} in {} ({})", s.name, if s.cached { "cached" } else { "ran" }, s.duration, s.run);
    }
    v.artifact.files.iter().for_each(|f| println!("  artifact    {} {} bytes {}", visible(&f.path), f.size, f.digest));
    v.packages.iter().for_each(|p| println!("  package     {}", visible(p)));
    Ok(ExitCode::SUCCESS)
}

/// The version as the loop has it.
async fn made(client: &Client, model: &Name, number: &str) -> Result<Option<Version>, Failure> {
    match client.get(&format!("/api/v1/models/{model}/versions/{number}")).await {
        Ok(version) => Ok(Some(version)),
        Err(ClientError::NotFound(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// What a pipeline made it from.
fn print_pipeline(v: &Version) {
    println!("{} {}   {}", v.model, v.number, v.fingerprint);
    println!(
        "  commit      {} by {} <{}>: {}",
        v.revision.commit.short(),
        visible(&v.revision.author),
        visible(&v.revision.email),
        visible(&v.revision.summary)
    );
    println!("  code        {} ({} files)", v.code.short(), v.code_files.files.len());
    println!("  trained     in {} on {}", v.duration, visible(&v.host));
    v.params.iter().for_each(|(k, p)| println!("  param       {} = {}", visible(k), visible(&p.to_string())));
    v.snapshots.iter().for_each(|(i, s)| println!("  data        {i} = {s}"));
}

/// What the registry knows of it: of a client's version where it came from, of a pipeline's what was said of it since.
fn print_registered(r: &VersionDoc, made: Option<&Version>) {
    let pipeline = made.filter(|v| v.origin == Origin::Pipeline);
    let line = |what: &str, text: &str| {
        if !text.is_empty() {
            println!("  {what:<11} {text}");
        }
    };
    if pipeline.is_none() {
        // Whoever made its run; the word stands where nobody is known.
        let by = made.map(|v| v.revision.author.as_str()).filter(|a| !a.is_empty() && *a != "client");
        println!("{} v{}", visible(&r.name), r.version);
        let by = by.map_or(String::new(), |by| format!(" ({})", visible(by)));
        line("registered", &format!("{} ago by a client{by}", ago(now() - r.creation_timestamp)));
        line("run", &visible(&r.run_id));
        line("source", &visible(&r.source));
    }
    line("aliases", &r.aliases.iter().map(|a| visible(a)).collect::<Vec<_>>().join(", "));
    line("stage", if r.current_stage == "None" { "" } else { &r.current_stage });
    // A pipeline's is the commit's summary until it is changed.
    if pipeline.is_none_or(|v| v.revision.summary != r.description) {
        r.description.lines().for_each(|l| line("description", &visible(l)));
    }
    let own = r.tags.iter().filter(|t| pipeline.is_none() || !t.key.starts_with("trimtab."));
    own.for_each(|t| line("tag", &format!("{} = {}", visible(&t.key), visible(&t.value))));
}

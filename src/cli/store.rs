//! `trimtab backup` and `trimtab restore`.

use super::{
    fail::{Failure, Outcome},
    global::Global,
};
use crate::{
    api::{
        client::{Client, ClientError},
        types::*,
    },
    store::{self, Store},
};
use futures::StreamExt;
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    file: PathBuf,
}

/// By the daemon when one runs, else directly. A daemon elsewhere sends it.
pub fn backup(global: &Global, args: &Args) -> Outcome {
    let file = std::path::absolute(&args.file)?;
    if global.api.is_some() {
        global.block(receive(global.client(), &file))?;
        return global.print_files(&[file], "");
    }
    let body = BackupBody { file: Some(file.clone()) };
    let answer = global.block(async { Ok(global.client().post::<Done>("/api/v1/backup", &body).await) })?;
    match answer {
        Err(ClientError::Unreachable(_)) if global.state.join("db").exists() => {
            Store::open(&global.state)?.backup(&file)?
        }
        other => drop(other?),
    }
    global.print_files(&[file], "")
}

/// The file is there whole or not at all.
async fn receive(client: Client, file: &Path) -> Result<(), Failure> {
    let mut chunks = client.post_stream("/api/v1/backup", &BackupBody::default()).await?;
    let told = |e: std::io::Error| Failure::new(format!("{}: {e}", file.display()));
    let folder = file.parent().unwrap_or(Path::new("/"));
    let mut part = tempfile::NamedTempFile::new_in(folder).map_err(told)?;
    while let Some(chunk) = chunks.next().await {
        part.write_all(&chunk?).map_err(told)?;
    }
    part.as_file().sync_all().map_err(told)?;
    part.persist(file).map_err(|e| told(e.error))?;
    Ok(())
}

pub fn restore(global: &Global, args: &Args) -> Outcome {
    if !args.file.is_file() {
        return Err(Failure::new(format!("{} is no file", args.file.display())));
    }
    let records = store::restore(&args.file, &global.state)?;
    if global.json {
        global.print(&serde_json::json!({ "records": records, "state": global.state }))?;
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{records} records restored to {}; the database before is kept as db.before-restore",
        global.state.display()
    );
    Ok(ExitCode::SUCCESS)
}

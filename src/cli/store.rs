//! `trimtab backup` and `trimtab restore`.

use super::{
    fail::{Failure, Outcome},
    global::Global,
};
use crate::{
    api::{client::ClientError, types::*},
    store::{self, Store},
};
use std::{path::PathBuf, process::ExitCode};

#[derive(Debug, clap::Args)]
pub struct Args {
    file: PathBuf,
}

/// By the daemon when one runs, else directly.
pub fn backup(global: &Global, args: &Args) -> Outcome {
    let file = std::path::absolute(&args.file)?;
    let body = BackupBody { file: file.clone() };
    let answer = global.block(async { Ok(global.client().post::<Done>("/api/v1/backup", &body).await) })?;
    match answer {
        Err(ClientError::Unreachable(_)) if global.api.is_none() && global.state.join("db").exists() => {
            Store::open(&global.state)?.backup(&file)?
        }
        other => drop(other?),
    }
    println!("{}", file.display());
    Ok(ExitCode::SUCCESS)
}

pub fn restore(global: &Global, args: &Args) -> Outcome {
    if !args.file.is_file() {
        return Err(Failure::new(format!("{} is no file", args.file.display())));
    }
    let records = store::restore(&args.file, &global.state)?;
    println!(
        "{records} records restored to {}; the database before is kept as db.before-restore",
        global.state.display()
    );
    Ok(ExitCode::SUCCESS)
}

//! `trimtab predict`: one request through the router.

use super::{
    fail::{Failure, Outcome},
    global::Global,
};
use crate::{
    api::{client, types::Fleet},
    model::Name,
};
use std::{path::PathBuf, process::ExitCode};

#[derive(Debug, clap::Args)]
pub struct Args {
    model: Name,
    /// The request's body: JSON of the Open Inference Protocol; `-` for standard input
    file: PathBuf,
    /// Another environment than the live one
    #[arg(long)]
    env: Option<Name>,
    /// Path below the model
    #[arg(long)]
    path: Option<String>,
}

pub fn run(global: &Global, args: &Args) -> Outcome {
    let body = if args.file.as_os_str() == "-" {
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut all)?;
        all
    } else {
        std::fs::read(&args.file).map_err(|e| Failure::new(format!("{}: {e}", args.file.display())))?
    };
    let (status, version, text) = global.block(async {
        let fleet: Fleet = global.client().get("/api/v1/fleet").await?;
        let router = fleet.router.ok_or_else(|| Failure::with(69, "the router does not run"))?;
        let place = match &args.env {
            Some(env) => format!("environments/{env}/models/{}", args.model),
            None => format!("models/{}", args.model),
        };
        let path = args.path.clone().unwrap_or_else(|| format!("v2/models/{}/infer", args.model));
        let url = format!("{router}/{place}/{}", path.trim_start_matches('/'));
        let failed = |e: reqwest::Error| Failure::with(69, format!("the router does not answer: {e}"));
        let answer = client::web(&url)
            .map_err(failed)?
            .post(url)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .map_err(failed)?;
        let version = answer.headers().get("x-trimtab-version").and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
        Ok((answer.status(), version, answer.text().await.map_err(failed)?))
    })?;
    if global.json {
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text));
        global.print(&serde_json::json!({ "status": status.as_u16(), "version": version, "answer": answer }))?;
    } else {
        println!("{text}");
        eprintln!("{status} by {version}");
    }
    Ok(ExitCode::from(u8::from(!status.is_success())))
}

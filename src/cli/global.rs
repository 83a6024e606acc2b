//! Flags that every command has, and how it finds its daemon.

use super::fail::{Failure, Outcome};
use crate::api::client::{Client, Endpoint};
use std::{future::Future, path::PathBuf, process::ExitCode};

/// Flags of every command.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// State folder of the daemon
    #[arg(long, global = true, env = "TRIMTAB_STATE", default_value = "state", value_name = "DIR")]
    pub state: PathBuf,
    /// Address of a daemon's API, instead of the state folder's socket; the token is read from TRIMTAB_TOKEN
    #[arg(long, global = true, env = "TRIMTAB_API", value_name = "URL")]
    pub api: Option<String>,
    /// Print one JSON document
    #[arg(long, global = true)]
    pub json: bool,
}

impl Global {
    /// The daemon's client.
    pub fn client(&self) -> Client {
        Client::new(match &self.api {
            Some(url) => Endpoint::Http { url: url.clone(), token: std::env::var("TRIMTAB_TOKEN").ok() },
            None => Endpoint::Socket(self.state.join("trimtab.sock")),
        })
    }

    /// Runs what asks the daemon.
    pub fn block<T>(&self, task: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(task)
    }

    /// Prints a text for a program: as it is, or as `text` of a document.
    pub fn print_text(&self, text: &[u8]) -> Outcome {
        let text = String::from_utf8_lossy(text);
        if self.json {
            self.print(&serde_json::json!({ "text": text }))?;
        } else {
            print!("{text}");
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Prints the files that were written, and for people what comes next.
    pub fn print_files(&self, files: &[PathBuf], next: &str) -> Outcome {
        if self.json {
            self.print(&serde_json::json!({ "files": files }))?;
        } else {
            files.iter().for_each(|f| println!("{}", f.display()));
            if !next.is_empty() {
                println!("{next}");
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Prints a document as JSON.
    pub fn print(&self, value: &impl serde::Serialize) -> Result<(), Failure> {
        println!("{}", serde_json::to_string_pretty(value)?);
        Ok(())
    }
}

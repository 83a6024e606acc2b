//! Approving a version, and letting one through without.

use super::{
    fail::{Failure, Outcome},
    global::Global,
    steer,
};
use crate::{api::types::*, model::*};

#[derive(Debug, clap::Args)]
pub struct ApproveArgs {
    model: Name,
    /// The environment, when several ask for approvals
    #[arg(long)]
    env: Option<Name>,
    /// The version to approve; the one that Git asks for when left out
    #[arg(long)]
    version: Option<String>,
    /// Why, or what was checked
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Who approves, such as "Ada <ada@example.com>"; git's user.name and user.email when left out
    #[arg(long, value_name = "NAME <EMAIL>")]
    author: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct PromoteArgs {
    model: Name,
    /// The environment, when releases wait in several
    #[arg(long)]
    env: Option<Name>,
    /// The version that is meant: when another one waits by now, nothing is let through
    #[arg(long)]
    version: Option<String>,
    /// Why it does not wait: recorded
    #[arg(long = "override", value_name = "REASON")]
    reason: String,
}

/// Name and address, as git would put them on a commit made here.
pub(super) fn author(given: Option<&str>) -> Result<(String, String), Failure> {
    if let Some(given) = given {
        let parts = given.strip_suffix('>').and_then(|g| g.split_once('<'));
        let (name, email) = parts.ok_or_else(|| Failure::with(64, "--author is such as \"Ada <ada@example.com>\""))?;
        return Ok((name.trim().to_owned(), email.trim().to_owned()));
    }
    let config = git2::Repository::discover(".").and_then(|r| r.config()).or_else(|_| git2::Config::open_default());
    let of = |variable: &str, key: &str| {
        let set = std::env::var(variable).ok().filter(|v| !v.is_empty());
        set.or_else(|| config.as_ref().ok()?.get_string(key).ok())
    };
    let both = of("GIT_AUTHOR_NAME", "user.name").zip(of("GIT_AUTHOR_EMAIL", "user.email"));
    both.ok_or_else(|| Failure::new("git does not know who you are: set user.name and user.email, or give --author"))
}

pub fn approve(global: &Global, args: &ApproveArgs) -> Outcome {
    let (name, email) = author(args.author.as_deref())?;
    let version = args.version.as_deref().map(steer::version).transpose()?;
    let (environment, comment) = (args.env.clone(), args.message.clone());
    let body = ApproveBody { environment, version, waiting: false, comment, name, email };
    let path = format!("/api/v1/models/{}/approve", args.model);
    let answer: Done = global.block(async { Ok(global.client().post(&path, &body).await?) })?;
    steer::done(global, &answer)
}

pub fn promote(global: &Global, args: &PromoteArgs) -> Outcome {
    let version = args.version.as_deref().map(steer::version).transpose()?;
    let body = PromoteBody { environment: args.env.clone(), version, reason: args.reason.clone() };
    let path = format!("/api/v1/models/{}/promote", args.model);
    let answer: Done = global.block(async { Ok(global.client().post(&path, &body).await?) })?;
    steer::done(global, &answer)
}

//! Commands that ask the daemon to do something.

use super::{
    fail::{Failure, Outcome},
    global::Global,
    text,
};
use crate::{api::types::*, model::*, plan::render};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    pub model: Name,
}

#[derive(Debug, clap::Args)]
pub struct SyncArgs {
    /// Wait until this model was looked at too
    model: Option<Name>,
    /// Retire what a held commit deletes
    #[arg(long)]
    prune: bool,
}

#[derive(Debug, clap::Args)]
pub struct RolloutArgs {
    #[arg(value_enum)]
    verb: RolloutVerb,
    model: Name,
    /// The environment, when the model rolls out in several
    #[arg(long)]
    env: Option<Name>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum RolloutVerb {
    Status,
    Pause,
    Resume,
    Promote,
    Abort,
    Retry,
}

#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    #[arg(required_unless_present = "commit")]
    model: Option<Name>,
    /// The version to go back to; the one before when left out
    #[arg(long)]
    to: Option<String>,
    /// Undo this commit of the specs, whatever models it changed
    #[arg(long, conflicts_with_all = ["model", "to"])]
    commit: Option<String>,
    /// Only print the plan of the result: nothing is pushed
    #[arg(long, requires = "commit")]
    dry_run: bool,
}

/// Tells what was done.
pub fn done(global: &Global, done: &Done) -> Outcome {
    if global.json {
        global.print(done)?;
    } else {
        println!("{}", text::visible(&done.message));
    }
    Ok(ExitCode::SUCCESS)
}

pub fn sync(global: &Global, args: &SyncArgs) -> Outcome {
    let answer: Done = global.block(async {
        if let Some(model) = &args.model {
            global.client().get::<ModelDetail>(&format!("/api/v1/models/{model}")).await?;
        }
        Ok(global.client().post("/api/v1/sync", &SyncBody { prune: args.prune }).await?)
    })?;
    done(global, &answer)
}

/// A command of one model without further arguments.
pub fn post(global: &Global, args: &ModelArgs, verb: &str) -> Outcome {
    let answer: Done = global
        .block(async { Ok(global.client().post(&format!("/api/v1/models/{}/{verb}", args.model), &()).await?) })?;
    done(global, &answer)
}

pub fn diff(global: &Global, args: &ModelArgs) -> Outcome {
    let path = format!("/api/v1/models/{}/diff", args.model);
    let fields: Vec<FieldDiff> =
        global.block(async { Ok(global.client().get(&path).await?) }).map_err(|e: Failure| e.code(2))?;
    if global.json {
        global.print(&fields)?;
    } else if fields.is_empty() {
        println!("{} is what Git says.", args.model);
    } else {
        for f in &fields {
            println!("{}", text::visible(&f.field));
            for (sign, value, colour) in [("-", &f.live, 31), ("+", &f.desired, 32)] {
                if let Some(v) = value {
                    println!("  {}", text::paint(&format!("{sign} {}", text::visible(v)), colour));
                }
            }
        }
    }
    Ok(ExitCode::from(u8::from(!fields.is_empty())))
}

pub fn rollout(global: &Global, args: &RolloutArgs) -> Outcome {
    let verb = match args.verb {
        RolloutVerb::Status => return super::observe::rollout(global, &args.model),
        RolloutVerb::Pause => "pause",
        RolloutVerb::Resume => "resume",
        RolloutVerb::Promote => "promote",
        RolloutVerb::Abort => "abort",
        RolloutVerb::Retry => "retry",
    };
    let query = args.env.as_ref().map(|e| format!("?environment={e}")).unwrap_or_default();
    let path = format!("/api/v1/models/{}/rollout/{verb}{query}", args.model);
    let answer: Done = global.block(async { Ok(global.client().post(&path, &()).await?) })?;
    done(global, &answer)
}

/// `v6` or `6`.
pub fn version(text: &str) -> Result<VersionNumber, Failure> {
    let number = text.trim_start_matches('v').parse().map(VersionNumber);
    number.map_err(|_| Failure::with(64, format!("`{text}` is no version: write v6")))
}

pub fn rollback(global: &Global, args: &RollbackArgs) -> Outcome {
    let Some(model) = &args.model else { return revert(global, args) };
    let to = args.to.as_deref().map(version).transpose()?;
    let path = format!("/api/v1/models/{model}/rollback");
    let answer: Done = global.block(async { Ok(global.client().post(&path, &RollbackBody { to }).await?) })?;
    done(global, &answer)
}

fn revert(global: &Global, args: &RollbackArgs) -> Outcome {
    let commit = args.commit.clone().unwrap_or_default();
    let body = RevertBody { commit, dry_run: args.dry_run, on: None };
    let answer: Reverted = global.block(async { Ok(global.client().post("/api/v1/revert", &body).await?) })?;
    if global.json {
        global.print(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", text::visible(&answer.message));
    if let Some(plan) = &answer.plan {
        println!();
        print!("{}", text::highlight(&crate::spec::render::text(&plan.diagnostics)));
        print!("{}", text::highlight(&render::fleet(plan, plan.at)));
    }
    Ok(ExitCode::SUCCESS)
}

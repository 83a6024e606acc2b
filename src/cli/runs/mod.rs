//! `trimtab runs` and `trimtab compare`: what is tracked, by pipelines and by clients of MLflow alike.

pub(super) mod find;
mod table;
#[cfg(test)]
mod tests;
pub(super) mod wire;

use super::{
    fail::{Failure, Outcome},
    global::Global,
    text::{ago, room, table_within, visible},
};
use crate::{model::BadName, ports::Clock, process::SystemClock};
use find::Meant;
use serde_json::json;
use std::process::ExitCode;
use wire::{ExperimentDoc, Shown, Tracking};

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Experiment or model by name or ID, or a run by how its ID begins; all experiments are listed when left out
    pub experiment: Option<String>,
    /// Only runs that this holds for, in MLflow's grammar
    #[arg(long, value_name = "FILTER")]
    pub filter: Option<String>,
    /// Order, such as "metrics.auc DESC"; the newest come first when left out
    #[arg(long, value_name = "ORDER")]
    pub order_by: Vec<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub limit: u32,
    /// A model's stages as they were executed, with cache key, attempt and outcome
    #[arg(long, requires = "experiment", conflicts_with_all = ["filter", "order_by"])]
    pub stages: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub struct CompareArgs {
    /// Runs by how their IDs begin, or versions as MODEL@v7 or MODEL@ALIAS
    #[arg(required = true, num_args = 2..)]
    pub runs: Vec<String>,
}

pub(super) fn now() -> i64 {
    SystemClock::continuing(None).now().wall.0
}

pub fn runs(global: &Global, args: &Args) -> Outcome {
    let Some(word) = &args.experiment else { return experiments(global) };
    if args.stages {
        let model = word.parse().map_err(|e: BadName| Failure::with(64, e.to_string()))?;
        return super::observe::stages(global, &model);
    }
    let tracking = Tracking(global.client());
    let filter = args.filter.as_deref().unwrap_or_default();
    let (found, of_model) = match global.block(find::meant(&tracking, word))? {
        Meant::Run(_) if args.filter.is_some() || !args.order_by.is_empty() => {
            return Err(Failure::with(64, format!("{word} is one run: there is nothing to filter or to order")));
        }
        Meant::Run(run) => return one(global, &tracking, *run),
        Meant::Experiment(e) => {
            (global.block(tracking.runs(&[e.experiment_id], filter, &args.order_by, args.limit))?, false)
        }
        Meant::Model(ids) if ids.is_empty() => {
            let why =
                format!("no version of the registered model {word} names a run; `trimtab history {word}` lists them");
            return Err(Failure::new(why));
        }
        Meant::Model(ids) => {
            let ids: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
            let own = Some(filter).filter(|f| !f.is_empty()).map_or(String::new(), |f| format!(" AND {f}"));
            let filter = format!("attributes.run_id IN ({}){own}", ids.join(", "));
            (global.block(tracking.runs_of_all(&filter, &args.order_by, args.limit))?, true)
        }
    };
    let more = found.next_page_token.is_some();
    let runs: Vec<Shown> = found.runs.into_iter().map(Shown::from).collect();
    if global.json {
        global.print(&runs)?;
        return Ok(ExitCode::SUCCESS);
    }
    if runs.is_empty() {
        match &args.filter {
            Some(_) => println!("No run of {} is as the filter asks.", visible(word)),
            None => println!("{} has no run yet.", visible(word)),
        }
        return Ok(ExitCode::SUCCESS);
    }
    print!("{}", table::listed(&runs, room()));
    if of_model {
        println!("Versions of the registered model {} came from these runs.", visible(word));
    }
    if more {
        println!("More runs than {} are there: ask with --limit, or narrow it by --filter.", args.limit);
    }
    Ok(ExitCode::SUCCESS)
}

/// A run with all that was logged to it; a list of one as JSON.
fn one(global: &Global, tracking: &Tracking, run: Shown) -> Outcome {
    if global.json {
        global.print(&[run])?;
        return Ok(ExitCode::SUCCESS);
    }
    let experiment = global.block(tracking.experiment(&run.experiment_id))?;
    print!("{}", table::whole(&run, experiment.map(|e| e.name).as_deref()));
    Ok(ExitCode::SUCCESS)
}

fn experiments(global: &Global) -> Outcome {
    let all = global.block(Tracking(global.client()).experiments())?;
    if global.json {
        let shown = |e: &ExperimentDoc| json!({"experiment_id": e.experiment_id, "name": e.name, "updated": e.last_update_time});
        global.print(&all.iter().map(shown).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |e: &ExperimentDoc| {
        vec![visible(&e.name), e.experiment_id.clone(), format!("{} ago", ago(now() - e.last_update_time))]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    print!("{}", table_within(&["EXPERIMENT", "ID", "CHANGED"], &rows, room(), |_, _| None));
    println!("`trimtab runs EXPERIMENT` lists the runs of one.");
    Ok(ExitCode::SUCCESS)
}

pub fn compare(global: &Global, args: &CompareArgs) -> Outcome {
    let runs: Vec<Shown> = global.block(async {
        let tracking = Tracking(global.client());
        let mut all = vec![];
        for word in &args.runs {
            all.push(find::run(&tracking, word).await?);
        }
        Ok(all)
    })?;
    if global.json {
        global.print(&json!({
            "runs": runs,
            "differing_params": table::differing(&runs),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    print!("{}", table::compared(&runs, room()));
    Ok(ExitCode::SUCCESS)
}

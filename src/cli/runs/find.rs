//! What the words of a command line name.

use super::wire::{ExperimentDoc, Shown, Tracking, VersionDoc};
use crate::{
    cli::{fail::Failure, text::visible},
    model::{Name, alike},
};

/// Letters of a run's id that may stand for all of it, at least.
const LEAST: usize = 6;
/// Of what there is, so many are told.
const TOLD: usize = 10;

/// What `trimtab runs WORD` is about.
pub enum Meant {
    Experiment(ExperimentDoc),
    Run(Box<Shown>),
    /// A registered model that is no experiment: the runs that its versions came from, by id.
    Model(Vec<String>),
}

/// The number in `v7` or `7`; an alias has none.
pub fn number(word: &str) -> Option<&str> {
    let digits = word.strip_prefix(['v', 'V']).unwrap_or(word);
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
}

fn quoted<'a>(names: impl IntoIterator<Item = &'a str>, between: &str) -> String {
    names.into_iter().map(|n| format!("`{}`", visible(n))).collect::<Vec<_>>().join(between)
}

/// `; did you mean …?`, or which there are when they are few.
fn instead(wanted: &str, all: &[String]) -> String {
    let names = || all.iter().map(String::as_str);
    match (alike(wanted, names()).as_slice(), all.len()) {
        ([], 0) => "; there is none yet".to_owned(),
        ([], 1..=TOLD) => format!("; there is {}", quoted(names(), ", ")),
        ([], _) => String::new(),
        (near, _) => format!("; did you mean {}?", quoted(near.iter().copied(), " or ")),
    }
}

/// What a word names, asked for in this order: an experiment's name, its id, a run, a registered model.
pub async fn meant(tracking: &Tracking, word: &str) -> Result<Meant, Failure> {
    if let Some(experiment) = tracking.experiment_named(word).await? {
        return Ok(Meant::Experiment(experiment));
    }
    if word.bytes().all(|b| b.is_ascii_digit())
        && let Some(experiment) = tracking.experiment(word).await?
    {
        return Ok(Meant::Experiment(experiment));
    }
    if let Some(run) = known_run(tracking, word).await? {
        return Ok(Meant::Run(Box::new(run)));
    }
    if tracking.model(word).await?.is_some() {
        let versions = tracking.versions(word).await?;
        return Ok(Meant::Model(versions.into_iter().map(|v| v.run_id).filter(|id| !id.is_empty()).collect()));
    }
    let mut names: Vec<String> = tracking.experiments().await?.into_iter().map(|e| e.name).collect();
    names.extend(tracking.models().await?);
    names.sort();
    names.dedup();
    Err(Failure::new(format!(
        "there is no experiment, run or registered model `{word}`{}\n`trimtab runs` lists all experiments",
        instead(word, &names)
    )))
}

/// The run that is meant: by its id or how that begins, or as the one that a version came from.
pub async fn run(tracking: &Tracking, word: &str) -> Result<Shown, Failure> {
    if let Some(run) = known_run(tracking, word).await? {
        return Ok(run);
    }
    if tracking.model(word).await?.is_some() {
        let has = having(tracking, word).await?;
        return Err(Failure::new(format!("{word} is a model: name a version, as in {word}@v7; there is {has}")));
    }
    if tracking.experiment_named(word).await?.is_some() {
        return Err(Failure::new(format!("{word} is an experiment: `trimtab runs {word}` lists the ids of its runs")));
    }
    Err(Failure::new(format!(
        "there is no run `{word}`: write its id or the first {LEAST} letters of it, which `trimtab runs EXPERIMENT` lists, or \
         MODEL@v7 for the run of a version"
    )))
}

/// `None` when the word can be no run.
async fn known_run(tracking: &Tracking, word: &str) -> Result<Option<Shown>, Failure> {
    if let Some(run) = tracking.run(word).await? {
        return Ok(Some(run));
    }
    // As tables have it where there is no room for all of it.
    let word = word.trim_end_matches('…');
    if word.len() >= LEAST && word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        let filter = format!("attributes.run_id LIKE '{word}%'");
        let found = tracking.runs_of_all(&filter, &[], TOLD as u32).await?;
        let mut runs: Vec<Shown> = found.runs.into_iter().map(Shown::from).collect();
        if runs.len() < 2 {
            return Ok(runs.pop());
        }
        let more = if found.next_page_token.is_some() { "\n  and more" } else { "" };
        let each = runs.iter().map(|r| format!("\n  {}  {}", r.run_id, r.name)).collect::<String>();
        return Err(Failure::new(format!("the ids of several runs begin with {word}: write more of one{each}{more}")));
    }
    let Some((model, version)) = word.rsplit_once('@') else { return Ok(None) };
    let version = self::version(tracking, model, version).await?;
    if version.run_id.is_empty() {
        return Err(Failure::new(format!(
            "{model}@v{} names no run that it came from; its source is {}",
            version.version, version.source
        )));
    }
    let gone = || Failure::new(format!("the run {} that {word} came from is not there any more", version.run_id));
    tracking.run(&version.run_id).await?.ok_or_else(gone).map(Some)
}

/// A version by number or alias.
pub async fn version(tracking: &Tracking, model: &str, word: &str) -> Result<VersionDoc, Failure> {
    match tracking.version(model, word).await? {
        Some(version) => Ok(version),
        None => Err(missing(tracking, model, word).await?),
    }
}

/// Why there is no such version: the model is none, or has others.
pub async fn missing(tracking: &Tracking, model: &str, word: &str) -> Result<Failure, Failure> {
    if tracking.model(model).await?.is_some() {
        let what = if number(word).is_some() { "version" } else { "alias" };
        let has = having(tracking, model).await?;
        return Ok(Failure::new(format!("{model} has no {what} `{word}`; there is {has}")));
    }
    // What was never trained is in the fleet alone.
    if let Ok(name) = model.parse::<Name>()
        && tracking.0.get::<serde_json::Value>(&format!("/api/v1/models/{name}")).await.is_ok()
    {
        return Ok(Failure::new(format!("{name} has no version yet: `trimtab status {name}` says what it waits for")));
    }
    let instead = instead(model, &tracking.models().await?);
    Ok(Failure::new(format!("there is no registered model `{model}`{instead}")))
}

/// `v7, v6, champion (v6)`.
async fn having(tracking: &Tracking, model: &str) -> Result<String, Failure> {
    let versions = tracking.versions(model).await?;
    let aliases = tracking.model(model).await?.map(|m| m.aliases).unwrap_or_default();
    let mut all: Vec<String> = versions.iter().take(TOLD).map(|v| format!("v{}", v.version)).collect();
    if versions.len() > TOLD {
        all.push(format!("{} older ones", versions.len() - TOLD));
    }
    all.extend(aliases.iter().map(|a| format!("{} (v{})", a.alias, a.version)));
    Ok(if all.is_empty() { "no version".to_owned() } else { all.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_number_with_or_without_its_letter() {
        let read = ["v7", "7", "V12", "champion", "v", "v7b", ""].map(number);
        assert_eq!(read, [Some("7"), Some("7"), Some("12"), None, None, None, None]);
    }

    #[test]
    fn what_there_is_is_told_instead() {
        let names = |all: &[&str]| all.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(instead("churm", &names(&["churn", "fraud"])), "; did you mean `churn`?");
        assert_eq!(instead("nope", &names(&["churn", "fraud"])), "; there is `churn`, `fraud`");
        assert_eq!(instead("nope", &[]), "; there is none yet");
        let many: Vec<String> = (0..40).map(|n| format!("experiment-{n}")).collect();
        assert_eq!(instead("nope", &many), "");
    }
}

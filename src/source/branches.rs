//! What is said of a branch that is not there.

use crate::{
    model::SourceReason,
    ports::{PortError, PortResult},
    source::tree::failed,
};
use git2::{BranchType, Repository};

/// Branches that are listed, at most.
const SHOWN: usize = 10;
/// How alike a name must be to be meant.
const ALIKE: f64 = 0.7;

/// Of a repository on this machine.
pub fn local(repo: &Repository) -> PortResult<Vec<String>> {
    let all = repo.branches(Some(BranchType::Local)).map_err(|e| failed(&e))?;
    let name = |b: git2::Branch| b.name_bytes().ok().map(|n| String::from_utf8_lossy(n).into_owned());
    Ok(all.flatten().filter_map(|(branch, _)| name(branch)).collect())
}

/// Says that a repository with these branches has none of that name.
pub fn missing(shown: &str, wanted: &str, mut all: Vec<String>) -> PortError {
    let alike = |name: &String| strsim::normalized_damerau_levenshtein(name, wanted);
    all.sort_by(|a, b| alike(b).total_cmp(&alike(a)).then_with(|| a.cmp(b)));
    let nearest = all.first().filter(|name| alike(name) >= ALIKE);
    let meant = nearest.map_or(".".to_owned(), |name| format!("; did you mean `{name}`?"));
    let said = format!("{shown} has no branch `{wanted}`{meant} {}", listed(&all));
    PortError::retryable(said).because(SourceReason::NoBranch)
}

/// Says that what a repository calls its default branch is none of these.
pub fn no_default(shown: &str, all: Vec<String>) -> PortError {
    let said = format!("{shown} has no commit on its default branch. {}", listed(&all));
    PortError::retryable(said).because(SourceReason::NoBranch)
}

fn listed(all: &[String]) -> String {
    let names: Vec<String> = all.iter().take(SHOWN).map(|n| format!("`{}`", n.escape_debug())).collect();
    let more = all.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("It has {}{more}: say which one to follow with --branch", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_named_and_few_are_listed() {
        let of = |wanted: &str, names: &[&str]| {
            missing("h:r", wanted, names.iter().map(|n| (*n).to_owned()).collect()).message
        };
        assert_eq!(
            of("mian", &["dev", "main"]),
            "h:r has no branch `mian`; did you mean `main`? It has `main`, `dev`: say which one to follow with --branch"
        );
        assert_eq!(
            of("zzz", &["main"]),
            "h:r has no branch `zzz`. It has `main`: say which one to follow with --branch"
        );
        let many: Vec<String> = (0..30).map(|n| format!("b{n}")).collect();
        assert!(missing("h", "zzz", many).message.contains(" and 20 more:"));
    }
}

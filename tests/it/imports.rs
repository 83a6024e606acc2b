//! The import rule: what each folder of `src/` names of the others is what ARCHITECTURE.md lets it see.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each part may see besides itself: parts, or single modules and names of them.
const MAY_SEE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("ports", &["model"]),
    ("rollout", &["model"]),
    ("plan", &["model", "rollout"]),
    ("gc", &["model"]),
    ("spec", &["model", "ports"]),
    ("process", &["model", "ports"]),
    ("search", &["model"]),
    ("store", &["model"]),
    ("tracking", &["model", "ports", "search", "store"]),
    ("source", &["model", "ports", "process::Mask"]),
    ("artifact", &["model", "ports", "process"]),
    ("data", &["model", "ports"]),
    ("train", &["model", "ports", "process", "spec::pipeline", "spec::code_files"]),
    ("route", &["model", "ports", "process"]),
    ("serve", &["model"]),
    ("deploy", &["model", "ports", "process", "route"]),
    ("reconcile", &["model", "ports", "spec", "plan", "rollout", "gc", "store"]),
    ("measure", &["model", "ports", "process"]),
    ("mlflow", &[]),
    ("exchange", &["model", "ports", "mlflow", "store", "tracking"]),
    ("api", &["model", "ports", "plan", "rollout", "search", "store", "tracking", "mlflow", "exchange", "reconcile"]),
    ("tui", &["model", "plan::render", "spec::decode", "api::client", "api::types"]),
    (
        "cli",
        &[
            "model",
            "ports",
            "rollout",
            "plan",
            "gc",
            "spec",
            "process",
            "search",
            "store",
            "tracking",
            "measure",
            "mlflow",
            "exchange",
            "source",
            "artifact",
            "data",
            "train",
            "route",
            "serve",
            "deploy",
            "reconcile",
            "api",
            "tui",
        ],
    ),
];

/// Crates that only these parts name.
const OUTSIDE: &[(&str, &[&str])] = &[("sled", &["store"]), ("git2", &["source", "cli"]), ("ratatui", &["tui"])];
/// The pure parts, and what would make them depend on more than their arguments.
const PURE: &[&str] = &["model", "ports", "rollout", "plan", "gc", "spec", "search"];
const IMPURE: &[&str] = &[
    "tokio",
    "reqwest",
    "axum",
    "hyper",
    "nix",
    "libc",
    "notify",
    "std::env",
    "std::fs",
    "std::process",
    "std::net",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

#[test]
fn every_folder_sees_only_what_the_table_lets_it_see() {
    let table: BTreeMap<&str, &[&str]> = MAY_SEE.iter().copied().collect();
    let mut breaches = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for (part, file, path) in everything() {
        let Some(own) = path.strip_prefix("crate::") else { continue };
        let to = own.split("::").next().unwrap();
        let allowed = table.get(&*part).unwrap_or_else(|| panic!("{}: no row for `{part}`", file.display()));
        let within = |a: &&&str| own == **a || own.strip_prefix(**a).is_some_and(|rest| rest.starts_with("::"));
        if to == part {
            continue;
        }
        match allowed.iter().find(within) {
            Some(row) => drop(seen.insert((part, *row))),
            None => drop(breaches.insert(format!("{} names {path}", file.display()))),
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
    // A row that nobody uses is a rule that is looser than the code.
    let unused: Vec<_> = MAY_SEE
        .iter()
        .filter(|(part, _)| *part != "cli")
        .flat_map(|(part, row)| row.iter().map(move |to| ((*part).to_owned(), *to)))
        .filter(|pair| !seen.contains(pair))
        .collect();
    assert!(unused.is_empty(), "allowed and not used: {unused:?}");
}

#[test]
fn the_pure_folders_name_no_clock_network_or_process_and_each_edge_has_one_owner() {
    let names = |path: &str, what: &str| path == what || path.starts_with(&format!("{what}::"));
    let mut breaches = BTreeSet::new();
    for (part, file, path) in everything() {
        let owned = OUTSIDE.iter().any(|(what, owners)| names(&path, what) && !owners.contains(&&*part));
        let impure = PURE.contains(&&*part) && IMPURE.iter().any(|what| names(&path, what));
        if owned || impure {
            breaches.insert(format!("{} names {path}", file.display()));
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

/// Every row of the table in ARCHITECTURE.md says what the test holds the code to.
#[test]
fn the_table_in_the_architecture_is_the_one_that_is_tested() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let quoted = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(|w| w.trim_end_matches('/').trim_end_matches(".rs").to_owned()).collect()
    };
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in text.lines().filter(|l| l.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [parts, _, sees] = cells[..] else { panic!("{row}") };
        let all = MAY_SEE.iter().map(|(part, _)| (*part).to_owned()).filter(|p| !quoted(parts).contains(p));
        let sees: BTreeSet<String> =
            if sees.trim() == "everything" { all.collect() } else { quoted(sees).into_iter().collect() };
        told.extend(quoted(parts).into_iter().map(|part| (part, sees.clone())));
    }
    let tested: BTreeMap<String, BTreeSet<String>> = MAY_SEE
        .iter()
        .map(|(part, sees)| ((*part).to_owned(), sees.iter().map(|s| (*s).to_owned()).collect()))
        .collect();
    assert_eq!(told, tested);
}

#[test]
fn paths_are_found_however_they_are_written() {
    let text = "use crate::{\n    a::{self, b, c::*},\n    d as e, // not::this\n};\nuse super::super::f;\n\
                fn g() { crate::h::i(); let s = \"crate::no\"; std::env::var(s) }\n#[cfg(test)]\nmod tests { use crate::no; }\n";
    let found = paths(text, 2);
    for path in ["crate::a", "crate::a::b", "crate::a::c", "crate::d", "crate::f", "crate::h::i", "std::env::var"] {
        assert!(found.contains(path), "{path}: {found:?}");
    }
    assert!(!found.iter().any(|p| p.contains("no")), "{found:?}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Every path that a file under `src/` names, with its part of the program; the crate's own root and its `tests` modules left out.
fn everything() -> Vec<(String, PathBuf, String)> {
    let src = root().join("src");
    let mut all = Vec::new();
    for entry in walkdir::WalkDir::new(&src).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file()) {
        let inside = entry.path().strip_prefix(&src).unwrap().with_extension("");
        let mut modules: Vec<String> = inside.iter().map(|m| m.to_str().unwrap().to_owned()).collect();
        modules.pop_if(|last| last == "mod");
        if modules == ["lib"] || modules == ["main"] || modules.iter().any(|m| m == "tests") {
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap();
        let file = Path::new("src").join(entry.path().strip_prefix(&src).unwrap());
        all.extend(paths(&text, modules.len()).into_iter().map(|p| (modules[0].clone(), file.clone(), p)));
    }
    assert!(all.len() > 1000, "the sources were found: {}", all.len());
    all
}

/// The paths in a text whose module lies `depth` below the crate; `super` that leads to the crate is written as `crate`.
fn paths(text: &str, depth: usize) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let tokens = tokens(text);
    let mut found = BTreeSet::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_word(&tokens[at]) && (tokens.get(at + 1).is_some_and(|t| t == "::") || at > 0 && tokens[at - 1] == "use")
        {
            at = path(&tokens, at, "", &mut found);
        } else {
            at += 1;
        }
    }
    let up = format!("{}::", vec!["super"; depth].join("::"));
    found.into_iter().map(|p| p.strip_prefix(&up).map_or(p.clone(), |rest| format!("crate::{rest}"))).collect()
}

/// Reads one path or a tree of them from `at`; the place behind it.
fn path(tokens: &[String], mut at: usize, before: &str, found: &mut BTreeSet<String>) -> usize {
    let mut path = before.to_owned();
    loop {
        let token = tokens.get(at).map_or("", String::as_str);
        if token == "{" {
            at += 1;
            while tokens.get(at).is_some_and(|t| t != "}") {
                let next = path_or_skip(tokens, at, &path, found);
                at = next.max(at + 1);
            }
            return at + 1;
        }
        if token == "*" || token == "self" && !path.is_empty() {
            found.insert(path);
            return at + 1;
        }
        if !is_word(token) {
            return at;
        }
        path = if path.is_empty() { token.to_owned() } else { format!("{path}::{token}") };
        at += 1;
        match tokens.get(at).map(String::as_str) {
            Some("::") => at += 1,
            _ => {
                found.insert(path);
                // `as` gives it another name here.
                return if tokens.get(at).is_some_and(|t| t == "as") { at + 2 } else { at };
            }
        }
    }
}

fn path_or_skip(tokens: &[String], at: usize, before: &str, found: &mut BTreeSet<String>) -> usize {
    if tokens[at] == "," { at + 1 } else { path(tokens, at, before, found) }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::` and single signs; comments, texts and blanks left out.
fn tokens(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if c == '"' {
            text_length(rest)
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            rest[1..].find('\'').map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("::") {
            out.push("::".to_owned());
            2
        } else if c.is_alphanumeric() || c == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            out.push(rest[..end].to_owned());
            end
        } else {
            if !c.is_whitespace() {
                out.push(c.to_string());
            }
            c.len_utf8()
        };
        rest = &rest[length..];
    }
    out
}

/// The length of the quoted text at the beginning.
fn text_length(quoted: &str) -> usize {
    let mut escaped = false;
    for (at, c) in quoted.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    quoted.len()
}

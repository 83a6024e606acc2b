//! Lock commits of a fleet, over HTTP.

use crate::{
    forge::Forge,
    support::{TRAIN, World, eventually, model},
};
use std::{collections::BTreeMap, fs, path::Path, process::Command, time::Duration};

fn git(at: &Path, args: &[&str]) -> String {
    String::from_utf8(Command::new("git").args(args).current_dir(at).output().unwrap().stdout).unwrap()
}

/// The bot's commits on the branch, oldest first: their message, and the files that they touch.
fn bot_commits(w: &World) -> Vec<(String, Vec<String>)> {
    let log = git(
        &w.path("models.git"),
        &["log", "--reverse", "--author=trimtab", "--format=%x01%B%x02", "--name-only", "main"],
    );
    let one = |text: &str| {
        let (message, files) = text.split_once('\u{2}').unwrap();
        (message.to_owned(), files.split_whitespace().map(str::to_owned).collect())
    };
    log.split('\u{1}').skip(1).map(one).collect()
}

fn pushes(forge: &Forge) -> usize {
    forge.requests().iter().filter(|(path, ..)| path.ends_with("/git-receive-pack")).count()
}

/// Models whose trainings wait for ever, committed at once.
fn fleet(w: &World, size: usize) {
    let until = format!(", seed = 1, until = \"{}\"", w.path("never").display());
    let files: BTreeMap<String, String> = (0..size)
        .flat_map(|n| {
            let spec = model(&format!("m{n:03}"), &w.path("count"), &until, "");
            let at = |file: &str| format!("specs/models/m{n:03}/{file}");
            [(at("model.toml"), spec), (at("train.py"), TRAIN.to_owned())]
        })
        .collect();
    let files: Vec<(&str, Option<&str>)> = files.iter().map(|(p, t)| (p.as_str(), Some(t.as_str()))).collect();
    w.commit("a fleet", &files);
}

#[test]
fn the_first_locks_of_a_fleet_are_a_commit_each_in_a_few_pushes() {
    let size = 48;
    let mut w = World::new();
    fleet(&w, size);
    let forge = Forge::start(&w);
    w.url = Some(forge.url.replace("//", "//bot:s3cret@"));
    w.start();
    eventually("every lock is in Git", Duration::from_secs(600), || (bot_commits(&w).len() >= size).then_some(()));
    let all = bot_commits(&w);
    assert_eq!(all.len(), size, "one commit for each change");
    for (message, files) in &all {
        let model = message.lines().find_map(|l| l.strip_prefix("Trimtab-Model: ")).unwrap();
        assert_eq!(*files, [format!("specs/models/{model}/trimtab.lock")], "{message}");
    }
    assert!(pushes(&forge) <= size / 4, "{} pushes for {size} locks", pushes(&forge));
}

#[test]
fn a_lock_commit_says_why_it_was_made() {
    let mut w = World::new();
    let (count, never) = (w.path("count"), w.path("never"));
    let spec = |data: &str| {
        let until = format!(", seed = 1, until = \"{}\"", never.display());
        model("fraud", &count, &until, "").replace("train = \"numbers\"", data)
    };
    let dataset = |name: &str, path: &str| {
        format!("schema = \"trimtab/v1\"\n[dataset]\nname = \"{name}\"\n[source]\npath = \"{path}\"\n")
    };
    fs::write(w.path("data/b.csv"), "1\n").unwrap();
    w.commit("other", &[("specs/datasets/other.toml", Some(&dataset("other", "b.csv")))]);
    let mut expected = Vec::new();
    let mut told = |w: &World, why: &str| {
        expected.push(why.to_owned());
        let reasons = || {
            let trailers = bot_commits(w).into_iter().map(|(message, _)| {
                let trailer = message.lines().find_map(|l| l.strip_prefix("Trimtab-Reason: "));
                trailer.unwrap_or_default().to_owned()
            });
            trailers.collect::<Vec<_>>()
        };
        eventually(why, Duration::from_secs(60), || (reasons().len() >= expected.len()).then_some(()));
        assert_eq!(reasons(), expected);
    };
    w.commit_model("fraud", &spec("train = \"numbers\"\nmore = \"numbers\""));
    w.start();
    told(&w, "more: data resolved for the first time; train: data resolved for the first time");
    w.commit("moved", &[("specs/datasets/numbers.toml", Some(&dataset("numbers", "b.csv")))]);
    let moved = "the source of numbers changed from numbers.csv to b.csv";
    told(&w, &format!("more: {moved}; train: {moved}"));
    w.commit_model("fraud", &spec("train = \"other\""));
    told(&w, "train: reads other instead of numbers now; more: no input any more");
    fs::write(w.path("data/b.csv"), "2\n").unwrap();
    assert!(w.trimtab(&["refresh", "fraud"]).status.success());
    told(&w, "refresh asked for by hand");
}

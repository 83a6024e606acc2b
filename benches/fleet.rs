//! One spec changed of 10,000: from the new head to the plan of the model that it touches, beside git2's diff of the same trees and
//! `git diff --name-only`; and the cold load of all specs beside reading and parsing their blobs alone, on one core and on all.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run says so by panicking")]

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use git2::{Oid, Repository};
use rayon::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    hint::black_box,
    process::Command,
    sync::{Arc, Mutex},
};
use support::{Fleet, spec};
use trimtab::{model::*, plan, ports::*, process::SystemClock, source::GitSource, spec::Loaded};

const MODELS: usize = 10_000;
const FOLDER: &str = "specs";

fn head(source: &GitSource, before: Option<&Revision>) -> Revision {
    match source.fetch(before.map(|r| &r.commit)).unwrap() {
        Fetched::Head { revision, .. } => revision,
        other => unreachable!("{other:?}"),
    }
}

fn load(source: &GitSource, old: &Loaded, to: &Revision) -> (Loaded, BTreeSet<Name>) {
    let from = old.state().revision.as_ref().map(|r| &r.tree);
    let changes = source.changes(from, &to.tree, FOLDER).unwrap();
    Loaded::update(old, &changes, to, FOLDER, source).unwrap()
}

/// A model that was trained and serves, as the store has it.
fn served(desired: &Arc<DesiredModel>) -> ObservedModel {
    let snapshot = Digest::of(b"data");
    let pin = |dataset: &Name| Pin { dataset: desired.datasets[dataset].clone(), snapshot };
    let serve = desired.spec.serve.clone().unwrap();
    let release = plan::release(VersionNumber(1), &serve);
    let deployment = Deployment { stable: Some(release), served: vec![release], ..Deployment::default() };
    ObservedModel {
        observed_revision: Some(desired.changed_by.clone()),
        desired: Some(desired.clone()),
        pins: desired.spec.data.iter().map(|(input, dataset)| (input.clone(), pin(dataset))).collect(),
        deployments: desired.spec.deploy.iter().map(|d| (d.environment.clone(), deployment.clone())).collect(),
        serves: BTreeMap::from([(release.serve, serve)]),
        last_version: 1,
        ..ObservedModel::new(desired.spec.name.clone())
    }
}

/// What the loop does with a new head, up to the plan of the one model that it touches.
fn to_plan(source: &GitSource, loaded: &Loaded, observed: &ObservedModel, clock: &dyn Clock) -> ModelPlan {
    let before = loaded.state().revision.as_ref().unwrap();
    let revision = head(source, Some(before));
    let (mut next, touched) = load(source, loaded, &revision);
    let paths: Vec<_> = touched.iter().map(|n| (n.clone(), next.paths_of(loaded, n, FOLDER))).collect();
    for (name, by) in source.blame(Some(&before.commit), &revision.commit, &paths).unwrap() {
        next.set_blame(&name, std::sync::Arc::new(by));
    }
    assert_eq!(touched, BTreeSet::from([observed.name.clone()]));
    plan::plan(&plan::Input {
        now: clock.now(),
        desired: next.state().models.get(&observed.name).map(Arc::as_ref),
        observed,
        version: &|_| None,
        live: None,
        replicas: &BTreeMap::new(),
        traffic: &BTreeMap::new(),
        served: &BTreeMap::new(),
        asked: &BTreeMap::new(),
        approval: &|_, _| None,
        groups: &next.state().settings.groups,
        push: plan::Push::Allowed,
        past: Some(Millis(1000)),
        deleted_by: None,
    })
}

fn one_changed(c: &mut Criterion, fleet: &Fleet, source: &GitSource, loaded: &Loaded, second: &Revision) {
    let (repo, path) = (&fleet.repo, &fleet.path);
    let first = loaded.state().revision.as_ref().unwrap();
    let observed = served(&loaded.state().models[&Name::new("m7").unwrap()]);
    let clock = SystemClock::continuing(None);
    let plan = to_plan(source, loaded, &observed, &clock);
    let trains = |p: &&Planned| matches!(p.action, Action::Train { .. });
    let reason = plan.actions.iter().find(trains).and_then(|p| p.reasons.first()).unwrap();
    assert_eq!((reason.field.as_str(), reason.new.as_deref()), ("train.params.max_depth", Some("8")));

    let mut group = c.benchmark_group("one of 10,000 specs");
    group.bench_function("new head to the plan of its model", |b| {
        b.iter(|| black_box(to_plan(source, loaded, &observed, &clock)));
    });
    group.bench_function("git2 diff alone", |b| {
        let tree = |id: &ObjectId| repo.find_tree(Oid::from_str(&id.0).unwrap()).unwrap();
        b.iter(|| {
            let diff = repo.diff_tree_to_tree(Some(&tree(&first.tree)), Some(&tree(&second.tree)), None);
            black_box(diff.unwrap().deltas().len())
        });
    });
    group.bench_function("git diff --name-only", |b| {
        b.iter(|| {
            let mut diff = Command::new("git");
            diff.arg("-C").arg(path).args(["diff", "--name-only", &first.commit.0, &second.commit.0]);
            let out = diff.output().unwrap();
            assert_eq!(String::from_utf8_lossy(&out.stdout), "specs/models/m7/model.toml\n");
        });
    });
    group.finish();
}

fn parse(repo: &Repository, change: &TreeChange) -> toml::Table {
    let blob = repo.find_blob(Oid::from_str(&change.new.as_ref().unwrap().id.0).unwrap()).unwrap();
    toml::from_str(std::str::from_utf8(blob.content()).unwrap()).unwrap()
}

fn cold(c: &mut Criterion, fleet: &Fleet, source: &GitSource, revision: &Revision) {
    let mut changes = source.changes(None, &revision.tree, FOLDER).unwrap();
    changes.retain(|c| c.path.ends_with(".toml"));
    let cores = rayon::current_num_threads();
    let mut group = c.benchmark_group("cold load of 10,000 specs");
    group.sample_size(10);
    group.bench_function("load", |b| b.iter_with_large_drop(|| load(source, &Loaded::default(), revision)));
    group.bench_function("read and parse alone, on all cores", |b| {
        // A handle is for one thread at a time.
        let handles: Vec<_> = (0..cores).map(|_| Mutex::new(Repository::open(&fleet.path).unwrap())).collect();
        b.iter(|| {
            let parts = changes.par_chunks(changes.len().div_ceil(cores)).zip(&handles);
            parts.for_each(|(part, repo)| {
                let repo = repo.lock().unwrap();
                part.iter().for_each(|change| drop(black_box(parse(&repo, change))));
            });
        });
    });
    group.bench_function("read and parse alone, on one core", |b| {
        b.iter(|| changes.iter().for_each(|change| drop(black_box(parse(&fleet.repo, change)))));
    });
    group.finish();
}

fn bench(c: &mut Criterion) {
    let fleet = Fleet::new(MODELS, true);
    let source = fleet.source(fleet.folder.path());
    let (loaded, all) = load(&source, &Loaded::default(), &head(&source, None));
    assert_eq!(all.len(), MODELS);
    fleet.commit(&[spec(7, 8, true)]);
    let second = head(&source, None);
    one_changed(c, &fleet, &source, &loaded, &second);
    cold(c, &fleet, &source, &second);
}

criterion_group!(benches, bench);
criterion_main!(benches);

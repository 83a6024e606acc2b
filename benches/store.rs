//! Commits of a store that many write to: one flush serves all that wait. Beside it the same bytes appended to a bare file with one
//! `fdatasync` each, on the same disk. One element is one commit.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run says so by panicking")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::{
    fs::File,
    io::Write,
    thread,
    time::{Duration, Instant},
};
use trimtab::{
    model::*,
    store::{Batch, NewEvent, Store},
};

const WRITERS: [u64; 2] = [1, 64];

/// What a look writes: a model and an event.
fn look(model: &ObservedModel) -> Batch {
    let event = NewEvent {
        at: WallMs(1),
        kind: EventKind::RolloutStep,
        model: Some(model.name.clone()),
        environment: None,
        commit: None,
        author: None,
        message: "production: step 2 of 3".into(),
    };
    Batch::new().put_model(model).event(event)
}

/// `n` commits by `writers` threads.
fn commits(store: &Store, writers: u64, n: u64) -> Duration {
    let each = n.div_ceil(writers);
    let begun = Instant::now();
    thread::scope(|all| {
        for writer in 0..writers {
            let model = ObservedModel::new(Name::new(&format!("m{writer}")).unwrap());
            all.spawn(move || (0..each).for_each(|_| drop(store.commit(look(&model)).unwrap())));
        }
    });
    begun.elapsed().mul_f64(n as f64 / (each * writers) as f64)
}

fn bench(c: &mut Criterion) {
    // Not below /tmp, which can be memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Store::open(&folder.path().join("state")).unwrap();
    let mut group = c.benchmark_group("store");
    group.throughput(Throughput::Elements(1)).sample_size(20).measurement_time(Duration::from_secs(10));
    group.bench_function("bare file, one fdatasync each", |b| {
        let mut file = File::create(folder.path().join("bare")).unwrap();
        let record = serde_json::to_vec(&ObservedModel::new(Name::new("m1").unwrap())).unwrap();
        b.iter(|| {
            file.write_all(&record).unwrap();
            file.sync_data().unwrap();
        });
    });
    for writers in WRITERS {
        group.bench_function(BenchmarkId::new("writers", writers), |b| b.iter_custom(|n| commits(&store, writers, n)));
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);

use super::*;
use proptest::prelude::{Strategy, prop, prop_assert_eq, prop_compose, proptest};
use std::collections::BTreeMap;

fn digest(n: u32) -> Digest {
    Digest::of(&n.to_le_bytes())
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn revision() -> Revision {
    let id = ObjectId("ab".into());
    let text = String::new;
    Revision { commit: id.clone(), tree: id, author: text(), email: text(), summary: text(), time: WallMs(0) }
}

fn version(number: u32) -> Version {
    Version {
        model: name("fraud"),
        number: VersionNumber(number),
        origin: Origin::Pipeline,
        fingerprint: digest(number),
        revision: revision(),
        code_path: String::new(),
        code: digest(0),
        code_files: Manifest::default(),
        params: Params::new(),
        snapshots: BTreeMap::from([(name("train"), digest(1000 + number))]),
        python: None,
        packages: vec![],
        host: String::new(),
        metrics: BTreeMap::new(),
        stages: vec![],
        artifact: Manifest::default(),
        gates: vec![],
        opponent: None,
        created: WallMs(0),
        duration: Millis(0),
    }
}

fn release(number: u32) -> Release {
    Release { version: VersionNumber(number), serve: digest(0) }
}

fn rollout(from: Option<u32>, to: u32) -> Rollout {
    Rollout {
        from: from.map(release),
        to: release(to),
        strategy: StrategyKind::AtOnce,
        steps: vec![],
        analysis: vec![],
        deadline: DEFAULT_DEADLINE,
        baseline: None,
        tolerance: 0.0,
        phase: Phase::Starting,
        started: SteadyMs(0),
        started_wall: WallMs(0),
        revision: revision(),
    }
}

fn model(deployments: &[Deployment]) -> ObservedModel {
    let mut observed = ObservedModel::new(name("fraud"));
    let named = deployments.iter().enumerate().map(|(n, d)| (name(&format!("e{n}")), d.clone()));
    observed.deployments = named.collect();
    observed
}

fn asked(fingerprints: &[u32]) -> Asked {
    Asked { fingerprints: fingerprints.iter().map(|n| digest(*n)).collect(), ..Asked::default() }
}

/// Numbers of ten versions that go.
fn gone(deployment: Deployment, asked_for: &[u32], limit: usize) -> Vec<u32> {
    let all: Vec<Version> = (1..=10).map(version).collect();
    let protected = protected(&model(&[deployment]), &asked(asked_for), &all);
    versions(&protected, &all, limit).into_iter().map(|n| n.0).collect()
}

#[test]
fn what_goes_and_what_stays() {
    let none = Deployment::default;
    assert_eq!(gone(none(), &[], 10), [0; 0], "within the limit all stay");
    assert_eq!(gone(none(), &[], 4), [1, 2, 3, 4, 5, 6], "the newest stay");
    assert_eq!(gone(none(), &[2, 3], 4), [1, 4, 5, 6], "what a commit asks for stays, and does not count");
    let live = Deployment { stable: Some(release(1)), ..none() };
    assert_eq!(gone(live, &[], 8), [2], "what is live stays");
    let warm = Warm { release: release(2), until: SteadyMs(0) };
    assert_eq!(gone(Deployment { warm: Some(warm), ..none() }, &[], 0), [1, 3, 4, 5, 6, 7, 8, 9, 10]);
    let moving = Deployment { rollout: Some(rollout(Some(1), 2)), ..none() };
    assert_eq!(gone(moving, &[], 7), [3], "both ends of a rollout stay");
    let served = Deployment { served: [4, 3, 2, 1].map(release).to_vec(), ..none() };
    assert_eq!(gone(served, &[], 0), [4, 5, 6, 7, 8, 9, 10], "what was live last stays");
}

#[test]
fn pins_of_a_content_stay_while_it_is_asked_for_or_a_version_of_it_is_kept() {
    let mut observed = model(&[]);
    for content in 1..=4 {
        observed.content_pins.insert(digest(content), LiteMap::from_iter([(name("train"), digest(1000 + content))]));
    }
    let asked = Asked { contents: BTreeSet::from([digest(1)]), ..Asked::default() };
    let kept = version(2);
    let gone = content_pins(&observed, &asked, &[&kept], 0);
    assert_eq!(gone, BTreeSet::from([digest(3), digest(4)]));
    assert_eq!(content_pins(&observed, &asked, &[&kept], 1).len(), 1);
}

#[test]
fn runs_that_live_or_made_what_is_protected_or_failed_last_stay() {
    let run = |n: u32| Run {
        id: RunId::new(&name("fraud"), &name("train"), digest(n), 1),
        model: name("fraud"),
        stage: name("train"),
        fingerprint: digest(n),
        key: digest(n),
        attempt: 1,
        command: Command::Shell(String::new()),
        status: RunStatus::Running,
        started: WallMs(0),
        started_steady: SteadyMs(0),
        ended: None,
        duration: None,
        exit_code: None,
        metrics: BTreeMap::new(),
        outputs: None,
    };
    let (made, alive) = (BTreeSet::from([run(1).id]), BTreeSet::from([run(2).id]));
    let progress = StageProgress { name: name("train"), run: Some(run(4).id), state: "failed".into(), duration: None };
    let pipeline = |state| Pipeline {
        fingerprint: digest(3),
        revision: revision(),
        attempt: 1,
        state,
        started: WallMs(0),
        since: SteadyMs(0),
        content: None,
        stages: vec![progress.clone()],
    };
    let failed = PipelineState::Failed { reason: String::new(), retry_at: None };
    let stays = |n, pipeline: Option<&Pipeline>| run_stays(&run(n), pipeline, &made, &alive);
    assert_eq!([1, 2, 3, 4].map(|n| stays(n, None)), [true, true, false, false]);
    assert_eq!([3, 4, 5].map(|n| stays(n, Some(&pipeline(PipelineState::Running)))), [true, true, false]);
    assert_eq!([3, 4].map(|n| stays(n, Some(&pipeline(failed.clone())))), [false, true]);
}

fn any_release() -> impl Strategy<Value = Option<u32>> {
    prop::option::of(1u32..30)
}

prop_compose! {
    fn any_deployment()(
        stable in any_release(),
        warm in any_release(),
        to in any_release(),
        from in any_release(),
        served in prop::collection::vec(1u32..30, 0..6),
    ) -> Deployment {
        Deployment {
            stable: stable.map(release),
            rollout: to.map(|to| rollout(from, to)),
            served: served.into_iter().map(release).collect(),
            warm: warm.map(|n| Warm { release: release(n), until: SteadyMs(0) }),
            ..Deployment::default()
        }
    }
}

proptest! {
    /// Said here in other words than in the code: nothing that serves, comes, is warm, served last or is asked for ever goes, and what
    /// stays beside it is no more than the limit.
    #[test]
    fn nothing_protected_is_ever_chosen(
        deployments in prop::collection::vec(any_deployment(), 0..3),
        numbers in prop::collection::btree_set(1u32..30, 0..30),
        wanted in prop::collection::vec(1u32..30, 0..5),
        limit in 0usize..12,
    ) {
        let observed = model(&deployments);
        let all: Vec<Version> = numbers.iter().map(|n| version(*n)).collect();
        let protected = protected(&observed, &asked(&wanted), &all);
        let gone = versions(&protected, &all, limit);
        for d in &deployments {
            let mut held: Vec<Release> = d.stable.into_iter().collect();
            held.extend(d.warm.map(|w| w.release));
            held.extend(d.rollout.iter().map(|r| r.to));
            held.extend(d.rollout.iter().filter_map(|r| r.from));
            held.extend(d.served.iter().rev().take(LIVE_LAST));
            held.iter().for_each(|r| assert!(!gone.contains(&r.version), "{r:?} of {d:?}"));
        }
        wanted.iter().for_each(|n| assert!(!gone.contains(&VersionNumber(*n))));
        let unprotected = numbers.iter().filter(|n| !protected.contains(&VersionNumber(**n))).count();
        prop_assert_eq!(unprotected - gone.len(), unprotected.min(limit));
    }
}

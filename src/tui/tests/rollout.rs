//! The page of a rollout.

use super::*;

fn opened(change: impl FnOnce(&mut RolloutSummary)) -> State {
    let mut fraud = summary("fraud", Health::Progressing, true);
    let rollout = fraud.environments[0].rollout.as_mut().unwrap();
    let bound = AnalysisSpec { no_worse_than_stable: true, ..AnalysisSpec::new(AnalysisMetric::LatencyP99) };
    rollout.analysis.push(AnalysisRun::new(bound));
    rollout.traffic.stable = TrafficStats { requests: 12_000, p99_ms: 11.8, ..TrafficStats::default() };
    change(rollout);
    let mut state = filled();
    update(&mut state, Message::Fleet(Box::new(fleet(vec![fraud.clone()]))));
    assert_eq!(key(&mut state, KeyCode::Char('o')), [Command::FetchModel(name("fraud"))]);
    update(&mut state, Message::Model(Box::new(ModelDetail { summary: fraud, ..detail() })));
    state
}

#[test]
fn a_rollout_is_seen_whole_at_each_size() {
    let state = opened(|_| ());
    insta::assert_snapshot!("rollout_80", screen(&state, 80, 24));
    insta::assert_snapshot!("rollout_120", screen(&state, 120, 40));
    insta::assert_snapshot!("rollout_220", screen(&state, 220, 60));
}

#[test]
fn the_chosen_analysis_is_drawn_and_the_choice_ends_with_them() {
    let mut state = opened(|_| ());
    assert!(seen(&mut state, 120, 40).contains("▸error_rate"));
    key(&mut state, KeyCode::Char('j'));
    let text = seen(&mut state, 120, 40);
    assert!(text.contains("▸latency_p99") && text.contains("nothing measured in this step yet"), "{text}");
    key(&mut state, KeyCode::Char('j'));
    assert!(seen(&mut state, 120, 40).contains("▸latency_p99"));
}

#[test]
fn at_a_gate_the_same_key_goes_on_and_says_to_where() {
    let mut state = opened(|r| {
        (r.phase, r.held, r.gate, r.until) = ("the step is done and waits for a person".into(), true, true, None);
        r.step = 1;
        r.weight = 10.0;
    });
    let text = screen(&state, 120, 40);
    assert!(text.contains("held here") && text.contains("H go on"), "{text}");
    key(&mut state, KeyCode::Char('H'));
    assert!(screen(&state, 120, 40).contains("fraud in production: pass the gate: v7 10 % → 25 %?"));
    key(&mut state, KeyCode::Char('n'));
    key(&mut state, KeyCode::Char('A'));
    assert!(screen(&state, 120, 40).contains("take all traffic back to v6 now; v7 is rejected and kept?"));
}

#[test]
fn a_key_acts_upon_what_its_page_shows_while_the_fleet_lags() {
    let mut state = opened(|r| (r.phase, r.held, r.until) = ("paused by hand".into(), true, None));
    let behind = summary("fraud", Health::Progressing, true);
    assert!(behind.environments.iter().all(|e| e.rollout.as_ref().is_none_or(|r| !r.held)));
    update(&mut state, Message::Fleet(Box::new(fleet(vec![behind]))));
    let text = screen(&state, 120, 40);
    assert!(text.contains("held here") && text.contains("H go on"), "{text}");
    key(&mut state, KeyCode::Char('H'));
    assert!(screen(&state, 120, 40).contains("fraud in production: go on with v7"));
}

#[test]
fn without_a_rollout_it_says_what_serves_and_what_begins_one() {
    let mut state = opened(|_| ());
    let demand = summary("demand", Health::Healthy, false);
    update(&mut state, Message::Fleet(Box::new(fleet(vec![demand.clone()]))));
    type_line(&mut state, ":rollout demand");
    update(&mut state, Message::Model(Box::new(ModelDetail { summary: demand, ..detail() })));
    let text = screen(&state, 120, 24);
    assert!(text.contains("no rollout is under way") && text.contains("production   v6"), "{text}");
}

#[test]
fn no_word_of_the_analyses_is_cut_in_eighty_columns() {
    let state = opened(|r| {
        let bound = AnalysisSpec {
            name: "recall_of_the_late_ones".into(),
            max: Some(0.05),
            no_worse_than_stable: true,
            dry_run: true,
            ..AnalysisSpec::new(AnalysisMetric::ErrorRate)
        };
        let told =
            Measurement { verdict: Verdict::Inconclusive, value: Some(0.04), stable: Some(0.03), text: String::new() };
        let run = AnalysisRun::new(bound);
        r.analysis.push(AnalysisRun { last: Some(told), recent: vec![0.01, 0.04], ..run });
    });
    insta::assert_snapshot!("bounds_80", screen(&state, 80, 30));
    for width in 80..130 {
        let text = screen(&state, width, 40);
        let table = text.lines().skip_while(|l| !l.contains("ANALYSIS")).take(8);
        table.for_each(|l| assert!(!l.contains('…'), "{width}: {l}"));
    }
}

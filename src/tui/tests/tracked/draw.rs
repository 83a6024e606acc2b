//! How it looks.

use super::*;

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (220, 60)];

fn snapshots(name: &str, state: &State) {
    for (width, height) in SIZES {
        insta::assert_snapshot!(format!("{name}_{width}"), screen(state, width, height));
    }
}

#[test]
fn the_list() {
    let mut state = opened();
    press(&mut state, "~~mj");
    snapshots("list", &state);
}

#[test]
fn one_run() {
    let mut state = opened();
    press(&mut state, "\n");
    snapshots("run", &state);
    press(&mut state, "x\n");
    insta::assert_snapshot!("alone_80", screen(&state, 80, 24));
}

#[test]
fn runs_beside_each_other() {
    let mut state = opened();
    press(&mut state, "~~~c");
    snapshots("compare", &state);
}

#[test]
fn runs_that_have_no_room_beside_the_others_are_gone_to() {
    let mut state = opened();
    press(&mut state, "~~~~~~c");
    seen(&mut state, 80, 24);
    let text = seen(&mut state, 80, 24);
    assert!(text.contains("→ 2") && text.contains("← → other runs") && text.contains("D train-3"), "{text}");
    key(&mut state, KeyCode::Right);
    key(&mut state, KeyCode::Right);
    key(&mut state, KeyCode::Right);
    insta::assert_snapshot!("compare_right_80", seen(&mut state, 80, 24));
    key(&mut state, KeyCode::Left);
    let text = seen(&mut state, 80, 24);
    assert!(text.contains("← 1 → 1") && text.contains("E train-4") && !text.contains("B evil \\u{1b}[31m…"), "{text}");
    let narrow = screen(&state, 30, 24);
    assert!(narrow.contains("B evil") && !narrow.contains("A brave-cat"), "each has its turn: {narrow}");
}

#[test]
fn long_names_take_nothing_from_what_else_is_told() {
    let mut state = opened();
    press(&mut state, "\n");
    let names = |state: &mut State, experiment: &str, run: &str| {
        state.screen = Screen::Run(experiment.into(), id(0));
        state.tracked.page.runs[0].run.name = run.into();
        screen(state, 80, 24).lines().nth(1).unwrap().trim_matches('"').trim_end().to_owned()
    };
    let long = "x".repeat(90);
    assert_eq!(
        names(&mut state, &long, "brave-cat-12"),
        format!(" {}… › brave-cat-12   ↻ running for 1m 40s   began 1m ago by Ada", "x".repeat(18))
    );
    assert_eq!(names(&mut state, "fraud", &long), format!(" fraud › {}…   ↻ running for 1m 40s", "x".repeat(47)));
    let both = names(&mut state, &long, &long);
    assert!(both.starts_with(" xxxxxxxxxxx… › xxx") && both.contains("↻ running for 1m 40s"), "{both}");
}

#[test]
fn text_of_clients_is_shown_and_never_sent() {
    let mut state = opened();
    let check = |state: &State| {
        for (width, height) in SIZES {
            let text = screen(state, width, height);
            assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{text}");
        }
    };
    check(&state);
    press(&mut state, "j~~c");
    check(&state);
    // Every row has its turn, and what it holds is shown whole.
    press(&mut state, "q");
    press(&mut state, "gj\n");
    let mut seen = String::new();
    for _ in 0..20 {
        check(&state);
        seen += &screen(&state, 120, 40);
        press(&mut state, "j");
    }
    for part in ["param features", "amount,merchant,\\u{9b}country,hour", "and a slower rate", "evil \\u{1b}[31mred"] {
        assert!(seen.contains(part), "{part}");
    }
}

#[test]
fn numbers_that_are_none_are_shown() {
    let mut state = opened();
    press(&mut state, "m");
    let text = screen(&state, 120, 12);
    assert!(text.contains("NaN") && text.contains(" inf"), "{text}");
    press(&mut state, "\nj");
    let text = screen(&state, 120, 40);
    assert!(text.contains("grad_norm  NaN at step 119   120 × no number"), "{text}");
    assert!(text.contains("none of its values is a number"), "{text}");
}

#[test]
fn nothing_is_there_yet() {
    let mut state = filled();
    type_line(&mut state, ":runs fraud");
    assert!(screen(&state, 80, 8).contains("loading"));
    let wish = wish("", Order::Newest, "");
    update(&mut state, Message::Tracked(Told::Runs(wish, Ok(Found::default()))));
    insta::assert_snapshot!("empty_80", screen(&state, 80, 14));
    let bare = |n| {
        let mut bare = whole(n);
        (bare.params, bare.tags) = Default::default();
        bare.run.metrics.clear();
        bare
    };
    let mut state = opened();
    key(&mut state, KeyCode::Enter);
    assert!(screen(&state, 80, 8).contains("loading"));
    update(&mut state, Message::Tracked(Told::Whole(vec![bare(0)])));
    assert!(screen(&state, 80, 24).contains("No metric was logged yet: one shows here within a second."));
    let mut state = opened();
    press(&mut state, "~~");
    key(&mut state, KeyCode::Char('c'));
    update(&mut state, Message::Tracked(Told::Whole(vec![bare(0), bare(1)])));
    let text = screen(&state, 80, 24);
    assert!(text.contains("no params were logged") && text.contains("no metric was logged yet"), "{text}");
}

/// The run's page with one curve of these points.
fn drawn(points: &[(i64, i64, f64)]) -> String {
    let mut state = opened();
    key(&mut state, KeyCode::Enter);
    let mut one = whole(0);
    one.run.metrics.retain(|key, _| key == "auc");
    let asked = update(&mut state, Message::Tracked(Told::Whole(vec![one])));
    let [Command::FetchCurves(wants)] = asked.as_slice() else { panic!("{asked:?}") };
    let points = points.iter().map(|(step, time, v)| Point { step: *step, time: *time, value: Figure(*v) }).collect();
    update(&mut state, Message::Tracked(Told::Curves(vec![(wants[0].clone(), points)])));
    screen(&state, 80, 30)
}

#[test]
fn curves_of_every_kind_are_drawn() {
    let one = drawn(&[(0, 900_000, 0.5)]);
    assert_eq!(one.matches('•').count(), 1, "{one}");
    let gap = drawn(&[(0, 0, 0.5), (1, 0, f64::NAN), (2, 0, 0.7), (3, 0, 0.8)]);
    assert!(gap.matches('•').count() == 1 && gap.contains("1 × no number"), "{gap}");
    let stepless = drawn(&[(0, 900_000, 0.5), (0, 960_000, 0.6), (0, 1_020_000, 0.9)]);
    assert!(stepless.contains("by time") && stepless.contains("1m 30s"), "{stepless}");
    let flat = drawn(&[(0, 0, 0.5), (9, 0, 0.5)]);
    assert!(flat.contains("0.50 ┤") && flat.contains("max 0.5000 at 0"), "{flat}");
    let huge = drawn(&[(i64::MIN, i64::MIN, f64::MIN), (i64::MAX, i64::MAX, f64::MAX)]);
    assert!(huge.contains('┤'), "{huge}");
    assert!(drawn(&[]).contains("nothing was logged of it"));
}

#[test]
fn what_runs_is_drawn_each_second_and_what_ended_is_not() {
    let ages = |state: &State| super::super::super::view::ages(state);
    let later = |mut state: State| {
        let before = ages(&state);
        update(&mut state, Message::Tick);
        ages(&state) != before
    };
    let mut state = opened();
    assert!(later(state.clone()), "it takes a second more");
    press(&mut state, "jj\n");
    assert!(!later(state));
}

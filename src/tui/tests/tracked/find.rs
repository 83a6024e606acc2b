//! How experiments are found.

use super::*;

fn experiment(id: usize, name: &str) -> Experiment {
    Experiment { id: id.to_string(), name: name.into(), updated: 1_000_000 - 60_000 * id as i64 }
}

fn some() -> Told {
    let names = ["fraud-tuning", "Odd name", "churn", "evil \u{1b}[31mred", &"x".repeat(90)];
    Told::Experiments(names.into_iter().enumerate().map(|(n, name)| experiment(n + 1, name)).collect())
}

/// A daemon that was given no spec, and that scripts log to.
fn bare() -> State {
    let mut state = State::new();
    let asked = update(&mut state, Message::Fleet(Box::new(fleet(vec![]))));
    assert_eq!(asked, [Command::FetchExperiments]);
    update(&mut state, Message::Tracked(some()));
    state
}

fn tabs(state: &mut State, count: usize) -> String {
    (0..count).for_each(|_| drop(key(state, KeyCode::Tab)));
    let Mode::Command(line) = &state.mode else { panic!("{:?}", state.mode) };
    line.text.clone()
}

#[test]
fn a_fleet_without_models_tells_of_experiments_and_r_lists_them() {
    let mut state = bare();
    let text = screen(&state, 80, 14);
    assert!(text.contains("5 experiments are tracked: r lists them") && text.contains("r experiments"), "{text}");
    for _ in 0..4 {
        assert_eq!(update(&mut state, Message::Tick), []);
    }
    assert_eq!(update(&mut state, Message::Tick), [Command::FetchExperiments], "what scripts begin has no event");
    assert_eq!(key(&mut state, KeyCode::Char('r')), [Command::FetchExperiments]);
    insta::assert_snapshot!("experiments_80", screen(&state, 80, 10));
    press(&mut state, "j");
    let reversed = Told::Experiments(vec![experiment(2, "Odd name"), experiment(1, "fraud-tuning")]);
    update(&mut state, Message::Tracked(reversed));
    let wish = Wish { experiment: "Odd name".into(), ..Wish::default() };
    assert_eq!(key(&mut state, KeyCode::Enter), [Command::FetchRuns(wish)], "it stays selected");
    key(&mut state, KeyCode::Char('r'));
    assert_eq!(state.screen, Screen::Experiments, "from its runs back to all");
    key(&mut state, KeyCode::Char('/'));
    assert_eq!(tabs(&mut state, 0), "runs ", "a name is typed there");
    for line in [":runs", ":experiments"] {
        let mut state = bare();
        assert_eq!(type_line(&mut state, line), [Command::FetchExperiments]);
        assert_eq!(state.screen, Screen::Experiments);
    }
    let mut none = State::new();
    type_line(&mut none, ":experiments");
    assert!(screen(&none, 80, 8).contains("loading"));
    update(&mut none, Message::Tracked(Told::Experiments(vec![])));
    assert!(screen(&none, 80, 12).contains("A script that logs to this daemon shows here"));
}

#[test]
fn tab_goes_through_the_names_that_a_line_may_become() {
    let mut state = filled();
    assert_eq!(key(&mut state, KeyCode::Char(':')), [Command::FetchExperiments]);
    update(&mut state, Message::Tracked(some()));
    "runs ".chars().for_each(|c| drop(key(&mut state, KeyCode::Char(c))));
    let text = screen(&state, 80, 6);
    assert!(text.contains("Odd name · churn · demand · evil \\u{1b}[31mred · fraud · fraud-tuning"), "{text}");
    key(&mut state, KeyCode::Char('F'));
    assert_eq!(tabs(&mut state, 1), "runs fraud", "models and experiments");
    assert_eq!(tabs(&mut state, 1), "runs fraud-tuning");
    assert_eq!(tabs(&mut state, 1), "runs fraud");
    assert_eq!(tabs(&mut state, 1), "runs fraud-tuning");
    let wish = Wish { experiment: "fraud-tuning".into(), ..Wish::default() };
    assert_eq!(key(&mut state, KeyCode::Enter), [Command::FetchRuns(wish)]);
    ":logs f".chars().for_each(|c| drop(key(&mut state, KeyCode::Char(c))));
    assert_eq!(tabs(&mut state, 2), "logs fraud", "an experiment has no logs");
    key(&mut state, KeyCode::Esc);
    ":runs q".chars().for_each(|c| drop(key(&mut state, KeyCode::Char(c))));
    assert_eq!(tabs(&mut state, 1), "runs q");
}

#[test]
fn a_name_that_is_none_is_said_with_what_may_be_meant() {
    let mut state = bare();
    let astray = |state: &mut State, name: &str| {
        type_line(state, &format!(":runs {name}"));
        let wish = Wish { experiment: name.into(), ..Wish::default() };
        let asked = update(state, Message::Tracked(Told::Runs(wish, Ok(Found::default()))));
        assert_eq!(asked, [Command::FetchExperiments]);
    };
    astray(&mut state, "chrun");
    insta::assert_snapshot!("astray_80", screen(&state, 80, 14));
    astray(&mut state, "tuning");
    assert!(screen(&state, 80, 14).contains("Did you mean `fraud-tuning`?"));
    astray(&mut state, "nope");
    let text = screen(&state, 80, 14);
    assert!(text.contains("There is no experiment `nope`.") && !text.contains("Did you mean"), "{text}");
    update(&mut state, Message::Tracked(Told::Experiments(vec![])));
    assert!(screen(&state, 80, 14).contains("None is there yet."));
}

//! The fleet's table.

use super::*;

fn broken(text: &str) -> ModelSummary {
    let mut m = summary(text, Health::Healthy, false);
    (m.sync, m.spec_broken) = (SyncStatus::OutOfSync, true);
    m.message = "models/x/model.toml:14: unknown key `parms`; the last good spec stays in force".into();
    m
}

fn showing(models: Vec<ModelSummary>) -> State {
    let mut state = State::new();
    update(&mut state, Message::Fleet(Box::new(super::fleet(models))));
    state
}

#[test]
fn a_broken_spec_is_seen_though_the_old_version_serves() {
    let models = vec![
        summary("aaa", Health::Healthy, false),
        summary("bbb", Health::Progressing, true),
        broken("demand"),
        summary("pricing", Health::Degraded, false),
        summary("zzz", Health::Missing, false),
    ];
    let mut state = showing(models);
    let order: Vec<&str> = state.shown().iter().map(|m| m.name.as_str()).collect();
    assert_eq!(order, ["pricing", "demand", "bbb", "aaa", "zzz"], "one that is retired needs nobody");
    insta::assert_snapshot!("broken_80", screen(&state, 80, 12));
    let text = screen(&state, 130, 12);
    assert!(
        text.contains("unknown key `parms`; the last good spec stays in force · fix it, or R to revert it"),
        "{text}"
    );
    key(&mut state, KeyCode::Down);
    assert!(screen(&state, 80, 12).contains("R revert"));
    type_line(&mut state, "/outofs");
    assert_eq!(state.shown().len(), 2, "they are found by sync too");
    // A rollout under way hides it no less.
    let mut rolling = summary("demand", Health::Progressing, true);
    (rolling.spec_broken, rolling.message) = (true, broken("demand").message);
    assert!(screen(&showing(vec![rolling]), 130, 6).contains("unknown key `parms`"));
}

#[test]
fn the_selected_row_is_always_seen_with_its_note_and_the_end_fills_the_screen() {
    for (noted, count) in [(true, 40), (false, 40), (true, 3), (false, 3)] {
        let health = if noted { Health::Degraded } else { Health::Healthy };
        let models = (0..count).map(|n| {
            let mut m = summary(&format!("m{n:02}"), health, false);
            m.message = if noted { format!("wrong in m{n:02}") } else { String::new() };
            m
        });
        let mut state = showing(models.collect());
        for height in [5, 6, 7, 24, 25, 40] {
            key(&mut state, KeyCode::Char('g'));
            for n in 0..count {
                let text = seen(&mut state, 80, height);
                assert!(text.contains(&format!(" m{n:02} ")), "row {n} at {height}:\n{text}");
                assert!(!noted || text.contains(&format!("wrong in m{n:02} ")), "note {n} at {height}:\n{text}");
                key(&mut state, KeyCode::Down);
            }
            let text = seen(&mut state, 80, height);
            let rows = text.lines().filter(|l| l.contains(" m") && l.contains("v6")).count();
            let each = if noted { 2 } else { 1 };
            assert_eq!(
                rows,
                count.min((usize::from(height) - if height > 10 { 4 } else { 3 }) / each),
                "at {height}:\n{text}"
            );
        }
    }
}

#[test]
fn a_long_name_takes_nothing_from_the_other_columns() {
    let long = "a-model-with-a-name-that-is-much-longer-than-others";
    let models = || vec![summary(long, Health::Degraded, false), summary("fraud", Health::Progressing, true)];
    for (width, words) in [
        (80, "MODEL SYNC HEALTH LIVE REQ/S ERR CHANGED OutOfSync Degraded Progress v6→v7 910.0 0.1% 4f1c2ab"),
        (
            120,
            "MODEL SYNC HEALTH PRODUCTION REQ/S P99 ERR DRIFT CHANGED OutOfSync Degraded Progressing 25 12ms 0.1% Ada",
        ),
    ] {
        let text = screen(&showing(models()), width, 10);
        words.split(' ').for_each(|w| assert!(text.contains(w), "{w} at {width}:\n{text}"));
    }
    insta::assert_snapshot!("long_name_120", screen(&showing(models()), 120, 8));
}

#[test]
fn columns_stand_below_each_other_in_every_script() {
    let mut named = summary("fraud", Health::Healthy, false);
    named.changed_by = Some(Revision { author: "山田太郎".into(), ..revision() });
    let text = screen(&showing(vec![named, summary("demand", Health::Healthy, false)]), 160, 6);
    // In a test's buffer a wide character takes one cell, and an empty one follows.
    assert!(text.contains("山田太郎"), "{text}");
    let mut state = filled();
    type_line(&mut state, ":events");
    let by = |author: &str| Event { author: Some(author.into()), ..event(EventKind::RunStarted, "train") };
    let mut terminal = Terminal::new(TestBackend::new(80, 6)).unwrap();
    update(&mut state, Message::Events(vec![by("山田太郎"), by("Ada"), by("山田太郎と仲間たち")]));
    terminal.draw(|f| _ = draw(f, &state)).unwrap();
    let buffer = terminal.backend().buffer();
    let at = |row: u16| (0..80).find(|x| buffer[(*x, row)].symbol() == "f").unwrap();
    assert_eq!([at(2), at(3), at(4)], [at(3); 3]);
}

#[test]
fn pins_that_stay_in_the_store_are_said() {
    let mut fleet = super::fleet(vec![summary("demand", Health::Healthy, false)]);
    fleet.source.pins_in_store = Some("main is checked out here: pins stay in the store".into());
    let mut state = State::new();
    update(&mut state, Message::Fleet(Box::new(fleet)));
    assert!(screen(&state, 80, 8).contains("lock commits: main is checked out here: pins stay in the store"));
}

#[test]
fn words_of_a_filter_all_hold_and_letters_in_order_are_a_last_resort() {
    let mut state = filled();
    if let Some(fleet) = state.fleet.as_mut() {
        fleet.models[0].owner = Some("Lin@example.com".into());
    }
    let first = state.fleet.as_ref().unwrap().models[0].name.to_string();
    let rows: &[(&str, &[&str])] = &[
        ("fraud", &["fraud"]),
        ("FRAUD", &["fraud"]),
        ("frd", &["fraud"]),
        ("!healthy", &["pricing", "fraud", "churn"]),
        ("health:healthy", &["demand"]),
        ("sync:outofsync", &["pricing"]),
        ("owner:lin", &[&first]),
        ("env:production !env:staging d", &["pricing", "fraud", "churn", "demand"]),
        ("env:staging", &[]),
        ("by:ada d !deg", &["fraud", "churn", "demand"]),
        ("!frd", &["pricing", "fraud", "churn", "demand"]),
        ("owner:", &["pricing", "fraud", "churn", "demand"]),
        ("  ", &["pricing", "fraud", "churn", "demand"]),
        ("nowhere:x", &[]),
    ];
    for (filter, expected) in rows {
        state.filter = (*filter).to_owned();
        let shown: Vec<&str> = state.shown().iter().map(|m| m.name.as_str()).collect();
        assert_eq!(shown, *expected, "/{filter}");
    }
}

#[test]
fn the_order_is_chosen_by_a_key_marked_in_the_heading_and_kept() {
    let mut state = filled();
    let set = |state: &mut State, at: usize, requests: f64| {
        state.fleet.as_mut().unwrap().models[at].environments[0].requests_per_s = requests;
    };
    (0..4).for_each(|n| set(&mut state, n, n as f64));
    let names = |state: &State| state.shown().iter().map(|m| m.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&state), ["pricing", "fraud", "churn", "demand"]);
    key(&mut state, KeyCode::Char('S'));
    assert_eq!(names(&state), ["churn", "demand", "fraud", "pricing"]);
    assert!(screen(&state, 120, 12).contains("MODEL▾") && state.note == "the fleet: by name");
    key(&mut state, KeyCode::Char('S'));
    assert_eq!(names(&state), ["demand", "churn", "fraud", "pricing"]);
    assert!(screen(&state, 80, 12).contains("REQ/S▾"));
    let again = state.fleet.clone().unwrap();
    update(&mut state, Message::Fleet(Box::new(again)));
    assert_eq!(names(&state), ["demand", "churn", "fraud", "pricing"]);
    (0..4).for_each(|_| drop(key(&mut state, KeyCode::Char('S'))));
    assert_eq!(names(&state), ["pricing", "fraud", "churn", "demand"]);
}

/// Two owners, three folders, two environments, labels, and figures of the last minutes.
fn various() -> State {
    let mut models = filled().fleet.unwrap().models;
    models.sort_by(|a, b| a.name.cmp(&b.name));
    for (n, m) in models.iter_mut().enumerate() {
        m.owner = (n > 0).then(|| if n == 1 { "kim@example.com" } else { "ada@example.com" }.to_owned());
        m.file = Some(format!("models/{}/{}/model.toml", if n < 2 { "risk" } else { "shop" }, m.name));
        m.labels = [("team".to_owned(), if n < 2 { "risk" } else { "shop" }.to_owned())].into();
        let staging = EnvironmentSummary {
            environment: name("staging"),
            version: Some(VersionNumber(7)),
            rollout: None,
            ..m.environments[0].clone()
        };
        m.environments.insert(0, staging);
        m.environments[1].history = (0..20).map(|at| (at * (n as u64 + 1)) % 7).collect();
    }
    let burns = Objective::Availability(0.999);
    models[1].environments[1].objectives =
        vec![ObjectiveStatus { objective: burns, requests: 1_000, spent: Some(4.0), kept: false }];
    models[0].environments[1].version = None;
    let mut fleet = super::fleet(models);
    (fleet.counts.burning, fleet.counts.off_promise) = (1, 0);
    let mut state = State::new();
    update(&mut state, Message::Fleet(Box::new(fleet)));
    state
}

#[test]
fn groups_stand_together_with_what_is_wrong_in_them() {
    let mut state = various();
    insta::assert_snapshot!("various_120", screen(&state, 120, 16));
    insta::assert_snapshot!("various_220", screen(&state, 220, 16));
    let groups = |state: &State| {
        let text = screen(state, 120, 30);
        let heads = text.lines().filter(|l| l.contains("── ")).map(|l| l.trim_matches(['"', ' ']).to_owned());
        heads.collect::<Vec<_>>()
    };
    for (told, expected) in [
        (
            "grouped by health",
            vec![
                "── Degraded  1 model, 1 needs a person",
                "── Progressing  1 model",
                "── Suspended  1 model",
                "── Healthy  1 model, 1 needs a person",
            ],
        ),
        (
            "grouped by owner",
            vec![
                "── ada@example.com  2 models, 1 needs a person",
                "── kim@example.com  1 model, 1 needs a person",
                "── no owner  1 model",
            ],
        ),
        ("grouped by environment", vec!["── production  3 models, 2 need a person", "── staging  1 model"]),
        (
            "grouped by folder",
            vec!["── models/risk  2 models, 1 needs a person", "── models/shop  2 models, 1 needs a person"],
        ),
        ("not grouped", vec![]),
    ] {
        key(&mut state, KeyCode::Char('z'));
        assert_eq!(state.note, format!("the fleet: {told}"));
        assert_eq!(groups(&state), expected);
    }
}

#[test]
fn labels_select_models() {
    let mut state = various();
    for (filter, expected) in [("team=risk", 2), ("!team=risk", 2), ("team=", 4), ("team=ris", 0), ("other=", 0)] {
        state.filter = filter.into();
        assert_eq!(state.shown().len(), expected, "/{filter}");
    }
}

#[test]
fn a_healthy_release_that_burns_its_budget_floats_up_and_says_so() {
    let state = various();
    let order: Vec<&str> = state.shown().iter().map(|m| m.name.as_str()).collect();
    assert_eq!(order, ["pricing", "demand", "fraud", "churn"]);
    let text = screen(&state, 120, 16);
    assert!(text.contains("production: availability 0.999 is not kept: 400 % of its error budget is spent"), "{text}");
}
proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whoever writes commits, logs and messages writes what they like.
    #[test]
    fn no_text_of_others_moves_a_column_or_steers_the_terminal(text in crate::tui::view::odd_text(), width in 30u16..180, height in 3u16..30) {
        let mut odd = summary("fraud", Health::Degraded, true);
        odd.message.clone_from(&text);
        odd.owner = Some(text.clone());
        odd.changed_by = Some(Revision { author: text.clone(), summary: text.clone(), ..revision() });
        let mut whole = fleet(vec![odd, summary("demand", Health::Healthy, false)]);
        whole.source.url.clone_from(&text);
        whole.source.error = Some(text.clone());
        let mut state = State::new();
        update(&mut state, Message::Fleet(Box::new(whole)));
        for keys in ["", "t", "l", "d"] {
            tracked::press(&mut state, keys);
            let turn = state.log.turn;
            update(&mut state, Message::Log { turn, flowed: Flowed::More(text.clone().into_bytes()) });
            update(&mut state, Message::Events(vec![event(EventKind::GateFailed, &text)]));
            update(&mut state, Message::Said(text.clone()));
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|f| drop(draw(f, &state))).unwrap();
            let cells = &terminal.backend().buffer().content;
            prop_assert!(cells.iter().all(|c| !c.symbol().chars().any(is_hidden)), "{text:?}");
            state.screen = Screen::Fleet;
        }
    }
}

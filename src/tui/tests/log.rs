//! Output that is followed.

use super::*;

fn run(stage: &str, attempt: u32) -> Run {
    Run {
        id: RunId(format!("fraud-{stage}-{attempt}")),
        model: name("fraud"),
        stage: name(stage),
        fingerprint: Digest::of(b"f"),
        key: Digest::of(b"k"),
        attempt,
        command: crate::model::Command::Shell("true".into()),
        status: RunStatus::Running,
        started: WallMs(0),
        started_steady: SteadyMs(0),
        ended: None,
        duration: None,
        exit_code: None,
        metrics: Default::default(),
        outputs: None,
    }
}

fn flow(state: &mut State, flowed: Flowed) -> Vec<Command> {
    let turn = state.log.turn;
    update(state, Message::Log { turn, flowed })
}

fn more(state: &mut State, text: &str) {
    assert_eq!(flow(state, Flowed::More(text.as_bytes().to_vec())), []);
}

fn of(stage: &str) -> Flowed {
    Flowed::Of(Box::new(run(stage, 1)))
}

/// The question for fraud's runs after so many bytes of that stage's.
fn follow(turn: u64, read: Option<(&str, u64)>) -> Command {
    let (run, from) = read.map_or((None, 0), |(stage, from)| (Some(run(stage, 1).id), from));
    Command::Follow(Follow { turn, model: name("fraud"), output: Output::Runs, run, from })
}

/// The log of fraud is open.
fn opened() -> State {
    let mut state = filled();
    type_line(&mut state, "/fraud");
    assert_eq!(key(&mut state, KeyCode::Char('l')), [follow(1, None)]);
    state
}

fn of_fraud() -> Message {
    Message::Happened(Some(event(EventKind::RunSucceeded, "check")))
}

#[test]
fn a_log_goes_on_with_the_next_stage_and_asks_for_nothing_meanwhile() {
    let mut state = opened();
    flow(&mut state, of("check"));
    more(&mut state, "checked\n");
    assert_eq!(
        update(&mut state, of_fraud()),
        [Command::FetchModels([name("fraud")].into())],
        "it is followed already"
    );
    assert_eq!(flow(&mut state, Flowed::Ended { streamed: true }), [follow(2, Some(("check", 8)))]);
    assert_eq!(flow(&mut state, Flowed::Ended { streamed: false }), [], "nothing new: no further question");
    assert!(screen(&state, 60, 5).contains("output of check, ended"));
    assert!(update(&mut state, of_fraud()).contains(&follow(3, Some(("check", 8)))));
    flow(&mut state, of("train"));
    more(&mut state, "a line that is wider than the screen\n");
    let text = screen(&state, 30, 8);
    for part in ["output of train", "checked", "── train ──", "than th ", "e screen"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn output_is_shown_as_text_however_it_is_cut_into_pieces() {
    let mut state = opened();
    flow(&mut state, of("train"));
    let text = "one\ntwo \u{1b}[2J…\n";
    let (a, b) = text.as_bytes().split_at(text.len() - 3);
    flow(&mut state, Flowed::More(a.to_vec()));
    flow(&mut state, Flowed::More(b.to_vec()));
    let text = screen(&state, 60, 5);
    assert!(text.contains("two \\u{1b}[2J…") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_log_goes_on_where_it_was_when_the_daemon_is_back() {
    let mut state = opened();
    flow(&mut state, of("train"));
    more(&mut state, "epoch 1\n");
    assert_eq!(flow(&mut state, Flowed::Cut), []);
    update(&mut state, Message::Reachable(false));
    assert!(screen(&state, 80, 6).contains("output of train, cut off: it goes on with the daemon"));
    let again = follow(2, Some(("train", 8)));
    assert_eq!(update(&mut state, Message::Reachable(true)), [Command::FetchFleet, again]);
    // What an earlier question still brings is in the answer to this one too.
    update(&mut state, Message::Log { turn: 1, flowed: Flowed::More(b"epoch 2\n".to_vec()) });
    flow(&mut state, of("train"));
    more(&mut state, "epoch 2\n");
    let text = screen(&state, 80, 6);
    assert_eq!(text.matches("epoch 2").count(), 1, "{text}");
    assert!(text.contains("output of train, as it comes") && !text.contains("──"), "{text}");
}

#[test]
fn what_is_read_above_the_end_stays_where_it_is_while_the_log_grows() {
    let mut state = opened();
    flow(&mut state, of("train"));
    (0..30).for_each(|n| more(&mut state, &format!("epoch {n}\n")));
    assert!(seen(&mut state, 60, 12).contains("epoch 29"), "the end is followed");
    key(&mut state, KeyCode::Char('k'));
    let before = seen(&mut state, 60, 12);
    assert!(before.contains("epoch 28 ") && !before.contains("epoch 29"), "{before}");
    (30..6_000).for_each(|n| more(&mut state, &format!("epoch {n}\n")));
    let after = seen(&mut state, 60, 12);
    assert!(after.contains("lines below (G follows)"), "{after}");
    // The oldest lines were given up meanwhile; before that nothing moves.
    let mut state = opened();
    flow(&mut state, of("train"));
    (0..30).for_each(|n| more(&mut state, &format!("epoch {n}\n")));
    seen(&mut state, 60, 12);
    key(&mut state, KeyCode::Char('k'));
    (30..60).for_each(|n| more(&mut state, &format!("epoch {n}\n")));
    let after = seen(&mut state, 60, 12);
    assert!(after.contains("epoch 20 ") && after.contains("epoch 28 ") && after.contains("31 lines below"), "{after}");
    key(&mut state, KeyCode::Char('G'));
    assert!(seen(&mut state, 60, 12).contains("epoch 59 "));
    more(&mut state, "epoch 60\n");
    assert!(seen(&mut state, 60, 12).contains("epoch 60 "), "it is followed again");
}

#[test]
fn a_log_that_fits_is_followed_whatever_is_scrolled() {
    let mut state = opened();
    flow(&mut state, of("train"));
    more(&mut state, "epoch 0\n");
    seen(&mut state, 60, 6);
    key(&mut state, KeyCode::Char('k'));
    (1..20).for_each(|n| more(&mut state, &format!("epoch {n}\n")));
    assert!(seen(&mut state, 60, 6).contains("epoch 19 "));
}

#[test]
fn l_turns_over_to_the_replicas_and_back() {
    let mut state = opened();
    assert!(screen(&state, 80, 8).contains("l replicas"));
    let of_replica = |turn: u64| {
        let output = Output::Replica(name("production"));
        Command::Follow(Follow { turn, model: name("fraud"), output, run: None, from: 0 })
    };
    assert_eq!(key(&mut state, KeyCode::Char('l')), [of_replica(2)]);
    more(&mut state, "listening\n");
    let text = screen(&state, 80, 8);
    assert!(text.contains("output of the newest replica in production, as it comes"), "{text}");
    // The release that serves is another one: its replica has another log.
    let mut promoted = summary("fraud", Health::Healthy, false);
    assert_eq!(update(&mut state, Message::Fleet(Box::new(fleet(vec![promoted.clone()])))), [of_replica(3)]);
    assert_eq!(update(&mut state, Message::Fleet(Box::new(fleet(vec![promoted.clone()])))), []);
    assert!(!screen(&state, 80, 8).contains("listening"));
    flow(&mut state, Flowed::Ended { streamed: false });
    assert!(screen(&state, 80, 8).contains("no replica there"));
    assert_eq!(key(&mut state, KeyCode::Char('l')), [follow(4, None)]);
    assert_eq!(key(&mut state, KeyCode::Esc), [], "back to the fleet, not through each output");
    assert_eq!(state.screen, Screen::Fleet);
    promoted.environments.clear();
    update(&mut state, Message::Fleet(Box::new(fleet(vec![promoted]))));
    key(&mut state, KeyCode::Char('l'));
    assert_eq!(key(&mut state, KeyCode::Char('l')), []);
    assert!(screen(&state, 100, 8).contains("fraud is deployed nowhere"));
}

/// An open log with lines of each level, in an order of their own.
fn levels() -> State {
    let mut state = opened();
    flow(&mut state, of("train"));
    more(&mut state, "epoch 1: loss 0.9\nWARNING: slow disk\nepoch 2: Loss 0.5\nTraceback (most recent call last):\n");
    more(&mut state, "  File \"train.py\", line 3\nValueError: no such column\nepoch 3: loss 0.4\n");
    seen(&mut state, 80, 12);
    state
}

#[test]
fn lines_are_shown_by_level_and_a_traceback_is_one() {
    let mut state = levels();
    key(&mut state, KeyCode::Char('L'));
    let text = seen(&mut state, 80, 12);
    assert!(text.contains("slow disk") && text.contains("line 3") && !text.contains("epoch"), "{text}");
    key(&mut state, KeyCode::Char('L'));
    let text = seen(&mut state, 80, 12);
    assert!(!text.contains("slow disk") && text.contains("line 3") && text.contains("ValueError"), "{text}");
    key(&mut state, KeyCode::Char('L'));
    assert!(seen(&mut state, 80, 12).contains("epoch 3"));
}

#[test]
fn what_is_searched_for_is_gone_to_and_on_to_the_next() {
    let mut state = levels();
    (0..40).for_each(|n| more(&mut state, &format!("filler {n}\n")));
    more(&mut state, "the last loss\n");
    seen(&mut state, 80, 6);
    for c in "/loss".chars() {
        key(&mut state, KeyCode::Char(c));
    }
    let text = seen(&mut state, 80, 6);
    assert!(text.contains("epoch 1: loss 0.9") && text.contains("/loss"), "the first one, while it is typed: {text}");
    key(&mut state, KeyCode::Enter);
    assert!(seen(&mut state, 80, 6).contains("4 found"));
    let tops = "nnnN".chars().map(|c| {
        key(&mut state, KeyCode::Char(c));
        seen(&mut state, 80, 6).lines().nth(2).map(|l| l.trim_matches(['"', ' ']).to_owned()).unwrap()
    });
    // The last one stands in the last row: there is nothing below it to scroll to.
    let tops: Vec<String> = tops.collect();
    assert_eq!((&*tops[0], &*tops[1], &*tops[3]), ("epoch 2: Loss 0.5", "epoch 3: loss 0.4", "epoch 3: loss 0.4"));
    assert!(tops[2].starts_with("filler"), "{tops:?}");
    for c in "/nowhere\n".chars() {
        key(&mut state, if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) });
    }
    assert_eq!(state.note, "no `nowhere` in it");
}

#[test]
fn lines_are_wrapped_or_cut_timed_and_saved_as_they_were_written() {
    let mut state = opened();
    flow(&mut state, of("train"));
    more(&mut state, &format!("{}end\n\u{1b}[31mred\n", "long ".repeat(20)));
    assert!(seen(&mut state, 40, 10).contains("end"));
    key(&mut state, KeyCode::Char('w'));
    assert!(!seen(&mut state, 40, 10).contains("end"));
    key(&mut state, KeyCode::Char('T'));
    assert!(seen(&mut state, 40, 10).contains("00:16:40 long"), "{}", seen(&mut state, 40, 10));
    let save = KeyEvent::new(KeyCode::Char('s'), crossterm::event::KeyModifiers::CONTROL);
    let asked = update(&mut state, Message::Key(save));
    let [Command::Save { file, text }] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(file, "fraud-train-1-1000.log");
    assert!(text.ends_with(b"end\n\x1b[31mred\n"), "{text:?}");
}

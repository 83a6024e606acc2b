//! What is asked for, and when.

use super::*;

fn newest_first() -> Wish {
    wish("", Order::Newest, "")
}

fn told(state: &mut State, told: Told) -> (Vec<Command>, bool) {
    let before = state.tracked.revision;
    let commands = update(state, Message::Tracked(told));
    (commands, state.tracked.revision != before)
}

fn ticks(state: &mut State, seconds: usize) -> Vec<Command> {
    (0..seconds).flat_map(|_| [Message::Beat, Message::Tick]).flat_map(|m| update(state, m)).collect()
}

#[test]
fn runs_are_open_from_everywhere_a_model_is() {
    let asked = [Command::FetchRuns(newest_first())];
    for at in ["", "\n", "l", "d"] {
        let mut state = filled();
        type_line(&mut state, "/fraud");
        press(&mut state, at);
        assert_eq!(key(&mut state, KeyCode::Char('r')), asked, "{at:?}");
        assert_eq!(state.screen, Screen::Runs("fraud".into()));
    }
    let mut state = filled();
    assert_eq!(type_line(&mut state, ":runs fraud"), asked);
    let any = [Command::FetchRuns(Wish { experiment: "My runs / 2".into(), ..Wish::default() })];
    assert_eq!(type_line(&mut state, ":runs My runs / 2"), any, "an experiment need not be a model");
    for code in "ldPR".chars() {
        key(&mut state, KeyCode::Char(code));
        assert!(state.note.contains("no model is open here"), "{code}: {}", state.note);
    }
    key(&mut state, KeyCode::Char('t'));
    assert_eq!(key(&mut state, KeyCode::Char('r')), [Command::FetchExperiments], "of all, where no model is open");
}

#[test]
fn a_filter_that_is_none_is_said_and_the_list_stays() {
    let mut state = opened();
    let asked = type_line(&mut state, "/auc >");
    assert_eq!(asked, [Command::FetchRuns(wish("auc >", Order::Newest, ""))]);
    let refused = Told::Runs(wish("auc >", Order::Newest, ""), Err("Invalid clause(s) in \u{1b}filter".into()));
    assert!(told(&mut state, refused).1);
    let text = screen(&state, 100, 20);
    assert!(text.contains("/auc >: Invalid clause(s) in \\u{1b}filter") && text.contains("brave-cat-12"), "{text}");
    assert!(text.contains("/ edits it, such as metrics.auc > 0.9 AND status"), "{text}");
    assert_eq!(state.needed(), [Command::FetchRuns(newest_first())], "what was in force is");
    key(&mut state, KeyCode::Char('/'));
    assert_eq!(state.mode, Mode::Filter("auc >".into()), "it can be put right");
    key(&mut state, KeyCode::Esc);
    assert!(!screen(&state, 100, 20).contains("Invalid"));
    press(&mut state, "/metrics.auc > 0.9\n");
    assert!(screen(&state, 100, 20).contains("newest first   /metrics.auc > 0.9"));
    press(&mut state, "/");
    let all = key(&mut state, KeyCode::Esc);
    assert_eq!(all, [Command::FetchRuns(newest_first())], "esc shows all again");
    let none = Wish { filter: "params.x = '1'".into(), ..newest_first() };
    type_line(&mut state, "/params.x = '1'");
    told(&mut state, Told::Runs(none, Ok(Found { there: true, ..Found::default() })));
    assert!(screen(&state, 80, 12).contains("No run of fraud is as /params.x = '1' asks."));
}

#[test]
fn orders_follow_each_other_best_first() {
    let mut state = opened();
    let by = |key: &str, high| if high { Order::Highest(key.into()) } else { Order::Lowest(key.into()) };
    let mut sorted = |order: Order| {
        let asked = key(&mut state, KeyCode::Char('s'));
        assert_eq!(asked, [Command::FetchRuns(wish("", order, ""))]);
        serve(&mut state, asked);
        state.clone()
    };
    sorted(by("auc", true));
    sorted(by("auc", false));
    sorted(Order::Newest);
    press(&mut state, "mm");
    assert_eq!(state.tracked.metric.as_deref(), Some("loss"));
    for order in [by("loss", false), by("loss", true)] {
        let asked = key(&mut state, KeyCode::Char('s'));
        assert_eq!(asked, [Command::FetchRuns(wish("", order, ""))]);
        serve(&mut state, asked);
    }
    assert!(screen(&state, 120, 12).contains("8 runs, highest loss first"));
    assert_eq!(by("a b", true).clause().unwrap(), "metrics.`a b` DESC");
    press(&mut state, "MMM");
    assert_eq!(state.tracked.metric.as_deref(), Some("system/cpu_utilization_percentage"), "round and round");
}

#[test]
fn pages_are_turned_to_and_fro() {
    let mut state = filled();
    type_line(&mut state, ":runs fraud");
    let page = |next: Option<&str>| Ok(Found { next: next.map(str::to_owned), ..found(1000) });
    told(&mut state, Told::Runs(newest_first(), page(Some("b"))));
    assert!(screen(&state, 80, 10).contains("fraud  runs 1 to 1,000, n for more, newest first"));
    let second = wish("", Order::Newest, "b");
    assert_eq!(key(&mut state, KeyCode::Char('n')), [Command::FetchRuns(second.clone())]);
    assert_eq!(key(&mut state, KeyCode::Char('n')), [], "not before that one is there");
    told(&mut state, Told::Runs(second, page(None)));
    assert!(screen(&state, 80, 10).contains("fraud  runs 1,001 to 2,000, newest first"));
    assert_eq!(key(&mut state, KeyCode::Char('n')), []);
    assert_eq!(state.note, "there is no such page");
    assert_eq!(key(&mut state, KeyCode::Char('N')), [Command::FetchRuns(newest_first())]);
    told(&mut state, Told::Runs(newest_first(), page(Some("b"))));
    press(&mut state, "n");
    type_line(&mut state, "/x");
    told(&mut state, Told::Runs(wish("x", Order::Newest, ""), Err("no".into())));
    assert_eq!(state.needed(), [Command::FetchRuns(wish("", Order::Newest, "b"))], "a page stays as well");
    let late = Told::Runs(wish("x", Order::Newest, ""), page(None));
    assert_eq!(told(&mut state, late), (vec![], false), "the answer to what was asked before comes late");
}

#[test]
fn what_runs_is_looked_at_each_second_and_what_does_not_now_and_then() {
    let mut state = opened();
    let living = Command::FetchLiving(newest_first());
    assert_eq!(ticks(&mut state, 2), [living.clone(), living.clone()]);
    let same = Living { runs: vec![run(0)], newest: Some(id(0)) };
    assert_eq!(told(&mut state, Told::Living(newest_first(), same.clone())), (vec![], false), "no frame for nothing");
    let better = |auc: f64| run(0).tap(|r| r.metrics.get_mut("auc").unwrap().value = Figure(auc));
    let moved = Living { runs: vec![better(0.99)], ..same.clone() };
    assert_eq!(told(&mut state, Told::Living(newest_first(), moved)), (vec![], true));
    assert!(screen(&state, 120, 12).contains("0.9900"));
    let whole = vec![Command::FetchRuns(newest_first())];
    let begun = Living { newest: Some(id(9)), ..same.clone() };
    assert_eq!(told(&mut state, Told::Living(newest_first(), begun)).0, whole, "another one began");
    let ended = Living { runs: vec![], ..same };
    assert_eq!(told(&mut state, Told::Living(newest_first(), ended)).0, whole);
    let over = Found { runs: (1..8).map(run).collect(), ..found(8) };
    told(&mut state, Told::Runs(newest_first(), Ok(over)));
    ticks(&mut state, 5);
    assert_eq!(ticks(&mut state, 5), [living], "none goes on");
    update(&mut state, Message::Reachable(false));
    assert_eq!(ticks(&mut state, 10), [], "nobody is there to be asked");
    let event = event(EventKind::RunStarted, "train");
    assert!(update(&mut state, Message::Happened(Some(event))).contains(&whole[0]), "its pipeline has events");
    let mut elsewhere = filled();
    assert_eq!(ticks(&mut elsewhere, 10), []);
}

#[test]
fn a_list_by_a_metric_is_sorted_anew_when_that_moves() {
    let mut state = opened();
    press(&mut state, "s");
    let by = wish("", Order::Highest("auc".into()), "");
    let moved = |key: &str| {
        let run = run(0).tap(|r| r.metrics.get_mut(key).unwrap().value = Figure(0.5));
        Told::Living(by.clone(), Living { runs: vec![run], newest: Some(id(0)) })
    };
    assert_eq!(told(&mut state, moved("lr")), (vec![], true));
    assert_eq!(told(&mut state, moved("auc")).0, [Command::FetchRuns(by.clone())]);
    let other = Living { runs: vec![], newest: None };
    assert_eq!(told(&mut state, Told::Living(newest_first(), other)), (vec![], false), "of another order");
}

#[test]
fn of_a_run_that_goes_on_only_what_is_new_is_asked_for() {
    let mut state = opened();
    assert_eq!(key(&mut state, KeyCode::Enter), [Command::FetchTracked(vec![id(0)])]);
    let (asked, _) = told(&mut state, Told::Whole(vec![whole(0)]));
    let [Command::FetchCurves(wants)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(wants[0].key, "auc", "what is drawn large comes first");
    assert_eq!(wants.len(), 5);
    serve(&mut state, asked);
    let again = Command::FetchTracked(vec![id(0)]);
    assert_eq!(ticks(&mut state, 1), [again.clone(), again], "twice a second");
    assert_eq!(told(&mut state, Told::Whole(vec![whole(0)])), (vec![], false));
    let mut moved = whole(0);
    moved.run.metrics.get_mut("loss").unwrap().step = 120;
    let (asked, changed) = told(&mut state, Told::Whole(vec![moved.clone()]));
    let [Command::FetchCurves(wants)] = asked.as_slice() else { panic!("{asked:?}") };
    assert!(changed && wants.len() == 1 && wants[0].key == "loss" && wants[0].mark.newest.step == 120, "{wants:?}");
    serve(&mut state, asked);
    (moved.run.status, moved.run.ended) = (Status::Finished, Some(960_000));
    assert!(!told(&mut state, Told::Whole(vec![moved])).0.is_empty(), "once more at its end");
    assert_eq!(ticks(&mut state, 9), []);
    key(&mut state, KeyCode::Esc);
    assert_eq!(told(&mut state, Told::Whole(vec![whole(3)])), (vec![], false), "of a page that was left");
}

#[test]
fn marked_runs_are_compared_in_the_order_of_their_marks() {
    let mut state = opened();
    assert_eq!(key(&mut state, KeyCode::Char('c')), []);
    assert!(state.note.contains("mark two runs or more with space"));
    press(&mut state, "jj~");
    assert_eq!(state.tracked.list.marked, [id(2)]);
    press(&mut state, "k~");
    assert_eq!(state.tracked.list.marked, [], "the cursor went on to the next; the same key takes the mark off");
    press(&mut state, "gjj~gj~");
    assert_eq!(key(&mut state, KeyCode::Char('c')), [Command::FetchTracked(vec![id(2), id(1)])]);
    let (asked, _) = told(&mut state, Told::Whole(vec![whole(2), whole(1)]));
    let [Command::FetchCurves(wants)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(wants.len(), 2, "the curves of one metric");
    key(&mut state, KeyCode::Esc);
    press(&mut state, "g~jj~~~~");
    assert!(state.note.contains("6 runs are marked"), "{}", state.note);
    assert_eq!(state.tracked.list.marked.len(), 6);
}

#[test]
fn the_selection_stays_with_the_run_and_the_top_with_what_is_newest() {
    let mut state = opened();
    let shifted = |n: usize| Told::Runs(newest_first(), Ok(Found { runs: (n..8).map(run).collect(), ..found(8) }));
    told(&mut state, shifted(1));
    told(&mut state, shifted(0));
    assert_eq!(state.tracked.list.selected().unwrap().id, id(0), "at the top one sees what comes");
    press(&mut state, "jjj");
    told(&mut state, shifted(2));
    assert_eq!(state.tracked.list.selected().unwrap().id, id(3));
    press(&mut state, "\nq");
    assert_eq!(state.tracked.list.selected().unwrap().id, id(3), "and after a look at it");
}

#[test]
fn the_cursor_of_a_page_goes_over_all_rows_and_the_metric_stays_chosen() {
    let mut state = opened();
    press(&mut state, "\nj");
    assert_eq!(state.tracked.metric.as_deref(), Some("grad_norm"));
    press(&mut state, "G");
    assert!(matches!(&state.tracked.page.item, Some(Item::Tag(t)) if t == "mlflow.user"));
    assert_eq!(state.tracked.metric.as_deref(), Some("grad_norm"), "a tag is no metric");
    press(&mut state, "m");
    assert_eq!(state.tracked.page.item, Some(Item::Metric("loss".into())));
    press(&mut state, "\n");
    assert!(state.tracked.page.alone && !screen(&state, 80, 24).contains("params"));
    press(&mut state, "q");
    assert!(!state.tracked.page.alone && matches!(state.screen, Screen::Run(..)), "back from the chart alone first");
    press(&mut state, "/");
    assert_eq!(state.mode, Mode::Normal);
    press(&mut state, "r");
    assert_eq!(state.screen, Screen::Runs("fraud".into()));
    press(&mut state, "l");
    assert!(matches!(state.screen, Screen::Log(..)), "what is about the model is at hand here too");
}

//! The time line, a commit's page, and undoing a commit.

use super::*;
use crate::tui::timeline::{Lately, Row};

fn commit(id: &str, minutes: i64, author: &str, summary: &str, told: &[(&str, &str, Outcome)]) -> CommitRow {
    let consequence = |(model, words, outcome): &(&str, &str, Outcome)| Consequence {
        model: Name::new(model).ok(),
        words: (*words).into(),
        outcome: *outcome,
    };
    CommitRow {
        revision: Revision {
            commit: ObjectId(id.into()),
            author: author.into(),
            summary: summary.into(),
            time: WallMs(1_000_000 - minutes * 60_000),
            ..revision()
        },
        bot: author == "trimtab",
        merged: 0,
        models: vec!["fraud".into()],
        models_changed: 1,
        others: vec![],
        reverted_by: None,
        consequences: told.iter().map(consequence).collect(),
        more: false,
    }
}

fn commits() -> Vec<CommitRow> {
    use Outcome::*;
    let psi = "data pinned: PSI(amount) 0.31 > 0.20, trained v6 (3m 58s), production v5 → v6";
    let failed = "trained v13 (2m), gate failed: mae ≤ 4: 4.31";
    let mut reverted =
        commit("7d20f3e0", 12, "Ada", "churn: new \u{1b}[2Jseed", &[("churn", "production v3 → v4", Done)]);
    reverted.reverted_by = Some(ObjectId("4f1c2ab0".into()));
    vec![
        commit(
            "4f1c2ab0",
            2,
            "Ada",
            "fraud: deeper trees",
            &[
                ("fraud", "trained v7 (4m 02s), staging v6 → v7, production v7 at 25 %", Going),
                ("churn", "production v4 → v3, nothing trained", Done),
            ],
        ),
        commit("c09e7710", 5, "trimtab", "lock: fraud: train → b3:77e1", &[("fraud", psi, Done)]),
        commit("91ab3cd0", 6, "Lin", "pricing: new features", &[("pricing", failed, Failed)]),
        reverted,
        CommitRow { models_changed: 10_000, ..commit("00000010", 15, "Ada", "a first commit", &[]) },
    ]
}

/// With what no commit caused between them.
fn lately() -> State {
    let mut state = filled();
    key(&mut state, KeyCode::Char('t'));
    update(&mut state, Message::Lately(Lately::Commits(commits())));
    let other = |seq, minutes: i64, kind, message: &str| Event {
        seq,
        at: WallMs(1_000_000 - minutes * 60_000),
        model: None,
        commit: None,
        author: None,
        ..event(kind, message)
    };
    update(
        &mut state,
        Message::Events(vec![
            other(1, 8, EventKind::SourceUnreachable, "the remote hangs\u{1b}[2J"),
            other(2, 7, EventKind::SourceRecovered, "the source answers again"),
            other(3, 7, EventKind::SnapshotTaken, "train: b3:77e1 of transactions"),
            event(EventKind::RunStarted, "it stands with its commit"),
        ]),
    );
    state
}

fn undo() -> Reverted {
    let plan = FleetPlan {
        revision: None,
        models: vec![],
        unchanged: 4,
        diagnostics: vec![],
        held: vec![],
        at: WallMs(1_000_000),
    };
    Reverted {
        message: String::new(),
        commit: commits()[0].revision.clone(),
        on: ObjectId("aaaa".into()),
        text: "Revert \"fraud: deeper trees\"\n\nThis reverts commit 4f1c2ab0.\n\nTrimtab-Reason: revert asked for by hand\n".into(),
        files: 2,
        outside: vec!["README.md".into()],
        plan: Some(plan),
        revision: None,
    }
}

fn page(commit: &CommitRow) -> CommitPage {
    let reason = |field: &str, old: Option<&str>, new: Option<&str>, place: Option<&str>| Reason {
        field: field.into(),
        old: old.map(str::to_owned),
        new: new.map(str::to_owned),
        place: place.map(str::to_owned),
        commit: None,
        author: None,
    };
    CommitPage {
        commit: CommitRow { models_changed: 60, ..commit.clone() },
        message: "fraud: deeper trees\n\nThey found more \u{1b}[2Jof it.\n".into(),
        changes: vec![ModelChanges {
            model: name("fraud"),
            reasons: vec![
                reason("train.params.depth", Some("6"), Some("8"), Some("specs/models/fraud/model.toml:14")),
                reason("monitor.slo.watch", None, Some("10m"), None),
            ],
            fields: 60,
        }],
        cut: true,
        events: vec![
            event(EventKind::RunStarted, "training b3:77e1: train.params.depth 6 → 8; data.train.snapshot b3:1 → b3:2"),
            event(EventKind::GateFailed, "v7: gate \u{1b}failed"),
        ],
        events_cut: true,
    }
}

/// Answers as a daemon does.
pub fn serve(state: &mut State, commands: &[Command]) {
    for command in commands {
        let told = match command {
            Command::FetchCommits => Lately::Commits(commits()),
            Command::FetchCommit(id) => {
                let of = commits().into_iter().find(|c| c.revision.commit == *id);
                Lately::Page(Box::new(page(&of.unwrap())))
            }
            Command::FetchRevert(id) => Lately::Undo(id.clone(), Ok(Box::new(undo()))),
            _ => continue,
        };
        update(state, Message::Lately(told));
    }
}

fn id(text: &str) -> ObjectId {
    ObjectId(text.into())
}

#[test]
fn commits_tell_what_came_of_them_and_what_no_commit_caused_stands_between() {
    let mut state = lately();
    insta::assert_snapshot!("timeline_80", screen(&state, 80, 24));
    insta::assert_snapshot!("timeline_120", screen(&state, 120, 40));
    key(&mut state, KeyCode::Char('j'));
    key(&mut state, KeyCode::Char('j'));
    let text = screen(&state, 80, 24);
    assert!(text.contains("          ! pricing trained v13 (2m), gate failed: mae ≤ 4: 4.31"), "{text}");
    // With little room each has one row, and the selected one is among those that are seen.
    key(&mut state, KeyCode::Char('G'));
    let text = screen(&state, 80, 6);
    assert!(text.contains("0000001") && text.lines().count() == 6, "{text}");
}

#[test]
fn what_is_selected_stays_so_when_others_come_and_the_newest_is_followed() {
    let mut state = lately();
    let selected = |state: &State| state.timeline.known()[state.timeline.place()].revision.commit.clone();
    let more = |state: &mut State, id: &str| {
        let all = [vec![commit(id, 0, "Ada", "new", &[])], state.timeline.known().to_vec()].concat();
        update(state, Message::Lately(Lately::Commits(all)));
    };
    more(&mut state, "aa");
    assert_eq!(selected(&state), id("aa"));
    key(&mut state, KeyCode::Char('j'));
    more(&mut state, "bb");
    assert_eq!(selected(&state), id("4f1c2ab0"));
    key(&mut state, KeyCode::Char('g'));
    assert_eq!(selected(&state), id("bb"));
    let told = |e: EventKind, seq| Message::Happened(Some(Event { seq, ..event(e, "x") }));
    let asked = update(&mut state, told(EventKind::Promoted, 9));
    assert!(asked.contains(&Command::FetchCommits), "{asked:?}");
    let asked = update(&mut state, told(EventKind::ModelChanged, 0));
    assert!(!asked.contains(&Command::FetchCommits), "requests that come in change no row");
}

#[test]
fn commits_stay_in_gits_order_whatever_their_clocks_say() {
    let mut state = lately();
    let all = [commit("a", 50, "Ada", "", &[]), commit("b", 1, "Ada", "", &[]), commit("c", 60, "Ada", "", &[])];
    update(&mut state, Message::Lately(Lately::Commits(all.to_vec())));
    let rows = state.timeline.rows(&state.events);
    let told = rows.iter().map(|r| match r {
        Row::Commit(c) => c.revision.commit.to_string(),
        Row::Event(e) => e.seq.to_string(),
    });
    assert_eq!(told.collect::<Vec<_>>(), ["2", "1", "a", "b", "c"]);
}

#[test]
fn a_time_line_without_commits_says_what_to_do() {
    let mut state = filled();
    assert_eq!(key(&mut state, KeyCode::Char('t')), [Command::FetchCommits, Command::FetchEvents]);
    assert!(screen(&state, 80, 6).contains("loading"));
    update(&mut state, Message::Lately(Lately::Commits(vec![])));
    assert!(screen(&state, 120, 6).contains("no commit changed the specs yet: `trimtab new NAME`"));
    assert_eq!(key(&mut state, KeyCode::Enter), []);
    assert!(state.note.contains("the time line is empty"));
    assert_eq!(type_line(&mut state, ":events"), [Command::FetchEvents]);
    assert_eq!(state.screen, Screen::Events);
    assert_eq!(type_line(&mut state, ":timeline"), [Command::FetchCommits, Command::FetchEvents]);
}

#[test]
fn a_commits_page_tells_what_it_asked_for_and_what_came_of_it() {
    let mut state = lately();
    assert_eq!(key(&mut state, KeyCode::Enter), [Command::FetchCommit(id("4f1c2ab0"))]);
    assert!(screen(&state, 80, 6).contains("loading"));
    update(&mut state, Message::Lately(Lately::Page(Box::new(page(&commits()[0])))));
    insta::assert_snapshot!("commit_80", screen(&state, 80, 24));
    // Another commit's page comes late.
    key(&mut state, KeyCode::Esc);
    key(&mut state, KeyCode::Char('j'));
    key(&mut state, KeyCode::Enter);
    assert!(screen(&state, 80, 6).contains("loading"));
}

#[test]
fn undoing_a_commit_shows_its_plan_before_it_asks_and_y_alone_pushes() {
    let mut state = lately();
    assert_eq!(key(&mut state, KeyCode::Char('R')), [Command::FetchRevert(id("4f1c2ab0"))]);
    let answer = || Message::Lately(Lately::Undo(id("4f1c2ab0"), Ok(Box::new(undo()))));
    assert!(screen(&state, 80, 8).contains("working it out"));
    assert_eq!(state.mode, Mode::Normal, "nothing is asked before the plan is there");
    assert_eq!(update(&mut state, answer()), []);
    insta::assert_snapshot!("revert_80", screen(&state, 80, 24));
    // Its plan can be read while it asks.
    seen(&mut state, 80, 6);
    assert_eq!(key(&mut state, KeyCode::Char('j')), []);
    assert_eq!((state.scroll, &state.screen), (1, &Screen::Revert(id("4f1c2ab0"))));
    let back = [Command::FetchCommits, Command::FetchEvents];
    assert_eq!(key(&mut state, KeyCode::Char('n')), back);
    assert_eq!((&state.screen, &state.mode), (&Screen::TimeLine, &Mode::Normal));

    key(&mut state, KeyCode::Char('R'));
    assert!(screen(&state, 80, 8).contains("working it out"), "the plan of before may be another by now");
    update(&mut state, answer());
    let push = Command::Revert { commit: id("4f1c2ab0"), on: id("aaaa") };
    assert_eq!(key(&mut state, KeyCode::Char('y')), [back.to_vec(), vec![push]].concat());
    assert_eq!(state.screen, Screen::TimeLine);
}

#[test]
fn what_cannot_be_undone_says_why_and_asks_nothing() {
    let mut state = lately();
    key(&mut state, KeyCode::Enter);
    key(&mut state, KeyCode::Char('R'));
    let why = "4f1c2ab cannot be reverted: later commits changed the same places of specs/models/fraud/model.toml; run `git revert 4f1c2ab` \
               yourself and resolve it there";
    update(&mut state, Message::Lately(Lately::Undo(id("4f1c2ab0"), Err(why.into()))));
    insta::assert_snapshot!("unrevertable_80", screen(&state, 80, 10));
    // Nothing is asked: the key means what it means elsewhere.
    assert_eq!(key(&mut state, KeyCode::Char('y')), [Command::Copy("4f1c2ab0".into())]);
    key(&mut state, KeyCode::Esc);
    assert_eq!(state.screen, Screen::Commit(id("4f1c2ab0")));
    // An answer for a screen that was left asks nothing.
    update(&mut state, Message::Lately(Lately::Undo(id("4f1c2ab0"), Ok(Box::new(undo())))));
    assert_eq!(state.mode, Mode::Normal);
}

#[test]
fn a_commit_is_clicked_and_opened_by_another_click() {
    let mut state = lately();
    let known = state.timeline.known()[1].revision.commit.clone();
    mouse::click_on(&mut state, known.short());
    assert_eq!(state.timeline.place(), 1);
    assert_eq!(mouse::click_on(&mut state, known.short()), [Command::FetchCommit(known)]);
}

//! The terminal UI of the real binary in a real pseudo terminal.

use crate::{
    promotion::{GROUPS, chain, staged, version, waits_on},
    support::{SERVE, SERVED, TRAIN, World, model, until},
    terminal::{Screen, attributes},
};
use nix::{
    sys::{
        signal::{Signal, kill},
        termios::{FlowArg, tcflow, tcgetattr},
    },
    unistd::Pid,
};

#[test]
fn the_terminal_is_given_back_however_the_ui_ends() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    let opened = || {
        let mut screen = Screen::open(&w);
        screen.until("fraud");
        assert_ne!(attributes(&tcgetattr(&screen.slave).unwrap()), attributes(&screen.before), "it is raw meanwhile");
        screen
    };
    for (keys, code) in [("q", 0), ("\x03", 0), (":q\r", 0), ("?\x03", 0)] {
        let mut screen = opened();
        screen.press(keys);
        assert_eq!(screen.end(), Some(code), "{keys:?}");
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let screen = opened();
        kill(Pid::from_raw(screen.child.id() as i32), signal).unwrap();
        assert_eq!(screen.end(), Some(128 + signal as i32), "{signal}");
    }
    let mut screen = opened();
    w.kill();
    screen.until("not reachable");
    screen.press("q");
    assert_eq!(screen.end(), Some(0), "a daemon that is gone holds nobody");
}

#[test]
fn a_terminal_that_takes_nothing_outlives_no_request_to_end() {
    let mut w = World::new();
    w.start();
    let mut screen = Screen::open(&w);
    screen.until("trimtab new");
    tcflow(&screen.slave, FlowArg::TCOOFF).unwrap();
    screen.press("?");
    kill(Pid::from_raw(screen.child.id() as i32), Signal::SIGTERM).unwrap();
    let mut code = None;
    until("the end of the UI", || {
        code = screen.child.try_wait().unwrap().and_then(|status| status.code());
        code.is_some()
    });
    assert_eq!(code, Some(128 + Signal::SIGTERM as i32));
    let after = tcgetattr(&screen.slave).unwrap();
    assert_eq!(attributes(&after), attributes(&screen.before));
}

#[test]
fn without_a_daemon_the_screen_is_never_taken() {
    let w = World::new();
    let mut screen = Screen::open(&w);
    screen.until("start one with");
    assert_eq!(screen.child.wait().unwrap().code(), Some(69));
    assert!(!screen.seen.contains("\x1b[?1049h"), "{:?}", screen.seen);
}

#[test]
fn a_window_that_grows_shows_more() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    let mut screen = Screen::open(&w);
    screen.until("fraud");
    assert!(!screen.seen.contains("P99"), "no room in 80 columns");
    screen.resize(40, 140);
    screen.until("P99");
    screen.press("q");
    assert_eq!(screen.end(), Some(0));
}

#[test]
fn a_log_goes_on_when_the_daemon_comes_back() {
    let mut w = World::new();
    let go = w.path("go");
    let train = format!(
        "import os, time\nprint('QQQQ', flush=True)\nwhile not os.path.exists('{}'): time.sleep(0.02)\nprint('ZZZZ', flush=True)\n{TRAIN}",
        go.display()
    );
    let spec = model("fraud", &w.path("count"), ", seed = 1", SERVED);
    let at = |f: &str| format!("specs/models/fraud/{f}");
    let files = [(at("model.toml"), spec.as_str()), (at("train.py"), train.as_str()), (at("serve.py"), SERVE)];
    w.commit("fraud", &files.each_ref().map(|(path, text)| (path.as_str(), Some(*text))));
    w.start();
    let mut screen = Screen::open(&w);
    screen.until("fraud");
    screen.press("l");
    screen.until("QQQQ");
    w.kill();
    screen.until("not reachable");
    w.start();
    std::fs::write(&go, "").unwrap();
    screen.until("ZZZZ");
    assert_eq!(screen.seen.matches("QQQQ").count(), 1, "nothing is told twice");
    w.wait_for("fraud", "version=v1");
    screen.press("\x03");
    assert_eq!(screen.end(), Some(0));
    assert_eq!(w.trained("count").len(), 1);
}

#[test]
fn output_is_read_in_a_pager_that_has_terminal_and_keys_and_the_view_is_remembered() {
    let mut w = World::new();
    let train = format!("print('QQQQ', flush=True)\n{TRAIN}");
    let spec = model("fraud", &w.path("count"), ", seed = 1", SERVED);
    let at = |f: &str| format!("specs/models/fraud/{f}");
    let files = [(at("model.toml"), spec.as_str()), (at("train.py"), train.as_str()), (at("serve.py"), SERVE)];
    w.commit("fraud", &files.each_ref().map(|(path, text)| (path.as_str(), Some(*text))));
    w.start();
    w.wait_for("fraud", "version=v1");
    let mut screen = Screen::open(&w);
    screen.until("fraud");
    screen.press("l");
    screen.until("QQQQ");
    screen.press("v");
    screen.until_all(&["\x1b[?1049l", "READS", "QQQQ"]);
    assert_eq!(attributes(&tcgetattr(&screen.slave).unwrap()), attributes(&screen.before), "it is the pager's");
    // `q` would end the UI.
    screen.press("qqq\n");
    screen.until_all(&["got-qqq", "\x1b[?1049h", "QQQQ"]);
    screen.press("\x03");
    assert_eq!(screen.end(), Some(0));
    let mut again = Screen::open(&w);
    again.until("QQQQ");
    again.press("\x03");
    assert_eq!(again.end(), Some(0));
    let file = w.path("remembered").join("trimtab/tui.toml");
    assert!(std::fs::read_to_string(&file).unwrap().contains("screen = \"logs fraud\""));
    std::fs::write(&file, "[[daemon").unwrap();
    let mut damaged = Screen::open(&w);
    damaged.until("is damaged");
    damaged.press("q");
    assert_eq!(damaged.end(), Some(0));
}

#[test]
fn settings_that_are_wrong_are_told_before_the_screen_is_taken() {
    let w = World::new();
    std::fs::create_dir_all(w.path("config").join("trimtab")).unwrap();
    std::fs::write(w.path("config").join("trimtab/tui.toml"), "[keys]\nplan = \"t\"\n").unwrap();
    let mut screen = Screen::open(&w);
    screen.until_all(&["`t` is the key of `timeline` already", "tui.toml:2:8"]);
    assert_eq!(screen.child.wait().unwrap().code(), Some(64));
    assert!(!screen.seen.contains("\x1b[?1049h"), "{:?}", screen.seen);
}

#[test]
fn nothing_is_drawn_while_nothing_changes() {
    let mut w = World::new();
    w.start();
    let mut screen = Screen::open(&w);
    screen.shows(&["No models yet"]);
    // Its own clock ticks every second.
    screen.until_quiet(2500);
    screen.press("?");
    screen.until("keys");
    screen.press("q");
    screen.press("q");
    assert_eq!(screen.end(), Some(0));
}

const CANARY: &str = "[serve]\nrun = [\"python3\", \"serve.py\"]\n[[deploy]]\nenvironment = \"production\"\nstrategy = \"canary\"\n\
     steps = [{ weight = 10, hold = \"1h\" }, { weight = 50, hold = \"1h\" }]\n";

/// A day at the screen by keys alone: a commit is fetched, its canary watched, held, let go on and aborted, and Git set right again.
#[test]
fn a_session_by_keys_alone() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", CANARY));
    w.start();
    w.wait_for("fraud", "version=v1");
    let mut screen = Screen::open(&w);
    screen.resize(40, 120);
    screen.shows(&["fraud", "Synced", "Healthy", "v1"]);
    w.commit_model("fraud", &model("fraud", &count, ", seed = 2", CANARY));
    screen.press("s");
    // What is said goes after a while, however long the training takes.
    screen.shows(&["synced to"]);
    screen.shows(&["v1 → v2 10 %", "canary, step 1 of 2"]);
    screen.press("\r");
    screen.shows(&["fraud   OutOfSync   Progressing", "waits for: production: canary, step 1 of 2", "▸versions"]);
    screen.press("\t");
    screen.shows(&["▸lineage", "artifact"]);
    screen.press("d");
    screen.shows(&["[train.params]", "seed", "- 1", "+ 2"]);
    screen.press("o");
    screen.shows(&["fraud · production", "v2, new: 10 %", "then stable"]);
    screen.press("H");
    screen.shows(&["hold v2 at 10 % until someone says go on"]);
    screen.press("y");
    // A notice says it too, until the answer to the key is said in its place.
    screen.shows(&["held here", "paused by hand, step 1 of 2"]);
    screen.press("H");
    screen.shows(&["go on with v2 at 10 %, then 50 %"]);
    screen.press("n");
    screen.shows(&["held here", "H go on"]);
    screen.press("A");
    screen.shows(&["take all traffic back to v1 now; v2 is rejected and kept"]);
    screen.press("y");
    screen.shows(&["no rollout is under way", "rejected: "]);
    screen.press(":fleet\r");
    screen.shows(&["Degraded", "rejected: aborted by hand", "R revert"]);
    screen.press("l");
    screen.shows(&["output of train", "ended"]);
    screen.press("q");
    screen.press("R");
    screen.shows(&["revert and push", "y yes"]);
    screen.press("y");
    screen.shows(&["reverted by"]);
    screen.shows(&["Synced", "Healthy", "v1"]);
    assert!(w.head().unwrap().message().unwrap().starts_with("Revert"), "{:?}", w.head().unwrap().message());
    assert_eq!(w.trained("count").len(), 2, "nothing was trained for it");
    screen.press("p");
    screen.shows(&["Nothing to do: what is live is what Git says."]);
    screen.press("qq");
    assert_eq!(screen.end(), Some(0));
}

/// Keys and sizes in any order: it goes on, and `esc` leads back to the fleet from everywhere.
#[test]
fn a_storm_of_keys_and_sizes_has_no_dead_end() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    let mut screen = Screen::open(&w);
    screen.shows(&["fraud"]);
    // Linear congruence with the constants of Numerical Recipes: any course will do, the same one each time.
    let mut seed = 20_261_127_u32;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed as usize / 7 % below
    };
    const KEYS: &str =
        "j k \r \x1b[A \x1b[B l d o p t ? / x \x1b[Z \t z S m r g G n N L w T é 漢 \x1b[5~ \x7f :pl\t\r c";
    let known: Vec<&str> = KEYS.split(' ').collect();
    for _ in 0..40 {
        let keys: String = (0..12).map(|_| known[next(known.len())]).collect();
        screen.press(&keys);
        screen.resize(1 + next(60) as u16, 1 + next(200) as u16);
    }
    screen.resize(24, 80);
    // A line that is being typed, and every screen on the way back.
    (0..40).for_each(|_| {
        screen.press("\x1b");
        screen.until_quiet(60);
    });
    screen.shows(&["MODEL", "fraud", "Healthy"]);
    screen.press("\x03");
    assert_eq!(screen.end(), Some(0));
}

#[test]
fn a_commit_is_undone_from_the_time_line_after_its_plan_was_shown() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    let change = w.commit_model("fraud", &model("fraud", &count, ", seed = 2", SERVED));
    w.wait_for("fraud", "version=v2");
    let mut screen = Screen::open(&w);
    screen.shows(&["fraud"]);
    screen.press("t");
    screen.shows(&["time line", "trained"]);
    screen.press("R");
    screen.shows(&["nothing is pushed yet"]);
    assert_eq!(w.head().unwrap().id(), change, "nothing is, before a person says so");
    screen.press("y");
    w.wait_for("fraud", "version=v1");
    assert!(w.head().unwrap().message().unwrap().starts_with("Revert \"fraud: change\""));
    screen.shows(&["reverted"]);
    screen.press("\x03");
    assert_eq!(screen.end(), Some(0));
}

#[test]
fn a_version_is_approved_and_the_next_one_let_through_by_keys() {
    let approved = "approve = [\"@risk-team\"]";
    let w = staged(approved, GROUPS);
    until("it waits", || waits_on(&w, "approval"));
    // Who may not is told so, and may do all the rest.
    let bob = [("GIT_AUTHOR_NAME", "Bob"), ("GIT_AUTHOR_EMAIL", "bob@example.com")];
    let mut screen = Screen::open_with(&w, &[], &bob);
    screen.resize(24, 120);
    screen.shows(&["fraud"]);
    screen.press("a");
    screen.shows(&["in the name of Bob <bob@example.com>"]);
    screen.press("y");
    screen.shows(&["bob@example.com may not approve production: @risk-team may"]);
    screen.press("s");
    screen.shows(&["synced to"]);
    screen.press("\x03");
    assert_eq!(screen.end(), Some(0));

    let lin = [("GIT_AUTHOR_NAME", "Lin"), ("GIT_AUTHOR_EMAIL", "lin@example.com")];
    let mut screen = Screen::open_with(&w, &[], &lin);
    screen.shows(&["fraud"]);
    screen.press("a");
    screen.shows(&["approve v1 for production in the name of Lin <lin@example.com>", "@risk-team"]);
    screen.press("y");
    w.wait_for("fraud", "version=v1");
    let head = w.head().unwrap();
    assert_eq!(
        (head.author().email(), head.message().unwrap().lines().next()),
        (Ok("lin@example.com"), Some("Approve fraud v1 for production"))
    );

    w.commit_model("fraud", &model("fraud", &w.path("count"), ", seed = 2", &chain(approved)));
    until("v2 waits", || waits_on(&w, "approval") && version(&w, "staging") == Some(2));
    screen.press("O");
    screen.shows(&["why v2 goes to production without approval"]);
    screen.press("agreed by phone\r");
    screen.shows(&["let v2 through to production without approval", "\"agreed by phone\"", "y yes"]);
    screen.press("y");
    w.wait_for("fraud", "version=v2");
    let told = w.json(&["events"]).to_string();
    assert!(told.contains("v2 let through without approval by ") && told.contains(": agreed by phone"), "{told}");
    screen.press("a");
    screen.shows(&["fraud waits for no approval"]);
    screen.press("\x03");
    assert_eq!(screen.end(), Some(0));
}

#[test]
fn daemons_stand_beside_each_other_and_one_that_is_dead_holds_nobody_up() {
    let (mut here, mut there) = (World::new(), World::new());
    there.commit_model("fraud", &model("fraud", &there.path("count"), ", seed = 1", SERVED));
    there.start();
    there.wait_for("fraud", "version=v1");
    here.start();
    // It lets itself be called, and says nothing.
    std::fs::create_dir(here.path("silent")).unwrap();
    let _silent = std::os::unix::net::UnixListener::bind(here.path("silent").join("trimtab.sock")).unwrap();
    let contexts = [("dead", here.path("dead")), ("silent", here.path("silent")), ("there", there.state())];
    let named = contexts.map(|(name, state)| format!("{name} = {{ state = \"{}\" }}\n", state.display())).concat();
    std::fs::create_dir_all(here.path("config").join("trimtab")).unwrap();
    std::fs::write(here.path("config").join("trimtab/tui.toml"), format!("[contexts]\n{named}")).unwrap();
    let mut screen = Screen::open(&here);
    screen.shows(&["No models yet"]);
    screen.press("C");
    let revision = there.head().unwrap().id().to_string();
    // Long before the silent one is given up.
    screen.shows(&["4 daemons", "(no name)", "no daemon answers at", "asking", &revision[..7]]);
    screen.shows(&["no answer within 4 s"]);
    screen.press("jjj\r");
    screen.shows(&["trimtab  there", "fraud", "Healthy"]);
    screen.press("C");
    screen.shows(&["(no name)"]);
    screen.press("kkk\r");
    screen.shows(&["No models yet"]);
    screen.press("\x03");
    assert_eq!(screen.end(), Some(0));
    // Opened by its folder, it is the one that has a name.
    let config = here.path("config");
    let mut screen = Screen::open_with(&there, &[], &[("XDG_CONFIG_HOME", config.to_str().unwrap())]);
    screen.shows(&["trimtab  there", "fraud"]);
    screen.press("C");
    screen.shows(&["3 daemons"]);
    screen.press("\x03");
    assert_eq!(screen.end(), Some(0));
}

/// Shows a file, and adds what is typed to it.
const EDITOR: &str = "sh -c 'echo EDITS; cat \"$0\"; read x; echo \"# $x\" >> \"$0\"; echo got-$x'";

#[test]
fn a_spec_is_opened_in_the_editor_and_the_screen_comes_back() {
    let mut w = World::new();
    w.commit_model("fraud", &model("fraud", &w.path("count"), ", seed = 1", SERVED));
    let folder = w.path("checkout");
    git2::Repository::clone(w.path("models.git").to_str().unwrap(), &folder).unwrap();
    w.url = Some(folder.to_str().unwrap().to_owned());
    w.start();
    w.wait_for("fraud", "version=v1");
    let mut screen = Screen::open_with(&w, &[], &[("EDITOR", EDITOR), ("VISUAL", "")]);
    screen.shows(&["fraud", "Healthy"]);
    screen.press("e");
    screen.until_all(&["\x1b[?1049l", "EDITS", "name = \"fraud\""]);
    assert_eq!(attributes(&tcgetattr(&screen.slave).unwrap()), attributes(&screen.before), "it is the editor's");
    // `q` would end the UI.
    screen.press("qqq\n");
    screen.until_all(&["got-qqq", "\x1b[?1049h", "fraud"]);
    screen.shows(&["fraud", "Healthy"]);
    let file = folder.join("specs/models/fraud/model.toml");
    assert!(std::fs::read_to_string(file).unwrap().ends_with("# qqq\n"));
    screen.press("\x03");
    assert_eq!(screen.end(), Some(0));
}

/// The column of the border between two panes.
fn border(screen: &vt100::Screen) -> Option<u16> {
    let upright = |column: &u16| (20..35).all(|row| screen.cell(row, *column).is_some_and(|c| c.contents() == "│"));
    (0..screen.size().1).find(upright)
}

#[test]
fn a_border_is_dragged_by_the_mouse_and_is_where_it_was_when_the_ui_is_opened_again() {
    let mut w = World::new();
    w.commit_model("fraud", &model("fraud", &w.path("count"), ", seed = 1", SERVED));
    w.start();
    w.wait_for("fraud", "version=v1");
    let opened = |keys: &[&str]| {
        let mut screen = Screen::open(&w);
        screen.resize(40, 120);
        screen.shows(&["fraud"]);
        for keys in keys {
            screen.press(keys);
            screen.shows(&["1 run,"]);
        }
        screen.press("\r");
        screen.until_shown("a border", |s| border(s).is_some());
        screen
    };
    let mut screen = opened(&["r"]);
    let from = border(screen.now()).unwrap();
    assert_ne!(from, 30);
    // Pressed on it, moved, let go: columns and rows are counted from one.
    screen.press(&format!("\x1b[<0;{};25M\x1b[<32;40;26M\x1b[<32;31;27M\x1b[<0;31;27m", from + 1));
    screen.until_shown("the border at column 30", |s| border(s) == Some(30));
    screen.press("\x03");
    assert_eq!(screen.end(), Some(0));
    let again = opened(&[""]);
    assert_eq!(border(again.now()), Some(30));
}

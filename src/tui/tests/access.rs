use super::*;
use crate::tui::access::Access;

fn tries_all(state: &mut State, said: &str) {
    for (open, keys) in [("", "s"), ("", "R"), (":model fraud", "P"), (":model fraud", "H"), (":model fraud", "A")] {
        type_line(state, open);
        for c in keys.chars() {
            assert_eq!(key(state, KeyCode::Char(c)), [], "{keys}");
            assert!(state.note.contains(said) && state.question().is_none(), "{keys}: {}", state.note);
        }
    }
    for line in [":sync", ":suspend fraud", ":refresh fraud", ":retry fraud", ":rollback fraud", ":pause fraud"] {
        assert_eq!(type_line(state, line), [], "{line}");
        assert!(state.note.contains(said) && state.question().is_none(), "{line}: {}", state.note);
    }
}

#[test]
fn read_only_changes_nothing_and_shows_it() {
    let mut state = filled();
    state.access = Access::ReadOnly;
    let text = screen(&state, 160, 10);
    assert!(
        text.contains("● watching  read-only") && text.contains("R ✗ revert") && text.contains("s ✗ sync"),
        "{text}"
    );
    assert!(text.contains("p plan"), "{text}");
    key(&mut state, KeyCode::Char('?'));
    let help = screen(&state, 90, 70);
    assert!(help.contains("✗ fetch and reconcile now") && help.contains("✗ stop reconciling it"), "{help}");
    key(&mut state, KeyCode::Esc);
    tries_all(&mut state, "this is open with --read-only");
    assert_eq!(type_line(&mut state, ":plan"), [Command::FetchPlan], "reading goes on");
}

#[test]
fn a_daemon_that_lets_nothing_be_changed_is_believed_until_it_is_back() {
    let mut state = filled();
    assert_eq!(key(&mut state, KeyCode::Char('s')), [Command::Sync]);
    update(&mut state, Message::Denied("the token is not valid".into()));
    assert!(state.note.contains("the token is not valid"), "{}", state.note);
    assert!(screen(&state, 120, 8).contains("read-only"));
    tries_all(&mut state, "the token is not valid");
    update(&mut state, Message::Reachable(false));
    update(&mut state, Message::Reachable(true));
    assert_eq!(key(&mut state, KeyCode::Char('s')), [Command::Sync]);
}

#[test]
fn what_is_shown_is_said_to_be_old_while_the_daemon_is_gone() {
    let mut state = filled();
    (0..3).for_each(|_| drop(update(&mut state, Message::Tick)));
    key(&mut state, KeyCode::Char('R'));
    assert!(state.question().is_some());
    update(&mut state, Message::Reachable(false));
    assert_eq!(key(&mut state, KeyCode::Char('y')), [], "asked before it went away");
    assert!(state.note.contains("nothing can be changed until it is back"), "{}", state.note);
    let before = crate::tui::view::ages(&state);
    (0..12).for_each(|_| drop(update(&mut state, Message::Tick)));
    update(&mut state, Message::Reachable(false));
    assert_ne!(crate::tui::view::ages(&state), before, "each second is drawn");
    // The fleet's clock stood at 00:16:40, three seconds before it went away.
    let text = screen(&state, 140, 8);
    assert!(text.contains("○ not reachable for 12s, as of 00:16:43"), "{text}");
    tries_all(&mut state, "the daemon is not reachable");
    update(&mut state, Message::Reachable(true));
    assert!(screen(&state, 140, 8).contains("● watching"));
}

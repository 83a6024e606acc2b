use super::*;
use crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

fn mouse(state: &mut State, kind: MouseEventKind, column: u16, row: u16) -> Vec<Command> {
    seen(state, 120, 14);
    update(state, Message::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }))
}

fn click(state: &mut State, column: u16, row: u16) -> Vec<Command> {
    mouse(state, MouseEventKind::Down(MouseButton::Left), column, row)
}

/// A click on what is seen there; again, to open it.
pub(super) fn click_on(state: &mut State, text: &str) -> Vec<Command> {
    let (x, y) = place(state, text);
    click(state, x, y)
}

/// Where this is seen.
fn place(state: &mut State, text: &str) -> (u16, u16) {
    let rows = seen(state, 120, 14);
    let found = rows.lines().enumerate().find_map(|(y, line)| {
        let before = line.trim_matches('"').split_once(text)?.0;
        Some((unicode_width::UnicodeWidthStr::width(before) as u16, y as u16))
    });
    found.unwrap_or_else(|| panic!("no {text:?} in {rows}"))
}

#[test]
fn a_click_selects_a_row_and_another_opens_it() {
    let mut state = filled();
    let (x, y) = place(&mut state, "fraud");
    assert_eq!(click(&mut state, x, y), []);
    assert_eq!((state.selected.clone(), &state.screen), (Some(name("fraud")), &Screen::Fleet));
    // The line below tells of the same model.
    assert_eq!(click(&mut state, 90, y + 1), [Command::FetchModel(name("fraud"))]);
    assert_eq!(state.screen, Screen::Model(name("fraud")));
    assert_eq!(click(&mut state, x, 5), [], "no list, no rows");
}

#[test]
fn the_rows_of_experiments_and_runs_are_clicked() {
    let mut state = filled();
    tracked::press(&mut state, ":runs fraud\n");
    let (_, y) = place(&mut state, "NAME");
    click(&mut state, 20, y + 2);
    assert_eq!(state.tracked.list.place(), 1);
    tracked::press(&mut state, "r");
    let (_, y) = place(&mut state, "EXPERIMENT");
    click(&mut state, 20, y + 2);
    assert_eq!(state.screen, Screen::Experiments, "there is one alone");
    click(&mut state, 20, y + 1);
    assert!(matches!(state.screen, Screen::Runs(_)));
}

#[test]
fn hints_are_clicked_and_the_wheel_moves() {
    let mut state = filled();
    let (x, y) = place(&mut state, "p plan");
    assert_eq!(click(&mut state, x + 3, y), [Command::FetchPlan]);
    let (x, y) = place(&mut state, "? help");
    click(&mut state, x, y);
    assert_eq!(state.screen, Screen::Help);
    mouse(&mut state, MouseEventKind::ScrollDown, 0, 0);
    assert_eq!(state.scroll, 3);
    let (x, y) = place(&mut state, "esc back");
    click(&mut state, x, y);
    state.screen = Screen::Fleet;
    mouse(&mut state, MouseEventKind::ScrollDown, 0, 0);
    assert_eq!(state.place(), 1);
    mouse(&mut state, MouseEventKind::ScrollUp, 0, 0);
    assert_eq!(state.place(), 0);
}

#[test]
fn a_question_is_answered_by_keys_alone() {
    let mut state = filled();
    let (x, y) = place(&mut state, "R revert");
    click(&mut state, x, y);
    assert!(state.question().is_some());
    assert_eq!(click(&mut state, x, y), []);
    assert!(state.question().is_some());
    assert_eq!(mouse(&mut state, MouseEventKind::ScrollDown, 0, 0), []);
}

#[test]
fn a_border_is_dragged_as_far_as_a_fifth_and_is_remembered() {
    use crate::tui::memory::{Memory, View};
    let mut state = filled();
    tracked::press(&mut state, ":runs fraud\n\n");
    let border = |state: &mut State| {
        let rows = seen(state, 120, 30);
        let found = rows.lines().rev().nth(3).and_then(|l| l.trim_matches('"').chars().position(|c| c == '│'));
        u16::try_from(found.unwrap_or_else(|| panic!("no border in {rows}"))).unwrap()
    };
    let told = |state: &mut State, kind, column| {
        update(state, Message::Mouse(MouseEvent { kind, column, row: 20, modifiers: KeyModifiers::NONE }));
    };
    let (left, usual) = (MouseButton::Left, border(&mut state));
    told(&mut state, MouseEventKind::Drag(left), 70);
    assert_eq!(border(&mut state), usual, "nothing is held");
    told(&mut state, MouseEventKind::Down(left), usual);
    for (to, at) in [(70, 70), (71, 71), (119, 96), (0, 24), (40, 40)] {
        told(&mut state, MouseEventKind::Drag(left), to);
        assert_eq!(border(&mut state), at, "{to}");
    }
    told(&mut state, MouseEventKind::Up(left), 40);
    told(&mut state, MouseEventKind::Drag(left), 90);
    assert_eq!(border(&mut state), 40, "it was let go");
    let kept = Memory::default().with("here", View::of(&state)).text().unwrap();
    let mut again = filled();
    let commands = Memory::read(&kept).unwrap().of("here").open(&mut again, false);
    tracked::serve(&mut again, commands);
    tracked::press(&mut again, "\n");
    assert_eq!(border(&mut again), 40);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_click_at_any_size_never_panics(clicks in proptest::collection::vec((0u16..130, 0u16..40, 0usize..5), 0..20), width in 1u16..140, height in 1u16..50) {
        let mut state = filled();
        for (x, y, kind) in clicks {
            let left = MouseButton::Left;
            let kind = [
                MouseEventKind::Down(left),
                MouseEventKind::Drag(left),
                MouseEventKind::Up(left),
                MouseEventKind::ScrollUp,
                MouseEventKind::ScrollDown,
            ][kind];
            let event = MouseEvent { kind, column: x, row: y, modifiers: KeyModifiers::NONE };
            let commands = update(&mut state, Message::Mouse(event));
            tracked::serve(&mut state, commands);
            seen(&mut state, width, height);
        }
    }
}

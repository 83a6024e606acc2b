//! Keys, as k9s users expect them. The help screen is drawn from this table.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Bottom,
    Open,
    Log,
    Events,
    Plan,
    Help,
    Back,
    Quit,
    Command,
    Filter,
    Sync,
    Promote,
    Hold,
    Abort,
    Rollback,
}

/// A key as it is shown, its codes, and what it is for.
pub const KEYS: &[(&str, &[KeyCode], Act, &str)] = &[
    ("enter", &[KeyCode::Enter], Act::Open, "open the model"),
    ("esc", &[KeyCode::Esc], Act::Back, "back; on the fleet: clear the filter"),
    ("j ↓", &[KeyCode::Char('j'), KeyCode::Down], Act::Down, "down"),
    ("k ↑", &[KeyCode::Char('k'), KeyCode::Up], Act::Up, "up"),
    ("g G", &[KeyCode::Char('g'), KeyCode::Home], Act::Top, "to the top (G: to the end)"),
    ("", &[KeyCode::Char('G'), KeyCode::End], Act::Bottom, ""),
    ("pgdn", &[KeyCode::PageDown], Act::PageDown, "a page down (pgup: up)"),
    ("", &[KeyCode::PageUp], Act::PageUp, ""),
    ("l", &[KeyCode::Char('l')], Act::Log, "log of the newest run, live"),
    ("d p", &[KeyCode::Char('d'), KeyCode::Char('p')], Act::Plan, "plan: what differs, and what will be done"),
    ("t", &[KeyCode::Char('t')], Act::Events, "time line"),
    ("s", &[KeyCode::Char('s')], Act::Sync, "fetch and reconcile now"),
    ("P", &[KeyCode::Char('P')], Act::Promote, "promote the rollout: all traffic now"),
    ("H", &[KeyCode::Char('H')], Act::Hold, "hold the rollout"),
    ("A", &[KeyCode::Char('A')], Act::Abort, "abort the rollout: all traffic back"),
    ("R", &[KeyCode::Char('R')], Act::Rollback, "make and push the git revert"),
    ("/", &[KeyCode::Char('/')], Act::Filter, "filter by name or health"),
    (":", &[KeyCode::Char(':')], Act::Command, "a command: sync, model NAME, suspend, resume, refresh, retry, q"),
    ("?", &[KeyCode::Char('?')], Act::Help, "this help"),
    ("q", &[KeyCode::Char('q')], Act::Quit, "leave; the daemon goes on"),
];

/// What a key asks for.
pub fn act_of(key: KeyEvent) -> Option<Act> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('f') => Some(Act::PageDown),
            KeyCode::Char('b') => Some(Act::PageUp),
            _ => None,
        };
    }
    KEYS.iter().find(|(_, codes, ..)| codes.contains(&key.code)).map(|(_, _, act, _)| *act)
}

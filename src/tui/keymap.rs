//! Keys and commands, as k9s users expect them. The help screen is drawn from these tables.

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
    Diff,
    Rollout,
    Runs,
    Events,
    Plan,
    Help,
    Back,
    Quit,
    Command,
    Filter,
    Sync,
    Order,
    Promote,
    Hold,
    Abort,
    Rollback,
    Mark,
    Compare,
    Sort,
    Metric,
    MetricBack,
    Axis,
    Left,
    Right,
    NextPage,
    PageBefore,
}

/// A key as it is shown, its codes, and what it is for.
pub type Key = (&'static str, &'static [KeyCode], Act, &'static str);

/// Keys that mean the same everywhere.
pub const KEYS: &[Key] = &[
    ("enter", &[KeyCode::Enter], Act::Open, "open the model"),
    ("esc", &[KeyCode::Esc], Act::Back, "back; on the fleet: clear the filter"),
    ("j k ↓ ↑", &[KeyCode::Char('j'), KeyCode::Down], Act::Down, "down, up; ctrl-f, ctrl-b: a page"),
    ("", &[KeyCode::Char('k'), KeyCode::Up], Act::Up, ""),
    ("g G", &[KeyCode::Char('g'), KeyCode::Home], Act::Top, "to the top, to the end"),
    ("", &[KeyCode::Char('G'), KeyCode::End], Act::Bottom, ""),
    ("", &[KeyCode::PageDown], Act::PageDown, ""),
    ("", &[KeyCode::PageUp], Act::PageUp, ""),
    ("l", &[KeyCode::Char('l')], Act::Log, "output of the newest run, live; again: of the replicas"),
    ("d", &[KeyCode::Char('d')], Act::Diff, "what Git asks for against what is live, and why"),
    ("o", &[KeyCode::Char('o')], Act::Rollout, "its rollout: shares over the steps, analyses with their curves"),
    ("r", &[KeyCode::Char('r')], Act::Runs, "tracked runs of the model; with none selected: all experiments"),
    ("p", &[KeyCode::Char('p')], Act::Plan, "plan of the whole fleet"),
    ("t", &[KeyCode::Char('t')], Act::Events, "time line"),
    ("s", &[KeyCode::Char('s')], Act::Sync, "fetch and reconcile now"),
    ("P H A", &[KeyCode::Char('P')], Act::Promote, "rollout: promote, hold or go on, abort"),
    ("", &[KeyCode::Char('H')], Act::Hold, ""),
    ("", &[KeyCode::Char('A')], Act::Abort, ""),
    ("R", &[KeyCode::Char('R')], Act::Rollback, "push a commit that undoes the newest change"),
    ("/", &[KeyCode::Char('/')], Act::Filter, "filter: words of name, health, sync; !word: not; owner: env: by:"),
    ("S", &[KeyCode::Char('S')], Act::Order, "order: problems first, name, requests, p99, errors, newest change"),
    (":", &[KeyCode::Char(':')], Act::Command, "a command; tab completes it, and names"),
    ("?", &[KeyCode::Char('?')], Act::Help, "this help"),
    ("q", &[KeyCode::Char('q')], Act::Quit, "back; on the fleet: leave, the daemon goes on (ctrl-c: at once)"),
];

/// Keys that mean something else on the screens of tracked runs.
pub const RUN_KEYS: &[Key] = &[
    ("enter", &[KeyCode::Enter], Act::Open, "open the run; on a run: its chart alone, and back"),
    ("space", &[KeyCode::Char(' ')], Act::Mark, "mark the run, or take its mark off"),
    ("c", &[KeyCode::Char('c')], Act::Compare, "compare the marked runs"),
    ("← →", &[KeyCode::Left], Act::Left, "compared runs that had no room"),
    ("", &[KeyCode::Right], Act::Right, ""),
    ("r", &[KeyCode::Char('r')], Act::Runs, "on a run: the list that it is of; on a list: all experiments"),
    ("m M", &[KeyCode::Char('m')], Act::Metric, "choose the next metric, the one before"),
    ("", &[KeyCode::Char('M')], Act::MetricBack, ""),
    ("s", &[KeyCode::Char('s')], Act::Sort, "order: newest first, best of the metric, worst of it"),
    ("/", &[KeyCode::Char('/')], Act::Filter, "filter as MLflow does: metrics.auc > 0.9 AND params.depth = '6'"),
    ("n N", &[KeyCode::Char('n')], Act::NextPage, "the next 1,000 runs, those before"),
    ("", &[KeyCode::Char('N')], Act::PageBefore, ""),
    ("x", &[KeyCode::Char('x')], Act::Axis, "curves by step, or by time since the run's start"),
];

/// A word after `:`, what it takes, and what it does.
pub const COMMANDS: &[(&str, &str, &str)] = &[
    ("fleet", "", "all models"),
    ("model", "NAME", "one model"),
    ("logs", "NAME", "output of its newest run"),
    ("runs", "NAME", "tracked runs of a model or of any experiment"),
    ("diff", "NAME", "what Git asks for against what is live"),
    ("rollout", "NAME", "its rollout: steps, shares, analyses"),
    ("plan", "", "plan of the whole fleet"),
    ("events", "", "time line"),
    ("experiments", "", "what runs are tracked of, models or not"),
    ("sync", "", "fetch and reconcile now"),
    ("refresh", "NAME", "new snapshots of its data"),
    ("suspend", "NAME", "stop reconciling it"),
    ("resume", "NAME", "reconcile it again"),
    ("promote", "NAME", "all traffic to the new version"),
    ("pause", "NAME", "hold its rollout"),
    ("continue", "NAME", "go on with its rollout"),
    ("abort", "NAME", "all traffic back"),
    ("retry", "NAME", "try what was rejected again"),
    ("rollback", "NAME", "push a commit that undoes the newest change"),
    ("theme", "THEME", "other colours"),
    ("help", "", "keys and commands"),
    ("quit", "", "leave; the daemon goes on"),
];

/// What a key asks for; on screens of tracked runs their own keys come first.
pub fn act_of(key: KeyEvent, on_runs: bool) -> Option<Act> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('f' | 'd') => Some(Act::PageDown),
            KeyCode::Char('b' | 'u') => Some(Act::PageUp),
            _ => None,
        };
    }
    let own = if on_runs { RUN_KEYS } else { &[] };
    own.iter().chain(KEYS).find(|(_, codes, ..)| codes.contains(&key.code)).map(|(_, _, act, _)| *act)
}

/// The commands that a line may still become.
pub fn candidates(line: &str) -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
    let (word, whole) = line.split_once(' ').map_or((line.to_owned(), false), |(w, _)| (w.to_owned(), true));
    COMMANDS.iter().filter(move |(name, ..)| if whole { *name == word } else { name.starts_with(&word) })
}

//! Keys and commands, as k9s users expect them. The help screen is drawn from these tables.

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
    TimeLine,
    Plan,
    Help,
    Back,
    Quit,
    Command,
    Filter,
    Sync,
    Order,
    Group,
    Part,
    Level,
    Wrap,
    Stamp,
    Save,
    Promote,
    Hold,
    Abort,
    Rollback,
    Copy,
    CopyCommit,
    Edit,
    Pager,
    Bookmark,
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

/// What keys do by themselves, how the settings call it, and what it is for. Without words, it is told with the one before.
pub struct Entry {
    pub act: Act,
    pub name: &'static str,
    keys: &'static [&'static str],
    pub what: &'static str,
}

impl Entry {
    /// The keys that it has by itself.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.keys.iter().copied()
    }
}

const fn entry(act: Act, name: &'static str, keys: &'static [&'static str], what: &'static str) -> Entry {
    Entry { act, name, keys, what }
}

/// What means the same everywhere.
pub const KEYS: &[Entry] = &[
    entry(Act::Open, "open", &["enter"], "open the model, the commit; on the plan: fold it"),
    entry(Act::Back, "back", &["esc"], "back; on the fleet: clear the filter"),
    entry(Act::Down, "down", &["j", "down"], "down, up"),
    entry(Act::Up, "up", &["k", "up"], ""),
    entry(Act::PageDown, "page_down", &["ctrl-f", "pgdn", "ctrl-d"], "a page down"),
    entry(Act::PageUp, "page_up", &["ctrl-b", "pgup", "ctrl-u"], "a page up"),
    entry(Act::Top, "top", &["g", "home"], "to the top, to the end"),
    entry(Act::Bottom, "bottom", &["G", "end"], ""),
    entry(Act::Part, "part", &["tab"], "on a model: its versions, lineage, metrics, conditions, events"),
    entry(Act::Metric, "metric", &["m"], "on a model: the next metric over its versions"),
    entry(Act::Log, "logs", &["l"], "output of the newest run, live; again: of the replicas"),
    entry(Act::Level, "level", &["L"], "on a log: by level, wrapped or not, with times"),
    entry(Act::Wrap, "wrap", &["w"], ""),
    entry(Act::Stamp, "times", &["T"], ""),
    entry(Act::NextPage, "next_page", &["n"], "on a log: what is searched for, further down, further up"),
    entry(Act::PageBefore, "page_before", &["N"], ""),
    entry(Act::Save, "save", &["ctrl-s"], "on a log: save it in the folder where trimtab was started"),
    entry(Act::Diff, "diff", &["d"], "drift: what Git asks for against what is live, what was promised"),
    entry(Act::Rollout, "rollout", &["o"], "its rollout: shares over the steps, analyses with their curves"),
    entry(Act::Runs, "runs", &["r"], "tracked runs of the model; with none selected: all experiments"),
    entry(Act::Plan, "plan", &["p"], "plan of the whole fleet"),
    entry(Act::TimeLine, "timeline", &["t"], "time line: commits, and what came of each"),
    entry(Act::Sync, "sync", &["s"], "fetch and reconcile now"),
    entry(Act::Promote, "promote", &["P"], "rollout: promote, hold or go on, abort"),
    entry(Act::Hold, "hold", &["H"], ""),
    entry(Act::Abort, "abort", &["A"], ""),
    entry(Act::Rollback, "rollback", &["R"], "push a revert: of the newest change, on the time line of a commit"),
    entry(Act::Copy, "copy", &["y"], "copy the name or the id of what is selected; the commit of its newest change"),
    entry(Act::CopyCommit, "copy_commit", &["Y"], ""),
    entry(Act::Edit, "edit", &["e"], "its spec in $EDITOR; v: output in $PAGER"),
    entry(Act::Pager, "pager", &["v"], ""),
    entry(Act::Bookmark, "bookmark", &["b"], "mark the model, or take its mark off; :bookmarks shows those"),
    entry(
        Act::Filter,
        "filter",
        &["/"],
        "filter: words of name, health, sync; !word: not; owner: env: by: is: key=label",
    ),
    entry(Act::Order, "order", &["S"], "order: problems first, name, requests, p99, errors, newest change"),
    entry(Act::Group, "group", &["z"], "group: by health, owner, environment, folder; on the plan: fold all"),
    entry(Act::Command, "command", &[":"], "a command; tab completes it, and names"),
    entry(Act::Help, "help", &["?"], "this help"),
    entry(Act::Quit, "quit", &["q"], "back; on the fleet: leave, the daemon goes on (ctrl-c: at once)"),
];

/// What means something else on the screens of tracked runs, or something there alone.
pub const RUN_KEYS: &[Entry] = &[
    entry(Act::Open, "open", &["enter"], "open the run; on a run: its chart alone, and back"),
    entry(Act::Mark, "mark", &["space"], "mark the run, or take its mark off"),
    entry(Act::Compare, "compare", &["c"], "compare the marked runs"),
    entry(Act::Left, "left", &["left"], "compared runs that had no room"),
    entry(Act::Right, "right", &["right"], ""),
    entry(Act::Runs, "runs", &["r"], "on a run: the list that it is of; on a list: all experiments"),
    entry(Act::Metric, "metric", &["m"], "choose the next metric, the one before"),
    entry(Act::MetricBack, "metric_back", &["M"], ""),
    entry(Act::Sort, "sort", &["s"], "order: newest first, best of the metric, worst of it"),
    entry(Act::Filter, "filter", &["/"], "filter as MLflow does: metrics.auc > 0.9 AND params.depth = '6'"),
    entry(Act::NextPage, "next_page", &["n"], "the next 1,000 runs, those before"),
    entry(Act::PageBefore, "page_before", &["N"], ""),
    entry(Act::Axis, "axis", &["x"], "curves by step, or by time since the run's start"),
];

/// A word after `:`, what it takes, and what it does.
pub const COMMANDS: &[(&str, &str, &str)] = &[
    ("fleet", "", "all models"),
    ("bookmarks", "", "models that you marked"),
    ("model", "NAME", "one model"),
    ("logs", "NAME", "output of its newest run"),
    ("runs", "NAME", "tracked runs of a model or of any experiment"),
    ("diff", "NAME", "what Git asks for against what is live"),
    ("rollout", "NAME", "its rollout: steps, shares, analyses"),
    ("plan", "", "plan of the whole fleet"),
    ("timeline", "", "commits, and what came of each"),
    ("events", "", "all that happened, newest first"),
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
    ("context", "CONTEXT", "another daemon, of those in tui.toml"),
    ("theme", "THEME", "other colours"),
    ("help", "", "keys and commands"),
    ("quit", "", "leave; the daemon goes on"),
];

/// Whether a command changes something of the daemon's.
pub fn changes(command: &str) -> bool {
    matches!(
        command,
        "sync" | "refresh" | "suspend" | "resume" | "promote" | "pause" | "continue" | "abort" | "retry" | "rollback"
    )
}

/// The commands that a line may still become.
pub fn candidates(line: &str) -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
    let (word, whole) = line.split_once(' ').map_or((line.to_owned(), false), |(w, _)| (w.to_owned(), true));
    COMMANDS.iter().filter(move |(name, ..)| if whole { *name == word } else { name.starts_with(&word) })
}

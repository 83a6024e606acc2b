//! Keys and commands, as k9s users expect them. Help and hints are drawn from these tables.

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
    Contexts,
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
    Approve,
    Override,
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

impl Act {
    /// How the settings call it.
    pub fn name(self) -> &'static str {
        KEYS.iter().chain(RUN_KEYS).find(|e| e.act == self).map_or("", |e| e.name)
    }

    /// The command that does the same.
    pub fn command(self) -> Option<&'static str> {
        Some(match self {
            Self::Log => "logs",
            Self::Diff => "diff",
            Self::Rollout => "rollout",
            Self::Runs => "runs",
            Self::TimeLine => "timeline",
            Self::Plan => "plan",
            Self::Contexts => "contexts",
            Self::Help => "help",
            Self::Quit => "quit",
            Self::Sync => "sync",
            Self::Promote => "promote",
            Self::Hold => "pause",
            Self::Abort => "abort",
            Self::Rollback => "rollback",
            Self::Approve => "approve",
            Self::Override => "override",
            _ => return None,
        })
    }
}

/// What keys do by themselves, and how the settings call it. What it is for says `help`.
pub struct Entry {
    pub act: Act,
    pub name: &'static str,
    keys: &'static [&'static str],
}

impl Entry {
    /// The keys that it has by itself.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.keys.iter().copied()
    }
}

const fn entry(act: Act, name: &'static str, keys: &'static [&'static str]) -> Entry {
    Entry { act, name, keys }
}

/// What means the same everywhere.
pub const KEYS: &[Entry] = &[
    entry(Act::Open, "open", &["enter"]),
    entry(Act::Back, "back", &["esc"]),
    entry(Act::Down, "down", &["j", "down"]),
    entry(Act::Up, "up", &["k", "up"]),
    entry(Act::PageDown, "page_down", &["ctrl-f", "pgdn", "ctrl-d"]),
    entry(Act::PageUp, "page_up", &["ctrl-b", "pgup", "ctrl-u"]),
    entry(Act::Top, "top", &["g", "home"]),
    entry(Act::Bottom, "bottom", &["G", "end"]),
    entry(Act::Part, "part", &["tab"]),
    entry(Act::Metric, "metric", &["m"]),
    entry(Act::Log, "logs", &["l"]),
    entry(Act::Level, "level", &["L"]),
    entry(Act::Wrap, "wrap", &["w"]),
    entry(Act::Stamp, "times", &["T"]),
    entry(Act::NextPage, "next_page", &["n"]),
    entry(Act::PageBefore, "page_before", &["N"]),
    entry(Act::Save, "save", &["ctrl-s"]),
    entry(Act::Diff, "diff", &["d"]),
    entry(Act::Rollout, "rollout", &["o"]),
    entry(Act::Runs, "runs", &["r"]),
    entry(Act::Plan, "plan", &["p"]),
    entry(Act::TimeLine, "timeline", &["t"]),
    entry(Act::Contexts, "contexts", &["C"]),
    entry(Act::Sync, "sync", &["s"]),
    entry(Act::Promote, "promote", &["P"]),
    entry(Act::Hold, "hold", &["H"]),
    entry(Act::Abort, "abort", &["A"]),
    entry(Act::Rollback, "rollback", &["R"]),
    entry(Act::Approve, "approve", &["a"]),
    entry(Act::Override, "override", &["O"]),
    entry(Act::Copy, "copy", &["y"]),
    entry(Act::CopyCommit, "copy_commit", &["Y"]),
    entry(Act::Edit, "edit", &["e"]),
    entry(Act::Pager, "pager", &["v"]),
    entry(Act::Bookmark, "bookmark", &["b"]),
    entry(Act::Filter, "filter", &["/"]),
    entry(Act::Order, "order", &["S"]),
    entry(Act::Group, "group", &["z"]),
    entry(Act::Command, "command", &[":"]),
    entry(Act::Help, "help", &["?"]),
    entry(Act::Quit, "quit", &["q"]),
];

/// What means something else on the screens of tracked runs, or something there alone.
pub const RUN_KEYS: &[Entry] = &[
    entry(Act::Open, "open", &["enter"]),
    entry(Act::Mark, "mark", &["space"]),
    entry(Act::Compare, "compare", &["c"]),
    entry(Act::Left, "left", &["left"]),
    entry(Act::Right, "right", &["right"]),
    entry(Act::Runs, "runs", &["r"]),
    entry(Act::Metric, "metric", &["m"]),
    entry(Act::MetricBack, "metric_back", &["M"]),
    entry(Act::Sort, "sort", &["s"]),
    entry(Act::Filter, "filter", &["/"]),
    entry(Act::NextPage, "next_page", &["n"]),
    entry(Act::PageBefore, "page_before", &["N"]),
    entry(Act::Axis, "axis", &["x"]),
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
    ("approve", "NAME", "approve the version that waits, by a commit"),
    ("override", "NAME", "let it through before its time, with a reason"),
    ("retry", "NAME", "try what was rejected again"),
    ("rollback", "NAME", "push a commit that undoes the newest change"),
    ("contexts", "", "all daemons beside each other"),
    ("context", "CONTEXT", "another daemon, of those in tui.toml"),
    ("theme", "THEME", "other colours"),
    ("help", "", "keys and commands"),
    ("quit", "", "leave; the daemon goes on"),
];

/// Whether a command changes something of the daemon's.
pub fn changes(command: &str) -> bool {
    matches!(
        command,
        "approve"
            | "override"
            | "sync"
            | "refresh"
            | "suspend"
            | "resume"
            | "promote"
            | "pause"
            | "continue"
            | "abort"
            | "retry"
            | "rollback"
    )
}

/// The commands that a line may still become.
pub fn candidates(line: &str) -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
    let (word, whole) = line.split_once(' ').map_or((line.to_owned(), false), |(w, _)| (w.to_owned(), true));
    COMMANDS.iter().filter(move |(name, ..)| if whole { *name == word } else { name.starts_with(&word) })
}

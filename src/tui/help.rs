//! What `?` tells: the keys of the screen that it was asked on, then those that mean the same everywhere, then commands. Pure.
//!
//! Which keys an act has says `bindings`, here stands what each is for: what is bound to nothing is not told.

use super::{
    bindings::Bindings,
    keymap::{Act, COMMANDS, changes},
    state::Screen,
};

/// Acts that are told in one row, and what they are for.
type Use = (&'static [Act], &'static str);

/// A row: keys or a command, what for, and whether that changes something of the daemon's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub keys: String,
    pub what: &'static str,
    pub changes: bool,
}

/// Rows under a heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    pub heading: &'static str,
    pub rows: Vec<Row>,
}

/// The keys of a screen, those that work everywhere, and the commands.
pub fn sections(screen: &Screen, bindings: &Bindings) -> [Section; 3] {
    let (heading, own, of_a_model) = of(screen);
    let mut told: Vec<Act> = vec![];
    // What the screen has a meaning of its own for is not told again with the one that it has elsewhere.
    let mut rows = |uses: &[Use]| {
        let fresh = uses.iter().filter(|(acts, _)| !acts.iter().any(|a| told.contains(a))).collect::<Vec<_>>();
        told.extend(fresh.iter().flat_map(|(acts, _)| *acts));
        fresh.into_iter().filter_map(|(acts, what)| row(acts, what, screen, bindings)).collect::<Vec<_>>()
    };
    let mut here = rows(own);
    here.extend(rows(if of_a_model { OF_A_MODEL } else { &[] }));
    let command = |(name, takes, what): &(&str, &str, &'static str)| Row {
        keys: format!("{name} {takes}").trim_end().to_owned(),
        what,
        changes: changes(name),
    };
    [
        Section { heading, rows: here },
        Section { heading: "everywhere", rows: rows(EVERYWHERE) },
        Section { heading: "commands", rows: COMMANDS.iter().map(command).collect() },
    ]
}

/// At most two keys of each act, as many as mean it on this screen.
fn row(acts: &[Act], what: &'static str, screen: &Screen, bindings: &Bindings) -> Option<Row> {
    let keys: Vec<String> = acts.iter().flat_map(|a| bindings.keys(*a, screen.is_tracked()).take(2)).collect();
    let changes = acts.iter().any(|a| a.changes());
    (!keys.is_empty()).then(|| Row { keys: keys.join(" "), what, changes })
}

/// The name of a screen, what keys mean on it alone, and whether those that are about one model work there.
fn of(screen: &Screen) -> (&'static str, &'static [Use], bool) {
    match screen {
        Screen::Fleet => ("the fleet", FLEET, true),
        Screen::Model(_) => ("a model", MODEL, true),
        Screen::Rollout(_) => ("a rollout", ROLLOUT, true),
        Screen::Diff(_) => ("drift", DIFF, true),
        Screen::Log(..) => ("output", LOG, true),
        Screen::Experiments => ("experiments", EXPERIMENTS, false),
        Screen::Runs(_) => ("tracked runs", RUNS, true),
        Screen::Run(..) => ("a tracked run", RUN, true),
        Screen::Compare(..) => ("runs beside each other", COMPARE, true),
        Screen::TimeLine => ("the time line", TIME_LINE, false),
        Screen::Commit(_) => ("a commit", COMMIT, false),
        Screen::Revert(_) => ("a revert", REVERT, false),
        Screen::Events => ("events", &[], false),
        Screen::Plan => ("the plan", PLAN, true),
        Screen::Contexts => ("contexts", CONTEXTS, false),
        Screen::Help => ("help", HELP, false),
    }
}

const CHOOSE: Use = (&[Act::Down, Act::Up], "choose another");
const PAGE: Use = (&[Act::Open], "the model's page");

const FLEET: &[Use] = &[
    (&[Act::Open], "open the model"),
    CHOOSE,
    (&[Act::Filter], "filter by words, !word, owner: env: by: health: label=x"),
    (&[Act::Order], "order: problems first, name, requests, p99, errors, newest"),
    (&[Act::Group], "group by health, owner, environment, folder"),
    (&[Act::Back], "clear the filter"),
    (&[Act::Quit], "leave; the daemon goes on (ctrl-c: at once)"),
];

const MODEL: &[Use] = &[
    (&[Act::Part], "its versions, lineage, metrics, conditions, events"),
    (&[Act::Down, Act::Up], "choose a version; scroll what has none"),
    (&[Act::Metric], "the next metric over its versions"),
];

const ROLLOUT: &[Use] = &[(&[Act::Down, Act::Up], "choose an analysis: its curve is drawn"), PAGE];

const DIFF: &[Use] = &[PAGE];

const LOG: &[Use] = &[
    (&[Act::Log], "the next output: of the replicas, then of the run again"),
    (&[Act::Filter], "search in it"),
    (&[Act::NextPage, Act::PageBefore], "what is searched for: further down, further up"),
    (&[Act::Top, Act::Bottom], "to the top; to the end, and follow it"),
    (&[Act::Level, Act::Wrap, Act::Stamp], "by level; wrapped or not; with times"),
    (&[Act::Save], "save it in the folder where trimtab was started"),
    (&[Act::Pager], "read it in $PAGER"),
    PAGE,
];

const EXPERIMENTS: &[Use] =
    &[(&[Act::Open, Act::Runs], "its runs"), CHOOSE, (&[Act::Filter], "type a name, which tab completes")];

const METRIC: Use = (&[Act::Metric, Act::MetricBack], "the next metric, the one before");
const ALONE: Use = (&[Act::Open], "the chart alone, and back");
const AXIS: Use = (&[Act::Axis], "curves by step, or by time since the run's start");
const LIST: Use = (&[Act::Runs], "the list of runs");

const RUNS: &[Use] = &[
    (&[Act::Open], "open the run"),
    CHOOSE,
    (&[Act::Mark], "mark the run, or take its mark off"),
    (&[Act::Compare], "the marked runs beside each other"),
    (&[Act::Filter], "filter as MLflow does: metrics.auc > 0.9 AND params.d = '6'"),
    (&[Act::Sort], "order: newest first, best of the metric, worst of it"),
    METRIC,
    (&[Act::NextPage, Act::PageBefore], "the next 1,000 runs, those before"),
    (&[Act::Runs], "all experiments"),
];

const RUN: &[Use] = &[ALONE, CHOOSE, METRIC, AXIS, LIST];

const COMPARE: &[Use] = &[ALONE, CHOOSE, METRIC, AXIS, (&[Act::Left, Act::Right], "runs that had no room"), LIST];

const TIME_LINE: &[Use] =
    &[(&[Act::Open], "open the commit"), CHOOSE, (&[Act::Rollback], "revert it: first its plan is shown")];

const COMMIT: &[Use] = &[(&[Act::Rollback], "revert it: first its plan is shown")];

const REVERT: &[Use] = &[(&[Act::Rollback], "ask again whether to push it")];

const PLAN: &[Use] = &[(&[Act::Open], "fold it, or open it"), CHOOSE, (&[Act::Group], "fold all, or open all")];

const CONTEXTS: &[Use] = &[(&[Act::Open], "go to it"), CHOOSE];

const HELP: &[Use] = &[(&[Act::Filter], "search in it")];

const OF_A_MODEL: &[Use] = &[
    (&[Act::Diff], "drift: Git against live, and what was promised"),
    (&[Act::Log], "output of its newest run, live; again: of the replicas"),
    (&[Act::Rollout], "its rollout: shares over the steps, analyses, curves"),
    (&[Act::Runs], "its tracked runs"),
    (&[Act::Promote, Act::Hold, Act::Abort], "its rollout: promote, hold or go on, abort"),
    (&[Act::Approve], "approve the version that waits, by a commit"),
    (&[Act::Override], "let it through before its time, with a reason"),
    (&[Act::Rollback], "push a revert of its newest change"),
    (&[Act::Edit], "its spec in $EDITOR"),
    (&[Act::Bookmark], "mark it, or take its mark off; :bookmarks shows those"),
];

const EVERYWHERE: &[Use] = &[
    (&[Act::Down, Act::Up], "down, up"),
    (&[Act::PageDown], "a page down"),
    (&[Act::PageUp], "a page up"),
    (&[Act::Top, Act::Bottom], "to the top, to the end"),
    (&[Act::Back], "back"),
    (&[Act::Quit], "back; on the fleet: leave, the daemon goes on"),
    (&[Act::Plan], "plan of the whole fleet"),
    (&[Act::TimeLine], "time line: commits, and what came of each"),
    (&[Act::Runs], "all experiments"),
    (&[Act::Contexts], "all daemons beside each other"),
    (&[Act::Sync], "fetch and reconcile now"),
    (&[Act::Copy, Act::CopyCommit], "copy the name or id that is meant; its newest commit"),
    (&[Act::Command], "a command, which tab completes"),
    (&[Act::Help], "this help; again: close it"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::*,
        tui::{
            keymap::{KEYS, RUN_KEYS},
            log::Output,
        },
    };

    /// Each screen.
    fn screens() -> Vec<Screen> {
        let (name, id, run) = (Name::new("fraud").unwrap(), ObjectId("4f1c".into()), RunId("r".into()));
        let experiment = || "fraud".to_owned();
        vec![
            Screen::Fleet,
            Screen::Model(name.clone()),
            Screen::Rollout(name.clone()),
            Screen::Diff(name.clone()),
            Screen::Log(name, Output::Runs),
            Screen::Experiments,
            Screen::Runs(experiment()),
            Screen::Run(experiment(), run.clone()),
            Screen::Compare(experiment(), vec![run]),
            Screen::TimeLine,
            Screen::Commit(id.clone()),
            Screen::Revert(id),
            Screen::Events,
            Screen::Plan,
            Screen::Contexts,
            Screen::Help,
        ]
    }

    #[test]
    fn each_act_is_told_somewhere_and_no_key_twice_on_a_screen() {
        let bindings = Bindings::default();
        let mut told: Vec<String> = vec![];
        for screen in screens() {
            let all = sections(&screen, &bindings);
            let keys = |s: &Section| s.rows.iter().flat_map(|r| r.keys.split(' ').map(str::to_owned)).collect();
            let mut keys: Vec<String> = all.iter().take(2).flat_map(|s| -> Vec<String> { keys(s) }).collect();
            told.extend(keys.clone());
            let before = keys.len();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), before, "{screen:?}");
        }
        for entry in KEYS.iter().chain(RUN_KEYS) {
            let key = bindings.keys(entry.act, true).chain(bindings.keys(entry.act, false)).next().unwrap();
            assert!(told.contains(&key), "{}: {key}", entry.name);
        }
    }

    #[test]
    fn what_a_key_is_for_has_room_in_eighty_columns() {
        let rows = screens().into_iter().flat_map(|s| sections(&s, &Bindings::default())).flat_map(|s| s.rows);
        rows.for_each(|r| assert!(r.what.chars().count() <= 62, "{}", r.what));
    }

    #[test]
    fn a_key_that_means_something_else_here_is_not_told_with_what_it_means_elsewhere() {
        let of = |screen: Screen, what: &str| {
            let all = sections(&screen, &Bindings::default());
            all.into_iter().take(2).flat_map(|s| s.rows).find(|r| r.what.contains(what)).map(|r| r.keys)
        };
        assert_eq!(of(Screen::Fleet, "reconcile now").as_deref(), Some("s"));
        assert_eq!(of(Screen::Runs("fraud".into()), "reconcile now"), None, "there it sorts");
        assert_eq!(of(Screen::Runs("fraud".into()), "best of the metric").as_deref(), Some("s"));
    }
}

//! What keys do on the screens of tracked runs.

use super::{Item, list::MARKS};
use crate::tui::{
    command::Line,
    keymap::Act,
    state::{Command, Mode, Screen, State},
    update::steps,
};

/// Does it, where it is about tracked runs; `None` where it means what it means everywhere.
pub(in crate::tui) fn on_act(state: &mut State, act: Act) -> Option<Vec<Command>> {
    let page = isize::try_from(state.extent.page.max(1)).unwrap_or(1);
    let by = steps(act, page).unwrap_or(0);
    match (state.screen.clone(), act) {
        (Screen::Experiments, _) if by != 0 => {
            state.tracked.experiments.moved(by);
            Some(vec![])
        }
        (Screen::Experiments, Act::Open | Act::Runs) => {
            let name = state.tracked.experiments.selected().map(|e| e.name.clone());
            Some(name.map_or(vec![], |name| state.open(Screen::Runs(name))))
        }
        (Screen::Experiments, Act::Filter) => {
            // A name is typed and completed there.
            state.mode = Mode::Command(Line::new("runs ".to_owned()));
            Some(vec![])
        }
        (Screen::Runs(_), Act::Runs) => Some(state.open(Screen::Experiments)),
        (Screen::Runs(_), _) if by != 0 => {
            state.tracked.list.moved(by);
            Some(vec![])
        }
        (Screen::Runs(experiment), act) => on_list(state, experiment, act),
        (Screen::Run(..) | Screen::Compare(..), _) if by != 0 => {
            let metric = state.tracked.page.moved(by);
            Some(chosen(state, metric))
        }
        (Screen::Run(experiment, _) | Screen::Compare(experiment, _), act) => on_page(state, experiment, act),
        _ => None,
    }
}

fn on_list(state: &mut State, experiment: String, act: Act) -> Option<Vec<Command>> {
    let list = &mut state.tracked.list;
    match act {
        Act::Open => {
            let id = list.selected().map(|r| r.id.clone());
            return Some(id.map_or(vec![], |id| state.open(Screen::Run(experiment, id))));
        }
        Act::Mark => {
            if list.mark() {
                list.moved(1);
            } else {
                let off = state.with_key(Act::Mark, "{} takes a mark off");
                state.note = format!("{MARKS} runs are marked: more are not told apart; {off}");
            }
            return Some(vec![]);
        }
        Act::Compare if list.marked.len() < 2 => {
            let then = state.with_key(Act::Compare, "then {} compares them");
            state.note = format!("{}, {then}", state.with_key(Act::Mark, "mark two runs or more with {}"));
            return Some(vec![]);
        }
        Act::Compare => {
            let ids = list.marked.clone();
            return Some(state.open(Screen::Compare(experiment, ids)));
        }
        Act::Metric | Act::MetricBack => {
            let keys = list.metrics();
            let at = state.tracked.metric.as_deref().and_then(|m| keys.iter().position(|k| *k == m));
            let next = match (at, act) {
                (None, _) => 0,
                (Some(at), Act::Metric) => (at + 1) % keys.len(),
                (Some(at), _) => (at + keys.len() - 1) % keys.len(),
            };
            let next = keys.get(next).map(|k| (*k).to_owned());
            state.tracked.metric = next.or(state.tracked.metric.take());
            return Some(vec![]);
        }
        Act::Sort => {
            let first = || list.metrics().first().map(|m| (*m).to_owned());
            let metric = state.tracked.metric.clone().or_else(first);
            state.tracked.metric.clone_from(&metric);
            list.sort(metric.as_deref());
            if metric.is_none() {
                state.note = "no metric to sort by: the newest run is first".to_owned();
            }
        }
        Act::NextPage | Act::PageBefore => {
            if !list.turn(act == Act::NextPage) {
                state.note = "there is no such page".to_owned();
                return Some(vec![]);
            }
        }
        _ => return None,
    }
    Some(state.needed())
}

fn on_page(state: &mut State, experiment: String, act: Act) -> Option<Vec<Command>> {
    match act {
        Act::Open => state.tracked.page.alone = !state.tracked.page.alone,
        Act::Back | Act::Quit if state.tracked.page.alone => state.tracked.page.alone = false,
        Act::Axis => state.tracked.axis = state.tracked.axis.other(),
        Act::Metric | Act::MetricBack => {
            let keys: Vec<String> = state.tracked.page.metrics().into_iter().cloned().collect();
            let at = state.tracked.metric.as_ref().and_then(|m| keys.iter().position(|k| k == m)).unwrap_or(0);
            let step = if act == Act::Metric { 1 } else { keys.len().saturating_sub(1) };
            let next = keys.get((at + step) % keys.len().max(1)).cloned();
            state.tracked.page.item = next.clone().map(Item::Metric);
            return Some(chosen(state, next));
        }
        Act::Runs => return Some(state.open(Screen::Runs(experiment))),
        Act::Left => state.scroll = state.scroll.saturating_sub(1),
        Act::Right => state.scroll = (state.scroll + 1).min(state.extent.last),
        Act::Filter => {
            state.note = state.with_key(Act::Back, "runs are filtered in their list: {} leads back to it");
        }
        _ => return None,
    }
    Some(vec![])
}

/// Another metric is drawn from now on.
fn chosen(state: &mut State, metric: Option<String>) -> Vec<Command> {
    state.tracked.metric = metric.or(state.tracked.metric.take());
    state.tracked.stale(&state.screen, state.extent.page)
}

/// A filter of the list was typed to its end.
pub(in crate::tui) fn take_filter(state: &mut State, filter: &str) -> Vec<Command> {
    state.tracked.list.filter(filter);
    state.needed()
}

/// Typing was given up: all runs are shown.
pub(in crate::tui) fn clear_filter(state: &mut State) -> Vec<Command> {
    let list = &mut state.tracked.list;
    let was = list.refused.take().is_some();
    if list.asked.filter.is_empty() {
        state.tracked.revision += u64::from(was);
        return vec![];
    }
    take_filter(state, "")
}

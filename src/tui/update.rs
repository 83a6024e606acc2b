//! How messages change the state. Pure.

use super::{
    access::Access,
    command::{Line, run_line, typed},
    copy::copied,
    keymap::Act,
    log::{Flowed, Output},
    mouse::on_mouse,
    outside,
    state::{Command, Message, Mode, Screen, State, held},
    tracked,
};
use crate::model::*;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Events that are kept.
const KEPT: usize = 5_000;

/// The next state, and what to do.
pub fn update(state: &mut State, message: Message) -> Vec<Command> {
    match message {
        Message::Key(key) => return on_key(state, key),
        Message::Mouse(event) => return on_mouse(state, event),
        Message::Fleet(mut fleet) => {
            state.ranking.sort(&mut fleet.models);
            state.fleet = Some(*fleet);
            state.seconds = 0;
            state.reachable = true;
            if state.selected.is_none() {
                state.select(0);
            }
            let mut commands = state.released();
            commands.extend((!state.has_models()).then_some(Command::FetchExperiments));
            return commands;
        }
        // The answer for a page that was left comes late.
        Message::Model(detail) if matches!(&state.screen, Screen::Model(m) | Screen::Rollout(m) if *m != detail.summary.name) =>
            {}
        Message::Model(detail) => state.model = Some(*detail),
        Message::Events(mut events) => {
            // What came since the answer was made stays.
            let newest = events.last().map_or(0, |e| e.seq);
            events.extend(state.events.drain(..).filter(|e| e.seq > newest));
            state.events = events;
        }
        Message::Plan(plan) => state.plan = Some(*plan),
        Message::Diff(diff) if matches!(&state.screen, Screen::Diff(m) if *m != diff.model) => {}
        Message::Diff(diff) => state.diff = Some(*diff),
        Message::Log { turn, flowed } if turn == state.log.turn => return on_output(state, flowed),
        Message::Log { .. } => {}
        Message::Tracked(told) => return tracked::take(state, told),
        Message::Happened(event) => return on_event(state, event),
        Message::Said(text) => state.note = text,
        Message::Denied(why) => {
            state.access = Access::Denied(why.clone());
            state.note = why;
        }
        Message::Reachable(up) => {
            if state.reachable && !up {
                state.lost = state.seconds;
            }
            state.reachable = up;
            if up {
                // It may be another one, or have another token.
                if let Access::Denied(_) = state.access {
                    state.access = Access::Full;
                }
                // What happened before it was listened to was not heard.
                return [vec![Command::FetchFleet], state.needed()].concat();
            }
        }
        Message::Tick => {
            state.seconds += 1;
            // A daemon that is gone says when it is back.
            let has_models = state.has_models();
            return if state.reachable { state.tracked.on_tick(&state.screen, has_models) } else { vec![] };
        }
        Message::Beat if state.reachable => return state.tracked.on_beat(&state.screen),
        Message::Beat => {}
        Message::Resized => {}
    }
    vec![]
}

fn on_output(state: &mut State, flowed: Flowed) -> Vec<Command> {
    let again = matches!(flowed, Flowed::Ended { streamed: true });
    let dropped = state.log.take(flowed);
    if !state.log.following {
        state.scroll = state.scroll.saturating_sub(dropped);
    }
    // The next stage may have begun before this one's output ended.
    if again { state.needed() } else { vec![] }
}

fn on_event(state: &mut State, event: Option<Event>) -> Vec<Command> {
    let mut commands = vec![Command::FetchFleet];
    let about = |m: &Name| event.as_ref().is_none_or(|e| e.model.is_none() || e.model.as_ref() == Some(m));
    match &state.screen.clone() {
        // Requests that come in change no plan.
        Screen::Plan if event.as_ref().is_none_or(|e| e.seq > 0 || e.model.is_some()) => {
            commands.push(Command::FetchPlan);
        }
        Screen::Model(m) | Screen::Rollout(m) if about(m) => commands.push(Command::FetchModel(m.clone())),
        Screen::Diff(m) if about(m) => commands.push(Command::FetchDiff(m.clone())),
        // The next stage of the pipeline may have begun.
        Screen::Log(m, _) if about(m) => commands.extend(state.needed()),
        // A run of its pipeline may have begun; requests that come in have no number.
        Screen::Runs(e)
            if event.as_ref().is_none_or(|x| x.seq > 0 && x.model.as_ref().is_some_and(|m| m.as_str() == e)) =>
        {
            commands.extend(state.needed());
        }
        _ => {}
    }
    // Those that a new connection tells again are known.
    let newest = state.events.last().map_or(0, |e| e.seq);
    if let Some(e) = event.filter(|e| e.seq > newest) {
        commands.extend(notify(state, &e));
        state.events.push(e);
        let surplus = state.events.len().saturating_sub(KEPT);
        state.events.drain(..surplus);
    }
    commands
}

/// The end of a rollout, and its pause, are said and rung: what happened while nobody was connected is not.
fn notify(state: &mut State, e: &Event) -> Option<Command> {
    const RECENT_MS: i64 = 10_000;
    use EventKind::{Promoted, RevertCommitted, RolledBack, RolloutAborted, RolloutPaused};
    let told = matches!(e.kind, Promoted | RevertCommitted | RolledBack | RolloutAborted | RolloutPaused);
    let recent = state.now().wall.0 - e.at.0 < RECENT_MS;
    let model = e.model.as_ref().filter(|_| told && recent)?;
    state.note = format!("{model}: {}", e.message);
    Some(Command::Ring)
}

fn on_key(state: &mut State, key: KeyEvent) -> Vec<Command> {
    if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
        return vec![Command::Quit];
    }
    match state.mode.clone() {
        Mode::Confirm(command) => {
            state.mode = Mode::Normal;
            if key.code == KeyCode::Char('y') { state.allowed(command) } else { vec![] }
        }
        Mode::Command(line) if key.code == KeyCode::Tab => {
            state.mode = Mode::Command(line.completed(state));
            vec![]
        }
        Mode::Command(line) => match typed(line.text, key) {
            Ok(text) => {
                state.mode = Mode::Command(Line::new(text));
                vec![]
            }
            Err(done) => {
                state.mode = Mode::Normal;
                done.map_or(vec![], |line| run_line(state, &line))
            }
        },
        Mode::Filter(text) if matches!(state.screen, Screen::Runs(_)) => {
            let done = typed(text, key);
            state.mode = done.as_ref().map_or(Mode::Normal, |text| Mode::Filter(text.clone()));
            match done {
                Ok(_) => vec![],
                Err(Some(filter)) => tracked::take_filter(state, &filter),
                Err(None) => tracked::clear_filter(state),
            }
        }
        Mode::Filter(text) => {
            match typed(text, key) {
                Ok(text) => {
                    state.filter = text.clone();
                    state.mode = Mode::Filter(text);
                }
                Err(done) => {
                    state.filter = done.unwrap_or_default();
                    state.mode = Mode::Normal;
                }
            }
            let place = state.place();
            state.select(place);
            vec![]
        }
        Mode::Normal => state.bindings.act(key, is_tracked(&state.screen)).map_or(vec![], |act| on_act(state, act)),
    }
}

/// What is about one model.
const OF_A_MODEL: [Act; 10] = [
    Act::Open,
    Act::Rollout,
    Act::Log,
    Act::Diff,
    Act::Promote,
    Act::Hold,
    Act::Abort,
    Act::Rollback,
    Act::Edit,
    Act::Bookmark,
];

/// Whether keys have the meanings of tracked runs' screens.
fn is_tracked(screen: &Screen) -> bool {
    matches!(screen, Screen::Runs(_) | Screen::Run(..) | Screen::Compare(..))
}

pub(super) fn on_act(state: &mut State, act: Act) -> Vec<Command> {
    let note = std::mem::take(&mut state.note);
    if let Some(commands) = tracked::on_act(state, act) {
        return commands;
    }
    let subject = state.subject();
    let page = isize::try_from(state.extent.page.max(1)).unwrap_or(1);
    if subject.is_none() && OF_A_MODEL.contains(&act) {
        state.note = format!(
            "no model is {} here; `:` and a command with a NAME does it from everywhere",
            if state.screen == Screen::Fleet { "selected" } else { "open" }
        );
        return vec![];
    }
    let rollout = state.subject_summary().and_then(held);
    if let (Some(name), None, Act::Promote | Act::Hold | Act::Abort) = (&subject, rollout, act) {
        state.note = format!("no rollout of {name} is under way");
        return vec![];
    }
    let post = |verb: &str| subject.clone().map(|model| Command::Post { model, verb: verb.to_owned() });
    match act {
        Act::Up => moved(state, -1),
        Act::Down => moved(state, 1),
        Act::PageUp => moved(state, -page),
        Act::PageDown => moved(state, page),
        Act::Top => moved(state, isize::MIN / 2),
        Act::Bottom => moved(state, isize::MAX / 2),
        Act::Open => return subject.map_or(vec![], |m| state.open(Screen::Model(m))),
        Act::Log if matches!(state.screen, Screen::Log(..)) => return state.other_output(),
        Act::Log => return subject.map_or(vec![], |m| state.open(Screen::Log(m, Output::Runs))),
        Act::Rollout => return subject.map_or(vec![], |m| state.open(Screen::Rollout(m))),
        Act::Diff => return subject.map_or(vec![], |m| state.open(Screen::Diff(m))),
        Act::Runs => return state.open(subject.map_or(Screen::Experiments, |m| Screen::Runs(m.to_string()))),
        Act::Events => return state.open(Screen::Events),
        Act::Plan => return state.open(Screen::Plan),
        Act::Help if state.screen == Screen::Help => return state.back(),
        Act::Help => return state.open(Screen::Help),
        Act::Quit if state.screen == Screen::Fleet => return vec![Command::Quit],
        Act::Back | Act::Quit => return state.back(),
        Act::Copy | Act::CopyCommit => return copied(state, act, &note),
        Act::Edit => return subject.map_or(vec![], |m| outside::edit(state, &m)),
        Act::Bookmark => subject.into_iter().for_each(|m| bookmark(state, m)),
        Act::Pager => return outside::read(state),
        Act::Command => {
            state.mode = Mode::Command(Line::default());
            // What names may be completed to.
            return vec![Command::FetchExperiments];
        }
        Act::Filter if matches!(state.screen, Screen::Runs(_)) => {
            state.mode = Mode::Filter(state.tracked.list.typed().to_owned());
        }
        Act::Filter => state.mode = Mode::Filter(state.filter.clone()),
        Act::Order => {
            state.ranking = state.ranking.next();
            if let Some(fleet) = state.fleet.as_mut() {
                state.ranking.sort(&mut fleet.models);
            }
            state.note = format!("the fleet: {}", state.ranking.told());
        }
        Act::Sync => return state.ask(Command::Sync),
        Act::Promote => return post("rollout/promote").map_or(vec![], |c| state.ask(c)),
        Act::Hold => {
            return post(if rollout == Some(true) { "rollout/resume" } else { "rollout/pause" })
                .map_or(vec![], |c| state.ask(c));
        }
        Act::Abort => return post("rollout/abort").map_or(vec![], |c| state.ask(c)),
        Act::Rollback => return post("rollback").map_or(vec![], |c| state.ask(c)),
        // They mean something on screens of tracked runs alone.
        Act::Mark | Act::Compare | Act::Sort | Act::Metric | Act::MetricBack => {}
        Act::Axis | Act::Left | Act::Right | Act::NextPage | Act::PageBefore => {}
    }
    vec![]
}

/// Marks a model, or takes its mark off.
fn bookmark(state: &mut State, model: Name) {
    if state.marked.remove(&model) {
        state.note = format!("{model} is marked no more");
    } else {
        state.note = format!("★ {model} is marked; :bookmarks shows what is");
        state.marked.insert(model);
    }
}

fn moved(state: &mut State, by: isize) {
    match state.screen {
        Screen::Fleet => {
            let place = state.place().saturating_add_signed(by);
            state.select(place);
        }
        // At its end it is followed; above, what is read stays where it is while more comes below.
        Screen::Log(..) => {
            let from = if state.log.following { state.extent.last } else { state.scroll };
            state.scroll = from.saturating_add_signed(by).min(state.extent.last);
            state.log.following = state.scroll == state.extent.last;
        }
        _ => state.scroll = state.scroll.saturating_add_signed(by).min(state.extent.last),
    }
}

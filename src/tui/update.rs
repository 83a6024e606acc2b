//! How messages change the state. Pure.

use super::{
    access::Access,
    command::{Line, run_line, typed},
    contexts,
    copy::copied,
    keymap::Act,
    log::{Flowed, Output},
    mouse::on_mouse,
    outline::Outline,
    output, outside,
    promotion::{self, Way},
    state::{Command, Message, Mode, Part, Screen, State, held},
    timeline, tracked,
};
use crate::{
    api::types::{Fleet, ModelSummary},
    model::*,
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::collections::{BTreeSet, HashMap};

/// Events that are kept.
const KEPT: usize = 5_000;

/// The next state, and what to do.
pub fn update(state: &mut State, message: Message) -> Vec<Command> {
    let commands = on_message(state, message);
    state.sift();
    commands
}

fn on_message(state: &mut State, message: Message) -> Vec<Command> {
    if let Message::Key(_) | Message::Mouse(_) = message {
        state.wished = None;
    }
    match message {
        Message::Key(key) => return on_key(state, key),
        Message::Mouse(event) => return on_mouse(state, event),
        Message::Fleet(page) => return on_page(state, *page),
        Message::Some { asked, fleet } => return on_some(state, &asked, *fleet),
        // The answer for a page that was left comes late.
        Message::Model(detail) if matches!(&state.screen, Screen::Model(m) | Screen::Rollout(m) if *m != detail.summary.name) =>
            {}
        Message::Model(detail) => {
            state.page.version = state.page.version.min(detail.versions.len().saturating_sub(1));
            state.model = Some(*detail);
            return state.wanted_version();
        }
        Message::Version(version) => state.version = Some(*version),
        Message::Events(mut events) => {
            // What came since the answer was made stays.
            let newest = events.last().map_or(0, |e| e.seq);
            events.extend(state.events.drain(..).filter(|e| e.seq > newest));
            state.events = events;
        }
        Message::Plan(plan) => state.plan = Some(*plan),
        Message::Diff(diff) if matches!(&state.screen, Screen::Diff(m) if *m != diff.model) => {}
        Message::Diff(diff) => state.diff = Some(*diff),
        Message::Waits(way, plan) => return promotion::take(state, way, &plan),
        Message::Log { turn, flowed } if turn == state.log.turn => return on_output(state, flowed),
        Message::Log { .. } => {}
        Message::Tracked(told) => return tracked::take(state, told),
        Message::Lately(told) => return timeline::take(state, told),
        Message::Happened(event) => return on_event(state, event),
        Message::Context(at, told) => state.contexts.take(at, told),
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
            forget_note(state);
            // A daemon that is gone says when it is back.
            let has_models = state.has_models();
            let mut commands = state.contexts.on_tick(&state.screen);
            if state.reachable {
                commands.extend(state.tracked.on_tick(&state.screen, has_models));
            }
            return commands;
        }
        Message::Beat if state.reachable => return state.tracked.on_beat(&state.screen),
        Message::Beat => {}
        Message::Resized => {}
    }
    vec![]
}

/// What was said goes after a while: what can be done here is told in its place.
fn forget_note(state: &mut State) {
    const SECONDS: u8 = 10;
    let (said, ticks) = &mut state.noted;
    *ticks = if *said == state.note { ticks.saturating_add(1) } else { 0 };
    said.clone_from(&state.note);
    if *ticks >= SECONDS {
        state.note.clear();
    }
}

/// Takes the models of a page in, and those out that would be in it and are not.
fn on_page(state: &mut State, page: Fleet) -> Vec<Command> {
    state.moved.retain(|name| !page.spans(name));
    state.whole |= page.next.is_none();
    take_in(state, page, |name, page| page.spans(name))
}

/// Takes in what is told of some models. While others are on their way, who stands at the top stays there.
fn take_in(state: &mut State, told: Fleet, gone: impl Fn(&Name, &Fleet) -> bool) -> Vec<Command> {
    let reading = state.fleet.as_ref().is_some_and(|f| f.models.len() < f.counts.models);
    let at_top = state.shown().first().is_some_and(|m| Some(&m.name) == state.selected.as_ref());
    let merged = merged(state.fleet.take(), told, gone);
    state.whole |= merged.models.len() >= merged.counts.models;
    let commands = on_fleet(state, merged);
    if reading && at_top {
        state.select(0);
    }
    commands
}

/// What was known with what is told now: of the models of which nothing is told, those that are `gone` are left out.
fn merged(before: Option<Fleet>, mut told: Fleet, gone: impl Fn(&Name, &Fleet) -> bool) -> Fleet {
    let Some(before) = before else { return told };
    let mut news: HashMap<Name, ModelSummary> = told.models.drain(..).map(|m| (m.name.clone(), m)).collect();
    let mut models = before.models;
    models.retain_mut(|m| match news.remove(&m.name) {
        Some(new) => {
            *m = new;
            true
        }
        None => !gone(&m.name, &told),
    });
    models.extend(news.into_values());
    told.models = models;
    told
}

fn on_fleet(state: &mut State, fleet: Fleet) -> Vec<Command> {
    state.environments = environments(&fleet.models);
    let environments = fleet.models.iter().flat_map(|m| &m.environments);
    state.moving = environments.filter(|e| e.rollout.is_some()).count();
    state.longest = fleet.models.iter().map(|m| m.name.as_str().len()).max().unwrap_or(0);
    state.training = fleet.models.iter().filter(|m| m.training.is_some()).count();
    state.fleet = Some(fleet);
    state.arrange();
    state.seconds = 0;
    state.reachable = true;
    if state.selected.is_none() {
        state.select(0);
    }
    let mut commands = state.released();
    commands.extend((!state.has_models()).then_some(Command::FetchExperiments));
    commands
}

/// Takes some of the models in; the rest stays as it was. Whatever is not as expected is looked at anew, whole.
fn on_some(state: &mut State, asked: &BTreeSet<Name>, some: Fleet) -> Vec<Command> {
    state.moved.retain(|name| !asked.contains(name));
    let told: BTreeSet<&Name> = some.models.iter().map(|m| &m.name).collect();
    let gone = asked.iter().any(|name| !told.contains(name));
    let mut commands = take_in(state, some, |_, _| false);
    // Before all pages are there, others are on their way.
    let other = |f: &Fleet| state.whole && f.models.len() != f.counts.models;
    let look = gone || state.fleet.as_ref().is_some_and(other);
    commands.extend(look.then_some(Command::FetchFleet));
    commands
}

/// What an event may have changed of the fleet.
fn fetches(state: &mut State, event: Option<&Event>) -> Vec<Command> {
    match event {
        Some(Event { model: Some(model), .. }) if state.fleet.is_some() => {
            /// Names that a request has room for.
            const NAMED: usize = 200;
            state.moved.insert(model.clone());
            match state.moved.len() {
                0..=NAMED => vec![Command::FetchModels(state.moved.clone())],
                _ => vec![Command::FetchFleet],
            }
        }
        // Requests come in: nothing else has moved.
        Some(Event { model: None, seq: 0, .. }) if state.fleet.is_some() => vec![Command::FetchBusy],
        _ => vec![Command::FetchFleet],
    }
}

/// All environments, each after those that it comes after in a chain.
fn environments(models: &[ModelSummary]) -> Vec<Name> {
    let mut out: Vec<Name> = vec![];
    for m in models {
        let mut at = 0;
        for e in &m.environments {
            match out.iter().position(|name| *name == e.environment) {
                Some(known) => at = at.max(known + 1),
                None => {
                    out.insert(at.min(out.len()), e.environment.clone());
                    at += 1;
                }
            }
        }
    }
    out
}

fn on_output(state: &mut State, flowed: Flowed) -> Vec<Command> {
    let again = matches!(flowed, Flowed::Ended { streamed: true });
    let dropped = state.log.take(flowed, state.now().wall);
    if !state.log.following {
        state.scroll = state.scroll.saturating_sub(dropped);
    }
    // The next stage may have begun before this one's output ended.
    if again { state.needed() } else { vec![] }
}

fn on_event(state: &mut State, event: Option<Event>) -> Vec<Command> {
    let mut commands = fetches(state, event.as_ref());
    let about = |m: &Name| event.as_ref().is_none_or(|e| e.model.is_none() || e.model.as_ref() == Some(m));
    match &state.screen.clone() {
        // Requests that come in change no plan.
        Screen::Plan if event.as_ref().is_none_or(|e| e.seq > 0 || e.model.is_some()) => {
            commands.push(Command::FetchPlan);
        }
        Screen::TimeLine | Screen::Commit(_) if event.as_ref().is_none_or(|e| e.seq > 0) => {
            commands.extend(timeline::on_event(state));
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
        Mode::Confirm(command @ Command::Revert { .. }) => timeline::answered(state, command, key),
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
        Mode::Reason(letting, text) => match typed(text, key) {
            Ok(text) => {
                state.mode = Mode::Reason(letting, text);
                vec![]
            }
            Err(done) => {
                state.mode = Mode::Normal;
                done.map_or(vec![], |reason| promotion::reasoned(state, letting, &reason))
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
        Mode::Filter(text) if matches!(state.screen, Screen::Log(..)) => {
            let done = typed(text, key);
            state.log_view.search = done.clone().unwrap_or_else(|done| done.unwrap_or_default());
            state.mode = done.map_or(Mode::Normal, Mode::Filter);
            output::search(state, state.scroll, true);
            vec![]
        }
        Mode::Filter(text) if state.screen == Screen::Help => {
            let done = typed(text, key);
            state.sought = done.clone().unwrap_or_else(|done| done.unwrap_or_default());
            state.mode = done.map_or(Mode::Normal, Mode::Filter);
            state.scroll = 0;
            vec![]
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
        Mode::Normal => state.bindings.act(key, state.screen.is_tracked()).map_or(vec![], |act| on_act(state, act)),
    }
}

/// What is about one model.
const OF_A_MODEL: [Act; 12] = [
    Act::Open,
    Act::Rollout,
    Act::Log,
    Act::Diff,
    Act::Promote,
    Act::Hold,
    Act::Abort,
    Act::Rollback,
    Act::Approve,
    Act::Override,
    Act::Edit,
    Act::Bookmark,
];

/// What the open screen has a meaning of its own for.
fn own(state: &mut State, act: Act) -> Option<Vec<Command>> {
    tracked::on_act(state, act)
        .or_else(|| output::on_act(state, act))
        .or_else(|| timeline::on_act(state, act))
        .or_else(|| contexts::on_act(state, act))
}

pub(super) fn on_act(state: &mut State, act: Act) -> Vec<Command> {
    let note = std::mem::take(&mut state.note);
    if let Some(commands) = own(state, act) {
        return commands;
    }
    let subject = state.subject();
    let page = isize::try_from(state.extent.page.max(1)).unwrap_or(1);
    let folds = act == Act::Open && state.screen == Screen::Plan;
    if subject.is_none() && OF_A_MODEL.contains(&act) && !folds {
        state.note = format!(
            "no model is {} here; {} and a command with a NAME does it from everywhere",
            if state.screen == Screen::Fleet { "selected" } else { "open" },
            state.called(Act::Command)
        );
        return vec![];
    }
    let rollout = state.subject_summary().and_then(held);
    if let (Some(name), None, Act::Promote | Act::Hold | Act::Abort) = (&subject, rollout, act) {
        state.note = format!("no rollout of {name} is under way");
        return vec![];
    }
    let post = |verb: &str| subject.clone().map(|model| Command::Post { model, verb: verb.to_owned() });
    if let Some(by) = steps(act, page) {
        moved(state, by);
        return state.wanted_version();
    }
    match act {
        // They moved something above.
        Act::Up | Act::Down | Act::PageUp | Act::PageDown | Act::Top | Act::Bottom => {}
        Act::Open if state.screen == Screen::Plan => {
            state.plan.iter().for_each(|p| state.outline.toggle(p));
        }
        Act::Group if state.screen == Screen::Plan => {
            state.plan.iter().for_each(|p| state.outline.toggle_all(p));
        }
        Act::Open => return subject.map_or(vec![], |m| state.open(Screen::Model(m))),
        Act::Log if matches!(state.screen, Screen::Log(..)) => return state.other_output(),
        Act::Log => return subject.map_or(vec![], |m| state.open(Screen::Log(m, Output::Runs))),
        Act::Rollout => return subject.map_or(vec![], |m| state.open(Screen::Rollout(m))),
        Act::Diff => return subject.map_or(vec![], |m| state.open(Screen::Diff(m))),
        Act::Runs => return state.open(subject.map_or(Screen::Experiments, |m| Screen::Runs(m.to_string()))),
        Act::TimeLine => return state.open(Screen::TimeLine),
        Act::Plan => return state.open(Screen::Plan),
        Act::Contexts => return state.open(Screen::Contexts),
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
        Act::Filter if matches!(state.screen, Screen::Log(..)) => {
            state.mode = Mode::Filter(String::new());
        }
        Act::Filter if state.screen == Screen::Help => state.mode = Mode::Filter(state.sought.clone()),
        Act::Filter => state.mode = Mode::Filter(state.filter.clone()),
        Act::Order => {
            state.ranking = state.ranking.next();
            state.arrange();
            state.note = format!("the fleet: {}", state.ranking.told());
        }
        Act::Group => {
            state.grouping = state.grouping.next();
            state.arrange();
            state.note = format!("the fleet: {}", state.grouping.told());
        }
        Act::Sync => return state.ask(Command::Sync),
        Act::Promote => return post("rollout/promote").map_or(vec![], |c| state.ask(c)),
        Act::Hold => {
            return post(if rollout == Some(true) { "rollout/resume" } else { "rollout/pause" })
                .map_or(vec![], |c| state.ask(c));
        }
        Act::Abort => return post("rollout/abort").map_or(vec![], |c| state.ask(c)),
        Act::Rollback => return post("rollback").map_or(vec![], |c| state.ask(c)),
        Act::Approve => return subject.map_or(vec![], |m| promotion::wished(state, m, Way::Approve)),
        Act::Override => return subject.map_or(vec![], |m| promotion::wished(state, m, Way::Override)),
        Act::Part if matches!(state.screen, Screen::Model(_)) => {
            (state.page.part, state.scroll) = (state.page.part.next(), 0);
        }
        Act::Metric if matches!(state.screen, Screen::Model(_)) => {
            (state.page.part, state.page.metric) = (Part::Metrics, state.page.metric.wrapping_add(1));
        }
        // They mean something on other screens alone.
        Act::Mark | Act::Compare | Act::Sort | Act::Metric | Act::MetricBack | Act::Part => {}
        Act::Level | Act::Wrap | Act::Stamp | Act::Save => {}
        Act::Axis | Act::Left | Act::Right | Act::NextPage | Act::PageBefore => {}
    }
    vec![]
}

/// How far an act moves.
pub(super) fn steps(act: Act, page: isize) -> Option<isize> {
    Some(match act {
        Act::Up => -1,
        Act::Down => 1,
        Act::PageUp => -page,
        Act::PageDown => page,
        Act::Top => isize::MIN / 2,
        Act::Bottom => isize::MAX / 2,
        _ => return None,
    })
}

/// Marks a model, or takes its mark off.
fn bookmark(state: &mut State, model: Name) {
    state.unsift();
    if state.marked.remove(&model) {
        state.note = format!("{model} is marked no more");
    } else {
        state.note = format!("★ {model} is marked; :bookmarks shows what is");
        state.marked.insert(model);
    }
}

pub(super) fn moved(state: &mut State, by: isize) {
    match state.screen {
        // What is told of a version follows the choice of another.
        Screen::Model(_) if matches!(state.page.part, Part::Versions | Part::Metrics) => {
            let last = state.model.as_ref().map_or(0, |m| m.versions.len().saturating_sub(1));
            state.page.version = state.page.version.saturating_add_signed(by).min(last);
        }
        Screen::Fleet => {
            let place = state.place().saturating_add_signed(by);
            state.select(place);
        }
        Screen::Plan => {
            let last = state.plan.as_ref().map_or(0, |p| Outline::entries(p).len().saturating_sub(1));
            state.outline.chosen = state.outline.chosen.min(last).saturating_add_signed(by).min(last);
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

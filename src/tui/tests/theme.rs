use super::*;
use crate::tui::theme::{Depth, Look, Theme};
use ratatui::style::{Color, Modifier};

/// The colours and modifiers of a frame's cells.
fn colours(state: &State) -> Vec<(Color, Color, Modifier)> {
    let mut terminal = Terminal::new(TestBackend::new(120, 20)).unwrap();
    terminal.draw(|f| drop(draw(f, state))).unwrap();
    terminal.backend().buffer().content.iter().map(|c| (c.fg, c.bg, c.modifier)).collect()
}

#[test]
fn a_theme_is_chosen_while_it_runs() {
    let mut state = filled();
    state.look = Look::new(Theme::Default, Depth::True);
    assert!(colours(&state).iter().all(|(fg, bg, _)| !matches!((fg, bg), (Color::Rgb(..), _) | (_, Color::Rgb(..)))));
    type_line(&mut state, ":theme dark");
    assert_eq!(state.look, Look::new(Theme::Dark, Depth::True));
    let dark = colours(&state);
    assert!(dark.iter().any(|c| matches!(c.0, Color::Rgb(..))) && dark.iter().all(|c| !c.2.contains(Modifier::DIM)));
    type_line(&mut state, ":theme mono");
    assert!(colours(&state).iter().all(|(fg, bg, _)| (*fg, *bg) == (Color::Reset, Color::Reset)));
    type_line(&mut state, ":theme nonsense");
    assert!(state.note.contains("there is no theme `nonsense`") && state.look.theme == Theme::Mono);
    type_line(&mut state, ":theme");
    assert!(state.note.contains("the theme is mono; there are: default, dark"), "{}", state.note);
}

#[test]
fn themes_are_completed() {
    let mut state = filled();
    ":th".chars().for_each(|c| drop(key(&mut state, KeyCode::Char(c))));
    key(&mut state, KeyCode::Tab);
    assert!(screen(&state, 100, 8).contains(":theme ▏  colour-blind · dark · default · light · mono"));
    key(&mut state, KeyCode::Char('l'));
    key(&mut state, KeyCode::Tab);
    key(&mut state, KeyCode::Enter);
    assert_eq!(state.look.theme, Theme::Light);
}

#[test]
fn no_screen_leaves_a_role_undressed() {
    let mut state = filled();
    state.look = Look::new(Theme::Dark, Depth::True);
    update(&mut state, Message::Model(Box::new(detail())));
    for keys in ["", "l", "d", "o", "t", "p", "?"] {
        tracked::press(&mut state, keys);
        assert!(colours(&state).iter().all(|c| !matches!((c.0, c.1), (Color::Indexed(_), _) | (_, Color::Indexed(_)))));
        state.screen = Screen::Fleet;
    }
}

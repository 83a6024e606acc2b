//! What the terminal is sent between two frames. Pure.

use super::{config::Bell, state::Command, view::gist};
use base64::{Engine, engine::general_purpose::STANDARD};

/// The escapes of a command, where it has any.
pub(super) fn of(command: &Command, bell: Bell, note: &str) -> Option<String> {
    match (command, bell) {
        (Command::Ring, Bell::Ring) => Some("\x07".to_owned()),
        (Command::Ring, Bell::Osc9) => Some(format!("\x1b]9;{}\x07", gist(note))),
        (Command::Copy(text), _) => Some(format!("\x1b]52;c;{}\x07", STANDARD.encode(text))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bell_is_as_it_was_settled() {
        let note = "fraud: production: v6 → v7\u{1b}]0;x\u{7}";
        let rung = |bell| of(&Command::Ring, bell, note);
        assert_eq!(rung(Bell::Silent), None);
        assert_eq!(rung(Bell::Ring).as_deref(), Some("\x07"));
        let told = "\x1b]9;fraud: production: v6 → v7\\u{1b}]0;x\\u{7}\x07";
        assert_eq!(rung(Bell::Osc9).as_deref(), Some(told));
    }

    #[test]
    fn what_is_copied_is_sent_encoded() {
        let copied = of(&Command::Copy("fraud \x1b]0;x\x07 é".to_owned()), Bell::Silent, "");
        assert_eq!(copied.as_deref(), Some("\x1b]52;c;ZnJhdWQgG10wO3gHIMOp\x07"));
        assert_eq!(of(&Command::Quit, Bell::Ring, ""), None);
    }
}

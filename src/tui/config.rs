//! What a person settled for the terminal UI in a file of theirs:
//! ```toml
//! theme = "dark"
//! mouse = false          # the terminal selects text then
//! bell = "osc9"          # or true, or false
//!
//! [keys]
//! plan = "p"
//! page_down = ["ctrl-f", "pgdn"]
//!
//! [contexts]
//! prod = { api = "https://models.example.com", token_env = "PROD_TOKEN" }
//! local = { state = "/srv/trimtab/state" }
//! ```
//! Pure: the file is read by whoever opens the UI.

use super::{
    bindings::{Bindings, Stroke},
    keymap::{KEYS, RUN_KEYS},
    theme::Theme,
};
use crate::{
    model::Diagnostic,
    spec::decode::{File, Table},
};

/// How the end of a rollout is told beside the note.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Bell {
    Silent,
    #[default]
    Ring,
    /// A notification of the desktop, where the terminal makes one of it.
    Osc9,
}

/// Where a daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Context {
    /// An address, and the variable that holds its token.
    Api { url: String, token_env: Option<String> },
    /// The state folder of a daemon of this machine.
    State(String),
}

/// What was settled; the rest is as ever.
#[derive(Debug, Clone)]
pub struct Config {
    pub theme: Theme,
    pub bell: Bell,
    /// Whether clicks and the wheel are heard. Text is then selected with shift.
    pub mouse: bool,
    pub(super) bindings: Bindings,
    /// Daemons by the names that the person gave them.
    pub contexts: Vec<(String, Context)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            theme: Theme::default(),
            bell: Bell::default(),
            mouse: true,
            bindings: Bindings::default(),
            contexts: vec![],
        }
    }
}

impl Config {
    /// Reads a file, or says all that is wrong with it.
    pub fn read(path: &str, bytes: &[u8]) -> Result<Self, Vec<Diagnostic>> {
        File::read_bare(path, bytes, |root| Self {
            theme: root.parsed("theme", str::parse).unwrap_or_default(),
            bell: root.flag_or("bell", |on| if on { Bell::Ring } else { Bell::Silent }, bell).unwrap_or_default(),
            mouse: root.flag("mouse").unwrap_or(true),
            bindings: root.table("keys").map(bindings).unwrap_or_default(),
            contexts: root.table("contexts").map(|t| contexts(&t)).unwrap_or_default(),
        })
        .map(|(config, _)| config)
    }
}

fn contexts(all: &Table<'_>) -> Vec<(String, Context)> {
    let one = |(name, mut t): (String, Table<'_>)| {
        let (url, token_env, state) = (t.text("api"), t.text("token_env"), t.text("state"));
        let context = match (url, state, token_env) {
            (Some(url), None, token_env) => Some(Context::Api { url, token_env }),
            (None, Some(state), None) => Some(Context::State(state)),
            _ => None,
        };
        if context.is_none() {
            let label = "write { api = \"https://…\", token_env = \"NAME\" } or { state = \"FOLDER\" }".to_owned();
            all.error_at(&name, format!("context `{name}` says no place"), label);
        }
        t.finish();
        context.map(|c| (name, c))
    };
    all.named_tables().into_iter().filter_map(one).collect()
}

fn bell(text: &str) -> Result<Bell, String> {
    if text == "osc9" { Ok(Bell::Osc9) } else { Err("write true, false or \"osc9\"".into()) }
}

fn bindings(mut table: Table<'_>) -> Bindings {
    let mut bindings = Bindings::default();
    let mut chosen: Vec<&'static str> = vec![];
    for name in KEYS.iter().chain(RUN_KEYS).map(|e| e.name) {
        if chosen.contains(&name) {
            continue;
        }
        if let Some(strokes) = table.each(name, str::parse::<Stroke>) {
            bindings.bind(name, &strokes);
            chosen.push(name);
        }
    }
    for name in chosen {
        if let Some((stroke, other)) = bindings.conflict(name) {
            let label = format!("give `{other}` another key as well, or this one another");
            table.error_at(name, format!("`{stroke}` is the key of `{other}` already"), label);
        }
    }
    table.finish();
    bindings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{spec::render, tui::keymap::Act};
    use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    #[test]
    fn what_is_settled_is_read() {
        let text = "theme = \"light\"\nbell = false\nmouse = false\n[keys]\nplan = \"ctrl-p\"\npage_down = [\"pgdn\", \"Z\"]\nsync = []\n";
        let config = Config::read("tui.toml", text.as_bytes()).unwrap();
        assert_eq!((config.theme, config.bell, config.mouse), (Theme::Light, Bell::Silent, false));
        let act = |code, with| config.bindings.act(KeyEvent::new(code, with), false);
        assert_eq!(act(KeyCode::Char('p'), KeyModifiers::CONTROL), Some(Act::Plan));
        assert_eq!(act(KeyCode::Char('p'), KeyModifiers::NONE), None);
        assert_eq!(act(KeyCode::Char('Z'), KeyModifiers::NONE), Some(Act::PageDown));
        assert_eq!(act(KeyCode::Char('f'), KeyModifiers::CONTROL), None, "instead of what it had");
        assert_eq!(act(KeyCode::Char('s'), KeyModifiers::NONE), None, "without any key");
        assert_eq!(act(KeyCode::Char('d'), KeyModifiers::NONE), Some(Act::Diff), "the others are as ever");
        for (text, is) in [("", Bell::Ring), ("bell = true", Bell::Ring), ("bell = \"osc9\"", Bell::Osc9)] {
            let config = Config::read("tui.toml", text.as_bytes()).unwrap();
            assert_eq!((config.bell, config.mouse), (is, true));
        }
    }

    #[test]
    fn contexts_are_read() {
        let text = "[contexts]\nprod = { api = \"https://x\", token_env = \"T\" }\n[contexts.local]\nstate = \"s\"\n";
        let api = Context::Api { url: "https://x".into(), token_env: Some("T".into()) };
        let is = vec![("prod".to_owned(), api), ("local".to_owned(), Context::State("s".into()))];
        let mut read = Config::read("tui.toml", text.as_bytes()).unwrap().contexts;
        read.sort_by_key(|(name, _)| std::cmp::Reverse(name.clone()));
        assert_eq!(read, is);
    }

    #[test]
    fn the_example_of_the_docs_is_read_and_names_every_action() {
        let docs = include_str!("../../docs/tui.md");
        let (_, example) = docs.split_once("```toml\n").unwrap();
        Config::read("tui.toml", example.split_once("```").unwrap().0.as_bytes()).unwrap();
        for e in KEYS.iter().chain(RUN_KEYS) {
            assert!(docs.contains(&format!("`{}`", e.name)), "{}", e.name);
        }
    }

    #[test]
    fn keys_may_change_places() {
        for text in
            ["[keys]\nplan = \"t\"\ntimeline = \"p\"", "[keys]\nsort = \"s\"", "[keys]\nopen = [\"enter\", \"Z\"]"]
        {
            Config::read("tui.toml", text.as_bytes()).unwrap();
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, place, said) in [
            ("theme = \"drak\"", "tui.toml:1:9", "there is no theme `drak`; there are: default, dark"),
            ("\nthem = \"dark\"", "tui.toml:2:1", "did you mean `theme`?"),
            ("bell = \"osc\"", "tui.toml:1:8", "write true, false or \"osc9\""),
            ("bell = 1", "tui.toml:1:8", "write true, false or \"osc9\""),
            ("theme = \"dark", "tui.toml:1:", "not valid TOML"),
            ("[keys]\nplam = \"p\"", "tui.toml:2:1", "did you mean `plan`?"),
            ("[keys]\nplan = \"return\"", "tui.toml:2:8", "write a character, ctrl-f"),
            ("[keys]\nplan = [\"p\", \"ctrl-c\"]", "tui.toml:2:14", "ctrl-c leaves at once"),
            ("[contexts]\nprod = {}", "tui.toml:2:8", "context `prod` says no place"),
            ("[contexts]\nprod = { api = \"x\", state = \"y\" }", "tui.toml:2:8", "write { api ="),
            ("[contexts]\nprod = { state = \"y\", tok = 1 }", "tui.toml:2:23", "unknown key `tok`"),
            ("[keys]\nplan = 3", "tui.toml:2:8", "a string or a list of strings"),
            ("[keys]\nplan = \"t\"", "tui.toml:2:8", "`t` is the key of `timeline` already"),
            ("[keys]\nplan = \"x\"", "tui.toml:2:8", "`x` is the key of `axis` already"),
            ("[keys]\nmark = \"j\"", "tui.toml:2:8", "`j` is the key of `down` already"),
        ] {
            let told = render::text(&Config::read("tui.toml", text.as_bytes()).unwrap_err());
            assert!(told.contains(place) && told.contains(said), "{text}: {told}");
        }
    }
}

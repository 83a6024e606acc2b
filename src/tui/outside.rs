//! Programs of the person's that have the terminal for a while: their editor, their pager.

use super::{
    keymap::Act,
    log::{Output, Written},
    state::{Command, Screen, State},
};
use crate::model::{Name, visible_but};
use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitStatus,
};

/// What is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outside {
    /// A file, in the editor.
    Edit(PathBuf),
    /// A text, in the pager.
    Read(String),
}

/// Opens the spec of the model that is meant, where it is a file of this machine.
pub(super) fn edit(state: &mut State, model: &Name) -> Vec<Command> {
    let Some(source) = state.fleet.as_ref().map(|f| &f.source) else { return vec![] };
    let folder = source.url.strip_prefix("file://").unwrap_or(&source.url);
    if !folder.starts_with('/') {
        state.note = format!("the specs are not on this machine but in {}: clone it to edit them", source.url);
        return vec![];
    }
    let file = Path::new(folder).join(&source.path).join("models").join(model.as_str()).join("model.toml");
    vec![Command::Outside(Outside::Edit(file))]
}

/// Opens the output that is shown.
pub(super) fn read(state: &mut State) -> Vec<Command> {
    if !matches!(state.screen, Screen::Log(_, Output::Runs | Output::Replica(_))) {
        state.note = state.with_key(Act::Log, "a pager opens output: {} shows some first");
        return vec![];
    }
    if state.log.lines.is_empty() {
        state.note = "nothing was written yet".to_owned();
        return vec![];
    }
    let line = |l: &Written| visible_but(String::from_utf8_lossy(&l.bytes).trim_end_matches(['\n', '\r']), "\t") + "\n";
    vec![Command::Outside(Outside::Read(state.log.lines.iter().map(line).collect()))]
}

/// Variables that name the program, the first that is set, and what it is without any.
fn variables(outside: &Outside) -> (&'static [&'static str], &'static str) {
    match outside {
        Outside::Edit(_) => (&["VISUAL", "EDITOR"], "vi"),
        Outside::Read(_) => (&["PAGER"], "less -R"),
    }
}

/// The program and its arguments, as a shell parts words; no shell ever reads them.
fn words(outside: &Outside, set: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, String> {
    let (names, default) = variables(outside);
    let found = names.iter().find_map(|n| set(n).filter(|v| !v.trim().is_empty()).map(|v| (*n, v)));
    let (name, value) = found.unwrap_or(("", default.to_owned()));
    shlex::split(&value).filter(|w| !w.is_empty()).ok_or_else(|| format!("{name} is no command: {value}"))
}

/// Runs it to its end on the terminal that it has; what went wrong, in words.
pub(super) async fn run(outside: &Outside) -> Result<(), String> {
    let words = words(outside, |name| std::env::var(name).ok())?;
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let mut text = None;
    let file = match outside {
        Outside::Edit(file) if !file.is_file() => return Err(format!("there is no file {} here", file.display())),
        Outside::Edit(file) => file.clone(),
        Outside::Read(read) => {
            text.insert(written(read).map_err(|e| format!("no file for the pager: {e}"))?).path().into()
        }
    };
    let ended: io::Result<ExitStatus> = tokio::process::Command::new(program).args(arguments).arg(file).status().await;
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program}: {status}")),
        Err(e) => Err(format!("{program}: {e}")),
    }
}

/// The text as a file that goes when it is dropped.
fn written(text: &str) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("trimtab-").suffix(".log").tempfile()?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_as_the_person_set_it_and_no_shell_reads_it() {
        let of = |outside: &Outside, set: &[(&str, &str)]| {
            words(outside, |name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
        };
        let (edit, read) = (Outside::Edit("/x".into()), Outside::Read(String::new()));
        for (outside, set, is) in [
            (&edit, &[][..], &["vi"][..]),
            (&edit, &[("EDITOR", "nano"), ("PAGER", "more")], &["nano"]),
            (&edit, &[("EDITOR", "nano"), ("VISUAL", "code --wait")], &["code", "--wait"]),
            (&edit, &[("EDITOR", "nano"), ("VISUAL", "  ")], &["nano"]),
            (
                &edit,
                &[("EDITOR", "'/opt/my editor/bin' -c \"a b\"; rm $HOME")],
                &["/opt/my editor/bin", "-c", "a b;", "rm", "$HOME"],
            ),
            (&read, &[], &["less", "-R"]),
            (&read, &[("PAGER", "more")], &["more"]),
        ] {
            assert_eq!(of(outside, set).unwrap(), is, "{set:?}");
        }
        assert!(of(&edit, &[("EDITOR", "'vi")]).unwrap_err().contains("EDITOR is no command"));
    }

    #[tokio::test]
    async fn what_does_not_work_is_told() {
        let missing = Outside::Edit("/there/is/no/such/file".into());
        assert_eq!(run(&missing).await.unwrap_err(), "there is no file /there/is/no/such/file here");
    }

    #[test]
    fn the_text_is_a_file_while_it_is_read() {
        let file = written("epoch 1\n").unwrap();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "epoch 1\n");
        let path = file.path().to_owned();
        drop(file);
        assert!(!path.exists());
    }
}

//! Settings that stand above the folder of specs, where nobody reads them.

use super::load::{join, parent};
use crate::{model::*, ports::*};

/// The name of the file.
pub const SETTINGS: &str = "trimtab.toml";
const FOLDER: u32 = 0o040_000;

/// Says that settings are not read, and where they belong. `folder` holds the specs; all paths are from the repository's root.
pub fn unread(file: &str, folder: &str) -> Diagnostic {
    let place = Location { file: file.to_owned(), line: 1, column: 1, text: String::new(), width: 0 };
    let above = Some(parent(file)).filter(|above| !above.is_empty()).unwrap_or(".");
    Diagnostic {
        severity: Severity::Warning,
        message: format!("`{file}` is not read: the specs are in `{folder}/`"),
        location: Some(place),
        label: String::new(),
        help: Some(format!("move it to `{}`; or start the daemon with `--path {above}`", join(folder, SETTINGS))),
        model: None,
    }
}

/// All of a revision.
pub(super) fn all(folder: &str, revision: &Revision, tree: &dyn GitTree) -> PortResult<Vec<Diagnostic>> {
    let folder = if folder == "." { "" } else { folder };
    let mut found = vec![];
    let above = std::iter::successors(Some(folder), |f| (!f.is_empty()).then(|| parent(f))).skip(1);
    for file in above.map(|above| join(above, SETTINGS)) {
        if tree.entry(&revision.tree, &file)?.is_some_and(|entry| entry.mode != FOLDER) {
            found.push(unread(&file, folder));
        }
    }
    Ok(found)
}

//! Links, submodules and files in the places of the folders that hold all specs. Read as what they are they would delete every model.

use super::{decode::plain, load::join};
use crate::{model::*, ports::*};

const FOLDER: u32 = 0o040_000;

/// What stands in the place of a folder, said by its path.
pub(super) fn replaced(folder: &str, revision: &Revision, tree: &dyn GitTree) -> PortResult<Vec<Diagnostic>> {
    let folder = if folder == "." { "" } else { folder };
    let above = folder.match_indices('/').map(|(end, _)| folder[..end].to_owned());
    let own = (!folder.is_empty()).then(|| folder.to_owned());
    let inside = ["models", "datasets", "environments", "analyses"].map(|name| join(folder, name));
    let mut found = Vec::new();
    for place in above.chain(own).chain(inside) {
        let (what, help) = match tree.entry(&revision.tree, &place)?.map(|e| e.mode) {
            None | Some(FOLDER) => continue,
            Some(0o120_000) => ("a symbolic link", "commit the folder itself: links are not followed"),
            Some(0o160_000) => ("a submodule", "commit the folder itself: submodules are not followed"),
            Some(_) => ("a file", "commit a folder of this name"),
        };
        found.push(plain(&place, format!("`{place}` is {what}, not a folder"), help));
    }
    Ok(found)
}

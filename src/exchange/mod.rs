//! What goes between this tracking server and others: brought in by `trimtab import`, pushed out by the mirror.

pub mod import;
pub mod mirror;

use crate::{
    mlflow::{Remote, RemoteError, wire::FileInfo},
    model::tracking::TrackingError,
    tracking::ArtifactPath,
};

/// Folders in folders, at most: a server that lists a folder in itself must not be followed for ever.
const DEPTH: usize = 64;

/// Visits every file below a folder of another server, by its path from there.
fn each_file<E: From<RemoteError> + From<TrackingError>>(
    remote: &Remote,
    from: &ArtifactPath,
    visit: &mut dyn FnMut(&ArtifactPath, &FileInfo) -> Result<(), E>,
) -> Result<(), E> {
    let mut folders = vec![(ArtifactPath::new("")?, 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in remote.files(from.join(&folder).as_str())? {
            // Percent signs in a listed name are its own.
            let inside = folder.join(&ArtifactPath::new(&entry.path.replace('%', "%25"))?);
            if !entry.is_dir {
                visit(&inside, &entry)?;
            } else if depth < DEPTH && inside != folder {
                folders.push((inside, depth + 1));
            }
        }
    }
    Ok(())
}

//! Files, through the other server's proxy into the artifact store.

use super::{Done, Import, Stop};
use crate::{
    exchange::each_file,
    mlflow::wire::FileInfo,
    model::{Brought, ImportKind, ImportProgress},
    ports::Taken,
    tracking::{ArtifactPath, Found},
};
use futures::executor::block_on;
use std::sync::atomic::Ordering;

impl Import<'_> {
    /// Brings the files at an address of the other server to a folder here; whether any came. `again`: those that are here may be older ones.
    pub(super) fn files_of(
        &self,
        what: ImportKind,
        name: &str,
        uri: &str,
        to: &ArtifactPath,
        again: bool,
    ) -> Done<bool> {
        let Some(from) = ArtifactPath::of_uri(uri) else {
            if !uri.is_empty() {
                self.note(what, name, &format!("its files lie at {uri}, and stay there"))?;
            }
            return Ok(false);
        };
        let mut came = false;
        each_file(self.remote, &from, &mut |inside, entry| {
            self.found(ImportKind::File, 1)?;
            came |= self.file(entry, &from.join(inside), &to.join(inside), again)?;
            Ok::<(), Stop>(())
        })?;
        Ok(came)
    }

    /// One file; whether it came.
    fn file(&self, entry: &FileInfo, from: &ArtifactPath, to: &ArtifactPath, again: bool) -> Done<bool> {
        let name = to.as_str();
        let here = match self.tracker.find_artifact(to)? {
            Found::File(file) => Some(file),
            _ => None,
        };
        if here.as_ref().is_some_and(|file| !again && entry.file_size.is_none_or(|size| size == file.size)) {
            self.done(ImportKind::File, name, Brought::Same)?;
            return Ok(false);
        }
        let brought = self.tolerant(ImportKind::File, name, || {
            let taken = self.remote.patiently(|| self.download(from))?;
            let other = here.as_ref().is_none_or(|file| file.digest != taken.digest);
            let replaced = block_on(self.tracker.put_artifact(to, taken, None)?)?;
            self.replaced.fetch_or(replaced, Ordering::Relaxed);
            Ok(Some(match (here.is_some(), other) {
                (false, _) => Brought::New,
                (true, true) => Brought::Changed,
                (true, false) => Brought::Same,
            }))
        })?;
        self.done(ImportKind::File, name, brought.unwrap_or(Brought::Left))?;
        Ok(brought.is_some_and(|b| b != Brought::Same))
    }

    fn download(&self, from: &ArtifactPath) -> Done<Taken> {
        let mut file = self.artifacts.incoming()?;
        self.remote.file(from.as_str(), |piece| {
            file.write(piece)?;
            self.report().bytes += piece.len() as u64;
            self.say(ImportProgress::Came { bytes: piece.len() as u64 })
        })?;
        file.finish().map_err(Stop::Files)
    }
}

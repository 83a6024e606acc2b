//! Files that come in pieces: hashed while they are written below `artifacts/tmp/`, and moved to their place once they are whole.

use super::{FileStore, damaged, failed, remove_all};
use crate::{model::*, ports::*};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::PathBuf,
};

/// Room that an upload leaves on the disk: records, runs and logs need it more.
const ROOM: u64 = 64 * 1024 * 1024;

/// Before the names of folders with parts.
const PARTS: &str = "parts-";

/// Where a finished file goes.
enum Goal {
    /// To its place in the store.
    Store,
    /// To the other parts of its file, as this number.
    Parts(PathBuf, u32),
}

/// A file that goes unless it was moved away.
struct Temporary(PathBuf);
impl Drop for Temporary {
    fn drop(&mut self) {
        remove_all(&self.0);
    }
}

struct Arriving {
    store: FileStore,
    /// Taken before anything is claimed.
    hold: Hold,
    place: Temporary,
    file: File,
    hasher: blake3::Hasher,
    size: u64,
    goal: Goal,
}

impl Arriving {
    fn begin(store: &FileStore, goal: Goal) -> PortResult<Self> {
        let (hold, path) = (store.claims.hold(), store.temporary());
        // In the place of what a process before this one left, where ids of processes come again.
        let file = File::create(&path).map_err(failed(&path))?;
        let (place, hasher) = (Temporary(path), blake3::Hasher::new());
        Ok(Self { store: store.clone(), hold, place, file, hasher, size: 0, goal })
    }

    fn room(&self) -> PortResult<()> {
        let disk = nix::sys::statvfs::fstatvfs(&self.file).map_err(|e| failed(&self.place.0)(e.into()))?;
        if disk.blocks_available().saturating_mul(disk.fragment_size()) < ROOM {
            let mib = ROOM / (1024 * 1024);
            return Err(PortError::retryable(format!("less than {mib} MiB are free: no file is taken in; free space")));
        }
        Ok(())
    }

    fn take(&mut self, piece: &[u8]) -> PortResult<()> {
        self.room()?;
        self.hasher.update_rayon(piece);
        self.file.write_all(piece).map_err(failed(&self.place.0))?;
        self.size += piece.len() as u64;
        Ok(())
    }

    fn end(self) -> PortResult<Taken> {
        let digest = digest_of(&self.hasher);
        match &self.goal {
            Goal::Store => self.settle(&digest),
            // Parts are read again when they are joined, and what a power cut spoiled is found then.
            Goal::Parts(folder, number) => fs::rename(&self.place.0, folder.join(part_name(*number, &digest))),
        }
        .map_err(failed(&self.place.0))?;
        Ok(Taken { digest, size: self.size, hold: self.hold })
    }

    /// What is here already and sound stays; what is damaged is mended.
    fn settle(&self, digest: &Digest) -> io::Result<()> {
        if self.store.has(digest) && self.store.check(digest).is_ok() {
            return self.store.sync_folder(digest);
        }
        self.file.sync_all()?;
        self.store.place(&self.place.0, digest)
    }
}

impl Incoming for Arriving {
    fn write(&mut self, piece: &[u8]) -> PortResult<()> {
        self.take(piece)
    }
    fn finish(self: Box<Self>) -> PortResult<Taken> {
        self.end()
    }
}

fn digest_of(hasher: &blake3::Hasher) -> Digest {
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

fn part_name(number: u32, digest: &Digest) -> String {
    format!("{number}-{}", digest.hex())
}

impl FileStore {
    fn parts(&self, whole: &InParts) -> PathBuf {
        self.root.join("tmp").join(format!("{PARTS}{}-{}", whole.until.0, whole.id.hex()))
    }

    /// Forgets parts of files that nobody waits for any more.
    pub(super) fn drop_late(&self, now: SteadyMs) -> PortResult<()> {
        let tmp = self.root.join("tmp");
        for entry in fs::read_dir(&tmp).map_err(failed(&tmp))?.flatten() {
            let name = entry.file_name();
            let until = name.to_str().and_then(|n| n.strip_prefix(PARTS)?.split('-').next()?.parse().ok());
            if until.is_some_and(|until: u64| until < now.0) {
                remove_all(&entry.path());
            }
        }
        Ok(())
    }
}

impl Uploads for FileStore {
    fn incoming(&self) -> PortResult<Box<dyn Incoming>> {
        Ok(Box::new(Arriving::begin(self, Goal::Store)?))
    }

    fn begin_parts(&self, whole: &InParts) -> PortResult<()> {
        let folder = self.parts(whole);
        fs::create_dir(&folder).map_err(failed(&folder))
    }

    fn incoming_part(&self, whole: &InParts, number: u32) -> PortResult<Option<Box<dyn Incoming>>> {
        let folder = self.parts(whole);
        if !folder.is_dir() {
            return Ok(None);
        }
        Ok(Some(Box::new(Arriving::begin(self, Goal::Parts(folder, number))?)))
    }

    fn join_parts(&self, whole: &InParts, parts: &[Part]) -> PortResult<Option<Taken>> {
        let mut all = Arriving::begin(self, Goal::Store)?;
        let mut buffer = vec![0; super::PIECE as usize];
        for part in parts {
            let path = self.parts(whole).join(part_name(part.number, &part.digest));
            let mut file = match File::open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file.map_err(failed(&path))?,
            };
            let mut hasher = blake3::Hasher::new();
            loop {
                let n = file.read(&mut buffer).map_err(failed(&path))?;
                if n == 0 {
                    break;
                }
                hasher.update_rayon(&buffer[..n]);
                all.take(&buffer[..n])?;
            }
            if digest_of(&hasher) != part.digest {
                return Err(damaged(&path, &part.digest));
            }
        }
        all.end().map(Some)
    }

    fn drop_parts(&self, whole: &InParts) -> PortResult<()> {
        let folder = self.parts(whole);
        match fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(&folder)(e)),
            _ => Ok(()),
        }
    }

    fn open(&self, digest: &Digest) -> PortResult<Option<OwnedFd>> {
        // Opened first: a clean-up that comes between does not matter then.
        let path = self.path(digest);
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed(&path))?,
        };
        self.check(digest)?;
        Ok(Some(file.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::StateDisk;
    use std::os::unix::fs::PermissionsExt;

    struct World {
        dir: tempfile::TempDir,
        store: FileStore,
    }

    fn world() -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path()).unwrap();
        World { dir, store }
    }

    impl World {
        fn in_tmp(&self) -> usize {
            fs::read_dir(self.dir.path().join("artifacts/tmp")).unwrap().count()
        }
        fn put(&self, pieces: &[&[u8]]) -> Taken {
            let mut file = self.store.incoming().unwrap();
            pieces.iter().for_each(|p| file.write(p).unwrap());
            file.finish().unwrap()
        }
        fn part(&self, whole: &InParts, number: u32, bytes: &[u8]) -> Part {
            let mut part = self.store.incoming_part(whole, number).unwrap().unwrap();
            part.write(bytes).unwrap();
            Part { number, digest: part.finish().unwrap().digest }
        }
        fn read(&self, digest: &Digest) -> Vec<u8> {
            let mut bytes = Vec::new();
            File::from(self.store.open(digest).unwrap().unwrap()).read_to_end(&mut bytes).unwrap();
            bytes
        }
    }

    #[test]
    fn a_file_in_pieces_goes_in_once_and_one_that_breaks_off_leaves_nothing() {
        let w = world();
        let large = vec![7; 5_000_000];
        let taken = w.put(&[&large[..1], &large[1..3_000_000], &large[3_000_000..]]);
        assert_eq!((taken.digest, taken.size), (Digest::of(&large), 5_000_000));
        assert_eq!(w.put(&[&large]).digest, taken.digest);
        assert!(w.read(&taken.digest) == large);
        assert_eq!(w.put(&[]).digest, Digest::of(b""), "an empty file is a file");

        let mut cut = w.store.incoming().unwrap();
        cut.write(b"half of").unwrap();
        assert_eq!(w.in_tmp(), 1);
        drop(cut);
        assert_eq!(w.in_tmp(), 0);
        assert!(w.store.open(&Digest::of(b"half of")).unwrap().is_none());
    }

    #[test]
    fn what_comes_in_is_not_removed_before_its_record_is_made() {
        let w = world();
        let disk = StateDisk::new(w.dir.path(), w.store.clone());
        let taken = w.put(&[b"new"]);
        let mut found = vec![];
        disk.each(Place::File, &mut |stored| found.push(stored)).unwrap();
        let clean_up = w.store.claims().hold_all();
        assert!(!disk.remove(&found[0]).unwrap());
        drop(taken);
        assert!(!disk.remove(&found[0]).unwrap(), "the record may have come after the marking");
        drop(clean_up);
        assert!(disk.remove(&found[0]).unwrap());
    }

    #[test]
    fn a_damaged_file_is_not_given_away_and_the_same_content_mends_it() {
        let w = world();
        let digest = w.put(&[b"good"]).digest;
        let place = w.store.path(&digest);
        fs::set_permissions(&place, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&place, "evil").unwrap();
        assert!(w.store.open(&digest).unwrap_err().message.contains("is damaged"));
        w.put(&[b"good"]);
        assert_eq!(w.read(&digest), b"good");
    }

    #[test]
    fn parts_make_one_file_and_late_ones_are_forgotten() {
        let w = world();
        let whole = InParts { id: Digest::of(b"id"), until: SteadyMs(100) };
        assert!(w.store.incoming_part(&whole, 1).unwrap().is_none(), "nobody waits for it");
        w.store.begin_parts(&whole).unwrap();
        let second = w.part(&whole, 2, b"two");
        let wrong = w.part(&whole, 1, b"wrong");
        let first = w.part(&whole, 1, b"one");
        assert!(w.store.join_parts(&whole, &[first, Part { number: 3, ..second }]).unwrap().is_none());
        let taken = w.store.join_parts(&whole, &[first, second]).unwrap().unwrap();
        assert_eq!(w.read(&taken.digest), b"onetwo");
        assert_eq!(taken.size, 6);
        fs::write(w.store.parts(&whole).join(part_name(1, &wrong.digest)), "spoiled").unwrap();
        assert!(w.store.join_parts(&whole, &[wrong, second]).unwrap_err().message.contains("is damaged"));

        let late = InParts { id: Digest::of(b"late"), until: SteadyMs(99) };
        w.store.begin_parts(&late).unwrap();
        w.store.drop_late(SteadyMs(100)).unwrap();
        assert!(w.store.incoming_part(&late, 1).unwrap().is_none());
        w.store.drop_parts(&whole).unwrap();
        w.store.drop_parts(&whole).unwrap();
        assert_eq!(w.in_tmp(), 0);
    }
}

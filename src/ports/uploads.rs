//! Files that come in pieces, over the network.

use super::{Hold, PortResult};
use crate::model::{Digest, SteadyMs};
use std::os::fd::OwnedFd;

/// A file on its way in; dropped before its end, it leaves nothing.
pub trait Incoming: Send {
    /// Takes the next bytes.
    fn write(&mut self, piece: &[u8]) -> PortResult<()>;
    /// All came: the file is durable under its digest.
    fn finish(self: Box<Self>) -> PortResult<Taken>;
}

/// A file that was taken in. It stays while this lives, so that a record can be made that refers to it.
#[derive(Debug)]
pub struct Taken {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    pub hold: Hold,
}

/// Names a file that comes in parts. Nobody waits for it any more after `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InParts {
    pub id: Digest,
    pub until: SteadyMs,
}

/// One part of a large file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub number: u32,
    pub digest: Digest,
}

/// Takes files in while they come, without holding them in memory.
pub trait Uploads: Send + Sync {
    /// Begins a file.
    fn incoming(&self) -> PortResult<Box<dyn Incoming>>;
    /// Makes room for parts.
    fn begin_parts(&self, whole: &InParts) -> PortResult<()>;
    /// Begins a part; `None` when nobody waits for it. It goes by its number and digest: another with the same number may come.
    fn incoming_part(&self, whole: &InParts, number: u32) -> PortResult<Option<Box<dyn Incoming>>>;
    /// Makes one file of parts, in this order; `None` when one of them is not here. The parts stay.
    fn join_parts(&self, whole: &InParts, parts: &[Part]) -> PortResult<Option<Taken>>;
    /// Forgets the parts.
    fn drop_parts(&self, whole: &InParts) -> PortResult<()>;
    /// Opens a file, which has its digest; `None` when it is not here.
    fn open(&self, digest: &Digest) -> PortResult<Option<OwnedFd>>;
}

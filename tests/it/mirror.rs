//! `[registry] mlflow = "…"`: another daemon takes the place of MLflow, whose API it speaks. With MLflow itself: tests/extended/mirror.rs.

use crate::{
    peer::{Peer, mirrored_over_everything},
    support::World,
};

#[test]
fn versions_are_mirrored_once_over_kills_of_either_side() {
    let mut there = World::new();
    there.start();
    let peer = Peer::of(&there.state());
    mirrored_over_everything(&peer, &mut |up| if up { there.start() } else { there.kill() });
}

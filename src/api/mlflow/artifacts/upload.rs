//! Bodies that become files: written while they come, whatever their size.

use crate::{
    api::{mlflow::blocking, server::Shared},
    model::{
        Digest,
        tracking::{ErrorCode, TrackingError},
    },
    ports::{Incoming, Taken},
    tracking::{ArtifactPath, Tracked},
};
use axum::body::Body;
use futures::StreamExt;

/// Collected before it is hashed and written: enough for several cores, and little for many clients.
const PIECE: usize = 512 * 1024;

type Boxed = Box<dyn Incoming>;

/// Writes the body into the file, all but what still waits to be written.
pub async fn received(mut file: Boxed, body: Body) -> Tracked<(Boxed, Vec<u8>)> {
    let mut stream = body.into_data_stream();
    let mut waiting = Vec::new();
    while let Some(piece) = stream.next().await {
        let broke = |e| TrackingError::new(ErrorCode::DeadlineExceeded, format!("the body did not come whole: {e}"));
        waiting.extend_from_slice(&piece.map_err(broke)?);
        if waiting.len() >= PIECE {
            (file, waiting) = blocking(move || {
                file.write(&waiting)?;
                waiting.clear();
                Ok((file, waiting))
            })
            .await?;
        }
    }
    Ok((file, waiting))
}

/// Takes a body in as the file at this path; it is durable when this returns.
pub async fn put(api: &Shared, path: ArtifactPath, body: Body) -> Tracked<()> {
    let (own, to) = (api.clone(), path.clone());
    let file = blocking(move || {
        own.tracker.check_upload(&to)?;
        Ok(own.artifacts.incoming()?)
    });
    let (mut file, rest) = received(file.await?, body).await?;
    record(api, path, None, move || {
        file.write(&rest)?;
        Ok(file.finish()?)
    })
    .await
}

/// Notes what was taken in. Goes on when the client does not wait for it: what is half done would be neither kept nor removed.
pub async fn record(
    api: &Shared,
    path: ArtifactPath,
    upload: Option<Digest>,
    taken: impl FnOnce() -> Tracked<Taken> + Send + 'static,
) -> Tracked<()> {
    let own = api.clone();
    let done = tokio::spawn(async move {
        let tracker = own.tracker.clone();
        let noted = blocking(move || tracker.put_artifact(&path, taken()?, upload));
        if noted.await?.await? {
            own.reconciler.let_go();
        }
        Ok(())
    });
    done.await.unwrap_or_else(|e| Err(TrackingError::new(ErrorCode::InternalError, e.to_string())))
}

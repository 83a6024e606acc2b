//! Large files in parts, as clients send them with `MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD` (`mlflow/store/artifact/http_artifact_repo.py`).
//! They put each part to an address that they are given, without credentials: it carries a signature instead, and what it is for has an end.

use super::{artifact_path, upload};
use crate::{
    api::{
        mlflow::{
            Answered, Call, blocking, empty, json,
            request::{Check, Field, Kind, Request, Schema},
        },
        server::Shared,
    },
    model::{
        Digest, SteadyMs,
        tracking::{ErrorCode, TrackingError},
    },
    ports::{InParts, Part},
    tracking::{ArtifactPath, Tracked},
};
use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, header},
    response::IntoResponse,
};
use hmac::{Hmac, Mac};
use serde::Serialize;
use sha2::Sha256;

/// As S3 has it.
const PARTS_MAX: i64 = 10_000;
/// How long a file in parts may take.
const TIME_MS: u64 = 24 * 60 * 60 * 1000;
/// Bytes of the body of a call that names all parts.
const BODY_MAX: usize = 8 * 1024 * 1024;
/// Below this path parts are put; who comes here shows a signature.
pub const PARTS: &str = "/api/2.0/mlflow-artifacts/parts/";

const CREATE: Schema = Schema {
    fields: &[Field("path", Kind::Text), Field("num_parts", Kind::Int)],
    checks: &[
        ("path", &[Check::Required, Check::Text]),
        ("num_parts", &[Check::Int, Check::Within(1, PARTS_MAX, "num_parts must be between 1 and 10000.")]),
    ],
};
const COMPLETE: Schema = Schema {
    fields: &[
        Field("path", Kind::Text),
        Field("upload_id", Kind::Text),
        Field("parts", Kind::Messages(&[Field("part_number", Kind::Int), Field("etag", Kind::Text)])),
    ],
    checks: &[
        ("path", &[Check::Required, Check::Text]),
        ("upload_id", &[Check::Required, Check::Text]),
        ("parts", &[Check::Required]),
    ],
};
const ABORT: Schema = Schema {
    fields: &[Field("path", Kind::Text), Field("upload_id", Kind::Text)],
    checks: &[("path", &[Check::Required, Check::Text]), ("upload_id", &[Check::Required, Check::Text])],
};

#[derive(Serialize)]
struct Created {
    upload_id: String,
    credentials: Vec<Credential>,
}
#[derive(Serialize)]
struct Credential {
    url: String,
    part_number: i64,
}

fn signature(key: &str, said: &str) -> Tracked<Hmac<Sha256>> {
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes());
    let mut mac = mac.map_err(|e| TrackingError::new(ErrorCode::InternalError, e.to_string()))?;
    mac.update(said.as_bytes());
    Ok(mac)
}

fn hex(mac: Hmac<Sha256>) -> String {
    mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    pairs.collect()
}

fn is_signed(key: &str, said: &str, given: &str) -> bool {
    let good = |mac: Hmac<Sha256>| unhex(given).is_some_and(|given| mac.verify_slice(&given).is_ok());
    signature(key, said).is_ok_and(good)
}

fn unknown(upload: &str) -> TrackingError {
    TrackingError::missing(format!(
        "There is no multipart upload '{upload}' for this file, or not all of its parts came"
    ))
}

/// How an upload is named to clients: bound to its path and its end, so that nothing has to be kept of it.
fn name(key: &str, whole: &InParts, path: &str) -> Tracked<String> {
    let bound = format!("upload\0{}\0{}\0{path}", whole.until.0, whole.id.hex());
    Ok(format!("{}-{}-{}", whole.until.0, whole.id.hex(), hex(signature(key, &bound)?)))
}

fn unsigned(upload: &str) -> Option<InParts> {
    let mut fields = upload.split('-');
    let until = SteadyMs(fields.next()?.parse().ok()?);
    let id = Digest::try_from(format!("b3:{}", fields.next()?)).ok()?;
    Some(InParts { id, until })
}

/// The upload of this name, when it was given out for this path and is not over.
fn whole(api: &Shared, upload: &str, path: &ArtifactPath) -> Tracked<InParts> {
    let whole = unsigned(upload).ok_or_else(|| unknown(upload))?;
    let named = name(&api.key, &whole, path.as_str())?;
    let same = bool::from(subtle::ConstantTimeEq::ct_eq(named.as_bytes(), upload.as_bytes()));
    if same && api.tracker.steady() < whole.until { Ok(whole) } else { Err(unknown(upload)) }
}

/// The file's own path: its folder is in the call's path, its name is that of the client's file.
fn target(folder: &str, request: &Request) -> Tracked<ArtifactPath> {
    let name = request.text("path").rsplit(['/', '\\']).next().unwrap_or_default();
    ArtifactPath::of_file(&format!("{folder}/{name}"))
}

async fn read(body: Body, schema: &Schema) -> Tracked<Request> {
    let broke = |e| TrackingError::new(ErrorCode::BadRequest, format!("the body did not come whole: {e}"));
    Request::from_body(&axum::body::to_bytes(body, BODY_MAX).await.map_err(broke)?, schema)
}

/// How the caller reaches this server.
fn base(headers: &HeaderMap) -> Tracked<String> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let host = text("host").filter(|h| h.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b)));
    let host = host.ok_or_else(|| TrackingError::new(ErrorCode::BadRequest, "the call names no host"))?;
    let scheme = if text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    Ok(format!("{scheme}://{host}"))
}

pub async fn create(State(api): State<Shared>, Path(folder): Path<String>, headers: HeaderMap, body: Body) -> Answered {
    let request = read(body, &CREATE).await?;
    let path = target(&folder, &request)?;
    let count = request.int("num_parts").unwrap_or(1);
    let mut random = [0; 32];
    let failed = |e: getrandom::Error| TrackingError::new(ErrorCode::InternalError, e.to_string());
    getrandom::fill(&mut random).map_err(failed)?;
    let whole = InParts { id: Digest::from_bytes(random), until: api.tracker.steady().plus(TIME_MS) };
    let upload = name(&api.key, &whole, path.as_str())?;
    let base = format!("{}{PARTS}", base(&headers)?);
    let own = api.clone();
    blocking(move || {
        own.tracker.check_upload(&path)?;
        Ok(own.artifacts.begin_parts(&whole)?)
    })
    .await?;
    let credential = |number| {
        let signed = hex(signature(&api.key, &format!("part\0{upload}\0{number}"))?);
        Ok(Credential { url: format!("{base}{upload}/{number}?signature={signed}"), part_number: number })
    };
    let credentials = (1..=count).map(credential).collect::<Tracked<_>>()?;
    json(&Created { upload_id: upload, credentials })
}

/// Takes one part in. Nobody vouches for the caller but the signature, which is looked at before anything is read.
pub async fn part(
    State(api): State<Shared>,
    Path((upload, number)): Path<(String, u32)>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answered {
    let query = query.unwrap_or_default();
    let given = query.strip_prefix("signature=").unwrap_or_default();
    if !is_signed(&api.key, &format!("part\0{upload}\0{number}"), given) {
        return Err(TrackingError::new(ErrorCode::PermissionDenied, "The signature of this part does not match"));
    }
    let whole = unsigned(&upload).filter(|w| api.tracker.steady() < w.until).ok_or_else(|| unknown(&upload))?;
    let own = api.clone();
    let file = blocking(move || Ok(own.artifacts.incoming_part(&whole, number)?));
    let file = file.await?.ok_or_else(|| unknown(&upload))?;
    let (mut file, rest) = upload::received(file, body).await?;
    let taken = blocking(move || {
        file.write(&rest)?;
        Ok(file.finish()?)
    });
    Ok([(header::ETAG, format!("\"{}\"", taken.await?.digest.hex()))].into_response())
}

fn parts(request: &Request) -> Tracked<Vec<Part>> {
    let read = |part: &Request| {
        let number = u32::try_from(part.int("part_number")?).ok()?;
        let digest = Digest::try_from(format!("b3:{}", part.text("etag").trim_matches('"'))).ok()?;
        Some(Part { number, digest })
    };
    let mut parts: Vec<Part> = request.each("parts").iter().filter_map(read).collect();
    let given = request.raw("parts").and_then(|p| p.as_array()).map_or(0, Vec::len);
    parts.sort_by_key(|part| part.number);
    let in_line = (1..).zip(&parts).all(|(n, part)| n == part.number);
    if parts.len() == given && in_line {
        return Ok(parts);
    }
    Err(TrackingError::invalid(
        "Every part must be named once, by its part_number from 1 on and the etag of its upload",
    ))
}

pub async fn complete(call: Call, Path(folder): Path<String>, body: Body) -> Answered {
    let request = read(body, &COMPLETE).await?;
    let (path, upload) = (target(&folder, &request)?, request.text("upload_id").to_owned());
    call.may_edit(&path)?;
    let api = call.api;
    let (whole, parts) = (whole(&api, &upload, &path)?, parts(&request)?);
    let (own, to) = (api.clone(), path.clone());
    let done = blocking(move || {
        own.tracker.check_upload(&to)?;
        Ok(own.tracker.artifact_file(&to).is_ok_and(|file| file.upload == Some(whole.id)))
    });
    // Asked again after an answer that was lost.
    if done.await? {
        return empty();
    }
    let own = api.clone();
    upload::record(&api, path, Some(whole.id), move || {
        own.artifacts.join_parts(&whole, &parts)?.ok_or_else(|| unknown(&upload))
    })
    .await?;
    drop_parts(api, whole).await
}

pub async fn abort(call: Call, Path(folder): Path<String>, body: Body) -> Answered {
    let request = read(body, &ABORT).await?;
    let path = target(&folder, &request)?;
    call.may_edit(&path)?;
    let whole = whole(&call.api, request.text("upload_id"), &path)?;
    drop_parts(call.api, whole).await
}

async fn drop_parts(api: Shared, whole: InParts) -> Answered {
    blocking(move || Ok(api.artifacts.drop_parts(&whole)?)).await?;
    empty()
}

/// `presigned/…`: files are not elsewhere, so there is no other address for them.
pub async fn presigned(Path(path): Path<String>) -> Answered {
    artifact_path(&path)?;
    let words = "Multipart download is not supported for the current artifact repository";
    Err(TrackingError::new(ErrorCode::NotImplemented, words))
}

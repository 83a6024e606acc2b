//! A file as an answer: whole, in part, or told unchanged.

use super::media;
use crate::model::tracking::TrackingError;
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

/// What RFC 5987 lets stand as it is.
const ATTRIBUTE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Up to this size a file is read at once.
const SMALL: u64 = 64 * 1024;
/// Read at once of a larger one.
const PIECE: usize = 256 * 1024;

/// Always an attachment: what people logged must not run in the page that shows it (`_content_disposition_attachment` in
/// `mlflow/server/handlers.py`).
fn disposition(name: &str) -> String {
    let ascii: String = name.chars().filter(char::is_ascii).collect();
    let plain = if ascii.is_empty() { "download" } else { &ascii };
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let quoted = if plain.chars().all(token) {
        plain.to_owned()
    } else {
        format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""))
    };
    if ascii.len() == name.len() {
        return format!("attachment; filename={quoted}");
    }
    format!("attachment; filename={quoted}; filename*=UTF-8''{}", utf8_percent_encode(name, ATTRIBUTE))
}

/// What is asked of a file.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    /// From this byte on, so many.
    Range(u64, u64),
    /// A range that it does not have.
    Beyond,
}

/// One range (RFC 9110, 14.2); of several, or what is none, the whole file.
fn asked(range: Option<&str>, size: u64) -> Asked {
    let parsed = || {
        let (from, to) = range?.trim().strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
        Some(match (from, to) {
            ("", last) => {
                let last = number(last)?.min(size);
                (size - last, size)
            }
            (from, "") => (number(from)?, size),
            (from, to) => {
                let (from, to) = (number(from)?, number(to)?);
                if to < from {
                    return None;
                }
                (from, to.saturating_add(1).min(size))
            }
        })
    };
    match parsed() {
        None => Asked::Whole,
        Some((from, to)) if from < to => Asked::Range(from, to - from),
        Some(_) => Asked::Beyond,
    }
}

/// A file to be sent.
pub struct Sent<'a> {
    pub name: &'a str,
    /// Names the content.
    pub tag: String,
    pub size: u64,
}

impl Sent<'_> {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let tag = format!("\"{}\"", self.tag);
        for (name, value) in [
            (header::CONTENT_TYPE, media::of(self.name)),
            (header::CONTENT_DISPOSITION, &disposition(self.name)),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::ACCEPT_RANGES, "bytes"),
            (header::CACHE_CONTROL, "no-cache"),
            (header::ETAG, &tag),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        headers
    }

    /// Whether a header of tags names this content.
    fn is_named(&self, tags: Option<&HeaderValue>) -> bool {
        let tags = tags.and_then(|v| v.to_str().ok()).unwrap_or_default();
        tags.split(',').map(|t| t.trim().trim_start_matches("W/")).any(|t| t == "*" || t.trim_matches('"') == self.tag)
    }

    /// The answer to a call with these headers. Blocks for a small file.
    pub fn answer(&self, mut file: File, call: &HeaderMap) -> std::io::Result<Response> {
        let mut headers = self.headers();
        if self.is_named(call.get(header::IF_NONE_MATCH)) {
            return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
        }
        let same = call.get(header::IF_RANGE).is_none_or(|tag| self.is_named(Some(tag)));
        let range = call.get(header::RANGE).and_then(|v| v.to_str().ok()).filter(|_| same);
        let (status, from, length) = match asked(range, self.size) {
            Asked::Whole => (StatusCode::OK, 0, self.size),
            Asked::Range(from, length) => (StatusCode::PARTIAL_CONTENT, from, length),
            Asked::Beyond => {
                let refused = TrackingError::invalid("the file has no such range").into_response().into_body();
                let told = [
                    (header::CONTENT_RANGE, format!("bytes */{}", self.size)),
                    (header::CONTENT_TYPE, "application/json".to_owned()),
                ];
                return Ok((StatusCode::RANGE_NOT_SATISFIABLE, told, refused).into_response());
            }
        };
        if status == StatusCode::PARTIAL_CONTENT {
            let told = format!("bytes {from}-{}/{}", from + length - 1, self.size);
            headers.extend(HeaderValue::from_str(&told).map(|told| (header::CONTENT_RANGE, told)));
        }
        headers.insert(header::CONTENT_LENGTH, length.into());
        file.seek(SeekFrom::Start(from))?;
        let body = if length <= SMALL {
            let mut bytes = Vec::new();
            file.take(length).read_to_end(&mut bytes)?;
            Body::from(bytes)
        } else {
            let file = tokio::fs::File::from_std(file).take(length);
            Body::from_stream(ReaderStream::with_capacity(file, PIECE))
        };
        Ok((status, headers, body).into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_has_them() {
        for (given, asked_for) in [
            ("bytes=0-9", Asked::Range(0, 10)),
            ("bytes=90-200", Asked::Range(90, 10)),
            ("bytes=99-", Asked::Range(99, 1)),
            ("bytes=-10", Asked::Range(90, 10)),
            ("bytes=-1000", Asked::Range(0, 100)),
            ("bytes=100-", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=9-0", Asked::Whole),
            ("bytes=0-1,4-5", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("lines=1-2", Asked::Whole),
            ("bytes=0-18446744073709551615", Asked::Range(0, 100)),
        ] {
            assert_eq!(asked(Some(given), 100), asked_for, "{given}");
        }
        assert_eq!(asked(None, 0), Asked::Whole);
        assert_eq!(asked(Some("bytes=0-0"), 0), Asked::Beyond);
    }

    #[test]
    fn names_of_attachments_are_told_in_ascii() {
        for (name, told) in [
            ("plot.png", "attachment; filename=plot.png"),
            ("a \"b\"", "attachment; filename=\"a \\\"b\\\"\""),
            ("模型.bin", "attachment; filename=.bin; filename*=UTF-8''%E6%A8%A1%E5%9E%8B.bin"),
            ("模型", "attachment; filename=download; filename*=UTF-8''%E6%A8%A1%E5%9E%8B"),
        ] {
            assert_eq!(disposition(name), told);
            assert!(HeaderValue::from_str(told).is_ok());
        }
    }
}

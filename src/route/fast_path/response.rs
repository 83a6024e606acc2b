//! The heads of a replica's answers: read, and written anew for a client. Pure.

use super::{Malformed, chunks::Chunks, number};
use http::StatusCode;
use httparse::{Header, Response, Status};
use std::mem::MaybeUninit;

/// Headers of an answer, at most; as many as hyper reads.
const HEADERS: usize = 100;

/// What is left of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// So many bytes.
    Length(u64),
    Chunked(Chunks),
    /// Until the replica closes; told to the client in chunks.
    Open,
}

impl Body {
    /// Takes bytes in; how many of them belong to it.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match self {
            Self::Length(left) => {
                let part = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= part as u64;
                Ok(part)
            }
            Self::Chunked(chunks) => chunks.take(bytes),
            Self::Open => Ok(bytes.len()),
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunks::Ended))
    }
}

/// The head of an answer.
#[derive(Debug)]
pub struct Head<'a> {
    pub status: StatusCode,
    headers: Vec<Header<'a>>,
    has_date: bool,
    /// Headers that belong to the replica's connection, by their names.
    named: Option<&'a [u8]>,
    pub body: Body,
    /// Whether the replica takes another request on this connection.
    pub keeps: bool,
    /// Bytes of it.
    pub size: usize,
}

/// Reads a head; `None`: more is to come.
pub fn parse(bytes: &[u8]) -> Result<Option<Head<'_>>, Malformed> {
    let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADERS];
    let mut response = Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let size = match config.parse_response_with_uninit_headers(&mut response, bytes, &mut slots) {
        Ok(Status::Complete(size)) => size,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(Malformed("its head")),
    };
    let code = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = code.ok_or(Malformed("its status"))?;
    let mut head = Head {
        status,
        headers: Vec::with_capacity(response.headers.len()),
        has_date: false,
        named: None,
        body: Body::Open,
        keeps: response.version == Some(1),
        size,
    };
    let (mut length, mut chunked) = (None, false);
    for header in response.headers.iter() {
        head.read(header, &mut length, &mut chunked)?;
    }
    if let Some(named) = head.named {
        let is_named = |h: &Header<'_>| {
            named.split(|b| *b == b',').any(|n| n.trim_ascii().eq_ignore_ascii_case(h.name.as_bytes()))
        };
        head.headers.retain(|h| !is_named(h));
    }
    head.body = match (length, chunked) {
        _ if [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status) => Body::Length(0),
        // Whoever says both may be read in two ways.
        (Some(_), true) => return Err(Malformed("its length")),
        (Some(length), false) => Body::Length(length),
        (None, true) => Body::Chunked(Chunks::new()),
        (None, false) => Body::Open,
    };
    head.keeps &= head.body != Body::Open;
    Ok(Some(head))
}

impl<'a> Head<'a> {
    fn read(&mut self, header: &Header<'a>, length: &mut Option<u64>, chunked: &mut bool) -> Result<(), Malformed> {
        let (name, value) = (header.name, header.value);
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is("date") => self.has_date = true,
            14 if is("content-length") => {
                let number = number(value).ok_or(Malformed("its length"))? as u64;
                match length.replace(number) {
                    None => {}
                    Some(before) if before == number => return Ok(()),
                    Some(_) => return Err(Malformed("its length")),
                }
            }
            17 if is("transfer-encoding") => {
                if *chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed("how it is encoded"));
                }
                *chunked = true;
                // Said again where the body is passed on so.
                return Ok(());
            }
            10 if is("connection") => {
                let keeps = value.eq_ignore_ascii_case(b"keep-alive");
                if !keeps && !value.eq_ignore_ascii_case(b"close") && self.named.replace(value).is_some() {
                    return Err(Malformed("two headers `connection`"));
                }
                self.keeps &= keeps;
                return Ok(());
            }
            // Of this connection alone.
            2 if is("te") => return Ok(()),
            7 if is("upgrade") || is("trailer") => return Ok(()),
            10 if is("keep-alive") => return Ok(()),
            16 if is("proxy-connection") => return Ok(()),
            18 | 19 if is("proxy-authenticate") || is("proxy-authorization") => return Ok(()),
            // Set by the router.
            12 if is("x-request-id") => return Ok(()),
            17 if is("x-trimtab-version") => return Ok(()),
            _ => {}
        }
        self.headers.push(*header);
        Ok(())
    }

    /// The head as the client sees it. `closes`: the connection ends with this answer.
    pub fn rewritten(&self, version: &[u8], id: &[u8], closes: bool, date: impl FnOnce() -> String) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size + 512);
        let mut add = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
        let reason = self.status.canonical_reason().unwrap_or_default();
        add(&[b"HTTP/1.1 ", self.status.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n"]);
        for Header { name, value } in &self.headers {
            add(&[name.as_bytes(), b": ", value, b"\r\n"]);
        }
        if !self.has_date {
            add(&[b"date: ", date().as_bytes(), b"\r\n"]);
        }
        if matches!(self.body, Body::Chunked(_) | Body::Open) {
            add(&[b"transfer-encoding: chunked\r\n"]);
        }
        add(&[b"x-trimtab-version: ", version, b"\r\nx-request-id: ", id, b"\r\n"]);
        if closes {
            add(&[b"connection: close\r\n"]);
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(headers: &str) -> Result<Head<'static>, Malformed> {
        let text: &'static str = format!("HTTP/1.1 200 OK\r\n{headers}\r\n").leak();
        parse(text.as_bytes()).map(|head| head.unwrap())
    }

    #[test]
    fn where_a_body_ends_is_read_in_one_way_alone() {
        for (headers, body, keeps) in [
            ("content-length: 5\r\n", Body::Length(5), true),
            ("Content-Length: 5\r\nContent-Length: 5\r\nConnection: close\r\n", Body::Length(5), false),
            ("Transfer-Encoding: Chunked\r\nConnection: Keep-Alive\r\n", Body::Chunked(Chunks::new()), true),
            ("", Body::Open, false),
            ("content-length: 0\r\nconnection: keep-alive, x-hop\r\n", Body::Length(0), false),
        ] {
            let head = read(headers).unwrap();
            assert_eq!((head.body, head.keeps), (body, keeps), "{headers:?}");
        }
        for headers in [
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: -5\r\n",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "x: y\r\n z\r\n",
            "connection: a\r\nconnection: b\r\n",
        ] {
            assert!(read(headers).is_err(), "{headers:?}");
        }
        for (first, body, keeps) in [
            ("HTTP/1.1 204 No Content", Body::Length(0), true),
            ("HTTP/1.1 304 Not Modified", Body::Length(0), true),
            ("HTTP/1.0 200 OK", Body::Open, false),
        ] {
            let text = format!("{first}\r\n\r\n");
            let head = parse(text.as_bytes()).unwrap().unwrap();
            assert_eq!((head.body, head.keeps, head.size), (body, keeps, text.len()), "{first}");
        }
        assert!(parse(b"HTTP/1.1 200 OK\r\nx: y\r\n").unwrap().is_none());
        assert!(parse(b"nonsense\r\n\r\n").is_err() && parse(b"HTTP/1.1 099 Low\r\n\r\n").is_err());
    }

    #[test]
    fn a_head_is_written_anew() {
        let head = read("Server: me\r\nX-Hop: 1\r\nConnection: x-hop, close\r\nKeep-Alive: 5\r\nX-Request-Id: theirs\r\nContent-Length: 2\r\n").unwrap();
        let text = |head: &Head<'_>, closes| {
            String::from_utf8(head.rewritten(b"v7", b"mine", closes, || "now".into())).unwrap()
        };
        assert_eq!(
            text(&head, true),
            "HTTP/1.1 200 OK\r\nServer: me\r\nContent-Length: 2\r\ndate: now\r\nx-trimtab-version: v7\r\nx-request-id: mine\r\nconnection: close\r\n\r\n"
        );
        let head = read("Date: then\r\nTransfer-Encoding: chunked\r\n").unwrap();
        assert_eq!(
            text(&head, false),
            "HTTP/1.1 200 OK\r\nDate: then\r\ntransfer-encoding: chunked\r\nx-trimtab-version: v7\r\nx-request-id: mine\r\n\r\n"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}

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
    /// In chunks, of which the client gets its own.
    Chunked(Chunks),
    /// Until the replica closes; told to the client in chunks.
    Open,
}

impl Body {
    /// Adds to `out` what the client gets of these bytes, which are none at the replica's end. Whether all of them belonged to it.
    pub fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<bool, Malformed> {
        if bytes.is_empty() && *self != Self::Open {
            return Err(Malformed("the rest of its body"));
        }
        match self {
            Self::Length(left) => {
                let part = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= part as u64;
                out.extend_from_slice(&bytes[..part]);
                Ok(part == bytes.len())
            }
            Self::Chunked(chunks) => {
                let mut data = vec![];
                let taken = chunks.take(bytes, &mut data)?;
                let over = *chunks == Chunks::Ended;
                chunk(&data, over, out);
                Ok(taken == bytes.len())
            }
            Self::Open => {
                chunk(bytes, bytes.is_empty(), out);
                if bytes.is_empty() {
                    *self = Self::Length(0);
                }
                Ok(true)
            }
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunks::Ended))
    }
}

/// Adds a chunk, and the last one where that is `over`.
fn chunk(data: &[u8], over: bool, out: &mut Vec<u8>) {
    if !data.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
    if over {
        out.extend_from_slice(b"0\r\n\r\n");
    }
}

/// The head of an answer.
#[derive(Debug)]
pub struct Head<'a> {
    pub status: StatusCode,
    reason: &'a str,
    headers: Vec<Header<'a>>,
    /// Lists of headers that belong to the replica's connection.
    named: Vec<&'a [u8]>,
    /// The length that the client is told.
    length: Option<u64>,
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
        reason: response.reason.unwrap_or_default(),
        headers: Vec::with_capacity(response.headers.len()),
        named: vec![],
        length: None,
        body: Body::Open,
        keeps: response.version == Some(1),
        size,
    };
    let mut chunked = false;
    for header in response.headers.iter() {
        head.read(header, &mut chunked)?;
    }
    if !head.named.is_empty() {
        let names = head.named.iter().flat_map(|list| list.split(|b| *b == b',')).map(<[u8]>::trim_ascii);
        head.headers.retain(|h| !names.clone().any(|name| name.eq_ignore_ascii_case(h.name.as_bytes())));
    }
    head.body = match (head.length, chunked) {
        // They have no body, whatever they say.
        _ if [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status) => {
            head.length = None;
            Body::Length(0)
        }
        // Whoever says both may be read in two ways.
        (Some(_), true) => return Err(Malformed("its length")),
        (_, true) if response.version == Some(0) => return Err(Malformed("how it is encoded")),
        (Some(length), false) => Body::Length(length),
        (None, true) => Body::Chunked(Chunks::new()),
        (None, false) => Body::Open,
    };
    head.keeps &= head.body != Body::Open;
    Ok(Some(head))
}

impl<'a> Head<'a> {
    fn read(&mut self, header: &Header<'a>, chunked: &mut bool) -> Result<(), Malformed> {
        let (name, value) = (header.name, header.value);
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            // Said anew, as the body is passed on.
            14 if is("content-length") => {
                for one in value.split(|b| *b == b',') {
                    let number = number(one.trim_ascii()).ok_or(Malformed("its length"))? as u64;
                    if self.length.replace(number).is_some_and(|before| before != number) {
                        return Err(Malformed("its length"));
                    }
                }
                return Ok(());
            }
            17 if is("transfer-encoding") => {
                if *chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed("how it is encoded"));
                }
                *chunked = true;
                return Ok(());
            }
            10 if is("connection") => {
                let keeps = value.eq_ignore_ascii_case(b"keep-alive");
                if !keeps && !value.eq_ignore_ascii_case(b"close") {
                    self.named.push(value);
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
        add(&[b"HTTP/1.1 ", self.status.as_str().as_bytes(), b" ", self.reason.as_bytes(), b"\r\n"]);
        for Header { name, value } in &self.headers {
            add(&[name.as_bytes(), b": ", value, b"\r\n"]);
        }
        if !self.headers.iter().any(|h| h.name.eq_ignore_ascii_case("date")) {
            add(&[b"date: ", date().as_bytes(), b"\r\n"]);
        }
        match (self.length, self.body) {
            (Some(length), _) => add(&[b"content-length: ", length.to_string().as_bytes(), b"\r\n"]),
            (None, Body::Chunked(_) | Body::Open) => add(&[b"transfer-encoding: chunked\r\n"]),
            (None, Body::Length(_)) => {}
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
            ("content-length: 0\r\nconnection: keep-alive, x-hop\r\nconnection: x-other\r\n", Body::Length(0), false),
            ("content-length: 5, 5\r\n", Body::Length(5), true),
            ("content-length: 5\r\nconnection: content-length\r\n", Body::Length(5), false),
        ] {
            let head = read(headers).unwrap();
            assert_eq!((head.body, head.keeps), (body, keeps), "{headers:?}");
        }
        for headers in [
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: 5, 6\r\n",
            "content-length: -5\r\n",
            "content-length: \r\n",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "x: y\r\n z\r\n",
        ] {
            assert!(read(headers).is_err(), "{headers:?}");
        }
        assert!(parse(b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
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
        let text = |head: &Head<'_>, closes| {
            String::from_utf8(head.rewritten(b"v7", b"mine", closes, || "now".into())).unwrap()
        };
        let head = read(
            "Server: me\r\nX-Hop: 1\r\nConnection: x-hop, close\r\nKeep-Alive: 5\r\nX-Request-Id: theirs\r\nContent-Length: 02\r\n",
        );
        assert_eq!(
            text(&head.unwrap(), true),
            "HTTP/1.1 200 OK\r\nServer: me\r\ndate: now\r\ncontent-length: 2\r\nx-trimtab-version: v7\r\nx-request-id: mine\r\nconnection: close\r\n\r\n"
        );
        let chunked = "HTTP/1.1 299 Odd\r\nDate: then\r\nTransfer-Encoding: chunked\r\n\r\n";
        let head = parse(chunked.as_bytes()).unwrap().unwrap();
        assert_eq!(
            text(&head, false),
            "HTTP/1.1 299 Odd\r\nDate: then\r\ntransfer-encoding: chunked\r\nx-trimtab-version: v7\r\nx-request-id: mine\r\n\r\n"
        );
        // What names its own length or date as of the connection is understood all the same.
        let head = read("date: then\r\ncontent-length: 2\r\nconnection: date, content-length\r\n").unwrap();
        assert!(text(&head, false).contains("date: now\r\ncontent-length: 2\r\n"));
        let head = parse(b"HTTP/1.1 204 No Content\r\ndate: then\r\ncontent-length: 5\r\n\r\n").unwrap().unwrap();
        assert_eq!((text(&head, false).contains("length"), head.body), (false, Body::Length(0)));
    }

    #[test]
    fn a_body_is_passed_on_until_its_end_and_no_further() {
        for (headers, pieces, expected, all) in [
            ("content-length: 5\r\n", &["he", "llo"][..], "hello", true),
            ("content-length: 5\r\n", &["hello, and more"], "hello", false),
            (
                "transfer-encoding: chunked\r\n",
                &["2;a\r\nhe\r\n3\r\nl", "lo\r", "\n0\r\nt: 1\r\n", "\r\n"],
                "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
                true,
            ),
            ("transfer-encoding: chunked\r\n", &["1\r\nx\r\n0\r\n\r\nHTTP"], "1\r\nx\r\n0\r\n\r\n", false),
            ("", &["he", "llo", ""], "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", true),
        ] {
            let (mut body, mut out, mut whole) = (read(headers).unwrap().body, vec![], true);
            for piece in pieces {
                assert!(!body.is_over());
                whole = body.pass(piece.as_bytes(), &mut out).unwrap();
            }
            assert_eq!((body.is_over(), whole, String::from_utf8(out).unwrap().as_str()), (true, all, expected));
        }
        for headers in ["content-length: 5\r\n", "transfer-encoding: chunked\r\n"] {
            assert!(read(headers).unwrap().body.pass(b"", &mut vec![]).is_err(), "it is not all there");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}

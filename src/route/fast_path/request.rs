//! The heads of plain requests: read, and written anew for a replica. Pure.

use super::number;
use crate::route::heads::{self, Caller};
use http::Method;
use httparse::{Header, Request, Status};
use std::{mem::MaybeUninit, ops::Range};

/// Headers of a request, at most; one with more is not plain.
const HEADERS: usize = 48;
/// Methods of plain requests. The answer to HEAD has a length and no body; the rest is rare.
const METHODS: [Method; 6] = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS];

/// A request of HTTP/1.1 whose body, if it has one, has a length, and that asks nothing of its connection.
#[derive(Debug)]
pub struct Plain<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    headers: Vec<Header<'a>>,
    host: Option<&'a [u8]>,
    forwarded_for: Option<&'a [u8]>,
    request_id: Option<&'a [u8]>,
    /// It names the version that is to answer.
    pub chooses: bool,
    /// It may be sent twice.
    pub repeatable: bool,
    /// Bytes of the head.
    pub head: usize,
    /// Bytes of the body.
    pub body: usize,
}

/// What the bytes that a client sent first are.
#[derive(Debug)]
pub enum Parsed<'a> {
    Plain(Plain<'a>),
    /// Not a whole head yet.
    Partial,
    /// Everything else: it is hyper's to read, or to refuse.
    Other,
}

/// Reads the head of a request. Whatever could be read in two ways is not plain.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADERS];
    let mut request = Request::new(&mut []);
    let head = match request.parse_with_uninit_headers(bytes, &mut slots) {
        Ok(Status::Complete(head)) => head,
        Ok(Status::Partial) => return Parsed::Partial,
        Err(_) => return Parsed::Other,
    };
    plain(&request, head).map_or(Parsed::Other, Parsed::Plain)
}

fn plain<'a>(request: &Request<'_, 'a>, head: usize) -> Option<Plain<'a>> {
    let (method, target) = (request.method?, request.path?);
    let known = Method::from_bytes(method.as_bytes()).ok().filter(|m| METHODS.contains(m))?;
    if request.version != Some(1) || !target.starts_with('/') || !target.bytes().all(is_of_a_target) {
        return None;
    }
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut plain = Plain {
        method,
        path,
        query,
        headers: Vec::with_capacity(request.headers.len()),
        host: None,
        forwarded_for: None,
        request_id: None,
        chooses: false,
        repeatable: known.is_idempotent(),
        head,
        body: 0,
    };
    let mut length = None;
    for header in request.headers.iter() {
        plain.read(header, &mut length)?;
    }
    plain.body = length.unwrap_or(0);
    plain.host.is_some_and(|host| !host.is_empty()).then_some(plain)
}

/// Characters of RFC 3986, without that of a fragment.
fn is_of_a_target(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/?-._~%!$&'()*+,;=:@".contains(&byte)
}

impl<'a> Plain<'a> {
    /// Takes a header in; `None` when the request is not plain for it.
    fn read(&mut self, header: &Header<'a>, length: &mut Option<usize>) -> Option<()> {
        let (name, value) = (header.name, header.value);
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        /// Sets what a request may say once.
        fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
            slot.replace(value).is_none().then_some(())
        }
        match name.len() {
            4 if is("host") => once(&mut self.host, value)?,
            14 if is("content-length") => once(length, number(value)?)?,
            // It is kept anyway.
            10 if is("connection") => return value.eq_ignore_ascii_case(b"keep-alive").then_some(()),
            2 if is("te") => return None,
            6 if is("expect") => return None,
            7 if is("upgrade") || is("trailer") => return None,
            10 if is("keep-alive") => return Some(()),
            16 if is("proxy-connection") => return Some(()),
            17 if is("transfer-encoding") => return None,
            18 | 19 if is("proxy-authenticate") || is("proxy-authorization") => return None,
            // Replaced by the router's own, and what callers cannot say.
            15 if is("x-forwarded-for") => return once(&mut self.forwarded_for, value),
            17 if is("x-forwarded-proto") => return Some(()),
            16 if is("x-forwarded-host") => return Some(()),
            18 if is("x-forwarded-prefix") => return Some(()),
            16 if is("x-trimtab-shadow") => return Some(()),
            12 if is("x-request-id") => return once(&mut self.request_id, value),
            17 if is("x-trimtab-version") => self.chooses = true,
            15 if is("idempotency-key") => self.repeatable = true,
            _ => {}
        }
        self.headers.push(*header);
        Some(())
    }

    /// The head as the replica sees it, and where in it the request's id stands. `rest`: what follows the model's name in the path.
    pub fn rewritten(&self, caller: &Caller, rest: &str) -> (Vec<u8>, Range<usize>) {
        let prefix = &self.path[..self.path.len() - rest.len()];
        let mut out = Vec::with_capacity(self.head + self.body + 256);
        let mut add = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
        add(&[self.method.as_bytes(), b" ", if rest.is_empty() { b"/" } else { rest.as_bytes() }]);
        if let Some(query) = self.query {
            add(&[b"?", query.as_bytes()]);
        }
        add(&[b" HTTP/1.1\r\n"]);
        for Header { name, value } in &self.headers {
            add(&[name.as_bytes(), b": ", value, b"\r\n"]);
        }
        add(&[b"x-forwarded-for: "]);
        if let Some(before) = self.forwarded_for {
            add(&[before, b", "]);
        }
        add(&[
            caller.peer.as_bytes(),
            b"\r\nx-forwarded-proto: http\r\nx-forwarded-host: ",
            self.host.unwrap_or_default(),
        ]);
        add(&[b"\r\nx-forwarded-prefix: ", prefix.as_bytes(), b"\r\nx-request-id: "]);
        let made;
        let id = match self.request_id.filter(|id| heads::is_request_id(id)) {
            Some(id) => id,
            None => {
                made = caller.new_id();
                &made
            }
        };
        let begins = out.len();
        out.extend_from_slice(id);
        let ends = out.len();
        out.extend_from_slice(b"\r\n\r\n");
        (out, begins..ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full};
    use hyper::{body::Bytes, body::Incoming, service::service_fn};
    use hyper_util::rt::TokioIo;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    fn is_plain(text: &str) -> bool {
        matches!(parse(text.as_bytes()), Parsed::Plain(_))
    }

    #[test]
    fn what_asks_nothing_of_its_connection_is_plain() {
        for text in [
            "GET /models/m HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST /models/m/predict?x=%20 HTTP/1.1\r\nhost: h\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n",
            "DELETE /models/m HTTP/1.1\r\nhost: h\r\nx-forwarded-for: 1.1.1.1\r\ncookie: a=b\r\ncookie: c=d\r\n\r\n",
        ] {
            assert!(is_plain(text), "{text:?}");
        }
        assert!(matches!(parse(b"GET /models/m HTTP/1.1\r\nHost: h\r\n"), Parsed::Partial));
    }

    #[test]
    fn the_rest_is_hypers() {
        let long = format!("GET / HTTP/1.1\r\nhost: h\r\n{}\r\n", "a: b\r\n".repeat(HEADERS));
        assert!(!is_plain(&long));
        for line in [
            "HEAD / HTTP/1.1",
            "CONNECT h:1 HTTP/1.1",
            "PROPFIND / HTTP/1.1",
            "get / HTTP/1.1",
            "GET / HTTP/1.0",
            "GET http://h/ HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "GET /a#b HTTP/1.1",
            "GET /\u{e9} HTTP/1.1",
            "GET /a\"b HTTP/1.1",
            "GET  / HTTP/1.1",
            "PRI * HTTP/2.0",
        ] {
            assert!(!is_plain(&format!("{line}\r\nhost: h\r\n\r\n")), "{line}");
        }
        for headers in [
            "",
            "host:",
            "host: h\r\nhost: h",
            "host: h\r\ncontent-length: 1\r\ncontent-length: 1",
            "host: h\r\ncontent-length: +1",
            "host: h\r\ncontent-length: 1, 1",
            "host: h\r\ncontent-length: 0x1",
            "host: h\r\ncontent-length: 99999999999999999999",
            "host: h\r\ntransfer-encoding: chunked",
            "host: h\r\nTransfer-Encoding: identity",
            "host: h\r\nexpect: 100-continue",
            "host: h\r\nupgrade: websocket",
            "host: h\r\nconnection: close",
            "host: h\r\nconnection: keep-alive, x-mine",
            "host: h\r\nte: trailers",
            "host: h\r\ntrailer: x",
            "host: h\r\nproxy-authorization: x",
            "host: h\r\nx-forwarded-for: a\r\nx-forwarded-for: b",
            "host: h\r\n x: folded",
            "host: h\r\nx : space",
            "host: h\r\nx\u{0}: y",
            "host: h\r\nx: y\u{0}",
        ] {
            assert!(!is_plain(&format!("GET / HTTP/1.1\r\n{headers}\r\n\r\n")), "{headers:?}");
        }
    }

    #[test]
    fn a_head_is_written_anew() {
        let caller = Caller::new(0, [10, 0, 0, 7].into(), 0xabc);
        let of = |text: &str| {
            let Parsed::Plain(plain) = parse(text.as_bytes()) else { panic!("{text:?} is not plain") };
            let (_, rest) = heads::parse(plain.path).unwrap();
            let (bytes, id) = plain.rewritten(&caller, rest);
            (
                String::from_utf8(bytes.clone()).unwrap(),
                String::from_utf8(bytes[id].to_vec()).unwrap(),
                plain.repeatable,
            )
        };
        let (text, id, repeatable) = of(
            "POST /models/m/predict?a=1 HTTP/1.1\r\nHost: h:1\r\nContent-Length: 3\r\nX-Mine: 1\r\n\
             X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Host: evil\r\nX-Trimtab-Shadow: 1\r\nX-Request-Id: mine-1\r\nKeep-Alive: 1\r\n\r\n",
        );
        assert_eq!(
            text,
            "POST /predict?a=1 HTTP/1.1\r\nHost: h:1\r\nContent-Length: 3\r\nX-Mine: 1\r\nx-forwarded-for: 1.1.1.1, 10.0.0.7\r\n\
             x-forwarded-proto: http\r\nx-forwarded-host: h:1\r\nx-forwarded-prefix: /models/m\r\nx-request-id: mine-1\r\n\r\n"
        );
        assert_eq!((id.as_str(), repeatable), ("mine-1", false));
        let (text, id, repeatable) =
            of("GET /environments/e/models/m?q HTTP/1.1\r\nHost: h\r\nX-Request-Id: no good\r\n\r\n");
        assert!(
            text.starts_with("GET /?q HTTP/1.1\r\n")
                && text.contains("\r\nx-forwarded-prefix: /environments/e/models/m\r\n"),
            "{text}"
        );
        assert_eq!((id.as_str(), repeatable), ("0000000000000abc00000000", true));
        assert!(of("POST /models/m HTTP/1.1\r\nHost: h\r\nIdempotency-Key: 1\r\n\r\n").2);
    }

    /// What hyper reads of these bytes: method, target, host and length of the body.
    async fn by_hyper(bytes: &[u8]) -> Option<(String, String, String, usize)> {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let (send, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let service = service_fn(move |request: http::Request<Incoming>| {
            let send = send.clone();
            async move {
                let (parts, body) = request.into_parts();
                let size = body.collect().await?.to_bytes().len();
                let host = parts.headers.get("host").map(|h| String::from_utf8_lossy(h.as_bytes()).into_owned());
                let _ = send.send((parts.method.to_string(), parts.uri.to_string(), host.unwrap_or_default(), size));
                Ok::<_, hyper::Error>(http::Response::new(Full::<Bytes>::default()))
            }
        });
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let _ = hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(server), service)
            .await;
        seen.recv().await
    }

    fn piece(of: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
        proptest::sample::select(of)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        /// Two readers that disagree are how requests are smuggled.
        #[test]
        fn what_is_plain_hyper_reads_in_the_same_way(
            method in piece(&["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "get"]),
            target in piece(&["/models/m", "/a?b=c&d", "/%20", "/a//b;c", "/a?b?c", "*", "http://h/", "/a#b", "/a b", "/{}", "/a?{\"x\"}", "//h/a"]),
            version in piece(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2"]),
            headers in proptest::collection::vec(piece(&[
                "Host: h", "Host: h", "host: other:1", "Content-Length: 3", "content-length: 3 ", "Content-Length:03", "Content-Length: -3", "Content-Length: 4",
                "Transfer-Encoding: chunked", "transfer-encoding : chunked", "Connection: keep-alive", "Connection: close", "X:y", "X: ", "X:\ty\t", "X", ": y", "X: a\rb", "x-y: \u{e9}",
                " folded",
            ]), 0..5),
            ends in piece(&["\r\n", "\r\n", "\r\n", "\n"]),
            body in piece(&["", "abc", "abcd", "0\r\n\r\n"]),
        ) {
            let head: String = std::iter::once(format!("{method} {target} {version}")).chain(headers.iter().map(|h| (*h).to_owned())).map(|l| l + ends).collect();
            let text = format!("{head}{ends}{body}");
            let Parsed::Plain(plain) = parse(text.as_bytes()) else { return Ok(()) };
            prop_assume!(text.len() >= plain.head + plain.body);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let theirs = runtime.block_on(by_hyper(&text.as_bytes()[..plain.head + plain.body]));
            let target = plain.query.map_or(plain.path.to_owned(), |q| format!("{}?{q}", plain.path));
            let host = String::from_utf8_lossy(plain.host.unwrap()).into_owned();
            prop_assert_eq!(theirs, Some((plain.method.to_owned(), target, host, plain.body)), "{:?}", text);
        }

        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}

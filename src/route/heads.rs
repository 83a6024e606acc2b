//! The heads of requests and answers: where a path leads, what is taken off and what is added.

use super::table::Lookup;
use crate::model::Sticky;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, uri::PathAndQuery};
use std::{net::IpAddr, sync::atomic::AtomicU64, sync::atomic::Ordering::Relaxed};

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Tells a replica that its answer is compared and thrown away. Callers cannot say so.
pub const SHADOW: HeaderName = HeaderName::from_static("x-trimtab-shadow");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
/// Headers that belong to one connection (RFC 9110, 7.6.1).
static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Longest request id that is taken over from a client.
const ID_MAX: usize = 128;
/// How long a browser keeps the cookie of a sticky caller, in seconds.
const COOKIE_AGE: u32 = 30 * 24 * 3600;

/// Where a path leads, and what of it the replica sees.
pub fn parse(path: &str) -> Option<(Lookup<'_>, &str)> {
    fn part(s: &str) -> (&str, &str) {
        s.split_at(s.find('/').unwrap_or(s.len()))
    }
    if let Some(tail) = path.strip_prefix("/models/") {
        let (model, rest) = part(tail);
        return Some((Lookup::Live { model }, rest));
    }
    let (tail, is_preview) = match path.strip_prefix("/environments/") {
        Some(tail) => (tail, false),
        None => (path.strip_prefix("/previews/")?, true),
    };
    let (environment, tail) = part(tail);
    let (model, rest) = part(tail.strip_prefix("/models/")?);
    let whom = if is_preview { Lookup::Preview { environment, model } } else { Lookup::In { environment, model } };
    Some((whom, rest))
}

/// The address that the replica sees: what follows the model's name.
pub fn local_uri(uri: &Uri, rest: &str) -> Option<Uri> {
    let query = uri.query();
    let path = match (rest, query) {
        ("", None) => return Some(Uri::from_static("/")),
        (rest, None) => rest.to_owned(),
        (rest, Some(query)) => {
            let mut path = String::with_capacity(rest.len() + query.len() + 2);
            path.push_str(if rest.is_empty() { "/" } else { rest });
            path.push('?');
            path.push_str(query);
            path
        }
    };
    PathAndQuery::try_from(path).ok().map(Uri::from)
}

/// Whether the request asks for another protocol on its connection.
pub fn wants_upgrade(headers: &HeaderMap) -> bool {
    let named =
        |v: &HeaderValue| v.to_str().is_ok_and(|v| v.split(',').any(|n| n.trim().eq_ignore_ascii_case("upgrade")));
    headers.contains_key(header::UPGRADE) && headers.get_all(header::CONNECTION).iter().any(named)
}

/// Takes off what belongs to the connection.
pub fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .filter_map(|n| n.trim().parse().ok())
            .collect();
        for name in &named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Adds what the replica could not know. `peer` as text; `authority` of a request that has no `host`, as in HTTP/2.
pub fn forwarded(headers: &mut HeaderMap, peer: &HeaderValue, prefix: &str, authority: Option<&str>) {
    let chain = match headers.get(FORWARDED_FOR) {
        Some(before) => HeaderValue::from_bytes(&[before.as_bytes(), b", ", peer.as_bytes()].concat()).ok(),
        None => Some(peer.clone()),
    };
    if !headers.contains_key(header::HOST)
        && let Some(host) = authority.and_then(|a| HeaderValue::from_str(a).ok())
    {
        headers.insert(header::HOST, host);
    }
    let host = headers.get(header::HOST).cloned();
    let prefix = HeaderValue::from_str(prefix).ok();
    let proto = Some(HeaderValue::from_static("http"));
    for (name, value) in
        [(FORWARDED_FOR, chain), (FORWARDED_PROTO, proto), (FORWARDED_HOST, host), (FORWARDED_PREFIX, prefix)]
    {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    headers.remove(SHADOW);
}

/// Who sends requests on one connection.
pub struct Caller {
    pub worker: usize,
    pub peer: HeaderValue,
    /// Random; with a number behind it, an id of a request.
    seed: u64,
    requests: AtomicU64,
}
impl Caller {
    pub fn new(worker: usize, peer: IpAddr, seed: u64) -> Self {
        // Addresses are always header values.
        let peer = HeaderValue::from_str(&peer.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self { worker, peer, seed, requests: AtomicU64::new(0) }
    }
    /// The id that the client gave its request; else a new one.
    pub fn request_id(&self, headers: &HeaderMap) -> HeaderValue {
        let given = headers.get(REQUEST_ID).filter(|id| is_request_id(id.as_bytes()));
        // Hexadecimal digits are always a header value.
        let new = || HeaderValue::from_bytes(&self.new_id()).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        given.cloned().unwrap_or_else(new)
    }
    /// An id that no other request has, in hexadecimal.
    pub fn new_id(&self) -> [u8; 24] {
        let n = self.requests.fetch_add(1, Relaxed);
        let mut id = [0; 24];
        let nibbles = (0..16).map(|i| self.seed >> (60 - 4 * i)).chain((0..8).map(|i| n >> (28 - 4 * i)));
        for (place, nibble) in id.iter_mut().zip(nibbles) {
            *place = b"0123456789abcdef"[(nibble & 15) as usize];
        }
        id
    }
}

/// Whether an id that a client gave can be taken over.
pub fn is_request_id(id: &[u8]) -> bool {
    !id.is_empty() && id.len() <= ID_MAX && id.iter().all(u8::is_ascii_graphic)
}

/// What tells a sticky caller: found in the request, or made for a cookie that must be set.
#[derive(Debug, PartialEq, Eq)]
pub enum Key<'a> {
    Found(&'a [u8]),
    /// The header that sets it, and the key.
    Made(HeaderValue, String),
}

/// The key of the caller; `None` when there is none, and none can be made. `prefix` is where the cookie holds.
pub fn sticky_key<'a>(sticky: &Sticky, headers: &'a HeaderMap, prefix: &str) -> Option<Key<'a>> {
    match sticky {
        Sticky::Header(name) => headers.get(name.as_str()).map(|v| Key::Found(v.as_bytes())),
        Sticky::Cookie(name) => {
            let of = |cookie: &'a [u8]| cookie.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=");
            let all = headers.get_all(header::COOKIE).iter().flat_map(|v| v.as_bytes().split(|b| *b == b';'));
            if let Some(key) = all.filter_map(of).find(|key| !key.is_empty()) {
                return Some(Key::Found(key));
            }
            let key = format!("{:016x}", getrandom::u64().ok()?);
            let cookie = format!("{name}={key}; Path={prefix}; Max-Age={COOKIE_AGE}; HttpOnly; SameSite=Lax");
            Some(Key::Made(HeaderValue::from_str(&cookie).ok()?, key))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_models() {
        assert_eq!(parse("/models/a/predict/x"), Some((Lookup::Live { model: "a" }, "/predict/x")));
        assert_eq!(parse("/models/a"), Some((Lookup::Live { model: "a" }, "")));
        let staged = Lookup::In { environment: "e", model: "a" };
        assert_eq!(parse("/environments/e/models/a/"), Some((staged, "/")));
        let preview = Lookup::Preview { environment: "e", model: "a" };
        assert_eq!(parse("/previews/e/models/a/x"), Some((preview, "/x")));
        for other in ["/", "/model/a", "/environments/e/a", "/environments/e", "/previews/models/a", ""] {
            assert_eq!(parse(other), None, "{other}");
        }
        for (uri, rest, local) in
            [("/models/a", "", "/"), ("/models/a?x=1", "", "/?x=1"), ("/models/a/b?x=%20", "/b", "/b?x=%20")]
        {
            assert_eq!(local_uri(&uri.parse().unwrap(), rest).unwrap().to_string(), local);
        }
    }

    #[test]
    fn headers_of_the_connection_are_taken_off() {
        let mut h = HeaderMap::new();
        for (name, value) in [("connection", "close, X-Mine"), ("x-mine", "1"), ("te", "trailers"), ("accept", "*/*")] {
            h.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip(&mut h);
        assert_eq!(h.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
        h.insert("x-forwarded-for", HeaderValue::from_static("10.0.0.1"));
        h.insert(SHADOW, HeaderValue::from_static("1"));
        forwarded(&mut h, &HeaderValue::from_static("127.0.0.1"), "/models/a", Some("name:1"));
        assert_eq!(h.get("x-forwarded-for").unwrap(), "10.0.0.1, 127.0.0.1");
        assert_eq!(h.get("x-forwarded-prefix").unwrap(), "/models/a");
        assert_eq!(h.get("host").unwrap(), "name:1");
        assert_eq!(h.get("x-forwarded-host").unwrap(), "name:1");
        assert!(!h.contains_key(SHADOW));
    }

    #[test]
    fn ids_are_taken_over_or_made() {
        let caller = Caller::new(0, [127, 0, 0, 1].into(), 0xabc);
        let mut h = HeaderMap::new();
        assert_eq!(caller.request_id(&h), "0000000000000abc00000000");
        assert_eq!(caller.request_id(&h), "0000000000000abc00000001");
        h.insert(REQUEST_ID, HeaderValue::from_static("mine-1"));
        assert_eq!(caller.request_id(&h), "mine-1");
        h.insert(REQUEST_ID, HeaderValue::from_str(&"x".repeat(129)).unwrap());
        assert_eq!(caller.request_id(&h), "0000000000000abc00000002", "too long");
    }

    #[test]
    fn sticky_keys_are_found_or_made() {
        let mut h = HeaderMap::new();
        let (header, cookie) = (Sticky::Header("X-User".into()), Sticky::Cookie("seat".into()));
        assert_eq!(sticky_key(&header, &h, "/models/m"), None);
        let Some(Key::Made(set, key)) = sticky_key(&cookie, &h, "/models/m") else { panic!("none made") };
        let set = set.to_str().unwrap();
        assert!(set.starts_with(&format!("seat={key}; Path=/models/m; ")) && key.len() == 16, "{set}");
        h.insert("x-user", HeaderValue::from_static("ada"));
        h.append("cookie", HeaderValue::from_static("a=b; seats=1"));
        h.append("cookie", HeaderValue::from_static("seat=; seat=7;c=d"));
        assert_eq!(sticky_key(&header, &h, ""), Some(Key::Found(b"ada")));
        assert_eq!(sticky_key(&cookie, &h, ""), Some(Key::Found(b"7")));
    }
}

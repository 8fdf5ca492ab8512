//! The origin of a request: scheme, host and port; or what the user says instead.

use std::hash::{DefaultHasher, Hash, Hasher};

use http::{Request, Uri, header};

/// What names a state: an origin (RFC 6454) as far as a request tells it, or a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OriginKey<'a> {
    /// A scheme, and an authority that may hold more than the host and the port.
    Origin { scheme: &'a str, authority: &'a str },
    /// The name that [`write_to`](Self::write_to) has written before.
    Name(&'a str),
    /// What a rule of the user returned for a request.
    Key(&'a str),
}

/// Bytes of the longest host and port: RFC 1035, section 2.3.4, limits names to 255 octets.
const MAX_HOST_AND_PORT_BYTES: usize = 255 + ":65535".len();
/// Bytes of a key that are kept. Requests choose the keys, and a longer one is replaced by a hash.
const MAX_KEY_BYTES: usize = 256;

impl<'a> OriginKey<'a> {
    pub(crate) const fn new(scheme: &'a str, authority: &'a str) -> Self {
        Self::Origin { scheme, authority }
    }

    /// RFC 9112, section 3.2.2: the URI's authority takes precedence over the Host field.
    pub(crate) fn of<B>(request: &'a Request<B>) -> Self {
        let uri = request.uri();
        if uri.authority().is_some_and(|authority| !authority.as_str().is_empty()) {
            return Self::of_uri(uri);
        }
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        Self::new(uri.scheme_str().unwrap_or_default(), host.unwrap_or_default())
    }

    pub(crate) fn of_uri(uri: &'a Uri) -> Self {
        let authority = uri.authority().map(http::uri::Authority::as_str);
        Self::new(uri.scheme_str().unwrap_or_default(), authority.unwrap_or_default())
    }

    /// Replaces `name` by the canonical name. That of an origin is in lower case, without user and default
    /// port, and empty where the request names no valid host.
    pub(crate) fn write_to(self, name: &mut String) {
        name.clear();
        match self {
            Self::Origin { scheme, authority } => write_origin(scheme, authority, name),
            Self::Name(known) => name.push_str(known),
            Self::Key(key) if key.len() <= MAX_KEY_BYTES => {
                name.push_str("key:");
                name.push_str(key);
            }
            Self::Key(key) => {
                let mut hasher = DefaultHasher::new();
                key.hash(&mut hasher);
                name.push_str(&format!("key#{:016x}", hasher.finish()));
            }
        }
    }
}

fn write_origin(scheme: &str, authority: &str, name: &mut String) {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() || host.len() > MAX_HOST_AND_PORT_BYTES {
        return;
    }
    name.push_str(scheme);
    name.push_str("://");
    name.push_str(host);
    name.make_ascii_lowercase();
    for port in [default_port(scheme), ":"] {
        name.truncate(name.strip_suffix(port).unwrap_or(name).len());
    }
}

fn default_port(scheme: &str) -> &'static str {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => ":80",
        _ if scheme.eq_ignore_ascii_case("https") => ":443",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(scheme: &str, authority: &str) -> String {
        let mut name = "an earlier name".to_owned();
        OriginKey::new(scheme, authority).write_to(&mut name);
        name
    }

    #[test]
    fn all_spellings_of_an_origin_have_one_name() {
        let same =
            ["example.org", "EXAMPLE.org", "example.org:80", "example.org:", "me:pw@example.org"];
        for authority in same {
            assert_eq!(written("http", authority), "http://example.org", "{authority}");
        }
        assert_eq!(written("HTTPS", "example.org:443"), "https://example.org");
        assert_eq!(written("", "example.org"), "://example.org");
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        let names = [
            written("http", "example.org"),
            written("https", "example.org"),
            written("https", "example.org:80"),
            written("http", "example.org:8080"),
            written("http", "www.example.org"),
            written("http", "[::1]"),
            written("http", "[::1]:8080"),
            written("", "example.org"),
            written("", "example.org:80"),
        ];
        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name), "{name} twice");
        }
    }

    #[test]
    fn a_missing_or_invalid_host_has_an_empty_name() {
        assert_eq!(written("http", ""), "");
        assert_eq!(written("http", "me@"), "");
        assert_eq!(written("http", &"x".repeat(10_000)), "");
    }

    #[test]
    fn keys_are_told_from_origins_and_long_ones_take_little_memory() {
        let written = |key: OriginKey<'_>| {
            let mut name = String::new();
            key.write_to(&mut name);
            name
        };
        let origin = "http://example.org";
        assert_eq!(written(OriginKey::Name(origin)), origin);
        assert_ne!(written(OriginKey::Key(origin)), origin);
        assert_ne!(written(OriginKey::Key("Batch")), written(OriginKey::Key("batch")));
        let long =
            ["x".repeat(10_000), "y".repeat(10_000)].map(|key| written(OriginKey::Key(&key)));
        assert!(long[0] != long[1] && long[0].len() < 32, "{long:?}");
    }

    #[test]
    fn the_uri_takes_precedence_over_the_host_field() {
        let origin = |uri: &str| {
            let request = Request::get(uri).header("host", "here:3000").body(());
            let mut name = String::new();
            OriginKey::of(&request.expect("a request")).write_to(&mut name);
            name
        };
        assert_eq!(origin("http://there/path"), "http://there");
        assert_eq!(origin("/path"), "://here:3000");
    }
}

//! The origin of a request: scheme, host and port.

use http::{Request, Uri, header};

/// An origin (RFC 6454) as far as a request tells it: a scheme, and an authority that may hold more
/// than the host and the port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OriginKey<'a> {
    scheme: &'a str,
    authority: &'a str,
}

/// Bytes of the longest host and port: RFC 1035, section 2.3.4, limits names to 255 octets.
const MAX_HOST_AND_PORT_BYTES: usize = 255 + ":65535".len();

impl<'a> OriginKey<'a> {
    pub(crate) const fn new(scheme: &'a str, authority: &'a str) -> Self {
        Self { scheme, authority }
    }

    /// RFC 9112, section 3.2.2: the URI's authority takes precedence over the Host field.
    pub(crate) fn of<B>(request: &'a Request<B>) -> Self {
        let named = Self::of_uri(request.uri());
        if !named.authority.is_empty() {
            return named;
        }
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        Self { authority: host.unwrap_or_default(), ..named }
    }

    pub(crate) fn of_uri(uri: &'a Uri) -> Self {
        let authority = uri.authority().map(http::uri::Authority::as_str);
        Self::new(uri.scheme_str().unwrap_or_default(), authority.unwrap_or_default())
    }

    /// Replaces `name` by the canonical name: in lower case, without user and default port. It is empty
    /// where the request names no valid host.
    pub(crate) fn write_to(self, name: &mut String) {
        name.clear();
        let host = self.authority.rsplit_once('@').map_or(self.authority, |(_, host)| host);
        if host.is_empty() || host.len() > MAX_HOST_AND_PORT_BYTES {
            return;
        }
        name.push_str(self.scheme);
        name.push_str("://");
        name.push_str(host);
        name.make_ascii_lowercase();
        for port in [default_port(self.scheme), ":"] {
            name.truncate(name.strip_suffix(port).unwrap_or(name).len());
        }
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

//! Patterns of paths and hosts.

use toml::de::DeValue;

use crate::policy::format::json::Json;
use crate::policy::format::scalar::Scalar;

/// A path as axum routes have it: `/users/{id}`, `/static/{*rest}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::policy) struct PathPattern(String);

/// A host: `api.example.com`, or `*.example.com` for all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::policy) struct HostPattern(String);

/// What one segment of a pattern stands for.
enum Segment<'a> {
    Text(&'a str),
    Any,
    Rest,
}

impl PathPattern {
    fn new(text: &str) -> Option<Self> {
        let mut segments = text.strip_prefix('/')?.split('/').peekable();
        while let Some(segment) = segments.next() {
            let is_whole = match Segment::of(segment) {
                Segment::Text(text) => is_literal(text),
                Segment::Any => {
                    segment.len() > 2 && !segment[1..segment.len() - 1].contains(['{', '}'])
                }
                Segment::Rest => segment.len() > 3 && segments.peek().is_none(),
            };
            if !is_whole {
                return None;
            }
        }
        Some(Self(text.to_owned()))
    }

    pub(in crate::policy) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a path is of this form. A segment that a variable stands for is not empty.
    pub(in crate::policy) fn matches(&self, path: &str) -> bool {
        let mut segments = path.split('/');
        for segment in self.0.split('/') {
            let found = segments.next();
            let is_equal = match Segment::of(segment) {
                Segment::Text(text) => found == Some(text),
                Segment::Any => found.is_some_and(|found| !found.is_empty()),
                Segment::Rest => {
                    return found.is_some_and(|found| !found.is_empty())
                        || segments.next().is_some();
                }
            };
            if !is_equal {
                return false;
            }
        }
        segments.next().is_none()
    }

    /// Whether all paths of the other form are of this one.
    pub(in crate::policy) fn covers(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.0.split('/'), other.0.split('/').peekable());
        loop {
            match (ours.next().map(Segment::of), theirs.next().map(Segment::of)) {
                (None, None) => return true,
                // `{*rest}` matches at least one character, so that a path which ends here with a slash is not covered.
                (Some(Segment::Rest), Some(Segment::Text(""))) => return theirs.peek().is_some(),
                (Some(Segment::Rest), Some(_)) => return true,
                (Some(Segment::Any), Some(Segment::Any)) => {}
                (Some(Segment::Any), Some(Segment::Text(text))) if !text.is_empty() => {}
                (Some(Segment::Text(one)), Some(Segment::Text(other))) if one == other => {}
                _ => return false,
            }
        }
    }
}

impl<'a> Segment<'a> {
    fn of(segment: &'a str) -> Self {
        if segment.starts_with("{*") && segment.ends_with('}') {
            Self::Rest
        } else if segment.starts_with('{') && segment.ends_with('}') {
            Self::Any
        } else {
            Self::Text(segment)
        }
    }
}

/// Whether a segment of a path may be this text. Others would match nothing: what a client sends is percent-encoded and
/// ends before the query. `:id` and `*rest` are variables of other routers.
fn is_literal(text: &str) -> bool {
    let is_sent = |byte: u8| byte.is_ascii_graphic() && !b"{}?#".contains(&byte);
    text.bytes().all(is_sent) && !text.starts_with([':', '*'])
}

impl HostPattern {
    fn new(text: &str) -> Option<Self> {
        // The root of all names, which a request need not say.
        let text = text.strip_suffix('.').unwrap_or(text);
        let name = text.strip_prefix("*.").unwrap_or(text);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.[]:".contains(c);
        let is_host = !name.is_empty() && name.chars().all(is_plain) && !name.starts_with('.');
        (is_host && without_port(text) == text).then(|| Self(text.to_ascii_lowercase()))
    }

    pub(in crate::policy) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a host, with or without a port, is of this form.
    pub(in crate::policy) fn matches(&self, host: &str) -> bool {
        let host = without_port(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        match self.0.strip_prefix('*') {
            Some(end) => {
                let start = host.len().checked_sub(end.len());
                start.is_some_and(|start| {
                    start > 0 && host.as_bytes()[start..].eq_ignore_ascii_case(end.as_bytes())
                })
            }
            None => host.eq_ignore_ascii_case(&self.0),
        }
    }

    pub(in crate::policy) fn covers(&self, other: &Self) -> bool {
        self == other || self.0.strip_prefix('*').is_some_and(|end| other.0.ends_with(end))
    }
}

/// `host:8080` and `[::1]:8080` without their ports.
pub(in crate::policy) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // Colons without brackets are those of an address.
        Some((name, port))
            if !port.contains(']') && (name.ends_with(']') || !name.contains(':')) =>
        {
            name
        }
        _ => host,
    }
}

impl Scalar for PathPattern {
    fn expected() -> String {
        "a path such as \"/users/{id}\" or \"/static/{*rest}\", percent-encoded and without a query"
            .to_owned()
    }

    fn parse(value: &DeValue<'_>) -> Option<Self> {
        Self::new(value.as_str()?)
    }

    fn schema() -> Json {
        Json::object([("type", Json::text("string")), ("pattern", Json::text("^/"))])
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

impl Scalar for HostPattern {
    fn expected() -> String {
        "a host without a port, such as \"api.example.com\" or \"*.example.com\"".to_owned()
    }

    fn parse(value: &DeValue<'_>) -> Option<Self> {
        Self::new(value.as_str()?)
    }

    fn schema() -> Json {
        String::schema()
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathPattern {
        PathPattern::new(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn paths_are_matched_as_axum_routes_are() {
        let cases = [
            ("/", "/", true),
            ("/users/{id}", "/users/7", true),
            ("/users/{id}", "/users/", false),
            ("/users/{id}", "/users/7/posts", false),
            ("/static/{*rest}", "/static/a/b.css", true),
            ("/static/{*rest}", "/static", false),
            ("/static/{*rest}", "/static/", false),
            ("/{*rest}", "/anything/at/all", true),
            ("/a", "/a/", false),
            ("/a", "/A", false),
            ("/a", "*", false),
        ];
        for (pattern, found, expected) in cases {
            assert_eq!(path(pattern).matches(found), expected, "{pattern} {found}");
        }
        let variables =
            ["/{", "/{}", "/{*}", "/a{b}", "/{*rest}/more", "/{a}{b}", "/:id", "/*", "/*rest"];
        let never_sent = ["", "users", "*", "/a?b=c", "/a#b", "/a b", "/é", "/a\n", "/a\0"];
        for wrong in variables.into_iter().chain(never_sent) {
            assert_eq!(PathPattern::new(wrong), None, "{wrong}");
        }
        for right in ["/a%20b", "/v1/items:batch", "/a*", "/~a/b.c", "/a//b", "/@a,b;c=d"] {
            assert!(path(right).matches(right), "{right}");
        }
    }

    #[test]
    fn a_pattern_covers_another_only_if_it_matches_all_of_it() {
        let cases = [
            ("/{*rest}", "/users/{id}", true),
            ("/users/{id}", "/users/me", true),
            ("/users/{id}", "/users/{name}", true),
            ("/users/me", "/users/{id}", false),
            ("/users/{*rest}", "/users/{id}/posts", true),
            ("/users/{*rest}", "/users", false),
            ("/{*rest}", "/", false),
            ("/{a}", "/", false),
            ("/a/{*rest}", "/a/{*other}", true),
            ("/a/{b}", "/a/{*rest}", false),
        ];
        for (one, other, expected) in cases {
            assert_eq!(path(one).covers(&path(other)), expected, "{one} {other}");
        }
    }

    #[test]
    fn hosts_are_matched_without_case_and_port() {
        let host = |text: &str| HostPattern::new(text).unwrap_or_else(|| panic!("{text}"));
        for found in ["api.example.com", "API.Example.com:8080", "api.example.com."] {
            assert!(host("api.example.com").matches(found), "{found}");
            assert!(host("api.example.com.").matches(found), "{found}");
            assert!(host("*.example.com").matches(found), "{found}");
        }
        for found in ["example.com", ".example.com", "evilexample.com", "", "é"] {
            assert!(!host("*.example.com").matches(found), "{found}");
        }
        assert!(host("[::1]").matches("[::1]:80"));
        for wrong in ["", "*.", "a:80", "a b", "http://a", "*"] {
            assert_eq!(HostPattern::new(wrong), None, "{wrong}");
        }
    }
}

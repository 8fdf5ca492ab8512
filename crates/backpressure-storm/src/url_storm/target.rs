//! What is stormed: the URL, its address, and the request that is sent to it.

use crate::text::parse_field;
use crate::url_storm::failure::with_sources;
use crate::url_storm::options::UrlOptions;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::Full;
use std::fs;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// Longest body that is sent: what a storm of thousands of requests can hold in sockets.
const MAX_BODY_BYTES: u64 = 1 << 20;
/// A resolver asks each of its servers for five seconds, and twice.
const LONGEST_LOOK_UP: Duration = Duration::from_secs(15);
/// In a URL: becomes another number in each request.
const NUMBER: &str = "{n}";

/// What is stormed.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) tls: bool,
    pub(crate) http2: bool,
    /// Without brackets, for the resolver and for TLS.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) method: Method,
    authority: Authority,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
}

impl Target {
    pub(crate) fn of(options: &UrlOptions) -> Result<Self, String> {
        let wrong = |why: &str| format!("{}: {why}", options.url);
        if !options.url.contains("://") {
            return Err(wrong("a URL begins with http:// or https://"));
        }
        if options.url.ends_with("://") {
            return Err(wrong("there is no host"));
        }
        let uri: Uri = options.url.parse().map_err(|error| wrong(&format!("{error}")))?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(wrong("a URL begins with http:// or https://")),
        };
        if options.cacert.is_some() && !tls {
            return Err(wrong("--cacert is for a URL that begins with https://"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("there is no host"))?.clone();
        if authority.as_str().contains('@') {
            return Err(
                "credentials in a URL end in reports; send --header 'authorization: …' instead"
                    .into(),
            );
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("there is no host"));
        }
        let default = if tls { 443 } else { 80 };
        let port = port(&authority, default).map_err(|why| wrong(&why))?;
        let body = body(options.body.as_deref())?;
        let method = match (&options.method, &options.body) {
            (Some(method), _) => method.clone(),
            (None, Some(_)) => Method::POST,
            (None, None) => Method::GET,
        };
        if method == Method::CONNECT {
            return Err("CONNECT asks for a tunnel and not for an answer".into());
        }
        let mut headers = HeaderMap::new();
        headers.insert(HOST, header_value(authority.as_str())?);
        add_headers(&mut headers, &options.headers)?;
        Ok(Self {
            tls,
            http2: options.http2,
            port,
            host,
            method,
            path: uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
            authority,
            headers,
            body,
        })
    }

    /// The request, whole; `number` replaces `{n}`.
    pub(crate) fn request(&self, number: u64) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(if self.tls { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(self.numbered(number));
        *request.uri_mut() = Uri::from_parts(parts).expect("scheme, authority and path make a URI");
        request
    }

    fn numbered(&self, number: u64) -> PathAndQuery {
        if !self.path.as_str().contains(NUMBER) {
            return self.path.clone();
        }
        let path = self.path.as_str().replace(NUMBER, &number.to_string());
        path.parse().expect("digits in a path make a path")
    }

    /// The address to storm: resolved once, so that no later answer of a resolver can move the storm elsewhere.
    pub(crate) async fn resolve(&self, owned: bool) -> Result<Vec<SocketAddr>, String> {
        let wrong = |why: String| format!("the name {} cannot be resolved: {why}", self.host);
        let (found, result) = tokio::sync::oneshot::channel();
        let name = (self.host.clone(), self.port);
        // A thread of its own: the end of the process does not wait for a resolver that hangs.
        std::thread::spawn(move || {
            found.send(name.to_socket_addrs().map(|found| found.collect::<Vec<_>>()))
        });
        let addresses = tokio::time::timeout(LONGEST_LOOK_UP, result).await;
        let addresses = addresses
            .map_err(|_| wrong(format!("no answer within {LONGEST_LOOK_UP:?}")))?
            .map_err(|error| wrong(error.to_string()))?
            .map_err(|error| wrong(with_sources(&error)))?;
        if addresses.is_empty() {
            return Err(format!("the name {} has no address", self.host));
        }
        for address in &addresses {
            check_address(*address, owned)?;
        }
        Ok(addresses)
    }
}

/// Only loopback may be stormed without a promise.
pub(crate) fn check_address(address: SocketAddr, owned: bool) -> Result<(), String> {
    let ip: IpAddr = address.ip().to_canonical();
    if owned || ip.is_loopback() {
        return Ok(());
    }
    Err(format!(
        "{ip} is not on this machine: a storm of a service of others is an attack. If the service is yours, and so is all \
         that it calls, say --i-own-this-service"
    ))
}

/// The port of an authority. One that is no port must not become the default: another service may listen there.
fn port(authority: &Authority, default: u16) -> Result<u16, String> {
    match authority.as_str().rsplit_once(':') {
        Some((_, port)) if !port.is_empty() && !port.ends_with(']') => {
            port.parse().map_err(|_| format!("{port} is no port, which is from 0 to 65535"))
        }
        _ => Ok(default),
    }
}

fn body(given: Option<&str>) -> Result<Bytes, String> {
    let Some(given) = given else { return Ok(Bytes::new()) };
    let bytes = match given.strip_prefix('@') {
        Some(path) => {
            let wrong = |error| format!("--body {given}: {error}");
            if fs::metadata(path).map_err(wrong)?.len() > MAX_BODY_BYTES {
                return Err(format!("--body {given}: more than {MAX_BODY_BYTES} bytes"));
            }
            fs::read(path).map_err(wrong)?
        }
        None => given.as_bytes().to_vec(),
    };
    Ok(Bytes::from(bytes))
}

/// Fields that belong to the connection, which the client writes itself.
const OWN_FIELDS: [HeaderName; 5] = [CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE];

fn add_headers(headers: &mut HeaderMap, given: &[String]) -> Result<(), String> {
    for field in given {
        let wrong = |why: &str| format!("--header {field:?}: {why}");
        let (name, value) = parse_field(field).map_err(|why| wrong(&why))?;
        if OWN_FIELDS.contains(&name) {
            return Err(wrong("this field belongs to the connection, and the client writes it"));
        }
        if name == HOST {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    Ok(())
}

fn header_value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(arguments: &[&str]) -> Result<Target, String> {
        Target::of(&UrlOptions::parsed(arguments)?)
    }

    #[test]
    fn a_body_makes_a_post_and_a_number_makes_every_request_another() {
        let target = target(&["http://[::1]:3000/search?q={n}", "--body", "hi", "-H", "x-a: b"]);
        let target = target.expect("a target");
        assert_eq!((target.host.as_str(), target.port, target.tls), ("::1", 3000, false));
        let request = target.request(7);
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "http://[::1]:3000/search?q=7");
        assert_eq!(
            (&request.headers()["host"], &request.headers()["x-a"]),
            (&"[::1]:3000".parse().unwrap(), &"b".parse().unwrap())
        );
    }

    #[test]
    fn a_url_without_a_port_has_that_of_its_scheme() {
        for (url, port) in [
            ("http://127.0.0.1/", 80),
            ("https://127.0.0.1:/", 443),
            ("http://[::1]/", 80),
            ("https://[::1]:8443/", 8443),
        ] {
            assert_eq!(target(&[url]).expect("a target").port, port, "{url}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_stormed_is_refused_with_the_reason() {
        for (arguments, reason) in [
            (&["127.0.0.1:3000/x"][..], "http://"),
            (&["ftp://127.0.0.1/"], "http://"),
            (&["http://127.0.0.1:99999/"], "99999 is no port"),
            (&["https://[::1]:70000/"], "70000 is no port"),
            (&["http://"], "there is no host"),
            (&["http://127.0.0.1/", "--cacert", "ca.pem"], "https://"),
            (&["http://me:secret@127.0.0.1/"], "authorization"),
            (&["http://127.0.0.1/", "-H", "nonsense"], "name: value"),
            (&["http://127.0.0.1/", "-H", "content-length: 3"], "belongs to the connection"),
            (&["http://127.0.0.1/", "-X", "CONNECT"], "tunnel"),
            (&["http://127.0.0.1/", "--body", "@/no/such/file"], "@/no/such/file"),
        ] {
            let error = target(arguments).expect_err("no target");
            assert!(error.contains(reason), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn only_loopback_is_stormed_without_a_promise() {
        for (address, allowed) in [
            ("127.0.0.1:80", true),
            ("127.9.9.9:80", true),
            ("[::1]:80", true),
            ("[::ffff:127.0.0.1]:80", true),
            ("[::ffff:192.0.2.1]:80", false),
            ("192.0.2.1:80", false),
            ("0.0.0.0:80", false),
            ("[2001:db8::1]:80", false),
        ] {
            let address: SocketAddr = address.parse().expect("an address");
            assert_eq!(check_address(address, false).is_ok(), allowed, "{address}");
            assert!(check_address(address, true).is_ok());
        }
    }
}

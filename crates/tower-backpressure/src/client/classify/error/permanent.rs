//! Errors that a repetition does not repair.
//!
//! Where the types of the causes are known, they decide. Resolvers, connectors and TLS libraries have types of their
//! own, or none, and are told apart by their texts. A text that is not known is that of a failure that may pass.

use std::error::Error;

use super::chain;

/// Whether the next attempt would fail in the same way: the caller made a mistake, such as a URL that cannot be sent
/// to, or its body failed; the host does not exist; or the certificate of the peer is not accepted.
pub(in crate::client::classify) fn is_permanent(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(is_mistake) || chain(error).last().is_some_and(is_permanent_root)
}

#[cfg(feature = "hyper")]
fn is_mistake(cause: &(dyn Error + 'static)) -> bool {
    let hyper_util = cause.downcast_ref::<hyper_util::client::legacy::Error>();
    cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_user)
        || hyper_util.is_some_and(|cause| cause.to_string().starts_with(HYPER_UTIL_MISTAKE))
        || is_mistake_of_reqwest(cause)
}

#[cfg(not(feature = "hyper"))]
fn is_mistake(_cause: &(dyn Error + 'static)) -> bool {
    false
}

/// hyper-util names its kinds of errors in their texts alone, the mistakes of its caller `User…`.
#[cfg(feature = "hyper")]
const HYPER_UTIL_MISTAKE: &str = "client error (User";

/// A response that cannot be decoded is the same the next time.
#[cfg(feature = "reqwest")]
fn is_mistake_of_reqwest(cause: &(dyn Error + 'static)) -> bool {
    let cause = cause.downcast_ref::<reqwest::Error>();
    cause.is_some_and(|cause| cause.is_builder() || cause.is_redirect() || cause.is_decode())
}

#[cfg(all(feature = "hyper", not(feature = "reqwest")))]
fn is_mistake_of_reqwest(_cause: &(dyn Error + 'static)) -> bool {
    false
}

/// Looks at the text of the cause of all others.
fn is_permanent_root(root: &(dyn Error + 'static)) -> bool {
    if has_text_of_the_request(root) {
        return false;
    }
    let text = root.to_string();
    let says = |word: &&str| text.contains(word);
    NO_SUCH_HOST.iter().any(says) || INVALID_URI.iter().any(says) || CERTIFICATE.iter().any(says)
}

/// reqwest's errors contain the URL, which may contain any text.
#[cfg(feature = "reqwest")]
fn has_text_of_the_request(root: &(dyn Error + 'static)) -> bool {
    root.is::<reqwest::Error>()
}

#[cfg(not(feature = "reqwest"))]
fn has_text_of_the_request(_root: &(dyn Error + 'static)) -> bool {
    false
}

/// That the host does not exist, or has no address: `EAI_NONAME` and `EAI_NODATA` of glibc, musl, macOS and the BSDs,
/// and `WSAHOST_NOT_FOUND` of Windows. A resolver that cannot be reached fails with another text. Caches keep such an
/// answer for longer than a request waits for its retries (RFC 2308).
const NO_SUCH_HOST: &[&str] = &[
    "Name or service not known",
    "No address associated with hostname",
    "Name does not resolve",
    "Name has no usable address",
    "nodename nor servname provided",
    "hostname nor servname provided",
    "No such host is known",
];

/// The texts of the connectors of hyper-util and hyper-rustls, and of rustls' type for names.
const INVALID_URI: &[&str] =
    &["invalid URL", "unsupported scheme", "missing scheme", "invalid dns name"];

/// The word that rustls, OpenSSL, Security.framework and SChannel have in the texts of failures to verify.
const CERTIFICATE: &[&str] = &["certificate", "Certificate"];

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn text(text: &str) -> io::Error {
        // As the standard library makes it of the system's answer, and a connector around that.
        io::Error::other(io::Error::other(text.to_owned()))
    }

    #[test]
    fn a_host_that_does_not_exist_is_told_from_a_resolver_that_does_not_respond() {
        for answer in [
            "failed to lookup address information: Name or service not known",
            "failed to lookup address information: No address associated with hostname",
            "failed to lookup address information: Name does not resolve",
            "failed to lookup address information: nodename nor servname provided, or not known",
            "No such host is known. (os error 11001)",
        ] {
            assert!(is_permanent(&text(answer)), "{answer}");
        }
        for answer in [
            "failed to lookup address information: Temporary failure in name resolution",
            "failed to lookup address information: Try again",
            "failed to lookup address information: Non-recoverable failure in name resolution",
            "This is usually a temporary error during hostname resolution. (os error 11002)",
            "request timed out",
        ] {
            assert!(!is_permanent(&text(answer)), "{answer}");
        }
    }

    #[test]
    fn a_certificate_that_is_not_accepted_is_told_from_a_handshake_that_broke() {
        for answer in [
            "invalid peer certificate: UnknownIssuer",
            "invalid peer certificate: certificate expired: verification time 1 (UNIX)",
            "received fatal alert: CertificateRequired",
            "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify failed",
            "The certificate was not trusted.",
            "A certificate chain processed, but terminated in a root certificate which is not trusted",
        ] {
            assert!(is_permanent(&text(answer)), "{answer}");
        }
        for answer in ["tls handshake eof", "received fatal alert: InternalError", "early eof"] {
            assert!(!is_permanent(&text(answer)), "{answer}");
        }
    }
}

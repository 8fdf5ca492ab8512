//! `google.rpc.Status` with a `RetryInfo`, as protocol buffers in base64.
//!
//! Three messages with two fields each do not need a library, which would be a dependency of every server.

use std::time::Duration;

/// Wire types: a number, and bytes with their length.
const VARINT: u8 = 0;
const BYTES: u8 = 2;

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// `Status { code: 1, message: 2, details: 3 }`, of which `details` is one `Any { type_url: 1, value: 2 }` with
/// a `RetryInfo { retry_delay: 1 }`.
pub(super) fn status(code: u8, message: &str, delay: Duration) -> Vec<u8> {
    let (mut duration, mut retry_info, mut any) = (Vec::new(), Vec::new(), Vec::new());
    // google.protobuf.Duration { seconds: 1, nanos: 2 }
    number(&mut duration, 1, delay.as_secs());
    number(&mut duration, 2, delay.subsec_nanos().into());
    bytes(&mut retry_info, 1, &duration);
    bytes(&mut any, 1, RETRY_INFO.as_bytes());
    bytes(&mut any, 2, &retry_info);
    let mut status = Vec::with_capacity(any.len() + message.len() + 8);
    number(&mut status, 1, code.into());
    bytes(&mut status, 2, message.as_bytes());
    bytes(&mut status, 3, &any);
    status
}

fn number(message: &mut Vec<u8>, field: u8, value: u64) {
    message.push(field << 3 | VARINT);
    varint(message, value);
}

fn bytes(message: &mut Vec<u8>, field: u8, value: &[u8]) {
    message.push(field << 3 | BYTES);
    varint(message, value.len() as u64);
    message.extend_from_slice(value);
}

/// Seven bits a byte, the lowest first; the high bit says that more follow.
fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

/// RFC 4648. Metadata of gRPC is sent without padding, bodies of gRPC-Web with it.
pub(super) fn base64(bytes: &[u8], is_padded: bool) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let is_needed = digit <= chunk.len();
            let sextet = (bits >> (18 - 6 * digit) & 63) as usize;
            match (is_needed, is_padded) {
                (true, _) => text.push(char::from(ALPHABET[sextet])),
                (false, true) => text.push('='),
                (false, false) => {}
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let vectors = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let padded = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (plain, padded) in vectors.iter().zip(padded) {
            assert_eq!(base64(plain.as_bytes(), true), padded);
            assert_eq!(base64(plain.as_bytes(), false), padded.trim_end_matches('='));
        }
        assert_eq!(base64(&[0xFB, 0xFF], false), "+/8");
    }

    #[test]
    fn a_status_is_encoded_as_protocol_buffers() {
        let encoded = status(14, "no", Duration::from_millis(300_500));
        let mut expected = vec![0x08, 14, 0x12, 2, b'n', b'o', 0x1A, 0x37, 0x0A, 40];
        expected.extend_from_slice(RETRY_INFO.as_bytes());
        // 300 = 0b10_0101100 and 500 000 000 ns.
        expected.extend_from_slice(&[
            0x12, 11, 0x0A, 9, 0x08, 0xAC, 0x02, 0x10, 0x80, 0xCA, 0xB5, 0xEE, 0x01,
        ]);
        assert_eq!(encoded, expected);
    }
}

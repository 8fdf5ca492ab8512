//! `google.rpc.RetryInfo` in the details of a gRPC status.
//!
//! The field `grpc-status-details-bin` is a `google.rpc.Status` in base64. The few fields that matter are read
//! here, so that no protobuf library is needed:
//!
//! ```text
//! Status    { details: repeated Any = 3 }
//! Any       { type_url: string = 1, value: bytes = 2 }
//! RetryInfo { retry_delay: Duration = 1 }
//! Duration  { seconds: int64 = 1, nanos: int32 = 2 }
//! ```

use std::time::Duration;

use super::value::Value;

/// The delay that the details ask for; `None` where there is no `RetryInfo`, or none that can be read.
pub(super) fn parse(base64: &str) -> Option<Value> {
    let status = decode_base64(base64)?;
    let mut details = Fields(&status).filter_map(|(number, field)| field.bytes_of(3, number));
    details.find_map(|any| {
        let type_url = bytes(any, 1)?;
        type_url.ends_with(b"google.rpc.RetryInfo").then(|| delay(bytes(any, 2).unwrap_or(&[])))
    })
}

/// A missing delay and missing parts of it are zero, and a negative one means "do not retry".
fn delay(retry_info: &[u8]) -> Value {
    let duration = bytes(retry_info, 1).unwrap_or(&[]);
    let part = |number| varint(duration, number).unwrap_or(0) as i64;
    let (seconds, nanos) = (part(1), part(2));
    if seconds < 0 || nanos < 0 {
        return Value::Never;
    }
    let nanos = Duration::from_nanos(nanos.unsigned_abs());
    Value::Delay(Duration::from_secs(seconds.unsigned_abs()).saturating_add(nanos))
}

fn bytes(message: &[u8], wanted: u64) -> Option<&[u8]> {
    Fields(message).filter_map(|(number, field)| field.bytes_of(wanted, number)).last()
}

fn varint(message: &[u8], wanted: u64) -> Option<u64> {
    let values = Fields(message).filter_map(|(number, field)| match field {
        Field::Varint(value) if number == wanted => Some(value),
        _ => None,
    });
    values.last()
}

/// The fields of a message, with their numbers. It ends at the first byte that is none.
struct Fields<'a>(&'a [u8]);

enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

impl<'a> Field<'a> {
    fn bytes_of(self, wanted: u64, number: u64) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) if number == wanted => Some(bytes),
            _ => None,
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Field<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => self.split(8).map(|_| Field::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.split(length)?)
            }
            5 => self.split(4).map(|_| Field::Fixed)?,
            _ => return None,
        };
        Some((tag >> 3, field))
    }
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.split(1)?[0];
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn split(&mut self, length: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(part)
    }
}

/// Base64 of both alphabets, padded or not.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count & 0xFF) as u8);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(base64: &str) -> Option<u128> {
        match parse(base64)? {
            Value::Delay(delay) => Some(delay.as_millis()),
            Value::Never => None,
        }
    }

    /// A status of code 14 with a message, and a `RetryInfo` of 2.5 s.
    const TWO_AND_A_HALF_SECONDS: &str = "CA4SCm92ZXJsb2FkZWQaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIAhCAyrXuAQ==";

    #[test]
    fn the_delay_of_a_retry_info_is_read() {
        assert_eq!(millis(TWO_AND_A_HALF_SECONDS), Some(2_500));
        let message = retry_info(&[0x08, 2, 0x10, 0x80, 0xCA, 0xB5, 0xEE, 0x01]);
        assert_eq!(millis(&encode_base64(&message)), Some(2_500));
        assert_eq!(millis(encode_base64(&message).trim_end_matches('=')), Some(2_500));
    }

    #[test]
    fn a_negative_delay_is_no_retry_and_a_missing_one_is_zero() {
        let minus_one = [0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        assert_eq!(parse(&encode_base64(&retry_info(&minus_one))), Some(Value::Never));
        assert_eq!(millis(&encode_base64(&retry_info(&[]))), Some(0));
    }

    #[test]
    fn details_without_a_retry_info_and_bytes_that_are_no_message_say_nothing() {
        for text in ["", "CA4", "!!!", "/////w", "GgA"] {
            assert_eq!(parse(text), None, "{text}");
        }
        let cut: Vec<_> = (0..TWO_AND_A_HALF_SECONDS.len()).collect();
        for end in cut {
            let _ = parse(&TWO_AND_A_HALF_SECONDS[..end]);
        }
    }

    /// A status whose details are a `RetryInfo` with this duration.
    fn retry_info(duration: &[u8]) -> Vec<u8> {
        let type_url = b"type.googleapis.com/google.rpc.RetryInfo";
        let info = [&[0x0A, duration.len() as u8], duration].concat();
        let any = [&[0x0A, type_url.len() as u8], &type_url[..], &[0x12, info.len() as u8], &info]
            .concat();
        [&[0x08, 14, 0x1A, any.len() as u8], &any[..]].concat()
    }

    fn encode_base64(bytes: &[u8]) -> String {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            for at in 0..4 {
                let six = bits >> (18 - 6 * at) & 63;
                text.push(if at <= chunk.len() { alphabet[six as usize] as char } else { '=' });
            }
        }
        text
    }
}

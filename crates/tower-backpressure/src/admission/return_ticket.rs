//! Return tickets: proof that a request was rejected before and comes back when it was told to.

use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

/// Header of a rejection that holds a ticket, and of the request that comes back with it.
///
/// A request that echoes the value after `Retry-After` has passed goes before new requests of its
/// priority. [`RetryLayer`](crate::RetryLayer) does that by itself; a client with a loop of its own copies
/// the value from the rejection to the next attempt. Nothing breaks if it does not, nor if another
/// replica is asked: a ticket that this layer did not write makes a request no better than a new one.
///
/// ```
/// use http::{Request, Response};
/// use tower_backpressure::RETURN_TICKET;
///
/// fn come_back<B>(rejection: &Response<B>, next: &mut Request<()>) {
///     if let Some(ticket) = rejection.headers().get(RETURN_TICKET) {
///         next.headers_mut().insert(RETURN_TICKET, ticket.clone());
///     }
/// }
/// # come_back(&Response::new(()), &mut Request::new(()));
/// ```
pub const RETURN_TICKET: HeaderName = HeaderName::from_static("x-backpressure-ticket");

/// The same as a static, for look-ups.
pub(crate) static RETURN_TICKET_FIELD: HeaderName = RETURN_TICKET;

/// Issues tickets and accepts each of them once.
///
/// A ticket is a number, the moment it is due, and a keyed hash of the two. The hash is the standard
/// library's SipHash with a random key for each layer. It keeps a caller from making tickets up as long
/// as the hash and the key hold. A forged ticket would gain no more than precedence over new requests.
#[derive(Clone)]
pub(crate) struct ReturnTickets(Arc<Ledger>);

struct Ledger {
    key: RandomState,
    opened: Instant,
    issued: AtomicU64,
    /// A bit for each of the last [`MAX_VALID`] tickets: it has been used.
    used: Box<[AtomicU64]>,
}

/// How long a ticket can be used after it is due. Whole seconds and jitter bring callers back up to
/// two seconds late, or up to a tenth of what they were told where that is longer.
const VALIDITY: Duration = Duration::from_secs(10);
/// Tickets that can be used at a time, the last ones issued: 32 KiB for each layer. At a thousand
/// rejections a second that is more than four minutes.
const MAX_VALID: u64 = 1 << 18;
/// Hexadecimal digits of the number, of the milliseconds when it is due, and of the hash.
const DIGITS: [usize; 3] = [12, 12, 16];
const LENGTH: usize = DIGITS[0] + DIGITS[1] + DIGITS[2];

impl ReturnTickets {
    pub(crate) fn new() -> Self {
        let used = (0..MAX_VALID / 64).map(|_| AtomicU64::new(0)).collect();
        let ledger = Ledger {
            key: RandomState::new(),
            opened: Instant::now(),
            issued: AtomicU64::new(0),
            used,
        };
        Self(Arc::new(ledger))
    }

    /// A ticket for a request that is told to come back at `due`.
    pub(crate) fn issue(&self, due: Instant) -> HeaderValue {
        let number = self.0.issued.fetch_add(1, Ordering::Relaxed);
        let (word, bit) = self.place(number);
        word.fetch_and(!bit, Ordering::Relaxed);
        let due = self.millis(due);
        // Twelve digits are the last six bytes.
        let (number_bytes, due_bytes) = (number.to_be_bytes(), due.to_be_bytes());
        let mut bytes = [0; LENGTH / 2];
        bytes[..6].copy_from_slice(&number_bytes[2..]);
        bytes[6..12].copy_from_slice(&due_bytes[2..]);
        bytes[12..].copy_from_slice(&self.hash(number, due).to_be_bytes());
        let text = hex(bytes);
        HeaderValue::from_maybe_shared(share(&text)).expect("hexadecimal digits are a header value")
    }

    /// Whether the request may hold a ticket. Without any that was issued, the headers are not searched.
    pub(crate) fn may_be_in(&self, headers: &HeaderMap) -> bool {
        self.find(headers).is_some()
    }

    fn find<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let is_any_issued = self.0.issued.load(Ordering::Relaxed) > 0;
        is_any_issued.then(|| headers.get(&RETURN_TICKET_FIELD)).flatten()
    }

    /// Whether the request holds a ticket of ours that is due and was not used before. Uses it.
    pub(crate) fn take(&self, headers: &HeaderMap, now: Instant) -> bool {
        let found = self.find(headers);
        found.is_some_and(|value| self.take_value(value.as_bytes(), now).is_some())
    }

    fn take_value(&self, text: &[u8], now: Instant) -> Option<()> {
        if text.len() != LENGTH {
            return None;
        }
        let (first, rest) = text.split_at(DIGITS[0]);
        let (second, third) = rest.split_at(DIGITS[1]);
        let (number, due) = (read_hex(first)?, read_hex(second)?);
        let is_ours = read_hex(third)? == self.hash(number, due);
        let issued = self.0.issued.load(Ordering::Relaxed);
        let is_known = number < issued && issued - number <= MAX_VALID;
        let late = self.millis(now).checked_sub(due)?;
        if !is_ours || !is_known || u128::from(late) > VALIDITY.as_millis() {
            return None;
        }
        let (word, bit) = self.place(number);
        let before = word.fetch_or(bit, Ordering::Relaxed);
        (before & bit == 0).then_some(())
    }

    fn hash(&self, number: u64, due: u64) -> u64 {
        self.0.key.hash_one((number, due))
    }

    /// Rounded down when written and when read: a caller that comes at the moment is not early.
    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.0.opened).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX) & ((1 << (4 * DIGITS[1])) - 1)
    }

    fn place(&self, number: u64) -> (&AtomicU64, u64) {
        let index = (number % MAX_VALID) as usize;
        (&self.0.used[index / 64], 1 << (index % 64))
    }
}

impl fmt::Debug for ReturnTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReturnTickets").finish_non_exhaustive()
    }
}

/// Tickets that share one allocation: a rejection should cost as few as possible. As long as one of them is in a
/// response, all of their 2.5 kB are in use.
const TICKETS_PER_BLOCK: usize = 64;

thread_local! {
    static BLOCK: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// The text as bytes that can be shared.
fn share(text: &[u8; LENGTH]) -> Bytes {
    let shared = BLOCK.try_with(|block| {
        let mut block = block.borrow_mut();
        if block.capacity() < LENGTH {
            *block = BytesMut::with_capacity(TICKETS_PER_BLOCK * LENGTH);
        }
        block.extend_from_slice(text);
        block.split().freeze()
    });
    // A thread that is ending has no thread-local block any more.
    shared.unwrap_or_else(|_| Bytes::copy_from_slice(text))
}

fn hex(bytes: [u8; LENGTH / 2]) -> [u8; LENGTH] {
    let mut text = [0; LENGTH];
    for (digits, byte) in text.chunks_exact_mut(2).zip(bytes) {
        digits.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
    }
    text
}

/// Without a branch or a table, so that the digits of a ticket are written together.
const fn hex_digit(value: u8) -> u8 {
    b'0' + value + (b'a' - b'0' - 10) * (value > 9) as u8
}

/// At most sixteen digits.
fn read_hex(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |value: u64, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(ticket: HeaderValue) -> HeaderMap {
        HeaderMap::from_iter([(RETURN_TICKET, ticket)])
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_good_once_and_from_its_time_for_its_window() {
        let (tickets, now) = (ReturnTickets::new(), Instant::now());
        let due = now + seconds(5);
        for (at, good) in [
            (now, false),
            (due - Duration::from_millis(1), false),
            (due, true),
            (due + seconds(10), true),
            (due + seconds(11), false),
        ] {
            let headers = with(tickets.issue(due));
            assert_eq!(tickets.take(&headers, at), good, "{:?}", at - now);
            assert!(!tickets.take(&headers, at), "used up, or not good at all");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_that_was_changed_or_comes_from_elsewhere_is_worth_nothing() {
        let (tickets, now) = (ReturnTickets::new(), Instant::now());
        let ticket = tickets.issue(now);
        for index in 0..LENGTH {
            let mut text = ticket.as_bytes().to_vec();
            text[index] = if text[index] == b'0' { b'1' } else { b'0' };
            let changed = HeaderValue::from_bytes(&text).expect("still digits");
            assert!(!tickets.take(&with(changed), now), "digit {index}");
        }
        for text in ["", "0", "x".repeat(LENGTH).as_str(), "0".repeat(LENGTH + 1).as_str()] {
            let value = HeaderValue::from_str(text).expect("ASCII");
            assert!(!tickets.take(&with(value), now), "{text}");
        }
        assert!(!ReturnTickets::new().take(&with(ticket.clone()), now), "another layer's");
        assert!(tickets.take(&with(ticket), now));
        assert!(!tickets.take(&HeaderMap::new(), now));
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_last_tickets_are_known_and_none_is_used_for_another() {
        let (tickets, now) = (ReturnTickets::new(), Instant::now());
        let (old, next) = (with(tickets.issue(now)), with(tickets.issue(now)));
        for _ in 2..MAX_VALID {
            let _ = tickets.issue(now);
        }
        assert!(tickets.take(&old, now));
        let newest = with(tickets.issue(now));
        assert!(!tickets.take(&old, now), "its bit belongs to a newer ticket");
        assert!(tickets.take(&newest, now) && tickets.take(&next, now));
    }
}

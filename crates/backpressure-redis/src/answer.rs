//! What the script answers.

use std::time::Duration;

use redis::{ErrorKind, FromRedisValue, RedisError, Value};
use tower_backpressure::Grant;

/// The most windows of a quota.
const WINDOWS: usize = 4;

/// Reads the answer of the script for a quota with this many windows.
///
/// # Errors
/// When it is of any other form: it is then no answer of this script.
pub(crate) fn grant(answer: Value, windows: usize) -> Result<Grant, RedisError> {
    let malformed =
        || RedisError::from((ErrorKind::UnexpectedReturnType, "an answer of another form"));
    let numbers = Vec::<i64>::from_redis_value(answer).map_err(|_| malformed())?;
    let [claimed, wait, replicas, left @ ..] = numbers.as_slice() else { return Err(malformed()) };
    let number = |number: &i64| u64::try_from(*number).map_err(|_| malformed());
    let mut remaining = [0; WINDOWS];
    if left.len() != windows || windows > WINDOWS {
        return Err(malformed());
    }
    for (slot, left) in remaining.iter_mut().zip(left) {
        *slot = number(left)?;
    }
    let grant = Grant::new(number(claimed)?).retry_after(Duration::from_micros(number(wait)?));
    let replicas = u32::try_from(*replicas).map_err(|_| malformed())?;
    Ok(grant.remaining(remaining).replicas(replicas))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(numbers: &[i64]) -> Value {
        Value::Array(numbers.iter().map(|&number| Value::Int(number)).collect())
    }

    #[test]
    fn an_answer_is_read() {
        let grant = grant(numbers(&[17, 1_500_000, 3, 4, 5]), 2).expect("an answer");
        assert_eq!((grant.claimed, grant.retry_after), (17, Duration::from_millis(1_500)));
        assert_eq!((grant.remaining, grant.replicas), ([4, 5, 0, 0], 3));
    }

    #[test]
    fn answers_of_other_forms_are_errors() {
        let wrong = [
            Value::Nil,
            Value::Okay,
            Value::Int(7),
            Value::Array(Vec::new()),
            numbers(&[1, 2]),
            numbers(&[1, 2, 3]),
            numbers(&[1, 2, 3, 4, 5]),
            numbers(&[-1, 2, 3, 4]),
            numbers(&[1, -2, 3, 4]),
            numbers(&[1, 2, -3, 4]),
            numbers(&[1, 2, i64::MAX, 4]),
            numbers(&[1, 2, 3, -4]),
            Value::Array(vec![Value::Nil, Value::Int(1), Value::Int(1), Value::Int(1)]),
            Value::Array(vec![Value::BulkString(vec![0xFF]); 4]),
            Value::Double(1.5),
        ];
        for answer in wrong {
            assert!(grant(answer.clone(), 1).is_err(), "{answer:?}");
        }
    }
}

//! Dictionaries of structured fields: RFC 9651, section 4.2.2. Integers are read, other values checked only.

/// The value of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Integer(i64),
    /// Of another type.
    Other,
}

/// Calls `member` with each key and value of one line; `None` if the line is malformed.
pub(crate) fn read(line: &[u8], mut member: impl FnMut(&[u8], Item)) -> Option<()> {
    let mut rest = Cursor(line.trim_ascii_end());
    rest.skip(b" \t");
    while !rest.0.is_empty() {
        let key = rest.key()?;
        let value = if rest.takes(b'=') { rest.item_or_list()? } else { Item::Other };
        rest.parameters()?;
        member(key, value);
        rest.skip(b" \t");
        if rest.0.is_empty() {
            break;
        }
        rest.expect(b',')?;
        rest.skip(b" \t");
        // A comma at the end.
        rest.peek()?;
    }
    Some(())
}

/// What is left of a line.
struct Cursor<'a>(&'a [u8]);

/// The longest integer, and the longest integer part of a decimal.
const MAX_INTEGER_DIGITS: usize = 15;
const MAX_WHOLE_DIGITS: usize = 12;
const MAX_FRACTION_DIGITS: usize = 3;

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn takes(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        if taken {
            self.0 = &self.0[1..];
        }
        taken
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.takes(byte).then_some(())
    }

    fn skip(&mut self, bytes: &[u8]) {
        self.take_while(|byte| bytes.contains(&byte));
    }

    fn take_while(&mut self, mut is_part: impl FnMut(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| !is_part(byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        let starts = self.peek().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'*');
        let is_part = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        };
        starts.then(|| self.take_while(is_part))
    }

    fn item_or_list(&mut self) -> Option<Item> {
        if !self.takes(b'(') {
            return self.item();
        }
        loop {
            self.skip(b" ");
            if self.takes(b')') {
                return Some(Item::Other);
            }
            self.item()?;
            self.parameters()?;
            if !matches!(self.peek()?, b' ' | b')') {
                return None;
            }
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.takes(b';') {
            self.skip(b" ");
            self.key()?;
            if self.takes(b'=') {
                self.item()?;
            }
        }
        Some(())
    }

    fn item(&mut self) -> Option<Item> {
        match self.peek()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.quoted(),
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                self.take_while(|byte| {
                    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
                });
                Some(Item::Other)
            }
            b':' => self.bytes(),
            b'?' => {
                self.next()?;
                matches!(self.next()?, b'0' | b'1').then_some(Item::Other)
            }
            b'@' => {
                self.next()?;
                matches!(self.number()?, Item::Integer(_)).then_some(Item::Other)
            }
            b'%' => {
                self.next()?;
                (self.peek()? == b'"').then(|| self.quoted()).flatten()
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Item> {
        let is_negative = self.takes(b'-');
        let whole = self.take_while(|byte| byte.is_ascii_digit());
        if !self.takes(b'.') {
            let has_length = (1..=MAX_INTEGER_DIGITS).contains(&whole.len());
            let digits = std::str::from_utf8(whole).ok().filter(|_| has_length)?;
            let number: i64 = digits.parse().ok()?;
            return Some(Item::Integer(if is_negative { -number } else { number }));
        }
        let fraction = self.take_while(|byte| byte.is_ascii_digit());
        let has_length = (1..=MAX_WHOLE_DIGITS).contains(&whole.len())
            && (1..=MAX_FRACTION_DIGITS).contains(&fraction.len());
        has_length.then_some(Item::Other)
    }

    /// A string, or what follows the `%` of a display string, whose escapes are not decoded.
    fn quoted(&mut self) -> Option<Item> {
        self.expect(b'"')?;
        loop {
            match self.next()? {
                b'"' => return Some(Item::Other),
                b'\\' => matches!(self.next()?, b'"' | b'\\').then_some(())?,
                b' '..=b'~' => {}
                _ => return None,
            }
        }
    }

    fn bytes(&mut self) -> Option<Item> {
        self.expect(b':')?;
        self.take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        self.expect(b':')?;
        Some(Item::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(line: &str) -> Option<Vec<(String, Item)>> {
        let mut members = Vec::new();
        read(line.as_bytes(), |key, item| {
            members.push((String::from_utf8_lossy(key).into_owned(), item));
        })?;
        Some(members)
    }

    #[test]
    fn integers_are_read_and_other_values_are_passed_over() {
        let read =
            members("a=1, b=-2;p=3 ,c;q, d=(1 2.5 tok \"s\\\"\");x=@5, e=?1, f=:aGk=:, g=%\"a\"");
        let read = read.expect("a dictionary");
        let integers: Vec<_> = read.iter().filter(|(_, item)| *item != Item::Other).collect();
        assert_eq!(read.len(), 7);
        assert_eq!(
            integers,
            [&("a".to_owned(), Item::Integer(1)), &("b".to_owned(), Item::Integer(-2))]
        );
        assert_eq!(members(""), Some(Vec::new()));
        assert_eq!(
            members("a=999999999999999"),
            Some(vec![("a".into(), Item::Integer(999_999_999_999_999))])
        );
    }

    #[test]
    fn what_the_grammar_does_not_allow_is_malformed() {
        for line in [
            ",",
            "a,",
            "a b",
            "a=",
            "a=-",
            "a=1.",
            "a=1.1234",
            "a=1234567890123456",
            "A=1",
            "a=(1",
            "a=(1,2)",
            "a=\"x",
            "a=\"\\x\"",
            "a=:x",
            "a=?2",
            "a=@1.5",
            "a=%x",
            "a;",
            "a=1;=2",
            "=1",
            "a=\u{e9}",
        ] {
            assert_eq!(members(line), None, "{line:?}");
        }
    }
}

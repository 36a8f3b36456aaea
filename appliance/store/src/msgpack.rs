//! Reading MessagePack a token at a time, borrowed: what the projector needs of a settled call is told from its bytes without
//! making a hundred strings of them first.

/// One value, or the head of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    Big(u64),
    /// The bytes of a text; whether they are UTF-8 is for the reader to look at.
    Text(&'a [u8]),
    /// So many values follow.
    Array(usize),
    /// So many pairs follow.
    Map(usize),
}

/// Walks the tokens of some bytes. Whatever the bytes are, it ends, and never reads behind them.
#[derive(Clone, Debug)]
pub(crate) struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Tokens<'a> {
        Tokens { bytes, at: 0 }
    }

    /// The next token; `None` at the end, and for what is not used in the journal (floats, binary, extensions).
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Token<'a>> {
        let tag = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(match tag {
            0x00..=0x7f => Token::Int(i64::from(tag)),
            0x80..=0x8f => Token::Map(usize::from(tag & 0x0f)),
            0x90..=0x9f => Token::Array(usize::from(tag & 0x0f)),
            0xa0..=0xbf => self.text(usize::from(tag & 0x1f))?,
            0xc0 => Token::Nil,
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xcc => Token::Int(i64::from(u8::from_be_bytes(self.fixed()?))),
            0xcd => Token::Int(i64::from(u16::from_be_bytes(self.fixed()?))),
            0xce => Token::Int(i64::from(u32::from_be_bytes(self.fixed()?))),
            0xcf => {
                let value = u64::from_be_bytes(self.fixed()?);
                i64::try_from(value).map_or(Token::Big(value), Token::Int)
            }
            0xd0 => Token::Int(i64::from(i8::from_be_bytes(self.fixed()?))),
            0xd1 => Token::Int(i64::from(i16::from_be_bytes(self.fixed()?))),
            0xd2 => Token::Int(i64::from(i32::from_be_bytes(self.fixed()?))),
            0xd3 => Token::Int(i64::from_be_bytes(self.fixed()?)),
            0xd9 => {
                let len = u8::from_be_bytes(self.fixed()?);
                self.text(usize::from(len))?
            }
            0xda => {
                let len = u16::from_be_bytes(self.fixed()?);
                self.text(usize::from(len))?
            }
            0xdb => {
                let len = u32::from_be_bytes(self.fixed()?);
                self.text(usize::try_from(len).ok()?)?
            }
            0xdc => Token::Array(usize::from(u16::from_be_bytes(self.fixed()?))),
            0xdd => Token::Array(usize::try_from(u32::from_be_bytes(self.fixed()?)).ok()?),
            0xde => Token::Map(usize::from(u16::from_be_bytes(self.fixed()?))),
            0xdf => Token::Map(usize::try_from(u32::from_be_bytes(self.fixed()?)).ok()?),
            0xe0..=0xff => Token::Int(i64::from(tag as i8)),
            0xc1 | 0xc4..=0xcb | 0xd4..=0xd8 => return None,
        })
    }

    /// The next value when it is a text; the short ones, which are most, without looking at what else there is.
    #[inline]
    pub(crate) fn next_text(&mut self) -> Option<&'a [u8]> {
        let tag = *self.bytes.get(self.at)?;
        if tag & 0xe0 == 0xa0 {
            let text = self.bytes.get(self.at + 1..)?.get(..usize::from(tag & 0x1f))?;
            self.at += 1 + text.len();
            return Some(text);
        }
        match self.next()? {
            Token::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The next value; numbers of one byte, which are most, without looking at what else there is.
    #[inline]
    pub(crate) fn next_number(&mut self) -> Option<Token<'a>> {
        let tag = *self.bytes.get(self.at)?;
        if tag < 0x80 {
            self.at += 1;
            return Some(Token::Int(i64::from(tag)));
        }
        self.next()
    }

    /// The bytes of the next whole value with all that is in it, and passes it.
    pub(crate) fn skip(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        // Counts what is still to come instead of calling itself: depth costs nothing.
        let mut wanted: usize = 1;
        while wanted > 0 {
            wanted -= 1;
            match self.next()? {
                Token::Array(len) => wanted = wanted.checked_add(len)?,
                Token::Map(len) => wanted = wanted.checked_add(len.checked_mul(2)?)?,
                Token::Nil | Token::Bool(_) | Token::Int(_) | Token::Big(_) | Token::Text(_) => {}
            }
        }
        self.bytes.get(start..self.at)
    }

    /// The bytes that are left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Whether nothing is left.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(*bytes)
    }

    fn text(&mut self, len: usize) -> Option<Token<'a>> {
        let bytes = self.bytes.get(self.at..)?.get(..len)?;
        self.at += len;
        Some(Token::Text(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_width_read_as_they_were_written() {
        let numbers = [0, 1, 127, 128, 255, 256, 65_535, 65_536, u32::MAX as i64, u32::MAX as i64 + 1, i64::MAX];
        for value in numbers.into_iter().flat_map(|value| [value, -value, -value - 1]) {
            let bytes = rmp_serde::to_vec(&value).unwrap();
            let mut tokens = Tokens::new(&bytes);
            assert_eq!(tokens.next(), Some(Token::Int(value)), "{bytes:?}");
            assert!(tokens.is_at_end());
        }
        let bytes = rmp_serde::to_vec(&u64::MAX).unwrap();
        assert_eq!(Tokens::new(&bytes).next(), Some(Token::Big(u64::MAX)));
    }

    #[test]
    fn texts_and_lists_of_every_length_read_and_are_skipped_whole() {
        for len in [0, 1, 31, 32, 255, 256, 65_535, 65_536] {
            let text = "x".repeat(len);
            let bytes = rmp_serde::to_vec(&(&text, vec![Some(true); len], 7)).unwrap();
            let mut tokens = Tokens::new(&bytes);
            assert_eq!(tokens.next(), Some(Token::Array(3)));
            assert_eq!(tokens.next(), Some(Token::Text(text.as_bytes())));
            let list = tokens.clone().next();
            assert_eq!(list, Some(Token::Array(len)));
            assert!(tokens.skip().unwrap().len() > len);
            assert_eq!(tokens.next(), Some(Token::Int(7)));
            for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
                assert_eq!(Tokens::new(&bytes[..cut]).skip(), None, "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_length_that_lies_ends_at_the_bytes() {
        for bytes in
            [&[0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0][..], &[0xdb, 0xff, 0xff, 0xff, 0xff], &[0xdf, 0xff], &[0xc1]]
        {
            assert_eq!(Tokens::new(bytes).skip(), None);
        }
        assert_eq!(Tokens::new(&[0xa2, 0xff]).next(), None);
    }
}

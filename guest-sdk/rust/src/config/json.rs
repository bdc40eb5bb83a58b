//! Reading JSON (RFC 8259) with serde, for configurations and other small texts.
//!
//! It takes what serde_json takes, and nothing else, but for nesting: that ends at 64. It differs from a general reader in two ways: an error names the key it is about, since the operator has never seen
//! the text that a line and column would refer to; and it is small, for it is part of every component. Numbers with a
//! fraction are exact up to 15 digits.

mod number;

use std::borrow::Cow;
use std::fmt::{self, Display};

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, Expected, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use number::Number;

/// Reads a value; the error is for the operator.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = T::deserialize(&mut reader).and_then(|value| match reader.next() {
        None => Ok(value),
        Some(_) => Err(reader.malformed()),
    });
    value.map_err(|error| error.to_string())
}

#[derive(Debug)]
struct Error {
    /// The key, such as `rules[1].find`; empty for the whole.
    place: String,
    message: String,
}

impl Error {
    /// Says that the error is inside this key or `[index]`.
    #[inline(never)]
    fn within(mut self, outer: &str) -> Self {
        let dot = if self.place.is_empty() || self.place.starts_with('[') { "" } else { "." };
        self.place = format!("{outer}{dot}{}", self.place);
        self
    }
}

impl Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.is_empty() {
            true => formatter.write_str(&self.message),
            false => write!(formatter, "{}: {}", self.place, self.message),
        }
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self { place: String::new(), message: message.to_string() }
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {}, found {}", Wanted(expected), Written(unexpected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {}, found {length} values", Wanted(expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("expected one of {}, found {variant:?}", Names(expected)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("unknown key `{field}`; the keys are {}", Names(expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format_args!("`{field}` is missing"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::custom(format_args!("`{field}` stands here twice"))
    }
}

/// What would fit, in the words of TOML, where the reader of a type has those of Rust. The runtime knows the words up to
/// the first comma or `from`, and tells them where it tells nothing else of a component's.
struct Wanted<'a>(&'a dyn Expected);

impl Display for Wanted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.0.to_string();
        formatter.write_str(match words.as_str() {
            "a boolean" => "`true` or `false`",
            "f32" | "f64" => "a number",
            "u8" => "a whole number from 0 to 255",
            "u16" => "a whole number from 0 to 65535",
            "u32" | "usize" => "a whole number from 0 to 4294967295",
            "u64" => "a whole number from 0",
            "i8" => "a whole number from -128 to 127",
            "i16" => "a whole number from -32768 to 32767",
            "i32" | "isize" => "a whole number from -2147483648 to 2147483647",
            "i64" => "a whole number",
            "a string" | "a borrowed string" | "string" | "variant identifier" => "text",
            "unit" => "nothing",
            // A map's and a struct's `expecting`, also one with the number of its elements.
            words if words.starts_with("struct ") || words.starts_with("a map") => "a table",
            words if words.starts_with("enum ") => "text or a table",
            words if ["a sequence", "a tuple", "an array", "tuple "].iter().any(|list| words.starts_with(list)) => {
                "a list"
            }
            words => words,
        })
    }
}

/// Names in a sentence.
struct Names(&'static [&'static str]);

impl Display for Names {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(formatter, "{comma}`{name}`")?;
        }
        Ok(())
    }
}

/// What stands in the configuration, in the words of TOML.
struct Written<'a>(Unexpected<'a>);

impl Display for Written<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Bool(truth) => write!(formatter, "`{truth}`"),
            Unexpected::Unsigned(number) => write!(formatter, "`{number}`"),
            Unexpected::Signed(number) => write!(formatter, "`{number}`"),
            Unexpected::Str(text) => write!(formatter, "the text {text:?}"),
            Unexpected::Other(words) => formatter.write_str(words),
            Unexpected::Float(_) => formatter.write_str("a number with a fraction"),
            Unexpected::Seq => formatter.write_str("a list"),
            Unexpected::Map => formatter.write_str("a table"),
            _ => formatter.write_str("nothing"),
        }
    }
}

struct Reader<'de> {
    text: &'de str,
    at: usize,
    depth: usize,
}

impl<'de> Reader<'de> {
    /// The next byte that is no space, without consuming it.
    fn next(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.as_bytes().get(self.at) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                _ => return Some(*byte),
            }
        }
        None
    }

    fn take(&mut self, byte: u8) -> Result<(), Error> {
        match self.next() {
            Some(next) if next == byte => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.malformed()),
        }
    }

    fn malformed(&self) -> Error {
        de::Error::custom(format_args!("malformed JSON at byte {}", self.at))
    }

    /// The bytes from here on that belong to a word or a number.
    fn word(&mut self) -> &'de str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.bytes().position(|byte| !matches!(byte, b'a'..=b'z' | b'E' | b'0'..=b'9' | b'+' | b'-' | b'.'));
        let word = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        self.at += word.len();
        word
    }

    #[inline(never)]
    fn string(&mut self) -> Result<Cow<'de, str>, Error> {
        self.take(b'"')?;
        let mut text = Cow::Borrowed("");
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let end = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..32));
            let plain = end.and_then(|end| rest.get(..end)).ok_or_else(|| self.malformed())?;
            self.at += plain.len();
            match &mut text {
                Cow::Borrowed("") => text = Cow::Borrowed(plain),
                text => text.to_mut().push_str(plain),
            }
            match self.text.as_bytes().get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.to_mut().push(self.escape()?),
                _ => return Err(self.malformed()),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let letter = self.text.as_bytes().get(self.at + 1).copied();
        self.at += 2;
        Ok(match letter {
            Some(letter @ (b'"' | b'\\' | b'/')) => char::from(letter),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.unit()?;
                let paired = (0xd800..0xdc00).contains(&first) && self.text.get(self.at..self.at + 2) == Some("\\u");
                let second = if paired {
                    self.at += 2;
                    Some(self.unit()?)
                } else {
                    None
                };
                let character = char::decode_utf16([first].into_iter().chain(second)).next();
                character.and_then(Result::ok).ok_or_else(|| self.malformed())?
            }
            _ => return Err(self.malformed()),
        })
    }

    /// Four hexadecimal digits: a UTF-16 code unit.
    fn unit(&mut self) -> Result<u16, Error> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or_else(|| self.malformed())?;
        let mut unit = 0;
        for digit in digits {
            // `from_str_radix` would take a sign.
            let digit = char::from(*digit).to_digit(16).and_then(|digit| u16::try_from(digit).ok());
            unit = unit << 4 | digit.ok_or_else(|| self.malformed())?;
        }
        self.at += 4;
        Ok(unit)
    }

    fn number(&mut self) -> Result<Token<'de>, Error> {
        match Number::read(self.word()).ok_or_else(|| self.malformed())? {
            Number::Unsigned(number) => Ok(Token::Unsigned(number)),
            Number::Signed(number) => Ok(Token::Signed(number)),
            Number::Fraction(number) if number.is_finite() => Ok(Token::Fraction(number)),
            Number::Fraction(_) => Err(de::Error::custom("a number is out of range")),
        }
    }

    /// A value, or the beginning of a list or table. Kept apart from what is compiled once for each type.
    #[inline(never)]
    fn token(&mut self) -> Result<Token<'de>, Error> {
        match self.next() {
            Some(b'"') => self.string().map(Token::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(bracket @ (b'{' | b'[')) => {
                self.at += 1;
                self.depth += 1;
                match bracket {
                    _ if self.depth > DEEPEST => Err(de::Error::custom("nested too deep")),
                    b'{' => Ok(Token::Table),
                    _ => Ok(Token::List),
                }
            }
            _ => match self.word() {
                "true" => Ok(Token::Truth(true)),
                "false" => Ok(Token::Truth(false)),
                "null" => Ok(Token::Null),
                _ => Err(self.malformed()),
            },
        }
    }

    #[inline(never)]
    fn end(&mut self, bracket: u8) -> Result<(), Error> {
        self.depth -= 1;
        self.take(bracket)
    }

    /// Whether another element follows in a list or table that ends with `bracket`.
    #[inline(never)]
    fn another(&mut self, bracket: u8, first: bool) -> Result<bool, Error> {
        match self.next() {
            Some(next) if next == bracket => Ok(false),
            _ if first => Ok(true),
            _ => {
                self.take(b',')?;
                Ok(true)
            }
        }
    }
}

/// How deep lists and tables may stand in each other: the stack of a component is small.
const DEEPEST: usize = 64;

enum Token<'de> {
    Null,
    Truth(bool),
    Unsigned(u64),
    Signed(i64),
    Fraction(f64),
    Text(Cow<'de, str>),
    List,
    Table,
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.token()? {
            Token::Null => visitor.visit_unit(),
            Token::Truth(truth) => visitor.visit_bool(truth),
            Token::Unsigned(number) => visitor.visit_u64(number),
            Token::Signed(number) => visitor.visit_i64(number),
            Token::Fraction(number) => visitor.visit_f64(number),
            Token::Text(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Token::Text(Cow::Owned(text)) => visitor.visit_string(text),
            Token::List => {
                let value = visitor.visit_seq(Elements { reader: self, index: 0 })?;
                self.end(b']')?;
                Ok(value)
            }
            Token::Table => {
                let value = visitor.visit_map(Members { reader: self, key: None, first: true })?;
                self.end(b'}')?;
                Ok(value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.next() {
            Some(b'n') => self.deserialize_any(visitor),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.next() {
            Some(b'"') => visitor.visit_enum(StrDeserializer::new(&self.string()?)),
            Some(b'{') => {
                self.token()?;
                let members = Members { reader: self, key: None, first: true };
                let value = visitor.visit_enum(MapAccessDeserializer::new(members))?;
                self.end(b'}')?;
                Ok(value)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Elements<'a, 'de> {
    reader: &'a mut Reader<'de>,
    index: usize,
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if !self.reader.another(b']', self.index == 0)? {
            return Ok(None);
        }
        let index = self.index;
        self.index += 1;
        seed.deserialize(&mut *self.reader).map(Some).map_err(|error| error.within(&format!("[{index}]")))
    }
}

struct Members<'a, 'de> {
    reader: &'a mut Reader<'de>,
    key: Option<Cow<'de, str>>,
    first: bool,
}

impl<'de> de::MapAccess<'de> for Members<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if !self.reader.another(b'}', self.first)? {
            return Ok(None);
        }
        self.first = false;
        let key = self.key.insert(self.reader.string()?);
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.reader.take(b':')?;
        let key = self.key.take().unwrap_or_default();
        seed.deserialize(&mut *self.reader).map_err(|error| error.within(&key))
    }
}

#[cfg(test)]
mod tests;

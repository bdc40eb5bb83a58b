//! A text of which only the beginning is wanted: it is all that is read of the guest's memory.

use wasmtime::component::__internal::wasmtime_environ::component::StringEncoding;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift};

/// The first bytes of a text, at most so many, cut between characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::component) struct Words<const MOST: usize> {
    pub(in crate::component) text: String,
    /// How many bytes of the guest's memory hold the rest.
    pub(in crate::component) omitted: usize,
}

impl<const MOST: usize> Words<MOST> {
    fn read(memory: &[u8], encoding: StringEncoding, at: usize, length: usize) -> wasmtime::Result<Self> {
        let (wide, units) = match encoding {
            StringEncoding::Utf8 => (false, length),
            StringEncoding::Utf16 => (true, length),
            StringEncoding::CompactUtf16 => (length & UTF16 != 0, length & !UTF16),
        };
        let bytes = if wide { units.checked_mul(2) } else { Some(units) };
        let end = bytes.and_then(|bytes| at.checked_add(bytes));
        let Some(all) = end.and_then(|end| memory.get(at..end)) else {
            return Err(wasmtime::Error::msg("string pointer/length out of bounds of memory"));
        };
        if encoding != StringEncoding::Utf8 && !at.is_multiple_of(2) {
            return Err(wasmtime::Error::msg("string pointer not aligned to 2"));
        }
        let text = match encoding {
            StringEncoding::Utf8 => utf8::<MOST>(all)?.to_owned(),
            _ if wide => utf16(all.get(..MOST).unwrap_or(all), all.len() > MOST)?,
            // Latin-1 takes up to two bytes for each of its own.
            _ => all.iter().take(MOST / 2).map(|byte| char::from(*byte)).collect(),
        };
        let read = match encoding {
            StringEncoding::Utf8 => text.len(),
            _ if wide => text.encode_utf16().count() * 2,
            _ => text.chars().count(),
        };
        Ok(Self { text, omitted: all.len() - read })
    }
}

fn utf8<const MOST: usize>(all: &[u8]) -> wasmtime::Result<&str> {
    let Some(first) = all.get(..MOST).filter(|_| all.len() > MOST) else { return Ok(std::str::from_utf8(all)?) };
    match std::str::from_utf8(first) {
        Ok(text) => Ok(text),
        // A character that goes on behind the cut.
        Err(error) if error.error_len().is_none() => {
            Ok(std::str::from_utf8(first.get(..error.valid_up_to()).unwrap_or_default())?)
        }
        Err(error) => Err(error.into()),
    }
}

/// As many characters as stand in these bytes; of one that is cut off, nothing. Wide text may take half as many bytes
/// again in UTF-8, which the log cuts.
fn utf16(bytes: &[u8], is_cut: bool) -> wasmtime::Result<String> {
    let (units, _) = bytes.as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
    let mut decoded = char::decode_utf16(units).peekable();
    let mut text = String::new();
    while let Some(character) = decoded.next() {
        match character {
            Ok(character) => text.push(character),
            Err(_) if is_cut && decoded.peek().is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(text)
}

/// Marks the length of a compact text that is UTF-16.
const UTF16: usize = 1 << 31;

#[expect(
    unsafe_code,
    reason = "wasmtime asks for this word; what stands here has the layout and the type of a text, which are wasmtime's own"
)]
// SAFETY: it is laid out as `str` is, and only a string's type is accepted.
unsafe impl<const MOST: usize> ComponentType for Words<MOST> {
    const ABI: CanonicalAbiInfo = <str as ComponentType>::ABI;
    type Lower = <str as ComponentType>::Lower;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        <str as ComponentType>::typecheck(ty, types)
    }
}

#[expect(
    unsafe_code,
    reason = "wasmtime asks for this word; what stands here reads the guest's memory within its bounds"
)]
// SAFETY: nothing is read but by checked slices of the memory that the context gives.
unsafe impl<const MOST: usize> Lift for Words<MOST> {
    fn linear_lift_from_flat(
        context: &mut LiftContext<'_>,
        _: InterfaceType,
        flat: &Self::Lower,
    ) -> wasmtime::Result<Self> {
        let [at, length] = flat.each_ref().map(|value| value.get_u32() as usize);
        Self::read(context.memory(), context.options().string_encoding, at, length)
    }

    fn linear_lift_from_memory(
        context: &mut LiftContext<'_>,
        _: InterfaceType,
        bytes: &[u8],
    ) -> wasmtime::Result<Self> {
        let (words, _) = bytes.as_chunks::<4>();
        let mut words = words.iter().map(|word| u32::from_le_bytes(*word) as usize);
        let (Some(at), Some(length)) = (words.next(), words.next()) else {
            return Err(wasmtime::Error::msg("a string has a pointer and a length"));
        };
        Self::read(context.memory(), context.options().string_encoding, at, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(memory: &[u8], encoding: StringEncoding, length: usize) -> wasmtime::Result<(String, usize)> {
        Words::<8>::read(memory, encoding, 0, length).map(|words| (words.text, words.omitted))
    }

    #[test]
    fn a_text_is_read_to_the_last_character_that_has_room() {
        let utf8 = |text: &str| read(text.as_bytes(), StringEncoding::Utf8, text.len()).unwrap();
        assert_eq!(utf8("short"), ("short".to_owned(), 0));
        assert_eq!(utf8("12345678"), ("12345678".to_owned(), 0));
        assert_eq!(utf8("1234567é9"), ("1234567".to_owned(), 3));
        let wide: Vec<u8> = "abc🦀x".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(read(&wide, StringEncoding::Utf16, 6).unwrap(), ("abc".to_owned(), 6));
        assert_eq!(read(&wide, StringEncoding::CompactUtf16, UTF16 | 3).unwrap(), ("abc".to_owned(), 0));
        assert_eq!(read(b"\xe9t\xe9!!", StringEncoding::CompactUtf16, 5).unwrap(), ("été!".to_owned(), 1));
    }

    #[test]
    fn what_is_no_text_or_lies_outside_the_memory_is_refused() {
        assert!(read(b"ab\xffdefghijk", StringEncoding::Utf8, 11).is_err());
        assert!(read(b"abc\xc3", StringEncoding::Utf8, 4).is_err());
        assert!(read(b"abc", StringEncoding::Utf8, 4).is_err());
        assert!(read(b"abcd", StringEncoding::Utf16, usize::MAX).is_err());
        assert!(read(&[0x00, 0xd8, b'a', 0], StringEncoding::Utf16, 2).is_err());
        assert!(Words::<8>::read(b"abcdef", StringEncoding::Utf16, 1, 2).is_err());
    }
}

//! Base 64 with the alphabet for URLs and without padding (RFC 4648 section 5, RFC 7515 section 2).

/// Decodes; `None` when it is not exactly what the encoder makes.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for character in group {
            bits = bits << 6 | sextet(*character)?;
        }
        let [_, first, second, third] = (bits << (24 - 6 * group.len())).to_be_bytes();
        let (kept, rest) = match group.len() {
            4 => (&[first, second, third][..], &[][..]),
            3 => (&[first, second][..], &[third][..]),
            2 => (&[first][..], &[second, third][..]),
            _ => return None,
        };
        if rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(kept);
    }
    Some(bytes)
}

fn sextet(character: u8) -> Option<u32> {
    Some(u32::from(match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rfc_decode() {
        let vectors = [("", ""), ("Zg", "f"), ("Zm8", "fo"), ("Zm9v", "foo"), ("Zm9vYg", "foob"), ("Zm9vYmE", "fooba")];
        for (text, bytes) in vectors {
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(decode("-_8"), Some(vec![0xfb, 0xff]));
    }

    #[test]
    fn what_no_encoder_makes_is_refused() {
        for text in ["Z", "Zg==", "Zh", "Zm9", "Zm+v", "Zm/v", "Zm 9"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}

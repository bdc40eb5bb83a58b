//! What is deflated inflates, with any window, in any pieces.

use flate2::{Decompress, FlushDecompress};
use proptest::prelude::*;

use super::*;
use crate::ws::{Growth, InflateLimits, Inflater, SlidingWindow};

fn inflated(inflater: &mut Inflater, compressed: &[u8]) -> Vec<u8> {
    let limits = InflateLimits { max_size: usize::MAX, max_ratio: None };
    let (mut growth, mut plain) = (Growth::new(limits), Vec::new());
    inflater.inflate(compressed, &mut growth, &mut plain).unwrap();
    inflater.finish(&mut growth, &mut plain).unwrap();
    plain
}

/// Bytes of which some repeat.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let runs = prop::collection::vec((any::<u8>(), 1usize..2000), 0..40);
    runs.prop_map(|runs| {
        runs.into_iter()
            .flat_map(|(seed, length)| (0..length).map(move |index| seed ^ (index % 7).to_le_bytes()[0]))
            .collect()
    })
}

proptest! {
    #[test]
    fn pieces_make_one_message_whatever_they_are(
        bits in 8u8..=15,
        messages in prop::collection::vec(prop::collection::vec(bytes(), 1..4), 1..4),
    ) {
        let mut deflater = Deflater::default();
        let mut inflater = Inflater::new(SlidingWindow { bits, takeover: true });
        for pieces in messages {
            let mut compressed = Vec::new();
            for (index, piece) in pieces.iter().enumerate() {
                deflater.deflate(bits, piece, index + 1 == pieces.len(), &mut compressed);
            }
            prop_assert_eq!(inflated(&mut inflater, &compressed), pieces.concat());
        }
    }
}

#[test]
fn no_piece_refers_to_one_before_it() {
    let mut deflater = Deflater::default();
    let text = b"the same text, which a compressor that remembers would refer to";
    let (mut first, mut second) = (Vec::new(), Vec::new());
    deflater.deflate(15, text, true, &mut first);
    deflater.deflate(15, text, true, &mut second);
    assert_eq!(first, second);
    let mut raw = Decompress::new(false);
    let mut plain = vec![0; 100];
    raw.decompress(&second, &mut plain, FlushDecompress::Sync).unwrap();
    assert_eq!(&plain[..text.len()], text);
}

#[test]
fn nothing_reaches_further_back_than_the_window() {
    // 300 random bytes, twice: worth a reference to a window of 512 bytes, and too far for one of 256.
    let mut seed = 1u32;
    let half: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed.to_be_bytes()[0]
    })
    .take(20_000)
    .collect();
    let plain = [half.clone(), half].concat();
    let size = |bits| {
        let mut compressed = Vec::new();
        Deflater::default().deflate(bits, &plain, true, &mut compressed);
        compressed.len()
    };
    assert!(size(15) < 22_000, "{}", size(15));
    for bits in 8..=14 {
        assert!(size(bits) > 39_000, "{bits} bits: {}", size(bits));
    }
}

#[test]
fn an_empty_message_is_one_byte() {
    for bits in 8..=15 {
        let mut compressed = Vec::new();
        Deflater::default().deflate(bits, b"", true, &mut compressed);
        assert_eq!(compressed, [0], "{bits} bits, RFC 7692 section 7.2.3.6");
    }
}

#[test]
fn text_becomes_smaller() {
    let text = r#"{"type":"message","room":"lobby","text":"hello"},"#.repeat(20);
    let mut compressed = Vec::new();
    Deflater::default().deflate(15, text.as_bytes(), true, &mut compressed);
    assert!(compressed.len() * 5 < text.len(), "{} of {}", compressed.len(), text.len());
}

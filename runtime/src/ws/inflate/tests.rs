//! The examples of RFC 7692 section 7.2.3, what senders may do besides, and what they may not.

use super::*;
use crate::ws::Deflater;

const UNLIMITED: InflateLimits = InflateLimits { max_size: usize::MAX, max_ratio: None };

fn message(inflater: &mut Inflater, payload: &[u8], limits: InflateLimits) -> Result<Vec<u8>, Violation> {
    let (mut growth, mut plain) = (Growth::new(limits), Vec::new());
    inflater.inflate(payload, &mut growth, &mut plain)?;
    inflater.finish(&mut growth, &mut plain)?;
    Ok(plain)
}

fn inflater() -> Inflater {
    Inflater::new(SlidingWindow::LARGEST)
}

#[test]
fn the_examples_of_rfc_7692_section_7_2_3_inflate() {
    let hello: [(&str, &[u8]); 5] = [
        ("7.2.3.1, one block", &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
        ("7.2.3.3, no compression", &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00]),
        ("7.2.3.4, BFINAL", &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]),
        ("7.2.3.5, two blocks", &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00]),
        ("BFINAL, without a byte after it", &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
    ];
    for (section, payload) in hello {
        assert_eq!(message(&mut inflater(), payload, UNLIMITED).unwrap(), b"Hello", "{section}");
    }
    let mut takeover = inflater();
    message(&mut takeover, hello[0].1, UNLIMITED).unwrap();
    let shared = [0xf2, 0x00, 0x11, 0x00, 0x00];
    assert_eq!(message(&mut takeover, &shared, UNLIMITED).unwrap(), b"Hello", "7.2.3.2, a shared window");
    assert_eq!(message(&mut inflater(), &shared, UNLIMITED), Err(Violation::InvalidDeflate), "without that window");
    assert_eq!(message(&mut takeover, &[0x00], UNLIMITED).unwrap(), b"", "7.2.3.6, an empty message");
}

#[test]
fn messages_after_one_that_ended_its_stream_are_read() {
    for ending in [&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00][..], &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]] {
        let mut inflater = inflater();
        for _ in 0..3 {
            assert_eq!(message(&mut inflater, ending, UNLIMITED).unwrap(), b"Hello");
        }
        let plain = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(message(&mut inflater, &plain, UNLIMITED).unwrap(), b"Hello");
    }
}

#[test]
fn a_message_of_no_bytes_at_all_is_empty_and_harms_none_that_follows() {
    let mut inflater = inflater();
    assert_eq!(message(&mut inflater, &[], UNLIMITED).unwrap(), b"");
    assert_eq!(message(&mut inflater, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], UNLIMITED).unwrap(), b"Hello");
}

#[test]
fn what_is_no_deflate_data_is_refused() {
    for garbage in [&[0x07, 1, 2, 3][..], &[0xff; 40], &[0x00, 0x05, 0x00, 0x00, 0x00, 1, 2, 3, 4, 5]] {
        assert_eq!(message(&mut inflater(), garbage, UNLIMITED), Err(Violation::InvalidDeflate), "{garbage:?}");
    }
}

#[test]
fn a_bomb_costs_no_more_than_its_limits() {
    let mut bomb = Vec::new();
    Deflater::default().deflate(15, &vec![0; 64 << 20], true, &mut bomb);
    let cost = |limits| {
        let (mut growth, mut plain) = (Growth::new(limits), Vec::new());
        (inflater().inflate(&bomb, &mut growth, &mut plain), plain.len())
    };
    let (refused, size) = cost(InflateLimits { max_size: 1 << 20, max_ratio: None });
    assert_eq!(refused, Err(Violation::InflatedTooLarge { limit: 1 << 20 }));
    assert!(size <= (1 << 20) + STEP_MAX, "{size} bytes");
    let (refused, size) = cost(InflateLimits { max_size: usize::MAX, max_ratio: Some(200) });
    assert_eq!(refused, Err(Violation::CompressionRatio { limit: 200 }));
    assert!(size <= 200 * (STEP_MAX / 4) + STEP_MAX, "{size} bytes");
}

#[test]
fn the_ratio_does_not_matter_up_to_the_size_of_the_largest_window() {
    let mut compressed = Vec::new();
    let plain = vec![7; 32 << 10];
    Deflater::default().deflate(15, &plain, true, &mut compressed);
    let limits = InflateLimits { max_size: usize::MAX, max_ratio: Some(2) };
    assert_eq!(message(&mut inflater(), &compressed, limits).unwrap(), plain);
}

#[test]
fn a_message_of_exactly_the_largest_size_passes() {
    let plain = vec![b'x'; 1000];
    let mut compressed = Vec::new();
    Deflater::default().deflate(15, &plain, true, &mut compressed);
    let limits = |max_size| InflateLimits { max_size, max_ratio: None };
    assert_eq!(message(&mut inflater(), &compressed, limits(1000)).unwrap(), plain);
    assert_eq!(message(&mut inflater(), &compressed, limits(999)), Err(Violation::InflatedTooLarge { limit: 999 }));
}

#[test]
fn a_message_that_ends_inside_a_block_is_refused() {
    let cut_short = [0x00, 0x0f, 0x00, 0xf0, 0xff, 0x48, 0x65, 0x6c];
    assert_eq!(message(&mut inflater(), &cut_short, UNLIMITED), Err(Violation::InvalidDeflate));
}

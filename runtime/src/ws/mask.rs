//! Masking (RFC 6455 section 5.3): an exclusive or with a repeated key, which is its own inverse.

/// Masks or unmasks a payload, or the start of one, in place.
#[inline]
pub fn apply_mask(payload: &mut [u8], key: [u8; 4]) {
    let word = u32::from_ne_bytes(key);
    // Fixed-size chunks without a bounds check: the compiler makes vector code of this loop.
    let (chunks, rest) = payload.as_chunks_mut::<4>();
    for chunk in chunks {
        *chunk = (u32::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// Appends `payload` to `target`, masked or unmasked with `key`.
#[inline]
#[expect(clippy::indexing_slicing, reason = "the start is a length the vector had before it grew")]
pub fn extend_masked(target: &mut Vec<u8>, payload: &[u8], key: [u8; 4]) {
    let start = target.len();
    target.extend_from_slice(payload);
    apply_mask(&mut target[start..], key);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_is_masked_with_the_key_byte_of_its_position(payload: Vec<u8>, key: [u8; 4]) {
            let mut masked = payload.clone();
            apply_mask(&mut masked, key);
            for (position, (masked, plain)) in masked.iter().zip(&payload).enumerate() {
                prop_assert_eq!(*masked, plain ^ key[position % 4]);
            }
            let mut unmasked = vec![7];
            extend_masked(&mut unmasked, &masked, key);
            prop_assert_eq!(&unmasked[1..], &payload[..]);
        }
    }
}

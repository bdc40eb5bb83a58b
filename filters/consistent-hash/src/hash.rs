//! A 64-bit hash that is the same in every process and release, for keys and endpoint urls.
//!
//! FNV-1a with the final mix of MurmurHash3, because FNV alone leaves the high bits of short texts alike. No secret is
//! in it: a client that may choose its own key may choose its endpoint.

/// The hash of `bytes`; another `seed` gives another, unrelated hash.
pub(crate) fn hash(bytes: &[u8], seed: u64) -> u64 {
    let fnv = bytes.iter().fold(FNV_OFFSET ^ mix(seed), |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME));
    mix(fnv)
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_never_changes_between_releases() {
        assert_eq!(hash(b"", 0), 0xefd0_1f60_ba99_2926);
        assert_eq!(hash(b"10.0.0.1", 0), 0xc879_e56d_dc6c_5c88);
        assert_eq!(hash(b"10.0.0.1", 1), 0x4124_6d2a_ca62_62d1);
    }
}

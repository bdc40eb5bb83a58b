//! Reading every byte, the same way in Tidegate and in the Envoy that it is compared with.

/// The parity of all bytes, many at a time: where a loop goes round the runtime looks at its deadline.
pub(crate) fn fold(payload: &[u8]) -> u8 {
    let (strides, rest) = payload.as_chunks::<128>();
    let wide = strides.iter().copied().reduce(|mut lanes, stride| {
        lanes.iter_mut().zip(stride).for_each(|(lane, byte)| *lane ^= byte);
        lanes
    });
    let wide = wide.map_or(0, |lanes| lanes.iter().fold(0, |parity, byte| parity ^ byte));
    rest.iter().fold(wide, |parity, byte| parity ^ byte)
}

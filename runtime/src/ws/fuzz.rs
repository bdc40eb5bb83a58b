//! Frames of any bytes: the reader's promises, and what a relay has to make of them, written as simply as can be.

use super::{CloseFrame, FrameHeader, FramePlace, FrameSequence, Opcode, Violation, apply_mask};
use crate::metrics::Side;

/// Reads frame headers behind a byte that says whose they are.
///
/// # Panics
/// When a start of the bytes is read otherwise than all of them, or a header is not written as it was read.
pub fn frames(data: &[u8]) {
    let Some((flags, mut rest)) = data.split_first() else { return };
    let sender = if flags & 1 == 0 { Side::Client } else { Side::Upstream };
    let mut sequence = FrameSequence::new(sender, flags & 2 != 0, Some(1 << 20));
    loop {
        let parsed = FrameHeader::parse(rest);
        for start in (0..FrameHeader::MAX_LEN.min(rest.len())).filter_map(|len| rest.get(..len)) {
            let early = FrameHeader::parse(start);
            assert!(early == parsed || early == Ok(None), "{start:?} is {early:?}, and {rest:?} is {parsed:?}");
        }
        let Ok(Some((header, len))) = parsed else { return };
        let mut written = Vec::new();
        header.encode(&mut written);
        assert_eq!(rest.get(..len), Some(written.as_slice()));
        if sequence.accept(&header).is_err() {
            return;
        }
        let payload = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
        let Some(after) = rest.get(len.saturating_add(payload)..) else { return };
        rest = after;
    }
}

/// A frame without its mask; its payload may be cut short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The header, with zeroes for a key.
    pub header: FrameHeader,
    /// As much of the payload as there is.
    pub payload: Vec<u8>,
}

/// A header as it came, its frame, and what follows.
type First<'a> = (FrameHeader, Frame, &'a [u8]);

/// Why frames end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// There are no more bytes.
    Open,
    /// A close frame ended them.
    Close(Option<CloseFrame>),
    /// A mistake did.
    Violation(Violation),
}

impl Frame {
    /// Whether none of the payload is missing.
    pub fn is_whole(&self) -> bool {
        self.payload.len() as u64 == self.header.payload_len
    }

    /// The frame at the start of `bytes`, and what follows it.
    fn first(bytes: &[u8]) -> Result<Option<First<'_>>, Violation> {
        let Some((header, len)) = FrameHeader::parse(bytes)? else { return Ok(None) };
        let rest = bytes.get(len..).unwrap_or_default();
        let len = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
        let (payload, after) = rest.split_at(len.min(rest.len()));
        let mut payload = payload.to_vec();
        if let Some(key) = header.mask {
            apply_mask(&mut payload, key);
        }
        let unmasked = FrameHeader { mask: header.mask.map(|_| [0; 4]), ..header };
        Ok(Some((header, Self { header: unmasked, payload }, after)))
    }
}

/// What went on, as frames of which the last may be cut short.
///
/// # Panics
/// When it is no valid sequence of frames of this sender.
pub fn written(sender: Side, compression: bool, wire: &[u8]) -> Vec<Frame> {
    let mut sequence = FrameSequence::new(sender, compression, None);
    let (mut frames, mut rest) = (Vec::new(), wire);
    while !rest.is_empty() {
        let parsed = Frame::first(rest);
        assert!(matches!(parsed, Ok(Some(_))), "{parsed:?} behind {frames:?}");
        let Ok(Some((header, frame, after))) = parsed else { break };
        let accepted = sequence.accept(&header);
        assert!(accepted.is_ok(), "{accepted:?}: {header:?} behind {frames:?}");
        frames.push(frame);
        rest = after;
    }
    frames
}

/// What a relay has to make of the bytes: everything up to the first mistake or close frame, but pongs that are its own.
pub fn relayed(sender: Side, compression: bool, own_pong: Option<&[u8]>, wire: &[u8]) -> (Vec<Frame>, End) {
    let mut sequence = FrameSequence::new(sender, compression, None);
    let (mut frames, mut rest) = (Vec::new(), wire);
    loop {
        let (header, frame, after) = match Frame::first(rest) {
            Ok(None) => return (frames, End::Open),
            Ok(Some(first)) => first,
            Err(violation) => return (frames, End::Violation(violation)),
        };
        rest = after;
        match (sequence.accept(&header), header.opcode) {
            (Err(violation), _) => return (frames, End::Violation(violation)),
            (Ok(FramePlace::Control), _) if !frame.is_whole() => return (frames, End::Open),
            (_, Opcode::Close) => match CloseFrame::parse(&frame.payload) {
                Err(invalid) => return (frames, End::Violation(invalid.into())),
                Ok(close) => {
                    frames.push(frame);
                    return (frames, End::Close(close));
                }
            },
            (_, Opcode::Pong) if own_pong == Some(&frame.payload) => {}
            _ => frames.push(frame),
        }
    }
}

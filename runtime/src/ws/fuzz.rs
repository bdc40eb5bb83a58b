//! Frames of any bytes: the reader's promises, and what a relay has to make of them, written as simply as can be.

use super::{
    CloseFrame, Deflater, FrameHeader, FrameLimits, FramePlace, FrameSequence, Growth, InflateLimits, Inflater, Opcode,
    SlidingWindow, Violation, apply_mask,
};
use crate::peer::{MessageKind, Side};

/// Reads frame headers behind a byte that says whose they are.
///
/// # Panics
/// When a start of the bytes is read otherwise than all of them, or a header is not written as it was read.
pub fn frames(data: &[u8]) {
    let Some((flags, mut rest)) = data.split_first() else { return };
    let sender = if flags & 1 == 0 { Side::Client } else { Side::Upstream };
    let mut sequence = FrameSequence::new(sender, flags & 2 != 0);
    let limits = FrameLimits { max_size: Some(1 << 20), ..FrameLimits::default() };
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
        if sequence.accept(&header, &limits).is_err() {
            return;
        }
        let payload = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
        let Some(after) = rest.get(len.saturating_add(payload)..) else { return };
        rest = after;
    }
}

/// Inflates what follows four bytes of settings, once whole and once in pieces, and deflates it.
///
/// # Panics
/// When more comes out than the limits allow, the pieces change something, or what was deflated does not inflate to what
/// it was.
pub fn deflate(data: &[u8]) {
    let Some(([bits, size, ratio, piece], bytes)) = data.split_first_chunk::<4>() else { return };
    let window = SlidingWindow { bits: 8 + bits % 8, takeover: true };
    let limits =
        InflateLimits { max_size: usize::from(*size) << 8, max_ratio: (*ratio > 0).then_some(u32::from(*ratio)) };
    let piece = usize::from(*piece).max(1);
    let whole = inflate(&mut Inflater::new(window), limits, [bytes].into_iter());
    if limits.max_ratio.is_none() {
        let pieces = inflate(&mut Inflater::new(window), limits, bytes.chunks(piece));
        assert_eq!(pieces.ok(), whole.ok(), "the pieces change what comes out");
    }
    let (mut deflater, mut compressed) = (Deflater::default(), Vec::new());
    bytes.chunks(piece << 4).for_each(|piece| deflater.deflate(window.bits, piece, false, &mut compressed));
    deflater.deflate(window.bits, &[], true, &mut compressed);
    let again = inflate(&mut Inflater::new(window), UNLIMITED, [compressed.as_slice()].into_iter());
    assert_eq!(again.as_deref(), Ok(bytes));
}

fn inflate<'a>(
    inflater: &mut Inflater,
    limits: InflateLimits,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, Violation> {
    let (mut growth, mut plain) = (Growth::new(limits), Vec::new());
    let mut inflated = Ok(());
    for piece in pieces {
        inflated = inflated.and_then(|()| inflater.inflate(piece, &mut growth, &mut plain));
    }
    inflated = inflated.and_then(|()| inflater.finish(&mut growth, &mut plain));
    assert!(plain.len() <= limits.max_size.saturating_add(STEP), "{} bytes came out", plain.len());
    inflated.map(|()| plain)
}

const UNLIMITED: InflateLimits = InflateLimits { max_size: usize::MAX, max_ratio: None };

/// How far a limit may be passed before it is looked at.
const STEP: usize = 64 << 10;

/// A message as its receiver has it.
pub type Message = (MessageKind, Vec<u8>);

/// What a receiver with this window makes of frames. A message that was inflated on the way has to be sound; others may
/// be anything, and are empty where they are not.
///
/// # Panics
/// When such a message cannot be inflated.
pub fn received(frames: &[Frame], window: SlidingWindow, inflates: impl Fn(MessageKind) -> bool) -> Vec<Message> {
    let (mut inflater, mut messages) = (Inflater::new(window), Vec::new());
    let (mut kind, mut compressed, mut payload) = (MessageKind::Text, false, Vec::new());
    for frame in frames.iter().filter(|frame| !frame.header.opcode.is_control()) {
        if frame.header.opcode != Opcode::Continuation {
            kind = if frame.header.opcode == Opcode::Text { MessageKind::Text } else { MessageKind::Binary };
            compressed = frame.header.reserved == FrameHeader::RSV1;
        }
        payload.extend_from_slice(&frame.payload);
        if !frame.header.fin || !frame.is_whole() {
            continue;
        }
        let mut plain = std::mem::take(&mut payload);
        if compressed {
            if !window.takeover {
                inflater.reset();
            }
            let inflated = inflate(&mut inflater, UNLIMITED, [plain.as_slice()].into_iter());
            assert!(inflated.is_ok() || !inflates(kind), "the receiver cannot inflate {plain:?}: {inflated:?}");
            plain = inflated.unwrap_or_default();
        }
        messages.push((kind, plain));
    }
    messages
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
    let mut sequence = FrameSequence::new(sender, compression);
    let (mut frames, mut rest) = (Vec::new(), wire);
    while !rest.is_empty() {
        let parsed = Frame::first(rest);
        assert!(matches!(parsed, Ok(Some(_))), "{parsed:?} behind {frames:?}");
        let Ok(Some((header, frame, after))) = parsed else { break };
        let accepted = sequence.accept(&header, &FrameLimits::default());
        assert!(accepted.is_ok(), "{accepted:?}: {header:?} behind {frames:?}");
        frames.push(frame);
        rest = after;
    }
    frames
}

/// What a relay has to make of the bytes: everything up to the first mistake or close frame, but pongs that are its own.
pub fn relayed(sender: Side, compression: bool, own_pong: Option<&[u8]>, wire: &[u8]) -> (Vec<Frame>, End) {
    let mut sequence = FrameSequence::new(sender, compression);
    let (mut frames, mut rest) = (Vec::new(), wire);
    loop {
        let (header, frame, after) = match Frame::first(rest) {
            Ok(None) => return (frames, End::Open),
            Ok(Some(first)) => first,
            Err(violation) => return (frames, End::Violation(violation)),
        };
        rest = after;
        match (sequence.accept(&header, &FrameLimits::default()), header.opcode) {
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

//! Compressed messages, case by case.

use super::*;

fn text(plain: &[u8], say: Say) -> Sent {
    Sent { kind: MessageKind::Text, plain: plain.to_vec(), compressed: true, cuts: Vec::new(), say }
}

fn from_upstream(window: SlidingWindow) -> Route {
    Route { from: Side::Upstream, window, wanted: [Some(Need::Whole); 2], limits: LIMITS }
}

#[test]
fn originals_go_on_again_when_both_windows_are_equal_again() {
    let window = SlidingWindow { bits: 10, takeover: true };
    let route = from_upstream(window);
    let line = b"a line of forty bytes, more or less so. ";
    let messages: Vec<Sent> =
        (0..60).map(|index| text(line, if index == 3 { Say::Drop } else { Say::Forward })).collect();
    let mut sender = Sender::new(window);
    let frames: Vec<Vec<u8>> =
        messages.iter().map(|sent| sender.send(Side::Upstream, std::slice::from_ref(sent))).collect();
    let outcome = take(route, &[&frames.concat()], &asked(route, &messages)).unwrap();
    assert_eq!(receive(route, &outcome.wire), expected(route, &messages));
    // A window of 1024 bytes is full after 26 of these lines.
    assert!(outcome.wire.starts_with(&frames[..3].concat()));
    assert!(outcome.wire.ends_with(&frames[4 + 26..].concat()));
    assert!(!outcome.wire.ends_with(&frames[4 + 25..].concat()));
}

#[test]
fn without_context_takeover_originals_go_on_at_once() {
    let window = SlidingWindow { bits: 15, takeover: false };
    let route = from_upstream(window);
    let messages = [text(b"one", Say::Forward), text(b"two", Say::Drop), text(b"three", Say::Forward)];
    let mut sender = Sender::new(window);
    let frames: Vec<Vec<u8>> =
        messages.iter().map(|sent| sender.send(Side::Upstream, std::slice::from_ref(sent))).collect();
    let outcome = take(route, &[&frames.concat()], &asked(route, &messages)).unwrap();
    assert_eq!(outcome.wire, [&frames[0][..], &frames[2]].concat());
}

#[test]
fn what_is_made_of_a_compressed_message_is_compressed_and_of_another_is_not() {
    for compressed in [true, false] {
        let route = from_upstream(SlidingWindow::LARGEST);
        let message = Sent { compressed, ..text(b"something", Say::Replace) };
        let wire = Sender::new(route.window).send(Side::Upstream, std::slice::from_ref(&message));
        let outcome = take(route, &[&wire], &[Say::Replace]).unwrap();
        let (header, _) = FrameHeader::parse(&outcome.wire).unwrap().unwrap();
        assert_eq!(header.reserved == FrameHeader::RSV1, compressed);
        assert_eq!(receive(route, &outcome.wire), [(MessageKind::Text, MADE.to_vec())]);
    }
}

#[test]
fn a_change_of_an_uncompressed_message_leaves_the_compressed_ones_as_they_came() {
    let route = from_upstream(SlidingWindow::LARGEST);
    let messages = [
        text(b"the first of two", Say::Forward),
        Sent { compressed: false, ..text(b"in between", Say::Replace) },
        Sent { compressed: false, ..text(b"in between", Say::Drop) },
        text(b"the second of two", Say::Forward),
    ];
    let mut sender = Sender::new(route.window);
    let frames: Vec<Vec<u8>> =
        messages.iter().map(|sent| sender.send(Side::Upstream, std::slice::from_ref(sent))).collect();
    let outcome = take(route, &[&frames.concat()], &asked(route, &messages)).unwrap();
    assert!(outcome.wire.starts_with(&frames[0]) && outcome.wire.ends_with(&frames[3]));
    assert_eq!(receive(route, &outcome.wire), expected(route, &messages));
}

#[test]
fn the_size_of_a_whole_message_is_what_it_inflates_to() {
    let route = from_upstream(SlidingWindow::LARGEST);
    let message = text(&[b'x'; 5000], Say::Forward);
    let wire = Sender::new(route.window).send(Side::Upstream, std::slice::from_ref(&message));
    let outcome = take(route, &[&wire], &[Say::Forward]).unwrap();
    assert_eq!(outcome.seen, [(MessageKind::Text, 5000, vec![b'x'; 5000])]);
}

#[test]
fn bad_utf_8_inside_a_compressed_text_is_refused() {
    let route = from_upstream(SlidingWindow::LARGEST);
    let wire = Sender::new(route.window).send(Side::Upstream, &[text(b"\xff\xfe", Say::Forward)]);
    assert_eq!(take(route, &[&wire], &[Say::Forward]), Err(Violation::InvalidUtf8));
}

#[test]
fn a_bomb_is_refused_where_its_payload_is_wanted_and_only_there() {
    let window = SlidingWindow::LARGEST;
    let limits = InflateLimits { max_size: 1 << 20, max_ratio: Some(200) };
    let bomb = Sender::new(window).send(Side::Upstream, &[text(&vec![0; 8 << 20], Say::Forward)]);
    let taken = |limits, wanted| {
        let route = Route { limits, wanted: [wanted, Some(Need::Whole)], ..from_upstream(window) };
        take(route, &[&bomb], &[Say::Forward]).map(|outcome| outcome.wire == bomb)
    };
    for wanted in [Need::Whole, Need::Head(2 << 20), Need::Head(4)] {
        assert_eq!(taken(limits, Some(wanted)), Err(Violation::CompressionRatio { limit: 200 }), "{wanted:?}");
    }
    for wanted in [Some(Need::Nothing), None] {
        assert_eq!(taken(limits, wanted), Ok(true), "{wanted:?}");
    }
    let limits = InflateLimits { max_ratio: None, ..limits };
    assert_eq!(taken(limits, Some(Need::Whole)), Err(Violation::InflatedTooLarge { limit: 1 << 20 }));
    assert_eq!(taken(limits, Some(Need::Head(4))), Ok(true));
}

#[test]
fn the_ratio_does_not_matter_any_more_once_the_verdict_has_fallen() {
    let window = SlidingWindow::LARGEST;
    let limits = InflateLimits { max_size: 1 << 20, max_ratio: Some(200) };
    let route = Route { limits, wanted: [Some(Need::Head(4)); 2], ..from_upstream(window) };
    // The head does not compress, and what follows it compresses a thousandfold.
    let head: Vec<u8> = (0..4096_u32).flat_map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let plain = [head, vec![0; 8 << 20]].concat();
    let binary = Sent { kind: MessageKind::Binary, ..text(&plain, Say::Forward) };
    let wire = Sender::new(window).send(Side::Upstream, &[binary]);
    assert_eq!(take(route, &[&wire], &[Say::Forward]).map(|outcome| outcome.wire == wire), Ok(true));
}

#[test]
fn a_message_that_nobody_reads_may_be_of_any_size() {
    for takeover in [true, false] {
        let window = SlidingWindow { bits: 15, takeover };
        let limits = InflateLimits { max_size: 1000, max_ratio: None };
        let route = Route { limits, wanted: [None, Some(Need::Whole)], ..from_upstream(window) };
        let messages = [text(&vec![0; 3 << 20], Say::Forward), text(b"after", Say::Forward)];
        let wire = Sender::new(window).send(Side::Upstream, &messages);
        assert_eq!(take(route, &[&wire], &[]).unwrap().wire, wire);
    }
}

#[test]
fn messages_go_on_anew_until_both_windows_are_equal_although_no_filter_is_left() {
    let window = SlidingWindow { bits: 9, takeover: true };
    let route = from_upstream(window);
    let mut sender = Sender::new(window);
    let mut walk = Walk::new(FrameSequence::new(route.from, true), Limits::on_messages(route.limits.max_size), TOKEN);
    walk.inflate(Inflation::new(window, route.limits));
    walk.want(route.wanted);
    let (mut wire, mut batch) = (Vec::new(), Batch::default());
    let (mut finds, mut deflater, mut deflated) = (Finds::default(), Deflater::default(), Vec::new());
    let line = b"a line of forty bytes, more or less so. ";
    let mut last = Vec::new();
    for index in 0..20 {
        let frame = sender.send(Side::Upstream, &[text(line, Say::Forward)]);
        finds.clear();
        let (next, stop) = walk.walk(&frame, 0, &mut finds);
        assert!(next == frame.len() && stop.is_none());
        batch.load(&finds);
        if index == 1 {
            // The only filter drops this and is never asked again.
            batch.passing.clear();
            walk.want([None; MessageKind::COUNT]);
        }
        let compressing =
            walk.receiver().map(|receiver| Compressing { receiver, deflater: &mut deflater, deflated: &mut deflated });
        Emission { bytes: &frame, finds: &finds, batch: &batch, to: Side::Client, compressing }
            .render(0..finds.items.len(), &mut wire);
        last = frame;
    }
    assert_eq!(receive(route, &wire), vec![(MessageKind::Text, line.to_vec()); 19]);
    assert!(wire.ends_with(&last) && walk.receiver().is_none(), "it is a relay again");
}

#[test]
fn empty_blocks_without_end_are_not_held_for_a_head() {
    let route = Route { wanted: [Some(Need::Head(4)); 2], ..from_upstream(SlidingWindow::LARGEST) };
    let payload = [0, 0, 0, 0xff, 0xff].repeat(1 << 20);
    let mut wire = Vec::new();
    let header = FrameHeader { reserved: FrameHeader::RSV1, ..FrameHeader::new(Opcode::Text, 0) };
    encode_frame(header, &payload, Side::Client, &mut wire);
    assert!(matches!(take(route, &[&wire], &[]), Err(Violation::InflatedTooLarge { .. })));
}

#[test]
fn control_frames_keep_their_place_in_a_message_that_is_deflated_anew() {
    let window = SlidingWindow { bits: 12, takeover: true };
    let route = Route { wanted: [Some(Need::Nothing), Some(Need::Whole)], ..from_upstream(window) };
    let binary = Sent { kind: MessageKind::Binary, ..text(b"changed", Say::Replace) };
    let mut sender = Sender::new(window);
    let mut wire = sender.send(Side::Upstream, &[binary]);
    let payload = sender.deflate(b"a text in two frames, with a ping between them");
    // Far enough behind the code tables of the block for something to come out.
    let (first, second) = payload.split_at(40);
    let header = FrameHeader { fin: false, reserved: FrameHeader::RSV1, ..FrameHeader::new(Opcode::Text, 0) };
    encode_frame(header, first, Side::Client, &mut wire);
    encode(Opcode::Ping, true, b"now", Side::Client, &mut wire);
    encode(Opcode::Continuation, true, second, Side::Client, &mut wire);
    let outcome = take(route, &[&wire], &[Say::Replace, Say::Forward]).unwrap();
    let mut rest = outcome.wire.as_slice();
    let mut opcodes = Vec::new();
    while let Some((header, header_len)) = FrameHeader::parse(rest).unwrap() {
        opcodes.push((header.opcode, header.fin));
        rest = &rest[header_len + usize::try_from(header.payload_len).unwrap()..];
    }
    let frames = [(Opcode::Binary, true), (Opcode::Text, false), (Opcode::Ping, true), (Opcode::Continuation, true)];
    assert_eq!(opcodes, frames);
    assert_eq!(receive(route, &outcome.wire)[1].1, b"a text in two frames, with a ping between them");
}

//! What a filter asks for and answers beside its verdicts, and that there is an end to it.

use super::guests::{Bed, handshake, message};
use super::*;

mod replies {
    use super::*;

    #[test]
    fn an_answer_of_more_messages_than_max_reply_messages_is_a_failure_that_the_instance_survives() {
        let bed = Bed::new();
        let filter = bed.asking(OnFailure::Close, Limits::default());
        let neighbour = bed.session(&filter);
        let failure = bed.session(&filter).on_message(message(b"e")).unwrap_err();
        assert_eq!(failure.reason, FailureReason::ReplySize, "{failure}");
        assert!(failure.message.contains("5000 messages, and its max_reply_messages is 4096"), "{failure}");
        drop(neighbour);
        assert_eq!(bed.session(&filter).on_message(message(b"q")).unwrap(), Verdict::Delay(2), "its state was lost");
    }

    #[test]
    fn a_timer_sends_no_more_messages_than_any_other_answer() {
        let bed = Bed::new();
        let filter = bed.asking(OnFailure::Close, Limits::default());
        let mut session = bed.session(&filter);
        let at = session.next_timer().unwrap();
        let failure = session.on_timer(at).unwrap().unwrap_err();
        assert_eq!(failure.reason, FailureReason::ReplySize, "{failure}");
    }

    /// What comes of these when a filter without `batching` is shown one after the other.
    fn decided(limits: Limits, payloads: &[&[u8]]) -> (usize, Option<FailureReason>) {
        let bed = Bed::new();
        let filter = bed.asking(OnFailure::Close, limits);
        let mut verdicts = Verdicts::default();
        let messages = payloads.iter().map(|payload| message(payload));
        let ended = bed.session(&filter).on_messages(messages, &mut verdicts);
        (verdicts.given(), ended.err().map(|failure| failure.reason))
    }

    #[test]
    fn the_messages_of_all_answers_that_are_held_at_once_count_together() {
        let limits = Limits { max_reply_messages: 100, ..Limits::default() };
        assert_eq!(decided(limits.clone(), &[b"s", b"s"]), (2, None));
        assert_eq!(decided(limits, &[b"s", b"s", b"s"]), (2, Some(FailureReason::ReplySize)));
    }

    #[test]
    fn the_bytes_of_all_answers_that_are_held_at_once_count_together() {
        let limits = Limits { max_reply_size: 10, ..Limits::default() };
        assert_eq!(decided(limits.clone(), &[b"rrrrr", b"rrrrr"]), (2, None));
        assert_eq!(decided(limits, &[b"rrrrr", b"rrrrr", b"r"]), (2, Some(FailureReason::ReplySize)));
    }
}

mod reopening {
    use super::*;

    /// A session whose instance is lost, and that fails when it is opened again; with a neighbour.
    fn lost(bed: &Bed, path: &str) -> (Session, Session, Arc<FilterUse>) {
        let filter = bed.asking(OnFailure::Bypass, Limits::default());
        let (mut session, neighbour) = (bed.session_at(&filter, path), bed.session(&filter));
        session.learn(&[("is".to_owned(), "back".to_owned())]);
        bed.session(&filter).on_message(message(b"t")).unwrap_err();
        (session, neighbour, filter)
    }

    #[test]
    fn a_session_that_asks_for_too_much_when_opened_again_is_over_and_dropped_in_the_guest() {
        let bed = Bed::new();
        let (mut session, mut neighbour, _filter) = lost(&bed, "/greedy");
        let failure = session.on_message(message(b"x")).unwrap_err();
        assert!(failure.message.contains("16 timers"), "{failure}");
        assert!(session.is_bypassed());
        assert_eq!(session.next_timer(), None);
        assert_eq!(neighbour.on_message(message(b"q")).unwrap(), Verdict::Delay(1));
    }

    #[test]
    fn a_session_that_has_failed_is_called_back_no_more() {
        let bed = Bed::new();
        let filter = bed.asking(OnFailure::Bypass, Limits::default());
        let mut session = bed.session(&filter);
        assert!(session.next_timer().is_some());
        session.on_message(message(b"t")).unwrap_err();
        assert_eq!(session.next_timer(), None);
    }

    #[test]
    fn a_session_that_cannot_be_opened_again_is_called_back_no_more() {
        let bed = Bed::new();
        let (mut session, _neighbour, _filter) = lost(&bed, "/trap");
        assert!(session.next_timer().is_some());
        session.on_message(message(b"x")).unwrap_err();
        assert!(session.is_bypassed());
        assert_eq!(session.next_timer(), None);
    }

    #[test]
    fn what_is_opened_in_vain_to_save_its_state_is_dropped_in_the_guest() {
        let bed = Bed::new();
        let (mut session, mut neighbour, filter) = lost(&bed, "/greedy");
        let handshake = Rc::clone(session.handshake());
        let resumed = bed.pool.resume(&filter, &handshake, Some(&mut session)).unwrap();
        assert_eq!(resumed.outcome, crate::metrics::SwapOutcome::Reset);
        assert_eq!(neighbour.on_message(message(b"q")).unwrap(), Verdict::Delay(1));
    }
}

mod attributes {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn only_what_was_set_since_it_was_last_asked_for_is_news() {
        let bed = Bed::new();
        let filter = bed.asking(OnFailure::Close, Limits::default());
        let mut session = bed.session(&filter);
        for (said, news) in [(&b"ax1"[..], pair("x", "1")), (b"ay2", pair("y", "2")), (b"ax3", pair("x", "3"))] {
            session.on_message(message(said)).unwrap();
            assert!(session.has_news());
            assert_eq!(session.take_news(), [news]);
            assert!(!session.has_news());
        }
    }

    #[test]
    fn attributes_count_over_the_life_of_a_session() {
        let bed = Bed::new();
        let filter = bed.asking(OnFailure::Close, Limits { max_attachment_size: 4, ..Limits::default() });
        let mut session = bed.session(&filter);
        for said in [&b"ax1"[..], b"ay2", b"ax3"] {
            session.on_message(message(said)).unwrap();
            session.take_news();
        }
        assert_eq!(session.on_message(message(b"az4")).unwrap_err().reason, FailureReason::Attachments);
    }
}

mod sessions {
    use super::*;
    use crate::component::limits::MAX_SESSIONS;

    #[test]
    fn an_instance_has_more_sessions_than_wasmtime_has_handles_by_itself() {
        let bed = Bed::new();
        let filter = bed.asking(OnFailure::Close, Limits::default());
        let sessions: Vec<_> = (0..100_100).map(|_| bed.session(&filter)).collect();
        drop(sessions);
        assert_eq!(bed.session(&filter).on_message(message(b"q")).unwrap(), Verdict::Delay(100_100));
    }

    #[test]
    fn a_handshake_beyond_the_sessions_of_an_instance_is_a_failure_that_the_others_survive() {
        let bed = Bed::new();
        let filter = bed.asking(OnFailure::Close, Limits::default());
        let (mut session, other) = (bed.session(&filter), bed.session(&filter));
        session.pretend_sessions(MAX_SESSIONS);
        let failure = bed.pool.open(&filter, &Rc::new(handshake("/"))).unwrap_err();
        assert_eq!(failure.reason, FailureReason::Sessions, "{failure}");
        assert!(failure.message.contains("has 524288 sessions"), "{failure}");
        assert!(!failure.reason.is_of_the_component());
        drop(other);
        assert_eq!(session.on_message(message(b"q")).unwrap(), Verdict::Delay(1), "its state was lost");
        bed.session(&filter).on_message(message(b"x")).unwrap();
    }
}

#[test]
fn of_a_text_for_the_log_no_more_is_read_than_is_kept() {
    let bed = Bed::new();
    let failure = bed.session(&bed.asking(OnFailure::Close, Limits::default())).on_message(message(b"l")).unwrap_err();
    // What stands behind is no UTF-8, which is found only where it is read.
    assert_eq!(failure.reason, FailureReason::Trap, "{failure}");
    assert!(failure.message.contains(": xxxx"), "{failure}");
}

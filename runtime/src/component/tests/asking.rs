//! What a filter asks for and answers beside its verdicts, and that there is an end to it.

use super::guests::{Bed, message};
use super::*;

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

//! What a filter delays keeps its place: nothing overtakes it, and it is not lost when the proxy closes.

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use super::piped::{SECOND, close, filter, filtered, frame, local, obedient, send, text, texts, whole_frame};
use crate::component::{Need, Verdict};
use crate::peer::Side;
use crate::pipe::Timers;
use crate::pipe::emit::encode_close;
use crate::ws::{CloseFrame, Opcode};

#[tokio::test(start_paused = true)]
async fn what_stands_behind_a_fragmented_message_in_one_read_does_not_overtake_what_is_delayed() {
    local(async {
        let mut count = 0;
        let filter = filter(Need::Nothing, move |_| {
            count += 200;
            Verdict::Delay(count)
        });
        let mut piped = filtered(Timers::default(), vec![filter]);
        let bye = CloseFrame::new(1000, "bye");
        let wire = [texts(&["A", "B", "C", "D1+", "+D2", "E"]), encode_close(Some(&bye), Side::Upstream)].concat();
        let started = Instant::now();
        piped.client.write_all(&wire).await.unwrap();
        let mut arrived = Vec::new();
        for _ in 0..6 {
            let (_, fin, payload) = whole_frame(&mut piped.upstream).await;
            arrived.push((String::from_utf8(payload).unwrap(), fin, started.elapsed().as_millis()));
        }
        assert_eq!(close(&mut piped.upstream).await, (1000, "bye".to_owned()));
        // A, B, C and D are decided at once, E when D has gone on.
        let expected = [
            ("A", true, 0),
            ("B", true, 200),
            ("C", true, 400),
            ("D1", false, 600),
            ("D2", true, 800),
            ("E", true, 800),
        ];
        let close_to = |(expected, arrived): (&(&str, bool, u128), &(String, bool, u128))| {
            (expected.0, expected.1) == (arrived.0.as_str(), arrived.1) && arrived.2.abs_diff(expected.2) <= 5
        };
        assert!(expected.iter().zip(&arrived).all(close_to), "{arrived:?}");
        assert_eq!(started.elapsed().as_millis() / 100, 18);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn fragmented_messages_are_delayed_like_any_others() {
    local(async {
        let mut piped = filtered(Timers::default(), vec![filter(Need::Nothing, |_| Verdict::Delay(100))]);
        let frames: Vec<&str> = ["one+", "+two"].into_iter().cycle().take(100).collect();
        piped.client.write_all(&texts(&frames)).await.unwrap();
        let started = Instant::now();
        for _ in 0..50 {
            assert_eq!(text(&mut piped.upstream).await, "one");
            assert_eq!(text(&mut piped.upstream).await, "two");
        }
        assert!(started.elapsed().as_millis() >= 4900, "{:?}", started.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_decided_behind_a_delay_before_it_is_over() {
    local(async {
        let asked = std::rc::Rc::new(std::cell::Cell::new(0));
        let count = asked.clone();
        let mut piped = filtered(
            Timers::default(),
            vec![filter(Need::Nothing, move |_| {
                count.set(count.get() + 1);
                Verdict::Delay(1000)
            })],
        );
        piped.client.write_all(&texts(&["a+", "+a", "b+", "+b", "c"])).await.unwrap();
        assert_eq!(text(&mut piped.upstream).await, "a");
        sleep(SECOND / 2).await;
        assert_eq!(asked.get(), 1);
        assert_eq!(text(&mut piped.upstream).await, "a");
        assert_eq!(text(&mut piped.upstream).await, "b");
        assert_eq!(asked.get(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_what_was_delayed_and_for_the_rest_of_its_read() {
    local(async {
        let mut piped = filtered(Timers::default(), vec![obedient()]);
        let frames = ["delay:1000", "one", "two+", "+three", "delay:2000", "four"];
        piped.client.write_all(&texts(&frames)).await.unwrap();
        assert_eq!(text(&mut piped.upstream).await, "delay:1000");
        let started = Instant::now();
        piped.handle.switch.turn(CloseFrame::new(1012, "restart"));
        assert_eq!(close(&mut piped.client).await, (1012, "restart".to_owned()));
        assert_eq!(started.elapsed().as_millis(), 0);
        for expected in ["one", "twothree", "delay:2000", "four"] {
            assert_eq!(text(&mut piped.upstream).await, expected);
        }
        assert_eq!(close(&mut piped.upstream).await, (1012, "restart".to_owned()));
        assert_eq!(started.elapsed().as_secs(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_go_on_at_the_end_of_close_timeout_what_is_delayed_for_longer() {
    local(async {
        let mut piped = filtered(Timers::default(), vec![obedient()]);
        piped.client.write_all(&texts(&["delay:4000000000", "one", "two"])).await.unwrap();
        assert_eq!(text(&mut piped.upstream).await, "delay:4000000000");
        let started = Instant::now();
        piped.handle.switch.turn(CloseFrame::new(1012, "restart"));
        for expected in ["one", "two"] {
            assert_eq!(text(&mut piped.upstream).await, expected);
        }
        assert_eq!(close(&mut piped.upstream).await.0, 1012);
        assert_eq!(started.elapsed(), 5 * SECOND);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_ping_of_ours_does_not_wait_for_what_is_delayed() {
    local(async {
        let timers = Timers { ping_interval: Some(10 * SECOND), ..Timers::default() };
        let mut piped = filtered(timers, vec![obedient()]);
        piped.client.write_all(&texts(&["delay:60000", "later"])).await.unwrap();
        assert_eq!(text(&mut piped.upstream).await, "delay:60000");
        for _ in 0..5 {
            assert_eq!(frame(&mut piped.upstream).await.0, Opcode::Ping);
        }
        while frame(&mut piped.upstream).await.0 == Opcode::Ping {}
        send(&mut piped.upstream, Opcode::Text, b"and back", Side::Client).await;
    })
    .await;
}

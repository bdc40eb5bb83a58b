//! Who an application's client talks to: reads ahead, tells the application of one message after the other, and writes what it
//! has to say. It outlives the connection until its end was told, too.

use std::cell::Cell;
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{join, select};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::asking::{Asking, Fault};
use super::{Answered, greeting};
use crate::bridge::{Event, Farewell, Opens, Outer, Outgoing, Queue, Said, Seat};
use crate::metrics::{EventKind, EventOutcome, Initiator};
use crate::ws::CloseFrame;

/// One connection, as its application knows it.
pub(super) struct Counterpart {
    connection: Box<str>,
    asking: Asking,
    max_message_size: usize,
    /// How many events the application was told.
    told: Cell<u64>,
}

impl Counterpart {
    pub(super) fn new(connection: Box<str>, asking: Asking, max_message_size: usize) -> Self {
        Self { connection, asking, max_message_size, told: Cell::new(0) }
    }

    /// Tells the application all that there is, from the handshake to the end. What it makes of the handshake is `answer`ed.
    pub(super) async fn run(
        self,
        opens: Opens,
        outer: Outer,
        queue: Rc<Queue<Outgoing>>,
        answer: oneshot::Sender<Answered>,
        parted: oneshot::Receiver<Farewell>,
    ) {
        let opened = self.tell(Event::Open(Box::new(opens))).await;
        let farewell = match opened {
            Ok((head, mut said)) => {
                let protocol = greeting(&mut said);
                // Who has asked may have left: then its end is told already.
                let _ = answer.send(Ok((Box::new(head), protocol)));
                self.converse(outer, &queue, said).await;
                parted.await.unwrap_or_else(|_| cut_off())
            }
            Err(fault) => {
                let farewell = Farewell { code: 1006, reason: fault.to_string(), by: Initiator::Proxy };
                let may_have_opened = fault.may_have_opened();
                let _ = answer.send(Err(fault));
                if !may_have_opened {
                    return;
                }
                farewell
            }
        };
        queue.end();
        // Whatever it has to say to that, nobody is there to hear it.
        let _ = self.tell(Event::Close(farewell)).await;
    }

    /// Carries messages until the connection has ended.
    async fn converse(&self, outer: Outer, queue: &Queue<Outgoing>, greeting: Said) {
        let seat = Seat::new(outer, self.max_message_size).await;
        let ahead = Queue::new(self.asking.application.telling.queue);
        let reading = async {
            loop {
                ahead.room().await;
                let message = match seat.next().await {
                    Ok(Some(message)) => message,
                    Ok(None) => break,
                    Err(too_large) => {
                        let close = Some(CloseFrame::new(1009, too_large.to_string()));
                        // Who has gone meanwhile need not hear it.
                        let _ = seat.send(Outgoing { message: None, close }).await;
                        break;
                    }
                };
                let bytes = message.len();
                ahead.put(message, bytes).await;
            }
            ahead.end();
        };
        let telling = async {
            if self.pass(greeting, queue).await {
                while let Some(message) = ahead.next().await {
                    if !self.relay(message, queue).await {
                        break;
                    }
                }
            }
            // What comes behind it goes nowhere.
            ahead.end();
        };
        let writing = async {
            let mut is_there = true;
            while let Some(outgoing) = queue.next().await {
                is_there = is_there && seat.send(outgoing).await.is_ok();
            }
            pending::<()>().await;
        };
        select(pin!(join(reading, telling)), pin!(writing)).await;
    }

    /// Tells the application of a message, and passes on what it answers; whether the connection goes on.
    async fn relay(&self, message: Message, queue: &Queue<Outgoing>) -> bool {
        match self.tell(Event::Message(message)).await {
            Ok((_, said)) => self.pass(said, queue).await,
            Err(fault) => {
                queue.put(Outgoing { message: None, close: Some(fault.close()) }, 0).await;
                queue.end();
                false
            }
        }
    }

    /// Passes on what the application has said; whether the connection goes on.
    async fn pass(&self, said: Said, queue: &Queue<Outgoing>) -> bool {
        for message in said.messages {
            let bytes = message.len();
            queue.put(Outgoing { message: Some(message), close: None }, bytes).await;
        }
        let Some(close) = said.close else { return true };
        queue.put(Outgoing { message: None, close: Some(close) }, 0).await;
        queue.end();
        false
    }

    async fn tell(&self, event: Event) -> Result<(http::response::Parts, Said), Fault> {
        let begun = Instant::now();
        let kind = match event {
            Event::Open(_) => EventKind::Open,
            Event::Message(_) => EventKind::Message,
            Event::Close(_) => EventKind::Close,
        };
        let application = &self.asking.application;
        let sequence = self.told.replace(self.told.get() + 1);
        let (fields, body) = event.request(application.telling.form, &self.connection, sequence);
        let answer = self.asking.ask(fields, body, kind != EventKind::Open).await;
        let answer = match answer {
            // Nobody hears it.
            Ok((head, _)) if kind == EventKind::Close => Ok((head, Said::default())),
            Ok((head, body)) => Said::read(application.telling.form, &head.headers, body)
                .map(|said| (head, said))
                .map_err(Fault::Unintelligible),
            Err(fault) => Err(fault),
        };
        let outcome = answer.as_ref().map_or_else(Fault::outcome, |_| EventOutcome::Answered);
        application.metrics.of(self.asking.worker.index()).event(kind, outcome, begun.elapsed());
        if let Err(fault) = &answer {
            let connection = &*self.connection;
            tracing::debug!(connection, event = kind.label(), sequence, %fault, "an application did not take an event");
        }
        answer
    }
}

fn cut_off() -> Farewell {
    Farewell { code: 1006, reason: "cut off".to_owned(), by: Initiator::Proxy }
}

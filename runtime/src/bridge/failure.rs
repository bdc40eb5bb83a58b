//! What a client is told whose message is not known to be written.

use thiserror::Error;

/// Why a message is not known to be written, or has no answer. The text is for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// Nothing was sent: there is no place in the queue, or its turn has not come in time.
    #[error("too many messages wait for the upstream, and this one was not sent: try again")]
    Busy,
    /// Nothing was sent: others need the room that it took.
    #[error("this proxy has no room for so many messages, and this one was not sent: try again")]
    NoRoom,
    /// The connection has ended meanwhile.
    #[error("the connection to the upstream ended: the message may have been delivered, or not")]
    Lost,
    /// It was sent, or is being, and its time is over.
    #[error("the upstream took too long: the message may have been delivered, or not")]
    Late,
}

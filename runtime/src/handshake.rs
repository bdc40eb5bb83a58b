//! The client's side of the opening handshake.

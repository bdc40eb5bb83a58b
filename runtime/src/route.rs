//! Finding the route of a handshake.

//! Connecting to an endpoint and upgrading the connection.

//! Telling connections to end.

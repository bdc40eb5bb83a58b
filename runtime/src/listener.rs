//! Binding and accepting.

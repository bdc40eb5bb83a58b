//! The standard components, as bytes.

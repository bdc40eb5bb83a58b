//! The Rust SDK for Tidegate components.

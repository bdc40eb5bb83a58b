//! The text format that Prometheus scrapes.

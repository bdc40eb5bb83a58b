//! The admin API and `/metrics`.

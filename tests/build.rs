//! Compiles the guests of this suite.
fn main() {}

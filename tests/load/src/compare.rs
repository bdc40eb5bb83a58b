//! stub
#[derive(Debug, clap::Args)]
/// stub
pub struct CompareArguments {}

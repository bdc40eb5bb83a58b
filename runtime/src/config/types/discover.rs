//! Where endpoints are found.

use super::UpstreamTls;
use crate::config::source::Place;
use crate::discovery::Terms;

/// Where the endpoints of an upstream are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discover {
    /// Who knows them, as far as no file has to be read for it.
    pub terms: Terms,
    /// How TLS is spoken with who knows them; `None`: as is usual.
    pub tls: Option<UpstreamTls>,
    /// Where it is declared.
    pub place: Place,
}

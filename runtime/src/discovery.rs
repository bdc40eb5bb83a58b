//! Where endpoints of upstreams are found: what somebody else knows, again and again, while it changes.
//!
//! A [`Source`] is followed by a task of its own on the control runtime: it says all that there is whenever that is something else,
//! and who follows it hands that in to the upstream's [`Balance`](crate::balance::Balance). A change of endpoints is no reload: no route is another after
//! it, nobody who has a connection hears of it.
//!
//! # What is kept
//!
//! A source that cannot be reached, or answers what nobody can read, takes nothing away: what it has said last stays in force, it is
//! tried again after a pause that grows, and its [`Standing`] says since when and why. An entry that cannot be read leaves what was
//! read under its key before. All endpoints at once may go by a mistake of somebody else, so that an empty set waits for
//! [`Terms::empty_grace`] before it is believed.
//!
//! A new source is a variant of [`Source`] and a file here, whose `follow` ends only with the reason why it cannot go on.

mod consul;
mod dns;
mod entry;
mod etcd;
mod file;
mod follower;
mod report;
mod scout;
mod server;
mod standing;

pub use consul::Consul;
pub use dns::{Dns, Question};
pub use entry::{Entry, MOST_METADATA, MOST_METADATA_SIZE, MOST_WEIGHT, MOST_ZONE};
pub use etcd::Etcd;
pub use scout::{Discovery, Scout, Wanted};
pub use server::{Pem, Server, Tls};
pub use standing::Standing;

use std::path::PathBuf;
use std::time::Duration;

use report::{Lost, Report};

/// Where the endpoints of an upstream are found, and how it is gone about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Who knows them.
    pub source: Source,
    /// How long a set without endpoints is not believed; `None`: it is at once.
    pub empty_grace: Option<Duration>,
}

/// Who knows the endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, by its absolute path.
    File(PathBuf),
    /// Records of a name.
    Dns(Dns),
    /// Keys in etcd.
    Etcd(Box<Etcd>),
    /// A service in Consul.
    Consul(Box<Consul>),
}

impl Source {
    /// What kind of source it is, as the configuration, metrics and the log have it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Dns(_) => "dns",
            Self::Etcd(_) => "etcd",
            Self::Consul(_) => "consul",
        }
    }

    /// Whom it asks over HTTP; `None`: nobody.
    pub fn server_mut(&mut self) -> Option<&mut Server> {
        match self {
            Self::File(_) | Self::Dns(_) => None,
            Self::Etcd(etcd) => Some(&mut etcd.server),
            Self::Consul(consul) => Some(&mut consul.server),
        }
    }

    /// Follows it until that cannot go on.
    async fn follow(&self, report: &Report) -> Lost {
        match self {
            Self::File(path) => file::follow(path, report).await,
            Self::Dns(dns) => dns::follow(dns, report).await,
            Self::Etcd(etcd) => server::follow(&**etcd, report).await,
            Self::Consul(consul) => server::follow(&**consul, report).await,
        }
    }
}

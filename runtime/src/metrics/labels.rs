//! Label values: closed sets, so that a peer cannot make series.

use crate::peer::Side;

/// Declares an enum whose variants are label values.
macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* #[doc = concat!("`", $label, "`")] $variant,)* }

        impl $name {
            /// Every value, in the order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many values there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The value as it stands in a label and in the access log.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

labels! {
    /// Who ended a connection (label `by`).
    Initiator { Client = "client", Upstream = "upstream", Proxy = "proxy", }
}

impl From<Side> for Initiator {
    fn from(side: Side) -> Self {
        match side {
            Side::Client => Self::Client,
            Side::Upstream => Self::Upstream,
        }
    }
}

labels! {
    /// How a handshake ended (label `outcome` of `handshakes_total`).
    HandshakeOutcome {
        /// The client got its 101.
        Upgraded = "upgraded",
        /// 404: no route matched.
        NoRoute = "no_route",
        /// 426: a plain request, or another WebSocket version.
        UpgradeRequired = "upgrade_required",
        /// 400, 405 or 431: a malformed handshake.
        Malformed = "malformed",
        /// 200: an authority was told that a name is ours.
        AcmeChallenge = "acme_challenge",
        /// The route answers by itself, with its own status.
        Answered = "answered",
        /// 308 or another 3xx: the listener, or the route, sends it elsewhere.
        Redirected = "redirected",
        /// 403: a network that the listener or the route does not allow.
        NetworkRefused = "network_refused",
        /// 403: an origin that the route does not allow.
        OriginRefused = "origin_refused",
        /// 401 or 403: no token that holds, and the route asks for one.
        TokenRefused = "token_refused",
        /// 503: the keys of the issuer of tokens could not be had so far.
        IssuerFailed = "issuer_failed",
        /// The server that `authorize` names did not let it in, with its own status.
        NotAuthorized = "not_authorized",
        /// 503: the server that `authorize` names gave no answer.
        AuthorizationFailed = "authorization_failed",
        /// A filter refused, with its own status.
        FilterRefused = "filter_refused",
        /// 503 or 429: a limit of the route was reached.
        Limited = "limited",
        /// 503: a component failed or is in quarantine.
        ComponentFailed = "component_failed",
        /// 503: no endpoint to dial.
        NoEndpoint = "no_endpoint",
        /// 503: an endpoint could not be asked for want of something of this machine, of descriptors mostly.
        Shortage = "shortage",
        /// 502: refused, unreachable or an invalid answer.
        UpstreamFailed = "upstream_failed",
        /// 504: the upstream took too long.
        UpstreamTimeout = "upstream_timeout",
        /// The upstream answered something other than 101, which was relayed.
        UpstreamAnswered = "upstream_answered",
        /// 408: the client took too long.
        ClientTimeout = "client_timeout",
        /// The client left before its answer, or within its request.
        ClientGone = "client_gone",
        /// The client left without a word, as those do that probe a port.
        NoRequest = "no_request",
    }
}

labels! {
    /// How a connection over HTTP/2 ended (label `end` of `http2_connections_total`).
    Http2End {
        /// The client left, or its socket broke.
        Client = "client",
        /// It was told to leave, and did so after its last stream.
        Drained = "drained",
        /// It was without a stream for `http2_idle_timeout`.
        Idle = "idle",
        /// It did not begin with the preface of HTTP/2.
        NoPreface = "no_preface",
        /// The preface has not come within `handshake_timeout`.
        Timeout = "timeout",
        /// The client broke the rules of HTTP/2.
        Violation = "violation",
        /// The client has reset, refused or repeated more than it may: `ENHANCE_YOUR_CALM`.
        Calmed = "calmed",
    }
}

labels! {
    /// How a question whether a client may come in ended (label `outcome` of `authorizations_total`).
    AuthorizationOutcome {
        /// The other server let it in.
        Admitted = "admitted",
        /// It was remembered that the other server has let the same in.
        Cached = "cached",
        /// The other server did not let it in.
        Refused = "refused",
        /// There was no answer in time, or none that could be read.
        Failed = "failed",
        /// As many questions as `max_pending` allows were under way.
        Pending = "pending",
    }
}

labels! {
    /// What an application is told of (label `event` of `application_events_total`).
    EventKind {
        /// A handshake.
        Open = "open",
        /// A message.
        Message = "message",
        /// The end of a connection.
        Close = "close",
    }
}

labels! {
    /// How it ended that an application was told of something (label `outcome` of `application_events_total`).
    EventOutcome {
        /// It has answered with 2xx.
        Answered = "answered",
        /// It has answered with another status.
        Refused = "refused",
        /// It could not be reached: it knows nothing.
        Unreachable = "unreachable",
        /// The connection was lost on which it was told, or its answer broke off.
        Lost = "lost",
        /// It took longer than `timeout`.
        Timeout = "timeout",
        /// Its answer was not understood, or too large.
        Invalid = "invalid",
    }
}

labels! {
    /// What became of something that an application has pushed (label `outcome` of `application_pushes_total`).
    PushOutcome {
        /// It is on its way to the client.
        Taken = "taken",
        /// As much waited for the client as `queue` allows.
        Full = "full",
        /// It was larger than `max_message_size`.
        TooLarge = "too_large",
        /// The connection was about to end.
        Ended = "ended",
    }
}

labels! {
    /// How a TLS handshake with a client ended (label `outcome` of `tls_handshakes_total`).
    TlsOutcome {
        /// Keys were agreed anew.
        Full = "full",
        /// The client has resumed a session.
        Resumed = "resumed",
        /// An authority was shown that a name is ours.
        AcmeChallenge = "acme_challenge",
        /// The client showed no certificate, or none that is valid.
        CertificateRefused = "certificate_refused",
        /// The client spoke no TLS, or the two had too little in common, or it did not believe us.
        Failed = "failed",
        /// The client took too long.
        ClientTimeout = "client_timeout",
        /// The client left within it.
        ClientGone = "client_gone",
    }
}

labels! {
    /// The version of TLS that was agreed (label `version` of `tls_handshakes_total`).
    TlsVersion {
        /// None was.
        None = "",
        Tls12 = "1.2",
        Tls13 = "1.3",
    }
}

labels! {
    /// How an attempt to connect to an endpoint ended (label `outcome` of `upstream_connects_total`).
    ConnectOutcome {
        Connected = "connected",
        /// Its name had no address, or none within `connect_timeout`.
        Unresolved = "unresolved",
        /// No address took the connection, or it was cut.
        Refused = "refused",
        /// This machine had no descriptor, port or memory for it.
        Shortage = "shortage",
        /// The two did not agree about TLS, or the endpoint is not who it has to be.
        TlsFailed = "tls_failed",
        ConnectTimeout = "connect_timeout",
        HandshakeTimeout = "handshake_timeout",
        InvalidAnswer = "invalid_answer",
        Answered = "answered",
    }
}

labels! {
    /// What a component said (label `verdict` of `component_calls_total`).
    CallVerdict {
        Forward = "forward",
        Delay = "delay",
        Replace = "replace",
        Drop = "drop",
        Send = "send",
        Close = "close",
        Admit = "admit",
        Refuse = "refuse",
        Match = "match",
        Mismatch = "mismatch",
        Pick = "pick",
        NoPick = "no_pick",
    }
}

labels! {
    /// How a component failed (label `reason` of `component_failures_total`).
    FailureReason {
        /// It trapped: a panic, an out-of-bounds access, a stack overflow.
        Trap = "trap",
        /// It ran past its deadline.
        Deadline = "deadline",
        /// It asked for more memory than it may have.
        Memory = "memory",
        /// It answered what the contract forbids.
        InvalidAnswer = "invalid_answer",
        /// It could not be instantiated or configured on a worker.
        Start = "start",
        /// It did not take a live connection over from its predecessor.
        Resume = "resume",
        /// It was not called, because a payload is larger than it may be handed.
        MessageSize = "message_size",
        /// It answered with more than one answer may carry.
        ReplySize = "reply_size",
        /// It attached more to a handshake than it may.
        Attachments = "attachments",
        /// It was not called, because there was no place for another instance that serves one connection.
        IsolatedInstances = "isolated_instances",
        /// It was not called, because one of its instances has as many sessions as it may.
        Sessions = "sessions",
        /// It was not called, because it is in quarantine.
        Quarantine = "quarantine",
    }
}

impl FailureReason {
    /// Whether the component is to blame. A message that is too large is its sender's fault, and that there is no place
    /// for another instance, or for another session, is nobody's.
    pub fn is_of_the_component(self) -> bool {
        match self {
            Self::Trap
            | Self::Deadline
            | Self::Memory
            | Self::InvalidAnswer
            | Self::ReplySize
            | Self::Attachments
            | Self::Start
            | Self::Resume => true,
            Self::MessageSize | Self::IsolatedInstances | Self::Sessions | Self::Quarantine => false,
        }
    }
}

labels! {
    /// How a successor of a filter took a live connection over (label `outcome` of `component_swaps_total`).
    SwapOutcome {
        /// The successor serves the connection, with the state that was saved.
        Swapped = "swapped",
        /// The successor serves the connection with an empty state, because the predecessor had failed.
        Reset = "reset",
        /// One of them failed, or the successor refused; the predecessor stays.
        Failed = "failed",
    }
}

labels! {
    /// What came of comparing a shadow with its filter (label `outcome` of `candidate_decisions_total`).
    ShadowOutcome {
        /// Both said the same.
        Agreed = "agreed",
        /// They did not.
        Diverged = "diverged",
        /// The shadow failed.
        Failed = "failed",
        /// It was not asked, or is no longer, because connections need the instance it would have.
        Skipped = "skipped",
    }
}

labels! {
    /// Who has an instance that serves one connection (label `holder` of `isolated_instances`).
    InstanceHolder {
        /// Nobody yet.
        Free = "free",
        /// A connection.
        Connection = "connection",
        /// A candidate that shadows one.
        Shadow = "shadow",
    }
}

labels! {
    /// Why a compressed message could not be inflated (label `reason` of `inflate_failures_total`).
    InflateFailure {
        /// It is no deflate data.
        InvalidData = "invalid_data",
        /// It inflates to more than `max_message_size`.
        Size = "size",
        /// It inflates to more than `max_compression_ratio` times its size.
        Ratio = "ratio",
    }
}

labels! {
    /// The limit that a peer went beyond, by its key in the configuration (label `limit` of `limit_closes_total`).
    Limit {
        MaxMessageSize = "max_message_size",
        MaxFrameSize = "max_frame_size",
        MaxCompressionRatio = "max_compression_ratio",
        MaxFragments = "max_fragments",
        ControlFramesPerSecond = "control_frames_per_second",
        MessageTimeout = "message_timeout",
        AssemblyMemory = "assembly_memory",
    }
}

labels! {
    /// Where a component's machine code came from (label `source` of `component_compiles_total`).
    CompileSource {
        /// It was compiled.
        Compiler = "compiled",
        /// It was in the cache.
        Cache = "cache",
    }
}

labels! {
    /// How a reload ended (label `outcome` of `reloads_total`).
    ReloadOutcome { Applied = "applied", Rejected = "rejected", Unchanged = "unchanged", }
}

labels! {
    /// Why a binary upgrade failed (label `reason` of `upgrade_failures_total`).
    UpgradeFailure {
        /// The new process could not be started.
        Start = "start",
        /// The new process ended before it was ready.
        Ended = "ended",
        /// The new process took longer than `upgrade_timeout`.
        Timeout = "timeout",
    }
}

labels! {
    /// Why a connection was refused before its request was read (label `reason` of `connections_refused_total`).
    ConnectionRefusal {
        /// As many as `max_connections` allows were there.
        MaxConnections = "max_connections",
        /// As many as `max_connections` of the listener allows were there.
        ListenerMaxConnections = "listener_max_connections",
        /// `allow` or `deny` of the listener keeps the client's network out.
        NetworkRefused = "network_refused",
        /// As many of the client's network were there as `max_connections_per_client` of the listener allows.
        MaxConnectionsPerClient = "max_connections_per_client",
        /// The client's network came more often than `handshakes_per_second_per_client` of the listener allows.
        HandshakesPerSecondPerClient = "handshakes_per_second_per_client",
        /// A peer that `trusted_proxies` does not have came to a listener with `proxy_protocol`.
        UntrustedProxy = "untrusted_proxy",
        /// A connection did not begin with a header of the PROXY protocol, or that was not whole within `handshake_timeout`.
        ProxyProtocol = "proxy_protocol",
        /// The process, or the machine, had no descriptor left.
        OpenFiles = "open_files",
    }
}

labels! {
    /// What the admin API did not bear of a client (label `reason` of `admin_refusals_total`).
    AdminRefusal {
        /// As many connections as `max_connections` of `[admin]` allows were being answered.
        MaxConnections = "max_connections",
        /// It had no token that is good for it.
        Token = "token",
        /// It took longer than `send_timeout` of `[admin]` to read an answer.
        SendTimeout = "send_timeout",
    }
}

labels! {
    /// A close code as a label: the registered ones by number, the others by their range.
    CloseLabel {
        Normal = "1000",
        GoingAway = "1001",
        ProtocolError = "1002",
        UnsupportedData = "1003",
        /// A close frame without a code.
        NoStatus = "1005",
        /// The connection ended without a close frame.
        Abnormal = "1006",
        InvalidPayload = "1007",
        PolicyViolation = "1008",
        MessageTooBig = "1009",
        MandatoryExtension = "1010",
        InternalError = "1011",
        ServiceRestart = "1012",
        TryAgainLater = "1013",
        BadGateway = "1014",
        Registered = "3000-3999",
        Private = "4000-4999",
    }
}

impl CloseLabel {
    /// The label of a code that stood in a close frame.
    pub fn of(code: u16) -> Self {
        match code {
            1000 => Self::Normal,
            1001 => Self::GoingAway,
            1002 => Self::ProtocolError,
            1003 => Self::UnsupportedData,
            1005 => Self::NoStatus,
            1007 => Self::InvalidPayload,
            1008 => Self::PolicyViolation,
            1009 => Self::MessageTooBig,
            1010 => Self::MandatoryExtension,
            1011 => Self::InternalError,
            1012 => Self::ServiceRestart,
            1013 => Self::TryAgainLater,
            1014 => Self::BadGateway,
            3000..=3999 => Self::Registered,
            4000..=4999 => Self::Private,
            _ => Self::Abnormal,
        }
    }
}

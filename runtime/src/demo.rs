//! `tidegate demo`: two back ends and the proxy in one process, on an embedded configuration.

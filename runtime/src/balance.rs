//! Endpoints, their effective weights and live counts, and leases on them.

//! Loading and checking the configuration.

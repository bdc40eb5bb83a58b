//! Turning a configuration into a snapshot, off the workers: compile, link, configure, watch.

//! One connection's story: the only place that sees all stages.

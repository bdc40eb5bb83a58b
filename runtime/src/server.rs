//! The life of the process: start, snapshot swap, signals, drain.

//! The log on real files.

//! Where the processors' time goes: `perf` looks at every server process while a load runs, 199 times a second.
//!
//! Nothing is built for it: stacks are unwound from what the release profile keeps for debuggers, so each sample brings a
//! copy of its stack. What the kernel did for a process is in its stacks, too.
//!
//! - [`stacks`] reads what `perf script` prints; [`table`] sums it up; [`perf`] runs the tool and draws the flame graphs.

pub mod perf;
pub mod stacks;
pub mod table;

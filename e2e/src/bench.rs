//! What operations cost and how long they take: a load generator, and the operating system's own accounts beside it.
//!
//! The client shares the machine with what it measures, so it does as little as it can: requests are built and signed
//! before the clock runs, an answer's head is all that is read, and one thread drives all connections.
//!
//! - [`settings`] says what is asked for; [`session`] measures one shape of table after another on a [`subject`].
//! - [`scenario`] has the requests, which [`request`] signs; [`keys`] and [`arrivals`] choose which, and when.
//! - [`load`] runs them on [`driver`]s, one for each thread, over many a [`connection`]; [`histogram`] keeps latencies.
//! - [`accounts`] reads `/proc`; [`ageing`] waits until nodes have lived a little; [`machine`] says what all this ran on.
//! - [`figures`] are outcomes per operation; [`report`] prints them.

pub mod accounts;
pub mod ageing;
pub mod arrivals;
pub mod connection;
pub mod driver;
pub mod figures;
pub mod histogram;
pub mod keys;
pub mod load;
pub mod machine;
pub mod report;
pub mod request;
pub mod scenario;
pub mod session;
pub mod settings;
pub mod subject;

//! Who the processes of a Cluster are to each other: its certificates, in Secrets, renewed in time, and signed anew when their CA changes.
//!
//! ```text
//!               ┌─ authority, leaf: what is due next (pure) ─┐
//!  Secrets ──► keeper                                        ├──► Secrets ──► kubelet ──► the processes' folders
//!  Pods ─────── trust (what each process trusts) ────────────┘
//! ```
//! A CA of the Cluster's own (`mode: Own`) or cert-manager's issuer (`managed`). Every process has a certificate that says who it is, and a
//! node's speaks for that node alone. `mint` makes and reads certificates, `secret` is how they rest. Only `keeper` and `trust` talk
//! to others. Nothing here restarts a process: kubelet replaces the files, and the process reads them anew.

pub mod authority;
pub mod bearer;
pub mod keeper;
pub mod leaf;
pub mod managed;
pub mod mint;
pub mod own;
pub mod sealing;
pub mod secret;
pub mod store;
pub mod told;
pub mod trust;

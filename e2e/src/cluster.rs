//! A Trivet of real processes, each on a host of its own: a network namespace, a disk, links that can be cut.
//!
//! Where a fault is real, the operating system makes it: signals, a file system without room, a block device that is slowed
//! down. Only links are ours: [`network`] carries every packet between two hosts, and delays, loses or drops it.
//!
//! - [`sandbox`] is the room in which all of this is built, and which leaves nothing behind;
//! - [`network`] has the hosts and the links; [`disk`] the nodes' disks;
//! - [`member`] is one process, [`house`] all of them.

pub mod disk;
pub mod house;
pub mod member;
pub mod network;
pub mod sandbox;

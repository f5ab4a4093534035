//! Sealed connections over real sockets: who gets in, who does not and why, what a new certificate changes.

mod authority;
mod doors;
mod folder;
mod refusals;
mod roles;
mod stranger;
mod world;

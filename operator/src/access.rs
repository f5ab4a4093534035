//! A way to the API server, divided among those who may go it.
//!
//! The modules that hold a client are named in `lib`: they do not give it away, and clippy refuses the type everywhere else (`clippy.toml`). So what plans can change nothing, and what changes something is called `apply`, or does one thing.
#![expect(clippy::disallowed_types, reason = "it divides the client")]

use kube::Client;

use crate::apply::Writer;
use crate::resources::Shelf;
use crate::seal::store::Store;
use crate::strays::Strays;
use crate::watch::Watched;

#[derive(Clone)]
pub struct Access {
    /// Of what is planned, and of statuses.
    pub writer: Writer,
    /// Of Tables and Partitions, as `control` writes them.
    pub shelf: Shelf,
    /// Of Secrets with certificates.
    pub store: Store,
    /// Of Tables that no Cluster tends.
    pub strays: Strays,
}

impl Access {
    pub fn new(client: &Client, namespace: &str, watched: &Watched) -> Access {
        let writer = Writer::new(client.clone());
        Access {
            shelf: Shelf::new(client.clone(), writer.clone(), namespace, watched),
            store: Store::new(client.clone(), namespace),
            strays: Strays::new(client.clone(), namespace, writer.clone()),
            writer,
        }
    }
}

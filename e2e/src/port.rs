//! A port for a process that is started later, perhaps more than once.
//!
//! It is taken from above those that `trivet local` gives its processes and below those that the kernel gives out: a port of the
//! kernel's that is merely free may be anybody's before it is bound. Whoever takes one holds the UDP port of its number: two who
//! ask at the same moment never get one for both.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::Context;

const FIRST_PORT: u16 = 32_000;
const LAST_PORT: u16 = 32_767;

/// Nobody else's as long as it is held.
pub struct Port {
    pub address: SocketAddr,
    _reserved: UdpSocket,
}

impl Port {
    pub fn reserve() -> anyhow::Result<Port> {
        (FIRST_PORT..=LAST_PORT).find_map(Port::take).context("no port is left to reserve")
    }

    fn take(port: u16) -> Option<Port> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let reserved = UdpSocket::bind(address).ok()?;
        TcpListener::bind(address).ok()?;
        Some(Port { address, _reserved: reserved })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_held_is_given_to_nobody_else() {
        let (one, other) = (Port::reserve().unwrap(), Port::reserve().unwrap());
        assert_ne!(one.address, other.address);
        TcpListener::bind(one.address).unwrap();
    }
}

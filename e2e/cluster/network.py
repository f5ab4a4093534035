"""One bridge on this machine, and a network namespace for the control plane and for each Kubernetes node."""

import hashlib
from dataclasses import dataclass

from layout import sh

BRIDGE = "trivet0"
GATEWAY = "172.30.0.1"
CONTROL_ADDRESS = "172.30.0.2"
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
PODS = "10.244.0.0/16"


@dataclass(frozen=True)
class Host:
    """One end on the bridge. `pods` is the network of its Pods; the control plane has none."""

    name: str
    netns: str
    link: str
    address: str
    pods: str | None
    labels: dict

    def in_network(self):
        return ("nsenter", f"--net=/run/netns/{self.netns}")


def short(text):
    """Links have at most 15 letters."""
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def control_host(cluster):
    return Host("control-plane", f"trivet-{cluster}-control", f"tv{short(cluster)}c", CONTROL_ADDRESS, None, {})


def worker(cluster, index, labels):
    """Called as kind calls them."""
    name = f"{cluster}-worker{index + 1 if index else ''}"
    return Host(name, f"trivet-{cluster}-{index}", f"tv{short(cluster)}{index}", f"172.30.0.{10 + index}", f"10.244.{index}.0/24", labels)


def make(control, workers):
    sh("ip", "link", "add", BRIDGE, "type", "bridge")
    sh("ip", "addr", "add", f"{GATEWAY}/24", "dev", BRIDGE)
    sh("ip", "link", "set", BRIDGE, "up")
    sh("sysctl", "-qw", "net.ipv4.ip_forward=1")
    for host in (control, *workers):
        join(host)
        if host.pods:
            sh("ip", "route", "replace", host.pods, "via", host.address)
        for other in workers:
            if other != host:
                sh("ip", "-n", host.netns, "route", "replace", other.pods, "via", other.address)


def join(host):
    sh("ip", "netns", "add", host.netns)
    sh("ip", "link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.netns)
    sh("ip", "link", "set", host.link, "master", BRIDGE, "up")
    inside = ("ip", "-n", host.netns)
    sh(*inside, "addr", "add", f"{host.address}/24", "dev", "eth0")
    for link in ("eth0", "lo"):
        sh(*inside, "link", "set", link, "up")
    sh(*inside, "route", "add", "default", "via", GATEWAY)
    sh("ip", "netns", "exec", host.netns, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")


def plug(host, up):
    sh("ip", "link", "set", host.link, "up" if up else "down")


def remove(control, workers):
    """What may be half made may be half gone: nothing here minds what is missing."""
    for host in (control, *workers):
        if host.pods:
            sh("ip", "route", "del", host.pods, check=False)
        sh("ip", "link", "del", host.link, check=False)
        sh("ip", "netns", "del", host.netns, check=False)
    sh("ip", "link", "del", BRIDGE, check=False)

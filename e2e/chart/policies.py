"""NetworkPolicy, evaluated: who may connect to whom. As Kubernetes has it: a Pod that a policy selects for a direction may only do
what some policy that selects it allows, and a connection needs both ends' leave."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pod:
    """One end of a connection."""

    labels: dict
    namespace: str


def selects(selector, labels):
    if set(selector) - {"matchLabels"}:
        raise AssertionError(f"a selector that this evaluation does not know: {selector}")
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def peer_is(peer, other, home):
    if set(peer) - {"podSelector", "namespaceSelector"}:
        raise AssertionError(f"a peer that this evaluation does not know: {peer}")
    names = {"kubernetes.io/metadata.name": other.namespace}
    near = selects(peer["namespaceSelector"], names) if "namespaceSelector" in peer else other.namespace == home
    return near and selects(peer.get("podSelector", {}), other.labels)


def way_is_free(policies, direction, pod, other, protocol, port):
    """`direction` is Ingress or Egress of `pod`."""
    mine = [policy for policy in policies
            if policy["metadata"]["namespace"] == pod.namespace and selects(policy["spec"]["podSelector"], pod.labels)
            and direction in policy["spec"]["policyTypes"]]
    if not mine:
        return True
    side = {"Ingress": "from", "Egress": "to"}[direction]
    for policy in mine:
        for rule in policy["spec"].get(direction.lower()) or []:
            ports = rule.get("ports")
            port_is_free = ports is None or {"protocol": protocol, "port": port} in ports
            peers = rule.get(side)
            if port_is_free and (peers is None or any(peer_is(peer, other, pod.namespace) for peer in peers)):
                return True
    return False


def may_connect(policies, source, target, port, protocol="TCP"):
    return (way_is_free(policies, "Egress", source, target, protocol, port)
            and way_is_free(policies, "Ingress", target, source, protocol, port))

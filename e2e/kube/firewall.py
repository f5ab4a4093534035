"""Cuts the Pods of the zones' Kubernetes nodes off from the API server, and counts what they tried to send there."""

import json

from tools import eventually, expect

CHAIN = "TRIVET-E2E"
PROBE = "probe"


class Firewall:
    def __init__(self, kubernetes):
        self.kubernetes = kubernetes
        # What was counted before a machine lost power, and its counters with it.
        self.remembered = {}
        self.nodes = kubernetes.in_zones()
        slices = kubernetes.get("endpointslices", "-n", "default", "-l", "kubernetes.io/service-name=kubernetes")["items"]
        self.servers = [(address, str(port["port"])) for part in slices for each in part["endpoints"] for address in each["addresses"]
                        for port in part["ports"]]

    def raise_everywhere(self):
        for node in self.nodes:
            self.raise_on(node)
        self.kubernetes.firewall = self

    def raise_on(self, node):
        """What Pods send is forwarded; what kubelet sends is not. What is there already stays, and its counters with it."""
        self.shell(node, f"iptables -w -N {CHAIN} 2>/dev/null || true")
        for address, port in self.servers:
            self.shell(node, once(f"{CHAIN} -p tcp -d {address} --dport {port} -j DROP", "-A"))
        self.shell(node, once(f"FORWARD -j {CHAIN}", "-I"))

    def shell(self, node, command):
        return self.kubernetes.machine.on(node, "sh", "-c", command)

    def remember(self, node):
        """Before its power goes. A machine that is without it may have forgotten everything when it is back."""
        if node in self.nodes:
            self.remembered[node] = self.remembered.get(node, 0) + self.counted(node, "-Z")

    def counted(self, node, *words):
        lines = self.kubernetes.machine.on(node, "iptables", "-w", "-nvxL", CHAIN, *words).splitlines()
        return sum(int(line.split()[0]) for line in lines if " DROP " in line)

    def packets(self):
        """Kubernetes node → how many packets were dropped there, however often it was without power."""
        return {node: self.remembered.get(node, 0) + self.counted(node) for node in self.nodes}

    def prove(self, image):
        """A Pod that tries is cut off, and counted; where there is no firewall, the same Pod comes through."""
        outside = next(name for name in self.kubernetes.nodes() if name not in self.nodes)
        for node in self.nodes:
            expect(self.probe(node, image) == "Failed", f"a Pod on {node} reached the API server")
            expect(self.packets()[node] > 0, f"nothing was counted on {node}")
            self.kubernetes.machine.on(node, "iptables", "-w", "-Z", CHAIN)
        expect(self.probe(outside, image) == "Succeeded", f"a Pod on {outside} did not reach the API server")
        expect(not any(self.packets().values()), "something is counted still")

    def probe(self, node, image):
        """How a Pod ends that connects to the API server."""
        kubectl = self.kubernetes.kubectl
        connect = "exec timeout 3 bash -c 'exec 3<>/dev/tcp/$KUBERNETES_SERVICE_HOST/$KUBERNETES_SERVICE_PORT'"
        kubectl("apply", "-f", "-", stdin=json.dumps({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": PROBE, "namespace": "default"},
            "spec": {"nodeName": node, "restartPolicy": "Never", "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0,
                     "containers": [{"name": PROBE, "image": image, "imagePullPolicy": "Never", "command": ["sh", "-c", connect]}]}}))
        ended = eventually("the probe has ended", lambda: self.phase() in ("Succeeded", "Failed") and self.phase())
        kubectl("delete", "pod", PROBE, "-n", "default")
        return ended

    def phase(self):
        return self.kubernetes.get("pod", PROBE, "-n", "default")["status"]["phase"]


def once(rule, add):
    """The rule, unless it is there."""
    return f"iptables -w -C {rule} 2>/dev/null || iptables -w {add} {rule}"

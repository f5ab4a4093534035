"""Cuts the Pods of the zones' Kubernetes nodes off from the API server, and counts what they tried to send there."""

import json

from tools import eventually, expect

CHAIN = "TRIVET-E2E"
PROBE = "probe"


class Firewall:
    def __init__(self, kubernetes):
        self.kubernetes = kubernetes
        self.nodes = kubernetes.in_zones()
        slices = kubernetes.get("endpointslices", "-n", "default", "-l", "kubernetes.io/service-name=kubernetes")["items"]
        self.servers = [(address, str(port["port"])) for part in slices for each in part["endpoints"] for address in each["addresses"]
                        for port in part["ports"]]

    def raise_everywhere(self):
        for node in self.nodes:
            self.raise_on(node)

    def raise_on(self, node):
        """What Pods send is forwarded; what kubelet sends is not. A node that was without power may have forgotten it."""
        on = self.kubernetes.machine.on
        made = f"iptables -w -N {CHAIN} 2>/dev/null || iptables -w -F {CHAIN}"
        used = f"iptables -w -C FORWARD -j {CHAIN} 2>/dev/null || iptables -w -I FORWARD -j {CHAIN}"
        on(node, "sh", "-c", f"{made}; {used}")
        for address, port in self.servers:
            on(node, "iptables", "-w", "-A", CHAIN, "-p", "tcp", "-d", address, "--dport", port, "-j", "DROP")

    def packets(self):
        """Kubernetes node → how many packets were dropped there."""
        counted = {}
        for node in self.nodes:
            lines = self.kubernetes.machine.on(node, "iptables", "-w", "-nvxL", CHAIN).splitlines()[2:]
            counted[node] = sum(int(line.split()[0]) for line in lines)
        return counted

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

"""Cuts the Pods of the zones' Kubernetes nodes off from the API server, and counts what they tried to send there."""

import json
from concurrent.futures import ThreadPoolExecutor

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
        with ThreadPoolExecutor() as all_at_once:
            ended = dict(all_at_once.map(lambda node: (node, self.probe(node, image)), (*self.nodes, outside)))
        expect(ended.pop(outside) == "Succeeded", f"a Pod on {outside} did not reach the API server")
        reached = [node for node, phase in ended.items() if phase != "Failed"]
        expect(not reached, f"Pods on {reached} reached the API server")
        for node, counted in self.packets().items():
            expect(counted > 0, f"nothing was counted on {node}")
            self.kubernetes.machine.on(node, "iptables", "-w", "-Z", CHAIN)
        expect(not any(self.packets().values()), "something is counted still")

    def probe(self, node, image):
        """How a Pod ends that connects to the API server."""
        kubectl, name = self.kubernetes.kubectl, f"{PROBE}-{node}"
        connect = "exec timeout 3 bash -c 'exec 3<>/dev/tcp/$KUBERNETES_SERVICE_HOST/$KUBERNETES_SERVICE_PORT'"
        kubectl("apply", "-f", "-", stdin=json.dumps({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": node, "restartPolicy": "Never", "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0,
                     "containers": [{"name": PROBE, "image": image, "imagePullPolicy": "Never", "command": ["sh", "-c", connect]}]}}))
        ended = eventually("the probe has ended", lambda: self.how_it_ended(name))
        kubectl("delete", "pod", name, "-n", "default")
        return ended

    def how_it_ended(self, name):
        phase = self.kubernetes.get("pod", name, "-n", "default")["status"]["phase"]
        return phase if phase in ("Succeeded", "Failed") else ""


def once(rule, add):
    """The rule, unless it is there."""
    return f"iptables -w -C {rule} 2>/dev/null || iptables -w {add} {rule}"

"""Who connects to whom while the story goes on, as the Kubernetes nodes' connection tracking has it; and whether policies would allow it."""

import contextlib
import json
import subprocess
import sys
import threading

from machine import HOUSE
from tools import Failed

sys.path.append(str(HOUSE / "e2e" / "chart"))
from policies import Pod, may_connect  # noqa: E402

# A closed connection is remembered for two minutes: nothing is missed between two looks.
LOOK_EVERY_S = 5
READ = "cat /proc/net/nf_conntrack 2>/dev/null || conntrack -L -o extended 2>/dev/null"
# kubelet asks a Pod how it is, which no policy forbids.
PROBED = 9600
DNS = 53
# Routers, MemDS, nodes, the control service, metrics, DNS. Who connects has another port, a low one where its address was translated.
LISTENED = (8000, 7300, 7400, 7200, PROBED, DNS)
# Linux draws them for those who connect: nobody listens there.
CALLERS = range(32768, 61000)
OUTSIDE = Pod({}, "")
# A line for each Pod that there is, and for each change of one: some live shorter than it takes to look around. No tabs: of those kubectl
# makes columns.
LINE = r'{.status.podIP}{" "}{.metadata.namespace}{" "}{.metadata.labels}{"\n"}'


class Traffic:
    def __init__(self, kubernetes):
        self.kubernetes = kubernetes
        self.nodes = []
        self.pods = {}
        self.seen = set()
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=work) for work in (self.watch, self.follow)]
        self.following = None

    def begin(self):
        for thread in self.threads:
            thread.start()

    def end(self):
        self.ended.set()
        while any(thread.is_alive() for thread in self.threads):
            if self.following:
                self.following.kill()
            self.threads[-1].join(1)
            self.threads[0].join(1)

    def follow(self):
        """What is gone keeps its address until another has it, which takes hundreds of Pods."""
        words = (*self.kubernetes.command("kubectl"), "get", "pods", "-A", "--watch", "-o", f"jsonpath={LINE}")
        while not self.ended.wait(1):
            with subprocess.Popen(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as self.following:
                for line in self.following.stdout:
                    self.learn(line)

    def learn(self, line):
        address, namespace, labels = line.rstrip("\n").split(" ", 2)
        if address:
            self.pods[address] = Pod(json.loads(labels) if labels else {}, namespace)

    def watch(self):
        while not self.ended.wait(LOOK_EVERY_S):
            # The API server may be away, or a Kubernetes node.
            with contextlib.suppress(Failed):
                self.nodes = list(self.kubernetes.nodes())
            for node in self.nodes:
                with contextlib.suppress(Failed):
                    lines = self.kubernetes.machine.on(node, "sh", "-c", READ).splitlines()
                    self.seen.update(filter(None, map(parse, lines)))

    def pairs(self, namespace):
        """(protocol, source, target, port, their addresses) of every connection that begins or ends in the namespace; kubelet's are left out.
        Asked once everything has been seen: a Pod may be connected to before it is listed."""
        for protocol, source, target, port in self.seen:
            ends = (self.end_at(source, port), self.end_at(target, port))
            if namespace in (end.namespace for end in ends) and not (ends[0] == OUTSIDE and port == PROBED):
                yield protocol, *ends, port, (source, target)

    def end_at(self, address, port):
        # DNS is a Pod in every Kubernetes cluster but the one of e2e/cluster, where it stands beside.
        return self.pods.get(address, Pod({}, "kube-system") if port == DNS else OUTSIDE)

    def forbidden(self, namespace):
        policies = self.kubernetes.get("networkpolicies", "-n", namespace)["items"]
        return {f"{named(source, ends[0])} → {named(target, ends[1])}:{port}" for protocol, source, target, port, ends in self.pairs(namespace)
                if not may_connect(policies, source, target, port, protocol)}

    def names(self, namespace):
        return {f"{name_of(source)} → {name_of(target)}:{port}" for _, source, target, port, _ in self.pairs(namespace)}


def name_of(pod):
    return pod.labels.get("app.kubernetes.io/component") or pod.namespace or "outside"


def named(pod, address):
    return f"outside ({address})" if pod == OUTSIDE else name_of(pod)


def parse(line):
    """`… tcp 6 … src=A dst=B sport=C dport=D … src=E dst=F sport=G dport=H …`: A has connected to E, at port G. B may be a Service."""
    words = line.split()
    protocol = next((word.upper() for word in words[:3] if word in ("tcp", "udp")), None)
    fields = [word.split("=", 1) for word in words if "=" in word]
    sources = [value for name, value in fields if name == "src"]
    ports = [value for name, value in fields if name == "sport"]
    if protocol is None or len(sources) < 2 or len(ports) < 2:
        return None
    own, asked = int(ports[0]), int(ports[1])
    if asked in CALLERS and own not in LISTENED:
        # An answer again, whose own end was translated.
        return None
    if own in LISTENED and asked not in LISTENED:
        # An answer that came when the question was forgotten: late, or after a power cut.
        return protocol, sources[1], sources[0], own
    if "[UNREPLIED]" in words:
        # Nobody was there: a Pod that is away, or a Service without one, which then stands under its own address.
        return None
    return protocol, sources[0], sources[1], asked

"""The Kubernetes cluster under test, by kubectl and Helm."""

import json
from pathlib import Path

from machine import TOOL, machine
from tools import eventually, expect, finish, run, warnings_of

HERE = Path(__file__).resolve().parent
ZONE = "topology.kubernetes.io/zone"
OPERATOR_PART = ("trivet.dev/part", "operator")


class Kubernetes:
    def __init__(self, name, folder, config="kind.yaml"):
        self.name = name
        self.config = config
        self.machine = machine(name)
        self.kubeconfig = folder / "kubeconfig"
        self.is_ours = False
        # Raised again on a machine that has been without power, before a Pod runs there.
        self.firewall = None
        # The first call builds them.
        self.binaries = Path(run(TOOL, "get", "binaries", seconds=3600).splitlines()[-1])

    def create(self):
        there = run(self.machine.verbs, "get", "clusters").split()
        expect(self.name not in there, f"a Kubernetes cluster {self.name} exists; delete it first")
        self.is_ours = True
        run(self.machine.verbs, "create", "cluster", "--name", self.name, "--config", HERE / self.config, "--kubeconfig", self.kubeconfig)

    def delete(self):
        run(self.machine.verbs, "delete", "cluster", "--name", self.name, "--kubeconfig", self.kubeconfig)

    def load(self, image):
        run(self.machine.verbs, "load", "docker-image", image, "--name", self.name)

    def kubectl(self, *words, stdin=None, check=True):
        return run(*self.command("kubectl"), *words, stdin=stdin, check=check)

    def warnings(self, *words):
        return warnings_of(*self.command("kubectl"), *words)

    def helm(self, *words):
        return run(*self.command("helm"), *words)

    def command(self, program):
        return self.binaries / program, f"--kubeconfig={self.kubeconfig}"

    def get(self, *words):
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def apply(self, thing):
        return self.kubectl("apply", "-f", "-", stdin=json.dumps(thing))

    def nodes(self):
        """Name → object, of the Kubernetes nodes that Pods run on."""
        return {node["metadata"]["name"]: node for node in self.get("nodes")["items"]
                if "node-role.kubernetes.io/control-plane" not in node["metadata"]["labels"]}

    def in_zones(self):
        """The spare comes last."""
        return [name for name, node in self.nodes().items() if ZONE in node["metadata"]["labels"]]

    def spare(self):
        return self.in_zones()[-1]

    def operator_address(self):
        """A NodePort's address that no chapter takes the power from."""
        label, part = OPERATOR_PART
        nodes = list(self.nodes().values()) or self.get("nodes")["items"]
        node = next((node for node in nodes if node["metadata"]["labels"].get(label) == part), nodes[0])
        return next(each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP")

    def is_ready(self, name):
        node = self.nodes().get(name)
        return node is not None and any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"]["conditions"])

    def power_off(self, name, volumes="kept"):
        if self.firewall:
            self.firewall.remember(name)
        self.machine.power_off(name, volumes)
        eventually(f"{name} is missed", lambda: not self.is_ready(name))

    def power_on(self, name):
        self.machine.power_on(name)
        if self.firewall:
            self.firewall.raise_on(name)
        eventually(f"{name} is back", lambda: self.is_ready(name))

    def kill_container(self, pod):
        """Its process dies as by kill -9, behind kubelet's back."""
        container = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
        self.machine.on(pod["spec"]["nodeName"], "ctr", "-n", "k8s.io", "task", "kill", "-s", "SIGKILL", container)

    def drain(self, node, seconds):
        """Whether kubectl could evict all Pods within that time."""
        words = ("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={seconds}s")
        done = finish((*self.command("kubectl"), *words), None, seconds + 60)
        return done.returncode == 0, done.stdout + done.stderr

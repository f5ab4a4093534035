"""Who makes the Kubernetes cluster, and what may befall it: kind where `kind` is on the PATH, else e2e/cluster."""

import json
import shutil
from pathlib import Path

from tools import run

HOUSE = Path(__file__).resolve().parents[2]
TOOL = HOUSE / "e2e" / "cluster" / "cluster"


def machine(name):
    return (Kind if shutil.which("kind") else Own)(name)


class Own:
    verbs = TOOL
    # Whether etcd can be set back to what it was.
    remembers = True

    def __init__(self, name):
        self.name = name

    def do(self, *words):
        return run(TOOL, *words, "--name", self.name)

    def prepare(self):
        run(TOOL, "docker", "start")

    def power_off(self, node, volumes="kept"):
        self.do("power-off", node, "--volumes", volumes)

    def power_on(self, node):
        self.do("power-on", node)

    def on(self, node, *command):
        return run(TOOL, "exec", "--name", self.name, node, *command)

    def stop(self, part):
        self.do("stop", part)

    def start(self, part):
        self.do("start", part)

    def snapshot(self, folder):
        self.do("snapshot", folder)

    def restore(self, folder):
        self.do("restore", folder)


class Kind:
    verbs = "kind"
    remembers = False
    # Where kubelet reads what it is to run of the control plane, and kind's provisioner keeps volumes.
    API_SERVER = "/etc/kubernetes/manifests/kube-apiserver.yaml"
    VOLUMES = "/var/local-path-provisioner"

    def __init__(self, name):
        self.name = name
        self.control = f"{name}-control-plane"

    def prepare(self):
        pass

    def power_off(self, node, volumes="kept"):
        run("docker", "kill", node)
        if volumes != "kept":
            # Both losses are one here: the folder comes back empty, under its old name.
            mounts = json.loads(run("docker", "inspect", node))[0]["Mounts"]
            var = next(mount["Source"] for mount in mounts if mount["Destination"] == "/var")
            shutil.rmtree(var + self.VOLUMES.removeprefix("/var"), ignore_errors=True)

    def power_on(self, node):
        run("docker", "start", node)

    def on(self, node, *command):
        return run("docker", "exec", node, *command)

    def stop(self, part):
        if part == "api":
            self.on(self.control, "mv", self.API_SERVER, "/kube-apiserver.yaml")
        else:
            self.scale_dns(0)

    def start(self, part):
        if part == "api":
            self.on(self.control, "mv", "/kube-apiserver.yaml", self.API_SERVER)
        else:
            self.scale_dns(2)

    def scale_dns(self, replicas):
        self.on(self.control, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "-n", "kube-system", "scale", "deployment/coredns",
                f"--replicas={replicas}")

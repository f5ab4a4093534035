"""A Kubernetes node: its own containerd, kubelet and kube-proxy, and what a power cut does to them."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import cgroups
import images
import network
from binaries import binaries
from layout import sh, succeeds, wait
from network import DNS_SERVICE, PODS

CONTAINERD = """version = 2
root = "{home}/containerd"
state = "{run}/containerd"
[grpc]
  address = "{run}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_cgroup = false
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{home}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""
AGENTS = ("kubelet", "kube-proxy")
ROLES = (*AGENTS, "containerd")


class Machine:
    def __init__(self, layout, host, processes):
        self.layout = layout
        self.host = host
        self.processes = processes
        self.name = host.name
        self.home = layout.home / host.name
        self.run = layout.run / host.name
        self.mounts = self.run / "mounts"
        self.netns = self.run / "netns"
        self.socket = self.run / "containerd.sock"

    # What it is told, written once.

    def write(self):
        for folder in (self.home / "cni", self.run):
            folder.mkdir(parents=True, exist_ok=True)
        (self.home / "resolv.conf").write_text("")
        (self.home / "containerd.toml").write_text(CONTAINERD.format(home=self.home, run=self.run, pause=images.PAUSE))
        for path, content in (("cni/10-ptp.conflist", self.pod_network()), ("kubelet.yaml", self.kubelet()), ("proxy.yaml", self.proxy())):
            # JSON is YAML.
            (self.home / path).write_text(json.dumps(content))

    def pod_network(self):
        addresses = {"type": "host-local", "dataDir": str(self.run / "ipam"), "ranges": [[{"subnet": self.host.pods}]],
                     "routes": [{"dst": "0.0.0.0/0"}]}
        ends = {"type": "ptp", "ipMasq": False, "mtu": 1500, "ipam": addresses}
        return {"cniVersion": "0.4.0", "name": "ptp", "plugins": [ends, {"type": "portmap", "capabilities": {"portMappings": True}}]}

    def kubelet(self):
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "address": self.host.address,
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                               "x509": {"clientCAFile": f"{self.layout.pki}/ca.crt"}},
            "authorization": {"mode": "Webhook"}, "cgroupDriver": "cgroupfs", "cgroupRoot": f"/{self.host.netns}",
            "failSwapOn": False, "failCgroupV1": False, "clusterDNS": [DNS_SERVICE], "clusterDomain": "cluster.local",
            "resolvConf": f"{self.home}/resolv.conf", "containerRuntimeEndpoint": f"unix://{self.socket}",
            # Several of them share one disk and its memory: none may evict Pods or images because another has used them.
            "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
            "podLogsDir": f"{self.layout.logs}/{self.name}-pods", "volumePluginDir": f"{self.home}/plugins",
            "syncFrequency": "10s", "nodeStatusUpdateFrequency": "5s",
        }

    def proxy(self):
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "iptables",
            "hostnameOverride": self.name, "clusterCIDR": PODS,
            "clientConnection": {"kubeconfig": f"{self.layout.home}/proxy.kubeconfig"},
            # Limits of connections are the whole machine's, and not a namespace's to set.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }

    # On and off.

    def inside(self):
        """In its network, and in the mount namespace that its containerd and kubelet share."""
        return (*self.host.in_network(), f"--mount={self.mounts}")

    def start(self):
        cgroups.make(self.host.netns)
        self.make_mount_namespace()
        self.begin("containerd", "containerd", "--config", self.home / "containerd.toml", "--log-level", "warn")
        wait(f"{self.name}'s containerd", lambda: succeeds("ctr", "-a", self.socket, "version"), self.layout.logs)
        if images.PAUSE not in self.ctr("images", "ls", "-q"):
            self.ctr("images", "import", images.pause())
        self.start_agents()

    def start_agents(self):
        labels = ",".join(f"{name}={value}" for name, value in self.host.labels.items())
        self.begin("kubelet", binaries() / "kubelet", f"--config={self.home}/kubelet.yaml",
                   f"--kubeconfig={self.layout.home}/{self.name}.kubeconfig", f"--root-dir={self.home}/kubelet",
                   f"--cert-dir={self.home}/kubelet-pki", f"--hostname-override={self.name}", f"--node-ip={self.host.address}",
                   f"--node-labels={labels}", "--v=1")
        self.begin("kube-proxy", binaries() / "kube-proxy", f"--config={self.home}/proxy.yaml")

    def restart_agents(self):
        """Its containers go on."""
        for role in AGENTS:
            self.processes.stop(f"{self.name}.{role}")
        self.start_agents()

    def begin(self, role, *command):
        self.processes.start(f"{self.name}.{role}", *self.inside(), *command)

    def make_mount_namespace(self):
        """A namespace is kept by a file; the folder that holds it must not pass mounts on."""
        if self.mounts.exists():
            return
        if not is_mounted(self.layout.run):
            sh("mount", "--bind", self.layout.run, self.layout.run)
            sh("mount", "--make-private", self.layout.run)
        self.mounts.touch()
        sh("unshare", f"--mount={self.mounts}", "--propagation", "private", "true")
        # The network namespaces of its Pods are its own affair, and are forgotten with its power.
        shutil.rmtree(self.netns, ignore_errors=True)
        self.netns.mkdir()
        sh("nsenter", f"--mount={self.mounts}", "mount", "--bind", self.netns, "/run/netns")

    def is_on(self):
        return self.processes.pid(f"{self.name}.containerd") is not None

    def ctr(self, *words):
        return sh("ctr", "-a", self.socket, "-n", "k8s.io", *words)

    def power_off(self):
        """Everything on it dies at once, its link first: nobody hears a goodbye."""
        network.plug(self.host, up=False)
        self.die()

    def die(self):
        for role in ROLES:
            self.processes.stop(f"{self.name}.{role}")
        for _ in range(100):
            left = cgroups.processes(self.host.netns) | shims(self.run)
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if not left:
                break
            time.sleep(0.05)
        sh("umount", "--lazy", self.mounts, check=False)
        self.mounts.unlink(missing_ok=True)
        shutil.rmtree(self.run / "containerd", ignore_errors=True)

    def power_on(self):
        network.plug(self.host, up=True)
        self.start()

    def lose_volumes(self, left):
        """`gone`: a volume is not there any more, and its Pod cannot start. `empty`: it is there, with nothing in it."""
        folder = self.layout.volumes / self.name
        for volume in folder.glob("*"):
            shutil.rmtree(volume)
            if left == "empty":
                volume.mkdir()
                volume.chmod(0o777)


def is_mounted(folder):
    return f" {folder} " in Path("/proc/self/mountinfo").read_text()


def shims(run):
    """containerd's shims outlive it; they are known by the address that they were given."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"containerd-shim" in command and f"{run}/".encode() in command:
                found.add(int(entry.name))
    return found

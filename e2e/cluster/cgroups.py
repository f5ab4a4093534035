"""The cgroup of each Kubernetes node: its kubelet builds below it, and a power cut finds there who must die."""

import os
from pathlib import Path

TOP = Path("/sys/fs/cgroup")
# What kubelet and runc want to find, where each controller has a tree of its own (cgroup v1).
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "pids", "devices", "freezer", "blkio", "systemd", "hugetlb", "net_cls", "perf_event",
               # Where both kinds are mounted, runc makes a group here, too.
               "unified")


def unified():
    return (TOP / "cgroup.controllers").exists()


def trees():
    return [TOP] if unified() else [TOP / name for name in CONTROLLERS if (TOP / name).is_dir()]


def make(name):
    for tree in trees():
        group = tree / name
        group.mkdir(exist_ok=True)
        if unified():
            wanted = " ".join("+" + controller for controller in (TOP / "cgroup.controllers").read_text().split())
            for level in (TOP, group):
                (level / "cgroup.subtree_control").write_text(wanted)
        elif tree.name == "cpuset":
            # A new cpuset is empty, and nothing may run in it.
            for file in ("cpuset.cpus", "cpuset.mems"):
                (group / file).write_text((tree / file).read_text())


def processes(name):
    """Everything that runs in the node's containers."""
    tree = TOP if unified() else TOP / "pids"
    found = set()
    for folder, _, _ in os.walk(tree / name):
        try:
            found |= {int(pid) for pid in (Path(folder) / "cgroup.procs").read_text().split()}
        except OSError:
            # The group went away meanwhile, and its processes with it.
            pass
    return found


def remove(name):
    for tree in trees():
        for folder, _, _ in os.walk(tree / name, topdown=False):
            try:
                Path(folder).rmdir()
            except OSError:
                # Somebody is still dying in it; an empty group harms nobody.
                pass

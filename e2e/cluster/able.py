"""Whether this machine can hold a cluster at all: a container without privileges, for one, cannot."""

import os

import cgroups
from layout import succeeds

TRIAL = "trivet-able"
NETWORK = "ip link set lo up && ip link add name end0 type veth peer name end1 && iptables -t nat -A POSTROUTING -j MASQUERADE"
OVERLAY = ("d=$(mktemp -d) && mount -t tmpfs none $d && mkdir $d/a $d/b $d/c $d/d && "
           "mount -t overlay overlay -o lowerdir=$d/a,upperdir=$d/b,workdir=$d/c $d/d")


def wants():
    """What is missing, in words."""
    if os.geteuid() != 0:
        return ["root's rights"]
    needs = {
        "network namespaces with translated addresses": lambda: succeeds("unshare", "--net", "sh", "-c", NETWORK),
        "mounts of overlays": lambda: succeeds("unshare", "--mount", "sh", "-c", OVERLAY),
        "control groups of its own": makes_groups,
    }
    return [what for what, is_there in needs.items() if not is_there()]


def makes_groups():
    try:
        cgroups.make(TRIAL)
        return True
    except OSError:
        return False
    finally:
        cgroups.remove(TRIAL)

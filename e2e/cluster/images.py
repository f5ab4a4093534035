"""Container images without a registry: the sandbox's own, and Docker's engine for `docker build`."""

import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

from layout import CACHE, say, sh, succeeds, wait
from processes import Processes

PAUSE = "registry.k8s.io/pause:3.10"
BASE = "debian:bookworm-slim"
ENGINE = Path("/run/trivet-docker")


def pause():
    """The image of the sandbox: catatonit, a static init that waits and reaps."""
    path = CACHE / "pause.tar"
    if path.exists():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    program = Path("/usr/bin/catatonit").read_bytes()
    layer = tar({"pause": (program, 0o755)})
    config = {"architecture": architecture(), "os": "linux", "config": {"Entrypoint": ["/pause", "-P"]},
              "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]
    parts = {"config.json": json.dumps(config).encode(), "layer.tar": layer, "manifest.json": json.dumps(manifest).encode()}
    whole = path.with_suffix(".new")
    whole.write_bytes(tar({name: (data, 0o644) for name, data in parts.items()}))
    whole.rename(path)
    return path


def tar(files):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, (data, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def architecture():
    return {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


class EngineLayout:
    run = ENGINE
    logs = ENGINE


def start_engine():
    """An engine for `docker build` where none answers: no bridge, no rules of its own, nothing pulled from anywhere."""
    if not engine_answers():
        Processes(EngineLayout).start("dockerd", "dockerd", "--data-root", CACHE / "docker", "--exec-root", ENGINE / "exec",
                                      "--pidfile", ENGINE / "pid", "--bridge=none", "--iptables=false")
        wait("Docker's engine", engine_answers, ENGINE / "dockerd.log", seconds=60)
    if BASE not in sh("docker", "images", "--format", "{{.Repository}}:{{.Tag}}"):
        say(f"making {BASE} from Debian's packages")
        archive = CACHE / "base.tar"
        # As the slim images leave out what nobody reads in a container.
        slim = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "info", "locale", "man")]
        sh("mmdebstrap", "--variant=minbase", *slim, "bookworm", archive)
        sh("docker", "import", archive, BASE)
        archive.unlink()


def stop_engine():
    """Ends the engine that `start_engine` has started, and no other; what it has built is kept."""
    Processes(EngineLayout).end("dockerd", seconds=30)
    shutil.rmtree(ENGINE, ignore_errors=True)


def engine_answers():
    return succeeds("docker", "version")

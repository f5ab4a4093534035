"""The chapters about certificates: everybody has one, nobody without one is let in, and their CA is replaced while clients write."""

import base64
import time

from planned import planned
from tools import Failed, eventually, expect, say
from trivet import DATA_PLANE, FOLDER, RELEASE, condition

# kubelet takes up to two minutes to bring a changed Secret, and a rotation waits for it three times.
ROTATION_S = 900
AUTHORITY = f"{RELEASE}-ca"
# As in the chart's PrometheusRule.
ALERT_BELOW_DAYS = 30


def everybody_has_a_certificate_of_his_own(story):
    trivet = story.trivet
    expect(condition(trivet.cluster(), "CertificatesCurrent") == "True", f"{trivet.cluster()['status']}")
    for component in DATA_PLANE:
        for pod in trivet.pods(component):
            name = pod["metadata"]["name"]
            expect(f"--tls={FOLDER}" in pod["spec"]["containers"][0]["args"], f"{name} has no certificates")
            who = f"node-{pod['metadata']['labels']['trivet.dev/node']}" if component == "node" else component
            expect(secrets_of(pod) >= {f"{RELEASE}-tls-{who}"}, f"{name} mounts {secrets_of(pod)}")
            expect(AUTHORITY not in secrets_of(pod), f"{name} could sign certificates")
    for component in (*DATA_PLANE, "operator"):
        for pod in trivet.pods(component):
            name = pod["metadata"]["name"]
            days = days_left(trivet.metrics(name))
            expect(days and min(days) >= ALERT_BELOW_DAYS, f"the chart's alert hears from {name}: {days}")


def days_left(metrics):
    lines = [line for line in metrics.splitlines() if line.startswith("trivet_certificate_days_left")]
    return [float(line.rsplit(" ", 1)[1]) for line in lines]


def secrets_of(pod):
    return {volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume}


def who_shows_no_certificate_is_refused(story):
    """Whoever calls plainly is told why; and a node is no administrator."""
    trivet = story.trivet
    told = trivet.in_toolbox("trivet", "admin", "nodes").splitlines()
    expect(len(told) == 3 and all(" ready " in line for line in told), f"with the administrator's certificate: {told}")
    node = trivet.pods("node")[0]
    ip = node["status"]["podIP"]
    address = f"{ip}:7400"
    greeting = f"exec 3<>/dev/tcp/{ip}/7400; printf 'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' >&3; timeout 5 cat <&3"
    said = trivet.in_toolbox("bash", "-c", f"{{ {greeting}; }} | tr -cd '[:print:]'")
    expect("this port is sealed" in said, f"a plain client is answered: {said!r}")
    plain = trivet.in_toolbox("env", "--unset=TRIVET_ADMIN_TLS", "trivet", "admin", "--nodes", address, "nodes")
    expect("does not answer" in plain, f"without a certificate: {plain}")
    try:
        trivet.kubectl("exec", node["metadata"]["name"], "--", "trivet", "admin", f"--tls={FOLDER}", "--nodes", address, "nodes")
    except Failed as failure:
        expect("no admin" in str(failure), f"refused for another reason: {failure}")
    else:
        raise Failed("a node was taken for an administrator")


@planned
def the_ca_is_replaced_under_clients(story):
    """No process begins anew for it, and none refuses another."""
    trivet = story.trivet
    before, old, pods = tls(trivet), authority(trivet), trivet.pods_of_data_plane()
    trivet.kubectl("annotate", f"clusters.trivet.dev/{RELEASE}", "--overwrite", f"trivet.dev/rotate-ca={time.time_ns()}")
    begun, steps = time.monotonic(), []

    def settled():
        step = tls(trivet)["step"]
        if step not in steps[-1:]:
            steps.append(step)
            say(f"  {step} after {time.monotonic() - begun:.0f} s")
        return step == "Settled" and tls(trivet)["trust"] != before["trust"]

    eventually("the CA is replaced", settled, ROTATION_S)
    expect([step for step in steps if step != "Settled"] == ["Distribute", "Sign", "Drop"], f"steps: {steps}")
    expect(authority(trivet) != old and old not in authority(trivet), "the old CA is trusted still")
    expect(trivet.pods_of_data_plane() == pods, "Pods were replaced for it")
    expect(condition(trivet.cluster(), "CertificatesCurrent") == "True", f"{trivet.cluster()['status']}")
    trivet.until_whole()
    story.under_load()


def tls(trivet):
    return trivet.cluster()["status"]["tls"]


def authority(trivet):
    """What everybody trusts."""
    return base64.b64decode(trivet.get("secret", AUTHORITY)["data"]["ca.crt"]).decode()


def an_operator_that_dies_goes_on_with_the_rotation(story):
    """Twice, in the middle."""
    trivet = story.trivet
    before = tls(trivet)
    trivet.kubectl("annotate", f"clusters.trivet.dev/{RELEASE}", "--overwrite", f"trivet.dev/rotate-ca={time.time_ns()}")
    for step in ("Distribute", "Sign"):
        eventually(f"it is at {step}", lambda step=step: tls(trivet)["step"] == step, ROTATION_S)
        trivet.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=operator", "--grace-period=0", "--force")
    eventually("the CA is replaced", lambda: tls(trivet)["step"] == "Settled" and tls(trivet)["trust"] != before["trust"], ROTATION_S)
    trivet.until_whole()
    story.under_load()

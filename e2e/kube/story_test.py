"""What the story judges by, on examples: a judge that says yes to everything would not be noticed."""

import unittest

import measures
import traffic
from firewall import Firewall
from load import Load, Promise
from planned import failures
from tools import Failed
from trivet import is_whole_group

WHOLE = """
    replica 1 on node 0a in zone-a follows, term 2, applied 7 of 7; from the first key, epoch 1
    replica 2 on node 0b in zone-b leads, term 2, applied 7 of 7; from the first key, epoch 1
    whole, for 3.1 s
    replica 3 on node 0c in zone-c follows, term 2, applied 7 of 7; from the first key, epoch 1
"""
REBUILT = "replica 3 is rebuilt: 40 %, for 3.1 s"
STOOD_IN = "log replica 4 stands in for replica 3, for 3.1 s"
SERVICE = ("ipv4 2 tcp 6 431999 ESTABLISHED src=10.244.0.4 dst=10.96.72.117 sport=44094 dport=7300 "
           "src=10.244.0.3 dst=10.244.0.4 sport=7300 dport=44094 [ASSURED] mark=0 zone=0 use=2")


def group(text):
    return [line.split() for line in text.strip().splitlines()]


class Groups(unittest.TestCase):
    def test_three_replicas_in_three_zones_and_a_leader_that_sees_them(self):
        self.assertTrue(is_whole_group(group(WHOLE)))

    def test_anything_less_is_not_whole(self):
        for what, text in {
            "no leader": WHOLE.replace("leads,", "follows,"),
            "two leaders": WHOLE.replace("follows,", "leads,", 1),
            "two zones": WHOLE.replace("zone-c", "zone-b"),
            "two replicas": "\n".join(WHOLE.splitlines()[:-1]),
            "a log replica": WHOLE.replace("whole, for 3.1 s", STOOD_IN),
            "a replica that is rebuilt": WHOLE.replace("whole, for 3.1 s", REBUILT),
            "a leader that has not said": WHOLE.replace("    whole, for 3.1 s\n", ""),
        }.items():
            self.assertFalse(is_whole_group(group(text)), what)


ANSWERS = """# HELP trivet_router_answers_total Answers by operation, table and outcome.
# TYPE trivet_router_answers_total counter
trivet_router_answers_total{operation="GetItem",outcome="service_error",table="music"} 2
trivet_router_answers_total{operation="PutItem",outcome="customer_error",table="music"} 40
trivet_router_answers_total{operation="PutItem",outcome="service_error",table="music"} 3
trivet_router_answers_total{operation="PutItem",outcome="success",table="music"} 500
"""


class Routers(unittest.TestCase):
    def test_what_they_failed_is_counted_and_nothing_else(self):
        self.assertEqual(failures(ANSWERS), 5)
        self.assertEqual(failures(""), 0)


class Figures(unittest.TestCase):
    def test_one_in_a_hundred_may_wait_longer(self):
        self.assertEqual(measures.percentile([3, 1, 2], 99), 3)
        self.assertEqual(measures.percentile(range(100), 99), 98)
        self.assertEqual(measures.percentile([7], 99), 7)
        self.assertRaises(Failed, measures.percentile, [], 99)

    def test_a_broken_promise_is_said(self):
        figures = [("quick", 2.04, 3), ("slow", 3.14, 3)]
        self.assertEqual(measures.verdicts(figures), "held   quick: 2.0 s, at most 3 s\nBROKEN slow: 3.1 s, at most 3 s")
        self.assertFalse(measures.are_held(figures))
        self.assertTrue(measures.are_held([]))


class Ground:
    """Kubernetes nodes whose counters of packets are what a test says; those that lose power forget them."""

    def __init__(self):
        self.machine, self.firewall, self.there = self, None, {"a": 0, "b": 0}

    def in_zones(self):
        return list(self.there)

    def get(self, *_words):
        return {"items": [{"endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 6443}]}]}

    def on(self, node, *command):
        told = f"Chain TRIVET-E2E (1 references)\n    pkts      bytes target\n  {self.there[node]}  60 DROP  6  --  *  *  0.0.0.0/0  10.0.0.1  tcp dpt:6443\n"
        if "-Z" in command or "-F" in str(command):
            self.there[node] = 0
        return told if "-nvxL" in command else ""


class Packets(unittest.TestCase):
    def test_what_was_counted_outlives_a_power_cut(self):
        ground = Ground()
        wall = Firewall(ground)
        wall.raise_everywhere()
        self.assertEqual(wall.packets(), {"a": 0, "b": 0})
        ground.there["a"] = 3
        ground.firewall.remember("a")
        ground.there["a"] = 0
        ground.firewall.raise_on("a")
        ground.there["a"] = 2
        ground.firewall.raise_on("a")
        self.assertEqual(wall.packets(), {"a": 5, "b": 0})

    def test_who_is_not_cut_off_is_not_counted(self):
        ground = Ground()
        Firewall(ground).remember("elsewhere")


class Stored:
    """A table of one item."""

    def __init__(self, number):
        self.number = number

    def get_item(self, **_words):
        return {"Item": {"n": {"N": str(self.number)}}} if self.number else {}


class Promises(unittest.TestCase):
    def judged(self, number):
        load = Load("", (), "table", promises={"key": Promise(acknowledged=5, sent=6)})
        load.check(Stored(number))

    def test_what_was_acknowledged_or_only_sent_may_be_there(self):
        self.judged(5)
        self.judged(6)

    def test_less_is_lost_and_more_was_never_sent(self):
        for number in (0, 4, 7):
            with self.assertRaises(Failed):
                self.judged(number)


    def test_what_is_acknowledged_after_it_was_read_is_not_lost(self):
        """A writer that goes on while it is judged."""
        promise = Promise(acknowledged=5, sent=6)

        class Overtaken(Stored):
            def get_item(self, **words):
                promise.acknowledged, promise.sent = 6, 7
                return super().get_item(**words)

        Load("", (), "table", promises={"key": promise}).check(Overtaken(5))


class Connections(unittest.TestCase):
    def test_a_service_is_seen_through(self):
        self.assertEqual(traffic.parse(SERVICE), ("TCP", "10.244.0.4", "10.244.0.3", 7300))

    def test_a_question_that_nobody_answers_is_no_connection(self):
        asked = "ipv4 2 tcp 6 119 SYN_SENT src=10.244.0.4 dst=10.96.7.7 sport=40000 dport=7300 [UNREPLIED] src=10.96.7.7 dst=10.244.0.4 sport=7300 dport=40000"
        self.assertIsNone(traffic.parse(asked))
        self.assertEqual(traffic.parse(asked.replace("[UNREPLIED] ", "")), ("TCP", "10.244.0.4", "10.96.7.7", 7300))

    def test_an_answer_whose_question_is_forgotten_is_no_connection_of_its_own(self):
        late = "ipv4 2 udp 17 29 src=172.30.0.2 dst=10.244.0.4 sport=53 dport=37304 [UNREPLIED] src=10.244.0.4 dst=172.30.0.2 sport=37304 dport=53"
        self.assertEqual(traffic.parse(late), ("UDP", "10.244.0.4", "172.30.0.2", 53))
        translated = late.replace("udp", "tcp").replace("=53", "=8000").replace("=37304", "=10592")
        self.assertEqual(traffic.parse(translated), ("TCP", "10.244.0.4", "172.30.0.2", 8000))

    def test_nobody_listens_where_callers_come_from(self):
        orphan = SERVICE.replace("sport=7300", "sport=44094").replace("sport=44094 dport=7300 ", "sport=1029 dport=44094 ")
        self.assertIsNone(traffic.parse(orphan))

    def test_other_protocols_are_nothing_to_policies(self):
        self.assertIsNone(traffic.parse("ipv4 2 icmp 1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=1 src=10.0.0.2 dst=10.0.0.1 type=0"))

    def test_who_is_who_is_asked_in_the_end(self):
        seen = traffic.Traffic(kubernetes=None)
        seen.seen = {traffic.parse(SERVICE), ("TCP", "10.244.0.1", "10.244.0.3", 9600), ("UDP", "10.244.0.4", "172.30.0.2", 53)}
        for address, component in (("10.244.0.4", "router"), ("10.244.0.3", "memds")):
            seen.learn(f'{address} here {{"app.kubernetes.io/component":"{component}"}}\n')
        seen.learn(" here {}\n")
        self.assertEqual(seen.names("here"), {"router → memds:7300", "router → kube-system:53"})
        self.assertEqual(seen.names("elsewhere"), set())


if __name__ == "__main__":
    unittest.main()

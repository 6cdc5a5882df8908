"""The agent's announcement, seen by python-zeroconf from another network namespace. Run by tests/net/announce, which says in
DEVICE in which namespace the agent runs, and in PINHOLE_BIN what it is."""

import os
import queue
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request

from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, Zeroconf

DEVICE, PROGRAM = os.environ["DEVICE"], os.environ["PINHOLE_BIN"]
OWN, PAGE = "_pinhole._tcp.local.", "_http._tcp.local."
ADDRESS = "10.77.3.1"
# Debug builds on a machine that does other work, too.
PATIENCE = 30


def on_device(*command):
    return subprocess.run(["ip", "netns", "exec", DEVICE, *command], check=True, capture_output=True, text=True).stdout


def read(path):
    with open(path) as file:
        return file.read()


def link(*state):
    subprocess.run(["ip", "-n", DEVICE, *state], check=True)


class Agent:
    """A running agent in the device's namespace, or here."""

    def __init__(self, name, *web, page="http://localhost:8480/", here=False):
        self.folder = tempfile.TemporaryDirectory(prefix="pinhole-announce-")
        self.configure(name, *web)
        self.log = open(self.path("log"), "w+")
        config, state = self.path("pinhole.toml"), self.path("state")
        within = [] if here else ["ip", "netns", "exec", DEVICE]
        command = [*within, PROGRAM, "--config", config, "--state", state]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.wait_for(f"Watch: {page}")

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def configure(self, name, *web):
        with open(self.path("pinhole.toml"), "w") as file:
            file.write(f'name = "{name}"\n[camera]\nsource = "synthetic"\n[web]\n' + "\n".join(web))

    def said(self):
        return read(self.path("log"))

    def wait_for(self, text):
        deadline = time.monotonic() + PATIENCE
        while text not in self.said():
            assert self.process.poll() is None and time.monotonic() < deadline, f"no {text!r}: {self.said()}"
            time.sleep(0.05)

    def command(self, *arguments):
        return on_device(PROGRAM, *arguments, "--state", self.path("state"))

    def kilobytes(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE)
        self.log.close()
        self.folder.cleanup()


class Seen:
    """What comes and goes of a kind of service."""

    def __init__(self, zeroconf, kind):
        self.events = queue.Queue()
        self.zeroconf, self.kind = zeroconf, kind
        self.browser = ServiceBrowser(zeroconf, kind, listener=self)

    def add_service(self, _zeroconf, _kind, name):
        self.events.put(("came", name))

    def remove_service(self, _zeroconf, _kind, name):
        self.events.put(("went", name))

    def update_service(self, *_):
        pass

    def next(self, what):
        event, name = self.events.get(timeout=PATIENCE)
        assert event == what, (event, name)
        return name.removesuffix("." + self.kind)

    def info(self, name):
        info = self.zeroconf.get_service_info(self.kind, f"{name}.{self.kind}", timeout=PATIENCE * 1000)
        assert info is not None, f"{name} does not tell where it is"
        return info


class Announcement(unittest.TestCase):
    def setUp(self):
        link("address", "replace", ADDRESS + "/24", "dev", "eth0")
        link("link", "set", "eth0", "up")
        self.zeroconf = self.resolver()

    def resolver(self):
        zeroconf = Zeroconf(interfaces=["10.77.3.2"], ip_version=IPVersion.V4Only)
        self.addCleanup(zeroconf.close)
        return zeroconf

    def agent(self, name, *web):
        agent = Agent(name, *web)
        self.addCleanup(agent.stop)
        return agent

    def test_page_is_found_by_its_services_and_opened_by_its_name(self):
        seen = Seen(self.zeroconf, OWN)
        agent = self.agent("Front Dööß")
        self.assertEqual(seen.next("came"), "Front Dööß")
        self.assertEqual(Seen(self.zeroconf, PAGE).next("came"), "Front Dööß")
        info = seen.info("Front Dööß")
        self.assertEqual(info.server, "pinhole-front-doeoess.local.")
        self.assertEqual((info.parsed_addresses(IPVersion.V4Only), info.port), ([ADDRESS], 8480))
        self.assertEqual(info.properties, {b"txtvers": b"1", b"path": b"/"})
        self.assertIn(b"Front D\xc3\xb6\xc3\xb6\xc3\x9f", ask(ADDRESS))
        host = f"pinhole-front-doeoess.local:{info.port}"
        request = urllib.request.Request(f"http://{ADDRESS}:{info.port}/", headers={"Host": host})
        with urllib.request.urlopen(request, timeout=PATIENCE) as page:
            self.assertIn(b"<title>", page.read())
        self.assertIn(f"Watch: http://{host}/#", agent.command("pair"))

    def test_good_bye_is_said_at_the_end_and_a_new_name_is_taken_by_reload(self):
        seen = Seen(self.zeroconf, OWN)
        agent = self.agent("Yard")
        self.assertEqual(seen.next("came"), "Yard")
        agent.configure("Hof")
        self.assertIn("taken up: name", agent.command("reload"))
        self.assertEqual((seen.next("went"), seen.next("came")), ("Yard", "Hof"))
        self.assertEqual(seen.info("Hof").server, "pinhole-hof.local.")
        # Without a good-bye it would be believed for more than an hour.
        agent.process.send_signal(signal.SIGTERM)
        self.assertEqual(seen.next("went"), "Hof")
        self.assertEqual(agent.process.wait(PATIENCE), 0)

    def test_service_that_another_has_is_left_to_it(self):
        theirs = ServiceInfo(OWN, f"Door.{OWN}", port=1, addresses=[socket.inet_aton("10.77.3.2")], server="other.local.")
        self.resolver().register_service(theirs)
        seen = Seen(self.zeroconf, OWN)
        self.assertEqual(seen.next("came"), "Door")
        self.agent("Door")
        self.assertEqual(seen.next("came"), "Door (2)")
        info = seen.info("Door (2)")
        self.assertEqual((info.parsed_addresses(IPVersion.V4Only), info.port), ([ADDRESS], 8480))
        self.assertEqual(seen.info("Door").port, 1)

    def test_host_name_that_another_has_is_left_to_it(self):
        # Avahi, for python-zeroconf does not defend host names.
        folder = tempfile.TemporaryDirectory(prefix="pinhole-avahi-")
        self.addCleanup(folder.cleanup)
        config, said = os.path.join(folder.name, "conf"), os.path.join(folder.name, "said")
        with open(config, "w") as file:
            file.write("[server]\nhost-name=pinhole-gate\nenable-dbus=no\nallow-interfaces=eth0\nuse-ipv6=no\n")
        with open(said, "w") as file:
            avahi = subprocess.Popen(["avahi-daemon", "--no-drop-root", "--no-chroot", "-f", config], stderr=file)
        self.addCleanup(avahi.wait, PATIENCE)
        self.addCleanup(avahi.terminate)
        deadline = time.monotonic() + PATIENCE
        while "Host name is pinhole-gate.local" not in read(said):
            assert avahi.poll() is None and time.monotonic() < deadline, read(said)
            time.sleep(0.05)
        seen = Seen(self.zeroconf, OWN)
        agent = self.agent("Gate")
        self.assertEqual(seen.info(seen.next("came")).server, "pinhole-gate-2.local.")
        agent.wait_for("as http://pinhole-gate-2.local:8480/")
        self.assertIn("Watch: http://pinhole-gate-2.local:8480/#", agent.command("pair"))

    def test_of_two_with_the_same_name_the_second_takes_another(self):
        seen = Seen(self.zeroconf, OWN)
        self.agent("raspberrypi")
        self.assertEqual(seen.next("came"), "raspberrypi")
        second = Agent("raspberrypi", here=True)
        self.addCleanup(second.stop)
        second.wait_for("http://pinhole-raspberrypi-2.local:8480/")
        self.assertEqual(seen.next("came"), "raspberrypi (2)")
        for name, host, address in [("raspberrypi", "", ADDRESS), ("raspberrypi (2)", "-2", "10.77.3.2")]:
            info = seen.info(name)
            self.assertEqual(info.server, f"pinhole-raspberrypi{host}.local.")
            self.assertEqual(info.parsed_addresses(IPVersion.V4Only), [address])

    def test_a_network_that_comes_later_is_told_and_a_changed_address_too(self):
        link("address", "flush", "dev", "eth0")
        self.addCleanup(link, "address", "flush", "dev", "eth0")
        link("link", "set", "eth0", "down")
        seen = Seen(self.zeroconf, OWN)
        agent = self.agent("Late")
        self.assertNotIn("announced", agent.said())
        link("link", "set", "eth0", "up")
        link("address", "add", ADDRESS + "/24", "dev", "eth0")
        self.assertEqual(seen.next("came"), "Late")
        link("address", "del", ADDRESS + "/24", "dev", "eth0")
        link("address", "add", "10.77.3.9/24", "dev", "eth0")
        deadline = time.monotonic() + PATIENCE
        addresses = []
        while addresses != ["10.77.3.9"] and time.monotonic() < deadline:
            # One that knows nothing of what was before.
            addresses = Seen(self.resolver(), OWN).info("Late").parsed_addresses(IPVersion.V4Only)
        self.assertEqual(addresses, ["10.77.3.9"])

    def test_switched_off_or_for_this_machine_alone_nothing_is_sent(self):
        everywhere, alone = "http://localhost:8480/", "http://127.0.0.1:8480/"
        for key, page in [("announce = false", everywhere), ('listen = "127.0.0.1:8480"', alone)]:
            on_device("nft", "reset", "counter", "inet", "announced", "sent")
            agent = Agent("Silent", key, page=page)
            self.assert_silent(agent, key)

    def test_who_asks_at_a_public_address_gets_no_answer(self):
        link("address", "flush", "dev", "eth0")
        self.addCleanup(link, "address", "flush", "dev", "eth0")
        link("address", "add", "203.0.113.1/24", "dev", "eth0")
        subprocess.run(["ip", "address", "replace", "203.0.113.2/24", "dev", "eth0"], check=True)
        on_device("nft", "reset", "counter", "inet", "announced", "sent")
        agent = self.agent("Public")
        self.assertIsNone(ask("203.0.113.1"))
        self.assert_silent(agent, "public")

    def assert_silent(self, agent, what):
        # It would say good-bye at its end, where it had said anything.
        agent.stop()
        counter = on_device("nft", "list", "counter", "inet", "announced", "sent")
        self.assertIn("packets 0 ", counter, what)

    def test_what_nobody_asked_for_is_not_kept(self):
        seen = Seen(self.zeroconf, OWN)
        agent = self.agent("Flooded")
        self.assertEqual(seen.next("came"), "Flooded")
        before = agent.kilobytes()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            flood.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.77.3.2"))
            for number in range(4000):
                flood.sendto(answers(number), ("224.0.0.251", 5353))
        agent.wait_for("begins anew")
        # 160,000 records were sent, at some 400 bytes each once they are kept; the service is allowed to have 280 MB in all.
        self.assertLess(agent.kilobytes() - before, 100_000)
        agent.wait_for("is announced")
        fresh = Seen(self.resolver(), OWN)
        self.assertEqual(fresh.next("came"), "Flooded")


# Who is a _pinhole._tcp?
QUESTION = bytes.fromhex("0001 0000 0001 0000 0000 0000") + b"\x08_pinhole\4_tcp\5local\0" + bytes.fromhex("000c 0001")


def ask(address):
    """The answer to a question that comes from no mDNS port (RFC 6762, section 6.7), if there is one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(2)
        asker.sendto(QUESTION, (address, 5353))
        try:
            return asker.recv(9000)
        except TimeoutError:
            return None


def answers(number):
    """A packet of 40 addresses for names that nobody has, for a week."""
    head = bytes.fromhex("0000 8400 0000 0028 0000 0000")
    body = b""
    for index in range(40):
        label = b"f%07x" % (number * 40 + index)
        body += bytes([len(label)]) + label + b"\5local\0" + bytes.fromhex("0001 0001 00093a80 0004 0a4d0363")
    return head + body


if __name__ == "__main__":
    unittest.main()

"""Shows the agent to a real Home Assistant by way of a real broker: what it makes of the discovery, and what its switches do to the agent."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

PATIENCE_S = 60
BIN = os.environ["PINHOLE_BIN"]
ROOT = pathlib.Path(os.environ["HOME_ASSISTANT_ROOT"])
CLIENT = "http://127.0.0.1/"
# No more of the core than this is loaded: its HTTP interface, and the steps of a first set-up.
CONFIGURATION = """
homeassistant:
  name: Test
  unit_system: metric
http:
  server_host: 127.0.0.1
  server_port: {port}
api:
config:
onboarding:
"""
# What the agent is in Home Assistant: each entity, its name, its unit and its kind of value.
SENSORS = {
    "sensor.front_door_viewers": ("Front door Viewers", None, None),
    "sensor.front_door_bit_rate": ("Front door Bit rate", "kbit/s", "data_rate"),
    "sensor.front_door_frames_per_second": ("Front door Frames per second", "fps", None),
    "sensor.front_door_problem": ("Front door Problem", None, None),
}
CAMERA = "camera.front_door"
PRIVACY = "switch.front_door_privacy"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, look):
    """What `look` gives, as soon as it gives something."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {PATIENCE_S} s")
        time.sleep(0.1)


class HomeAssistant:
    """The core as a child process, and its REST interface."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.base = f"http://127.0.0.1:{(port := free_port())}"
        self.token = None
        (self.folder / "configuration.yaml").write_text(CONFIGURATION.format(port=port))
        inside = "/" + str(self.folder.relative_to(ROOT))
        # It has /proc for itself, in a mount namespace that ends with it. Each program takes the place of the one before: there is one process to end.
        start = 'mount -t proc proc "$1/proc" && exec chroot "$1" /venv/bin/hass -c "$2" --skip-pip --ignore-os-check --log-no-color'
        with open(self.folder / "core.log", "wb") as log:
            self.process = subprocess.Popen(["unshare", "--mount", "--", "sh", "-c", start, "sh", ROOT, inside], stdout=log, stderr=log)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(PATIENCE_S)

    def log(self):
        return (self.folder / "core.log").read_text()

    def fetch(self, path, body=None, form=None):
        """A reply's bytes; a refusal is an exception."""
        request = urllib.request.Request(self.base + path)
        if body is not None:
            request.data, request.headers["Content-type"] = json.dumps(body).encode(), "application/json"
        if form is not None:
            request.data = urllib.parse.urlencode(form).encode()
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
                return reply.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code}: {error.read()[:500]}") from error

    def ask(self, path, body=None, form=None):
        return json.loads(self.fetch(path, body, form))

    def is_up(self):
        if self.process.poll() is not None:
            raise AssertionError(f"Home Assistant ended:\n{self.log()}")
        try:
            return self.ask("/api/onboarding")
        except (urllib.error.URLError, ConnectionError):
            return None

    def set_up(self, broker_port):
        """As its first page and its form for MQTT do it."""
        wait_for("Home Assistant is up", self.is_up)
        owner = {"name": "Test", "username": "test", "password": "test", "client_id": CLIENT, "language": "en"}
        code = self.ask("/api/onboarding/users", owner)["auth_code"]
        form = {"grant_type": "authorization_code", "code": code, "client_id": CLIENT}
        self.token = self.ask("/auth/token", form=form)["access_token"]
        flow = self.ask("/api/config/config_entries/flow", {"handler": "mqtt"})
        step = self.ask(f"/api/config/config_entries/flow/{flow['flow_id']}", {"broker": "127.0.0.1", "port": broker_port})
        if step["type"] != "create_entry":
            raise AssertionError(f"no entry for the broker: {step}")

    def states(self):
        return {state["entity_id"]: state for state in self.ask("/api/states")}

    def state(self, entity):
        return self.states().get(entity, {}).get("state")

    def call(self, service, entity):
        self.ask(f"/api/services/{service}", {"entity_id": entity})

    def template(self, text):
        return self.fetch("/api/template", {"template": text}).decode()


class Core(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="pinhole-home-", dir=ROOT / "tmp")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.broker_port = free_port()
        settings = cls.folder / "mosquitto.conf"
        settings.write_text(f"listener {cls.broker_port} 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\n")
        path = os.environ["PATH"] + ":/usr/sbin"
        broker = subprocess.Popen(["mosquitto", "-c", settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"PATH": path})
        cls.addClassCleanup(broker.wait, PATIENCE_S)
        cls.addClassCleanup(broker.terminate)
        core = cls.folder / "core"
        core.mkdir()
        cls.home = HomeAssistant(core)
        cls.addClassCleanup(cls.home.stop)
        cls.home.set_up(cls.broker_port)
        # One device for all tests: another of the same name would have other entity ids.
        cls.state = cls.folder / "state"
        cls.state.mkdir(mode=0o700)
        cls.settings = cls.folder / "pinhole.toml"
        cls.settings.write_text(
            'name = "Front door"\n[camera]\nsource = "synthetic"\nsize = "640x360"\n[web]\nlisten = "127.0.0.1:0"\n'
            f'[home_assistant]\nurl = "mqtt://127.0.0.1:{cls.broker_port}"\npicture_every = 5\n'
        )

    def setUp(self):
        self.start()
        self.addCleanup(self.end)
        wait_for("the device is online", lambda: self.home.state(PRIVACY) == "off")

    def start(self, **more):
        # The agent reads PINHOLE_…, and would wonder about those that are for the tests.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PINHOLE_")} | more
        command = [BIN, "--config", self.settings, "--state", self.state]
        self.agent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        self.assertRegex(self.agent.stdout.readline(), "^Watch: ")

    def end(self, how=signal.SIGTERM):
        self.agent.send_signal(how)
        self.agent.wait(PATIENCE_S)
        self.agent.stdout.close()

    def status(self):
        command = [BIN, "status", "--json", "--state", self.state]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout)

    def ours(self):
        return {entity: state for entity, state in self.home.states().items() if "front_door" in entity}

    def test_it_takes_every_entity_with_its_name_and_unit(self):
        wait_for("every entity", lambda: {*SENSORS, CAMERA, PRIVACY} <= self.ours().keys())
        wait_for("a value", lambda: self.home.state("sensor.front_door_viewers") == "0")
        found = self.ours()
        for entity, (name, unit, kind) in SENSORS.items():
            about = found[entity]["attributes"]
            self.assertEqual((about["friendly_name"], about.get("unit_of_measurement"), about.get("device_class")), (name, unit, kind))
        self.assertEqual(found[PRIVACY]["attributes"]["friendly_name"], "Front door Privacy")
        # Nobody would start the agent again here.
        self.assertNotIn("button.front_door_restart", found)
        version = subprocess.run([BIN, "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
        about = f"{{{{ device_attr('{PRIVACY}', 'name') }}}}|{{{{ device_attr('{PRIVACY}', 'sw_version') }}}}"
        self.assertEqual(self.home.template(about), f"Front door|{version}")

    def test_it_shows_the_camera_s_picture(self):
        wait_for("the camera", lambda: self.home.state(CAMERA))
        picture = wait_for("a picture", self.picture)
        self.assertEqual((picture[:3], picture[-2:]), (b"\xff\xd8\xff", b"\xff\xd9"))

    def picture(self):
        try:
            return self.home.fetch(f"/api/camera_proxy/{CAMERA}")
        except AssertionError:
            # Before the first picture it answers 500.
            return None

    def test_its_switch_closes_the_camera_and_follows_who_else_sets_it(self):
        self.home.call("switch/turn_on", PRIVACY)
        wait_for("privacy is on", lambda: self.status()["privacy"] == "on")
        wait_for("the switch is on", lambda: self.home.state(PRIVACY) == "on")
        self.home.call("switch/turn_off", PRIVACY)
        wait_for("privacy is off", lambda: self.status()["privacy"] == "off")
        wait_for("the switch is off", lambda: self.home.state(PRIVACY) == "off")
        subprocess.run([BIN, "privacy", "on", "--state", self.state], check=True, capture_output=True, timeout=PATIENCE_S)
        wait_for("the switch has followed", lambda: self.home.state(PRIVACY) == "on")
        self.home.call("switch/turn_off", PRIVACY)
        wait_for("privacy is off again", lambda: self.status()["privacy"] == "off")

    def test_after_a_sudden_end_everything_is_unavailable_until_it_is_back(self):
        self.end(signal.SIGKILL)
        try:
            wait_for("unavailable", lambda: {state["state"] for state in self.ours().values()} == {"unavailable"})
        finally:
            self.start()
        wait_for("back", lambda: self.home.state(PRIVACY) == "off")
        wait_for("all is back", lambda: "unavailable" not in {state["state"] for state in self.ours().values()})

    def test_the_button_ends_it_where_systemd_would_start_it_again(self):
        self.end()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(path := str(self.folder / "notify"))
            self.start(NOTIFY_SOCKET=path)
            wait_for("the button", lambda: self.home.state("button.front_door_restart") == "unknown")
            self.home.call("button/press", "button.front_door_restart")
            self.assertEqual(self.agent.wait(PATIENCE_S), 0)
        wait_for("unavailable", lambda: self.home.state(PRIVACY) == "unavailable")

    @classmethod
    def tearDownClass(cls):
        """Home Assistant found nothing wrong with what it was sent."""
        complaints = [line for line in cls.home.log().splitlines() if "components.mqtt" in line and (" WARNING " in line or " ERROR " in line)]
        if complaints:
            raise AssertionError("\n".join(complaints))


if __name__ == "__main__":
    unittest.main()

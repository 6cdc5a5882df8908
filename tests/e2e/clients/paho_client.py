"""What Eclipse Paho's Python client sees of the embedded broker, as one line of JSON. Run by clients.test.mjs:

    python paho_client.py HOST PORT tcp|websockets 4|5 TOPIC_OF_THE_DEVICE
"""

import json
import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE = 40
HOST, PORT, TRANSPORT, VERSION, BASE = sys.argv[1:]
V5 = VERSION == "5"


class Client:
    """A client whose callbacks put what happens into a queue."""

    def __init__(self, name, will=None, keepalive=60, clean=True):
        extra = {} if V5 else {"clean_session": clean}
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5 if V5 else mqtt.MQTTv311,
                                  transport=TRANSPORT, reconnect_on_failure=False, **extra)
        if TRANSPORT == "websockets":
            self.client.ws_set_options(path="/mqtt")
        if will:
            self.client.will_set(*will)
        self.happened = queue.Queue()
        note = lambda *what: self.happened.put(what)
        self.client.on_connect = lambda c, u, flags, reason, p: note("connect", reason.value, flags.session_present)
        self.client.on_disconnect = lambda c, u, flags, reason, p: note("disconnect", reason.value)
        self.client.on_message = lambda c, u, m: note("message", m.topic, m.payload.decode(), m.retain)
        self.client.on_subscribe = lambda c, u, mid, reasons, p: note("subscribe", *[r.value for r in reasons])
        self.client.on_publish = lambda c, u, mid, reason, p: note("publish", reason.value)
        self.client.on_log = lambda c, u, level, text: note("pong") if "PINGRESP" in text else None
        connect = {}
        if V5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 3600
            connect = {"clean_start": clean, "properties": properties}
        self.client.connect(HOST, int(PORT), keepalive, **connect)
        self.client.loop_start()
        self.connected = self.next("connect")

    def next(self, *kinds):
        """The next thing of one of these kinds."""
        while True:
            what = self.happened.get(timeout=PATIENCE)
            if what[0] in kinds:
                return what[1:]

    def subscribe(self, topic, qos=1):
        self.client.subscribe(topic, qos)
        return self.next("subscribe")[0]

    def publish(self, topic, payload="x", qos=1, retain=False):
        """The reason code; `gone` where the broker ends the connection."""
        self.client.publish(topic, payload, qos, retain)
        what = self.next("publish", "disconnect")
        return what[0]

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()


seen = {}
one = Client("paho-one")
seen["connected"] = one.connected
seen["subscribed"] = one.subscribe(f"{BASE}/status")
topic, payload, retained = one.next("message")
seen["status"] = [topic == f"{BASE}/status", json.loads(payload)["online"], retained]
seen["sent"] = [one.publish(f"{BASE}/in", qos=0), one.publish(f"{BASE}/in", qos=1)]
filters = ["#", "+/+/status", f"{BASE}/in", f"{BASE}/out/+", "$SYS/#", "elsewhere"]
seen["forbidden_subscriptions"] = [one.subscribe(topic) for topic in filters]
session = one.subscribe(f"{BASE}/out/{'0' * 32}")
seen["session"] = session
seen["forbidden"] = []
for topic, retain in [(f"{BASE}/status", False), (f"{BASE}/status", True), (f"{BASE}/out/{'0' * 32}", False), (f"{BASE}/in", True), ("elsewhere", False)]:
    refused = one if V5 else Client("paho-forbidden")
    seen["forbidden"].append(refused.publish(topic, retain=retain))
    if refused is not one:
        refused.end()
seen["still_there"] = one.publish(f"{BASE}/in")
seen["bad_will"] = Client("paho-will", will=(f"{BASE}/status", "forged", 1, True)).connected[0]
good = Client("paho-good-will", will=(f"{BASE}/in", "sealed bye", 1, False))
seen["good_will"] = good.connected[0]
good.end()
two = Client("paho-one")
seen["taken_over"] = one.next("disconnect")[0] if V5 else one.next("disconnect")[0] != 0
lasting = Client("paho-lasting", keepalive=1, clean=False)
seen["no_session_is_kept"] = lasting.connected
lasting.next("pong")
lasting.next("pong")
seen["alive_after_two_pings"] = lasting.subscribe(f"{BASE}/status")
for client in (two, lasting):
    client.end()
print(json.dumps(seen))

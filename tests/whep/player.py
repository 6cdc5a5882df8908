"""Watches the agent by WHEP with aiortc: a real agent as a child process, HTTP by Python's own library, and decoded frames."""

import asyncio
import json
import os
import re
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

PATIENCE_S = 40
BIN = os.environ["PINHOLE_BIN"]


def ask(method, url, token=None, body=None, mime=None):
    """Status, header fields and body of a request; a refusal is no exception."""
    request = urllib.request.Request(url, data=body and body.encode(), method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if mime:
        request.add_header("Content-Type", mime)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


class Player(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.state = tempfile.TemporaryDirectory(prefix="pinhole-whep-")
        self.addCleanup(self.state.cleanup)
        arguments = ["--camera", "synthetic", "--size", "640x360", "--listen", "127.0.0.1:0", "--state", self.state.name]
        # The agent reads PINHOLE_…, and would wonder about those that are for the tests.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PINHOLE_")}
        self.agent = subprocess.Popen([BIN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        self.addCleanup(self.agent.stdout.close)
        self.addCleanup(self.agent.wait, PATIENCE_S)
        self.addCleanup(self.agent.terminate)
        self.assertRegex(self.agent.stdout.readline(), "^Watch: ")

    def pinhole(self, *arguments):
        command = [BIN, *arguments, "--state", self.state.name]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout

    def pair(self, name):
        printed = self.pinhole("pair", "--whep", "--name", name)
        return re.search("^URL: (.+)$", printed, re.M)[1], re.search("^Token: (.+)$", printed, re.M)[1]

    def watching(self, name):
        return next(person for person in json.loads(self.pinhole("viewers", "--json")) if person["name"] == name)["watching"]

    async def view(self, url, token):
        """A connected player, its video track, and its session's address."""
        connection = RTCPeerConnection()
        self.addAsyncCleanup(connection.close)
        transceiver = connection.addTransceiver("video", direction="recvonly")
        await connection.setLocalDescription(await connection.createOffer())
        offer = connection.localDescription.sdp
        status, fields, answer = await asyncio.to_thread(ask, "POST", url, token, offer, "application/sdp")
        self.assertEqual(status, 201, answer)
        self.assertIn("a=end-of-candidates", answer)
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        return connection, transceiver.receiver.track, urllib.parse.urljoin(url, fields["Location"])

    async def test_frames_are_decoded_until_the_session_is_deleted(self):
        url, token = self.pair("aiortc")
        connection, track, session = await self.view(url, token)
        frames = [await asyncio.wait_for(track.recv(), PATIENCE_S) for _ in range(60)]
        self.assertEqual({(frame.width, frame.height) for frame in frames}, {(640, 360)})
        times = [frame.time for frame in frames]
        self.assertEqual(times, sorted(set(times)))
        # The picture moves: no two of these are alike.
        self.assertEqual(len({bytes(frame.planes[0]) for frame in frames}), len(frames))
        self.assertEqual(self.watching("aiortc"), ["cam0"])
        self.assertEqual(ask("DELETE", session, token)[0], 200)
        self.assertEqual(ask("DELETE", session, token)[0], 404)
        deadline = time.monotonic() + PATIENCE_S
        while self.watching("aiortc"):
            self.assertLess(time.monotonic(), deadline, "it is still watching")
        await connection.close()

    async def test_a_revoked_token_ends_the_picture_and_opens_nothing(self):
        url, token = self.pair("guest")
        _, track, _ = await self.view(url, token)
        await asyncio.wait_for(track.recv(), PATIENCE_S)
        self.pinhole("revoke", "guest")
        status, fields, problem = ask("POST", url, token, "v=0\r\n", "application/sdp")
        self.assertEqual((status, fields["WWW-Authenticate"].split()[0]), (401, "Bearer"))
        self.assertEqual(json.loads(problem)["status"], 401)
        with self.assertRaises(MediaStreamError):
            while True:
                await asyncio.wait_for(track.recv(), PATIENCE_S)


if __name__ == "__main__":
    unittest.main()

// Pictures through a relay alone, with credentials that the agent makes from a secret that it shares with a real TURN server.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { endAll, freePort, startAgent, startBrowser, startTurn, tempFolder } from './support.mjs';

let browser;
let turn;

/** Runs in the page before its own scripts: its connections may use relays alone. */
function relayOnly() {
  const Native = window.RTCPeerConnection;
  window.relayed = [];
  window.RTCPeerConnection = class extends Native {
    constructor(configuration) {
      super({ ...configuration, iceTransportPolicy: 'relay' });
      window.relayed.push(this);
    }
  };
}

/** The candidate that the page's last connection uses, and the accounts that it was told. */
const used = (page) =>
  page.evaluate(async () => {
    const connection = window.relayed.at(-1);
    const report = [...(await connection.getStats()).values()];
    const pair = report.find(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded');
    const { candidateType, relayProtocol } = report.find(({ id }) => id === pair?.localCandidateId) ?? {};
    const users = connection.getConfiguration().iceServers.map(({ username }) => username);
    return { candidateType, relayProtocol, users };
  });

async function agentWith(server) {
  const state = await tempFolder('state');
  await writeFile(path.join(state, 'secret'), 'north\n');
  const config = path.join(state, 'pinhole.toml');
  await writeFile(config, `[[webrtc.ice_server]]\n${server}\n`);
  return startAgent({ state, args: ['--config', config] });
}

before(async () => {
  turn = await startTurn({ port: await freePort(), secret: 'north' });
  browser = await startBrowser();
});
after(endAll);

for (const transport of ['udp', 'tcp']) {
  test(`a viewer who can reach nothing but a relay, by ${transport}, sees the picture`, async (t) => {
    const agent = await agentWith(`urls = ["turn:127.0.0.1:${turn.port}?transport=${transport}"]\nsecret_file = "secret"\nttl = "10m"`);
    const viewer = await browser.viewer(agent.links[0], relayOnly);
    await viewer.state('playing');
    const seen = await viewer.watch(4_000);
    t.diagnostic(seen.summary);
    assert.ok(seen.fps >= 20, seen.summary);
    const { candidateType, relayProtocol, users } = await used(viewer.page);
    assert.deepEqual({ candidateType, relayProtocol }, { candidateType: 'relay', relayProtocol: transport });
    // When it ends, and the viewer's key: nothing about a person.
    assert.match(users[0], /^\d{10}:[0-9a-f]{16}$/);
    assert.doesNotMatch(agent.err, /north|credential/);
    await viewer.close();
    await agent.end();
  });
}

test('a wrong account gives no relay, and the page says that it cannot get through', async () => {
  const agent = await agentWith(`urls = ["turn:127.0.0.1:${turn.port}"]\nusername = "2000000000:x"\ncredential = "south"`);
  const viewer = await browser.viewer(agent.links[0], relayOnly);
  await viewer.state('unreachable');
  await viewer.close();
  await agent.end();
});

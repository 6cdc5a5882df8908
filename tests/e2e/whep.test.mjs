// WHEP with a client that others wrote (the npm package whip-whep) in Chromium, on a page of another site: from the token
// that `pinhole pair --whep` prints to the end of the session.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { endAll, rise, startAgent, startBrowser, tempFolder } from './support.mjs';

const run = promisify(execFile);

// Audio comes first, so that the candidates are those of a section that the answer rejects or leaves idle.
const PAGE = `<!doctype html><meta charset="utf-8"><title>player</title>
<video autoplay muted playsinline></video>
<script type="module">
  import { WHEPClient } from './whep.js';
  // Version 1.2.0 joins the candidates of a restart by commas, which only works for one.
  const { fetch } = window;
  window.fetch = async (...args) => {
    const response = await fetch(...args);
    if (args[1]?.method !== 'PATCH' || response.status !== 200) return response;
    let count = 0;
    const text = (await response.text()).replaceAll(/a=candidate:.*\\r\\n/g, (line) => (count++ === 0 ? line : ''));
    return new Response(text, response);
  };
  window.play = async (url, token) => {
    const connection = new RTCPeerConnection();
    connection.addTransceiver('audio', { direction: 'recvonly' });
    connection.addTransceiver('video', { direction: 'recvonly' });
    connection.ontrack = ({ track }) => {
      if (track.kind === 'video') document.querySelector('video').srcObject = new MediaStream([track]);
    };
    window.failures = [];
    addEventListener('unhandledrejection', ({ reason }) => window.failures.push(String(reason)));
    window.client = new WHEPClient();
    await window.client.view(connection, url, token);
    window.connection = connection;
  };
  window.ready = true;
</script>`;

let state;
let site;
let page;
let url;
let token;

const pinhole = async (...args) => (await run(process.env.PINHOLE_BIN, [...args, '--state', state])).stdout;
const client = async () => JSON.parse(await pinhole('viewers', '--json')).find(({ name }) => name === 'Player');

before(async () => {
  state = await tempFolder('state');
  await startAgent({ state, listen: '127.0.0.1:0' });
  const script = await readFile(new URL('node_modules/whip-whep/whep.js', import.meta.url));
  site = http.createServer((request, response) => {
    const isScript = request.url === '/whep.js';
    response.setHeader('Content-Type', isScript ? 'text/javascript' : 'text/html').end(isScript ? script : PAGE);
  });
  await new Promise((listening) => site.listen(0, '127.0.0.1', listening));
  const browser = await startBrowser();
  page = await browser.viewer(`http://localhost:${site.address().port}/`);
  await page.page.waitForFunction(() => window.ready);
});
after(async () => {
  await endAll();
  site?.close();
});

test('the command prints where to watch, and a token that is in no file', async () => {
  const printed = await pinhole('pair', '--whep', '--name', 'Player');
  [, url] = printed.match(/^URL: (http:\/\/127\.0\.0\.1:\d+\/whep\/cam0)$/m);
  [, token] = printed.match(/^Token: (pinhole_whep_[\w-]{43})$/m);
  assert.doesNotMatch(await readFile(`${state}/viewers.json`, 'utf8'), new RegExp(token));
  assert.equal((await client()).whep, true);
});

test('a wrong token gives no picture', async () => {
  const refused = page.page.evaluate(([url, token]) => window.play(url, token), [url, `${token}x`]);
  await assert.rejects(refused, /Request rejected with status 401/);
});

test('the player shows the picture, numbered upwards', async (t) => {
  await page.page.evaluate(([url, token]) => window.play(url, token), [url, token]);
  await page.page.waitForFunction(() => window.connection?.connectionState === 'connected');
  await page.moreFrames(30);
  const seen = await page.watch(4_000);
  t.diagnostic(seen.summary);
  assert.equal(seen.size, '1280x720');
  assert.ok(seen.numbers.length > 20 && rise(seen.numbers), `frame numbers: ${seen.numbers}`);
  assert.deepEqual((await client()).watching, ['cam0']);
});

test('its candidates are taken, and so is a restart of ICE', async () => {
  await page.page.waitForFunction(() => window.connection.iceGatheringState === 'complete');
  const before = await page.page.evaluate(() => window.connection.remoteDescription.sdp.match(/a=ice-ufrag:(.*)/)[1]);
  await page.page.evaluate(() => window.client.restart());
  const now = await page.page.evaluate(() => window.connection.remoteDescription.sdp.match(/a=ice-ufrag:(.*)/)[1]);
  assert.notEqual(now, before);
  await page.page.waitForFunction(() => window.connection.iceConnectionState === 'connected');
  await page.moreFrames(60);
  assert.deepEqual(await page.page.evaluate(() => window.failures), []);
});

test('when the player stops, the session ends', async () => {
  await page.page.evaluate(() => window.client.stop());
  const deadline = Date.now() + 10_000;
  while ((await client()).watching.length > 0) assert.ok(Date.now() < deadline, 'it is still watching');
  assert.deepEqual(page.errors, []);
});

// The same picture by way of a broker of the user's: the agent over TCP, the page over WebSocket.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { endAll, freePort, rise, startAgent, startBrowser, startMosquitto, tempFolder } from './support.mjs';

let agent;
let broker;
let browser;
let ports;
let first;

before(async () => {
  ports = { tcp: await freePort(), ws: await freePort() };
  broker = await startMosquitto(ports);
  const state = await tempFolder('state');
  // With the embedded broker, links would name that one first.
  const config = path.join(state, 'pinhole.toml');
  await writeFile(config, '[broker]\nembedded = false\n');
  agent = await startAgent({
    state,
    links: 2,
    args: ['--config', config, '--broker', `mqtt://127.0.0.1:${ports.tcp}`, '--broker-page', `ws://127.0.0.1:${ports.ws}`],
  });
  browser = await startBrowser();
});
after(endAll);

test('the printed link shows at least 25 frames per second, numbered upwards', async (t) => {
  first = await browser.viewer(agent.links[0]);
  await first.state('playing');
  const seen = await first.watch(10_000);
  t.diagnostic(seen.summary);
  assert.ok(seen.fps >= 25, seen.summary);
  assert.ok(seen.numbers.length > 50, seen.summary);
  assert.ok(rise(seen.numbers), `frame numbers fall: ${seen.numbers}`);
});

test('a second viewer gets a picture and the first loses none', async (t) => {
  const watching = first.watch(8_000);
  const second = await browser.viewer(new URL(new URL(agent.links[1]).hash, agent.links[0]).href);
  await second.state('playing');
  await second.moreFrames(30);
  const seen = await watching;
  t.diagnostic(seen.summary);
  assert.ok(seen.sameStream, 'the first viewer had to connect again');
  assert.equal(seen.lost, 0);
  await second.close();
});

test('the picture outlives the broker, and a reload works when it is back', async () => {
  await broker.end();
  await first.moreFrames(60);
  await first.state('playing');
  broker = await startMosquitto(ports);
  await first.page.reload();
  await first.state('playing');
  await first.moreFrames(30);
});

test('the page made no mistakes and broke no policy', () => {
  assert.deepEqual(first.errors, []);
});

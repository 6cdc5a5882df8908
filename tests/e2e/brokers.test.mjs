// Several brokers of the owner's: the page comes by the one that works, and goes on by another.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { ask, endAll, freePort, shotsFolder, startAgent, startBrowser, startMosquitto, tempFolder } from './support.mjs';

let agent;
let browser;
let first;
let second;
let state;
let viewer;

before(async () => {
  first = { tcp: await freePort(), ws: await freePort() };
  second = { tcp: await freePort(), ws: await freePort() };
  second.process = await startMosquitto(second);
  state = await tempFolder('state');
  const config = path.join(state, 'pinhole.toml');
  const server = ({ tcp, ws }) => `[[broker.server]]\nurl = "mqtt://127.0.0.1:${tcp}"\npage_url = "ws://127.0.0.1:${ws}/mqtt"\n`;
  await writeFile(config, `[broker]\nembedded = false\n${server(first)}${server(second)}`);
  agent = await startAgent({ state, args: ['--config', config] });
  browser = await startBrowser();
});
after(endAll);

/** Until when the page's ICE servers are good: it changes with each `welcome`. */
const greeted = () => viewer.page.evaluate(() => JSON.parse(localStorage['pinhole.cameras']).cameras[0].ice.until);

test('a link whose first broker is dead pairs and plays by the second', async () => {
  viewer = await browser.viewer(agent.links[0]);
  await viewer.state('playing');
  await viewer.moreFrames(30);
});

test('the broker dies while a viewer watches: no frame is lost, and signaling comes back by the other', async (t) => {
  first.process = await startMosquitto(first);
  await agent.until('connection to the first broker', ({ err }) => err.match(/signaling is up/g)?.length === 2);
  const before = await greeted();
  const watching = viewer.watch(6_000);
  await second.process.end();
  const seen = await watching;
  t.diagnostic(seen.summary);
  assert.ok(seen.sameStream, 'it had to connect again');
  assert.equal(seen.lost, 0);
  await viewer.page.waitForFunction((last) => JSON.parse(localStorage['pinhole.cameras']).cameras[0].ice.until !== last, before);
  await viewer.state('playing');
  // What the device says to the session now comes by the first broker.
  await ask(state, 'revoke', 'Chrome on Linux');
  await viewer.state('revoked');
});

test('when no broker answers, the page names them all', async () => {
  const { hash } = new URL(agent.links[0]);
  await first.process.end();
  const lost = await browser.viewer(new URL(hash, agent.links[0]).href);
  await lost.state('broker-unreachable');
  const text = await lost.page.textContent('#text');
  assert.ok(text.includes(`127.0.0.1:${first.ws} and 127.0.0.1:${second.ws}`), text);
  const shots = await shotsFolder();
  await lost.screenshot(shots, 'no-broker');
  await lost.page.setViewportSize({ width: 390, height: 844 });
  await lost.screenshot(shots, 'no-broker-phone');
  assert.deepEqual(lost.errors, []);
});

test('the page made no mistakes and broke no policy', () => {
  assert.deepEqual(viewer.errors, []);
});

// Several cameras of one agent in Chromium: the page switches between them, and shows the slate of the one that is absent.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { endAll, shotsFolder, startAgent, startBrowser, tempFolder } from './support.mjs';

const CONFIG = `
name = "Workshop"

[[camera]]
id = "bench"
name = "Bench"
source = "synthetic"
size = "640x360"

[[camera]]
id = "door"
name = "Door"
source = "synthetic"
size = "320x240"
fps = 15
bitrate = "300k"

[[camera]]
id = "garden"
name = "Garden"
source = "/dev/video97"
size = "640x360"
`;

let agent;
let viewer;
let shots;

before(async () => {
  shots = await shotsFolder();
  const config = path.join(await tempFolder('config'), 'pinhole.toml');
  await writeFile(config, CONFIG);
  agent = await startAgent({ state: await tempFolder('state'), args: ['--config', config] });
  viewer = await (await startBrowser()).viewer(agent.links[0]);
});
after(endAll);

/** Chooses a camera in the page's list. */
async function choose(name) {
  await viewer.page.mouse.move(300, 300);
  await viewer.page.click('#name');
  await viewer.page.click(`#list .choose:has-text("${name}")`);
  await viewer.page.waitForFunction((chosen) => document.querySelector('#name-text').textContent.endsWith(chosen), name);
}

test('each camera has its own size and rate, and the page switches between them', async (t) => {
  await viewer.state('playing');
  await viewer.moreFrames(30);
  assert.equal((await viewer.watch(2_000)).size, '640x360');
  await choose('Door');
  await viewer.state('playing');
  await viewer.moreFrames(15);
  const seen = await viewer.watch(4_000);
  t.diagnostic(seen.summary);
  assert.equal(seen.size, '320x240');
  assert.ok(seen.fps < 20, seen.summary);
});

test('an absent camera shows its slate and says so, wide and on a phone', async (t) => {
  await choose('Garden');
  await viewer.state('playing');
  await viewer.page.waitForSelector('#notice:not([hidden])');
  assert.equal(await viewer.page.textContent('#notice'), 'Waiting for the camera.');
  await viewer.moreFrames(8);
  const seen = await viewer.watch(3_000);
  t.diagnostic(seen.summary);
  assert.equal(seen.size, '640x360');
  assert.ok(seen.fps >= 2 && seen.fps <= 6, seen.summary);
  for (const [name, width, height] of [['slate', 1280, 800], ['slate-phone', 390, 844]]) {
    await viewer.page.setViewportSize({ width, height });
    await viewer.page.mouse.move(width / 2, height / 2);
    const box = await viewer.page.locator('#notice').boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= width && box.y + box.height <= height, JSON.stringify(box));
    await viewer.screenshot(shots, name);
  }
  await viewer.page.setViewportSize({ width: 1280, height: 800 });
});

test('the notice goes with the absent camera', async () => {
  await choose('Bench');
  await viewer.state('playing');
  await viewer.moreFrames(30);
  assert.ok(await viewer.page.locator('#notice').isHidden());
  assert.deepEqual(viewer.errors, []);
});

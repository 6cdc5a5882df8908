// Two agents on one page in Chromium: the second is served by the first one's broker, by its key. The page has both in
// one list, switches between their pictures, and sees one go and come back.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { ask, endAll, freePort, shotsFolder, startAgent, startBrowser, tempFolder } from './support.mjs';

const camera = (id, size) => `
[[camera]]
id = "${id.toLowerCase()}"
name = "${id}"
source = "synthetic"
size = "${size}"
fps = 15
bitrate = "500k"
`;

let hub;
let page;
let other;
let startOther;
let viewer;
let shots;

before(async () => {
  shots = await shotsFolder();
  const folder = await tempFolder('config');
  const config = async (name, text) => {
    const file = path.join(folder, `${name}.toml`);
    await writeFile(file, text);
    return file;
  };
  const state = await tempFolder('state');
  const port = await freePort();
  page = `http://localhost:${port}/`;
  const first = await startAgent({ state });
  const key = await ask(state, 'device-key');
  await first.end();
  const gardens = await config('hub', `name = "Garden"\n${camera('Main', '640x360')}\n[broker]\naccept_devices = ["${key}"]\n`);
  hub = await startAgent({ state: await tempFolder('state'), listen: `0.0.0.0:${port}`, args: ['--config', gardens] });
  const workshops = await config(
    'other',
    `name = "Workshop"\n${camera('Bench', '320x240')}${camera('Door', '480x360')}\n[broker]\nhub = "${page}"\n`,
  );
  startOther = () => startAgent({ state, args: ['--config', workshops] });
  other = await startOther();
  viewer = await (await startBrowser()).viewer(hub.links.find((link) => link.startsWith(page)));
});
after(endAll);

/** What the list says of a device. */
function says(name, words) {
  return viewer.page.waitForFunction(
    ([device, said]) =>
      [...document.querySelectorAll('#list .device')].some(
        (item) => item.querySelector('.row').textContent.startsWith(device) && item.querySelector('.presence').textContent === said,
      ),
    [name, words],
  );
}

async function openList() {
  await viewer.page.keyboard.press('c');
  await viewer.page.waitForSelector('#cameras[open]');
}

async function plays(size) {
  await viewer.decodes(size);
  await viewer.state('playing');
  await viewer.moreFrames(10);
}

const named = (name) => viewer.page.waitForFunction((wanted) => document.querySelector('#name-text').textContent === wanted, name);

test('a link of a second device, opened on the page of the first, adds it', async () => {
  await plays('640x360');
  const link = other.links.find((one) => one.startsWith(page));
  assert.ok(link, `the hub's page is among ${other.links.map((one) => one.split('#')[0])}`);
  await viewer.page.goto(link);
  await named('Workshop · Bench');
  await plays('320x240');
});

test('both are in one list, with who is there and what is shown', async () => {
  await openList();
  await says('Garden', 'online');
  await says('Workshop', 'online');
  assert.deepEqual(await viewer.page.locator('#list .what').allTextContents(), ['Garden', 'Bench', 'Door']);
  assert.equal(await viewer.page.locator('#list [aria-current]').textContent(), 'Bench');
  for (const [name, width, height] of [['devices', 1280, 800], ['devices-phone', 390, 844]]) {
    await viewer.page.setViewportSize({ width, height });
    const box = await viewer.page.locator('#cameras').boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= width && box.y + box.height <= height, JSON.stringify(box));
    await viewer.screenshot(shots, name);
  }
  await viewer.page.setViewportSize({ width: 1280, height: 800 });
});

test('one tap or one key switches between the pictures of both', async () => {
  await viewer.page.click('#list .choose:has-text("Garden")');
  await named('Garden');
  await plays('640x360');
  await viewer.page.keyboard.press('3');
  await named('Workshop · Door');
  await plays('480x360');
  await viewer.page.keyboard.press('ArrowRight');
  await named('Garden');
  await plays('640x360');
  await openList();
  await viewer.page.keyboard.press('ArrowDown');
  await viewer.page.keyboard.press('Enter');
  await named('Workshop · Bench');
  await plays('320x240');
});

test('the list shows that a device has gone and come back, and the other is undisturbed', async () => {
  await viewer.page.keyboard.press('1');
  await named('Garden');
  await plays('640x360');
  await openList();
  await says('Workshop', 'online');
  await other.end();
  await says('Workshop', 'offline');
  await says('Garden', 'online');
  await viewer.screenshot(shots, 'device-gone');
  await viewer.moreFrames(10);
  other = await startOther();
  await says('Workshop', 'online');
  await viewer.page.click('#list .choose:has-text("Door")');
  await plays('480x360');
});

test('a device that dies is offline at once, and its picture comes back with it', async () => {
  await other.end('SIGKILL');
  await openList();
  await says('Workshop', 'offline');
  await viewer.page.keyboard.press('Escape');
  other = await startOther();
  await plays('480x360');
  assert.deepEqual(viewer.errors, []);
});

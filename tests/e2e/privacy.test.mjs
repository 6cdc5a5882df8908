// The privacy switch in Chromium: who watches is told and sees nothing more, who comes is told the same, and the picture is back by itself.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ask, endAll, shotsFolder, startAgent, startBrowser, tempFolder } from './support.mjs';

let browser;
let state;
let shots;
let links;
let viewer;

before(async () => {
  shots = await shotsFolder();
  state = await tempFolder('state');
  ({ links } = await startAgent({ state, links: 2 }));
  browser = await startBrowser();
  viewer = await browser.viewer(links[0]);
});
after(endAll);

test('privacy covers the picture of who watches, wide and on a phone', async () => {
  await viewer.state('playing');
  await viewer.moreFrames(10);
  await ask(state, 'privacy', 'on');
  await viewer.state('privacy');
  assert.equal(await viewer.page.textContent('#title'), 'The camera is covered');
  // Not the last picture, either: what lies over it lets nothing through.
  const over = await viewer.page.evaluate(() => [[640, 400], [640, 750], [1270, 10], [10, 790]].map(([x, y]) => {
    const top = document.elementFromPoint(x, y).closest('#message');
    return top && getComputedStyle(top).opacity;
  }));
  assert.deepEqual(over, ['1', '1', '1', '1']);
  for (const [name, width, height] of [['privacy', 1280, 800], ['privacy-phone', 390, 844]]) {
    await viewer.page.setViewportSize({ width, height });
    await viewer.screenshot(shots, name);
  }
  await viewer.page.setViewportSize({ width: 1280, height: 800 });
});

test('who comes while it is on is told so, and sees nothing', async () => {
  const late = await browser.viewer(links[1]);
  await late.state('privacy');
  assert.equal(await late.page.evaluate(() => document.querySelector('#video').videoWidth), 0);
  await late.page.close();
});

test('the picture is back by itself once it is off', async () => {
  await ask(state, 'privacy', 'off');
  await viewer.state('playing');
  await viewer.moreFrames(10);
});

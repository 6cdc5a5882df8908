// A camera that does not stand upright, in Chromium: turned by the browser as the header extension video-orientation
// says, and by the agent while a viewer is there whose browser does not do that. Each time the barcode at the top of the
// camera's picture must be where it belongs.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { PATIENCE, endAll, startAgent, startBrowser, tempFolder } from './support.mjs';

const CAMERA = { width: 320, height: 240 };

let browser;

before(async () => {
  browser = await startBrowser();
});
after(endAll);

async function startTurned(settings) {
  const state = await tempFolder('state');
  const config = path.join(state, 'pinhole.toml');
  await writeFile(config, `[camera]\n${settings}\n`);
  return startAgent({ state, links: 2, args: ['--config', config, '--size', `${CAMERA.width}x${CAMERA.height}`, '--fps', '10'] });
}

/** Waits for a picture that holds the camera's barcode after such a turn, and gives the sizes shown and decoded. */
function turned(viewer, orientation) {
  return viewer.page.evaluate(look, { ...orientation, ...CAMERA, patience: PATIENCE });
}

/** Runs in the page. The barcode: see support.mjs. */
async function look({ rotate, mirror, width, height, patience }) {
  // Where a point of the camera's picture is shown: first turned clockwise, then left and right changed.
  const place = (x, y) => {
    const [shownX, shownY, across] = { 0: [x, y, width], 90: [height - y, x, height], 180: [width - x, height - y, width], 270: [y, width - x, height] }[rotate];
    return [mirror ? across - shownX : shownX, shownY];
  };
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const give = performance.now() + patience;
  while (performance.now() < give) {
    const video = document.querySelector('video');
    const { videoWidth, videoHeight } = video ?? {};
    if (videoWidth > 0) {
      canvas.width = videoWidth;
      canvas.height = videoHeight;
      context.drawImage(video, 0, 0);
      const block = width / 40;
      const bits = Array.from({ length: 32 }, (_, at) => {
        const [x, y] = place(width / 10 + (at + 0.5) * block, 40);
        return context.getImageData(Math.floor(x), Math.floor(y), 1, 1).data[0] > 125 ? 1 : 0;
      });
      const parity = bits.slice(2, 30).reduce((sum, bit) => sum ^ bit, 0);
      if (bits[0] === 1 && bits[1] === 0 && bits[30] === parity && bits[31] !== parity) {
        const { frameWidth, frameHeight } = await window.e2e.inbound();
        return { shown: `${videoWidth}x${videoHeight}`, decoded: `${frameWidth}x${frameHeight}` };
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const { videoWidth, videoHeight } = document.querySelector('video') ?? {};
  throw new Error(`no picture turned by ${rotate} degrees${mirror ? ' and mirrored' : ''}: ${videoWidth}x${videoHeight} is shown`);
}

/** Runs in the page before its own scripts: a browser that does not know the extension. */
function forgetOrientation() {
  const { createOffer } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.createOffer = async function (...args) {
    const { type, sdp } = await createOffer.apply(this, args);
    return { type, sdp: sdp.replaceAll(/a=extmap:\S+ urn:3gpp:video-orientation\r\n/g, '') };
  };
}

test('a quarter turn is done by the browser, and by the agent while one is there that cannot', async (t) => {
  const agent = await startTurned('rotate = 90');
  const able = await browser.viewer(agent.links[0]);
  await able.state('playing');
  const byBrowser = await turned(able, { rotate: 90 });
  t.diagnostic(JSON.stringify(byBrowser));
  assert.deepEqual(byBrowser, { shown: '240x320', decoded: '320x240' });

  const rigid = await browser.viewer(new URL(new URL(agent.links[1]).hash, agent.links[0]).href, forgetOrientation);
  await rigid.state('playing');
  assert.deepEqual(await turned(rigid, { rotate: 90 }), { shown: '240x320', decoded: '240x320' });
  assert.deepEqual(await turned(able, { rotate: 90 }), { shown: '240x320', decoded: '240x320' });

  await rigid.close();
  await able.decodes('320x240');
  assert.deepEqual(await turned(able, { rotate: 90 }), { shown: '240x320', decoded: '320x240' });
  assert.deepEqual([...able.errors, ...rigid.errors], []);
  await able.close();
});

for (const [rotate, flip] of [[180, 'none'], [270, 'none'], [0, 'horizontal'], [90, 'horizontal']]) {
  test(`rotate = ${rotate}, flip = ${flip}`, async () => {
    const agent = await startTurned(`rotate = ${rotate}\nflip = "${flip}"`);
    const viewer = await browser.viewer(agent.links[0]);
    await viewer.state('playing');
    const mirror = flip === 'horizontal';
    const shown = rotate % 180 === 0 ? '320x240' : '240x320';
    const seen = await turned(viewer, { rotate, mirror });
    // The extension knows no mirror image: then the agent has done all of it.
    assert.deepEqual(seen, { shown, decoded: mirror ? shown : '320x240' });
    await viewer.close();
  });
}

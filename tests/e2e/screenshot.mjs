// Makes the README's picture of the page: PINHOLE_BIN=… node screenshot.mjs FILE.png

import { endAll, startAgent, startBrowser, tempFolder } from './support.mjs';

const [file] = process.argv.slice(2);
if (!file) throw new Error('usage: node screenshot.mjs FILE.png');
try {
  const agent = await startAgent({ state: await tempFolder('state') });
  const browser = await startBrowser();
  const viewer = await browser.viewer(agent.links[0]);
  await viewer.state('playing');
  await viewer.page.keyboard.press('i');
  await viewer.moreFrames(150);
  await viewer.page.mouse.move(640, 400);
  await viewer.page.screenshot({ path: file });
} finally {
  await endAll();
}

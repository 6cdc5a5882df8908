// The main job, end to end: the agent's synthetic picture in Chromium, by its own page and its embedded broker.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { endAll, rise, shotsFolder, startAgent, startBrowser, tempFolder } from './support.mjs';

let agent;
let browser;
let state;
let shots;
let first;

before(async () => {
  state = await tempFolder('state');
  // Kept: these are for people to look at.
  shots = await shotsFolder();
  agent = await startAgent({ state, links: 2 });
  browser = await startBrowser();
});
after(endAll);

test('the printed link shows at least 25 frames per second, numbered upwards', async (t) => {
  first = await browser.viewer(agent.links[0]);
  await first.state('playing');
  const seen = await first.watch(10_000);
  assert.equal(seen.size, '1280x720');
  t.diagnostic(seen.summary);
  assert.ok(seen.fps >= 25, seen.summary);
  assert.ok(seen.numbers.length > 50, seen.summary);
  assert.ok(rise(seen.numbers), `frame numbers fall: ${seen.numbers}`);
});

test('the secret is gone from the address', async () => {
  assert.equal(new URL(first.page.url()).hash, '');
  assert.doesNotMatch(await first.page.evaluate(() => JSON.stringify([location.href, history.state, document.referrer])), /#/);
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
  assert.ok(rise(seen.numbers), `frame numbers fall: ${seen.numbers}`);
  assert.deepEqual(second.errors, []);
  await second.close();
});

test('the page fits wide and phone-sized windows', async () => {
  await first.page.keyboard.press('i');
  await first.moreFrames(30);
  for (const [name, width, height] of [['wide', 1280, 800], ['phone', 390, 844]]) {
    await first.page.setViewportSize({ width, height });
    await first.page.mouse.move(width / 2, height / 2);
    const outside = await first.page.evaluate(() =>
      [...document.querySelectorAll('#top, #controls, #stats, video')]
        .map((element) => [element.id, element.getBoundingClientRect()])
        .filter(([, { left, top, right, bottom }]) => left < 0 || top < 0 || right > innerWidth || bottom > innerHeight)
        .map(([id]) => id),
    );
    assert.deepEqual(outside, [], `outside the ${name} window`);
    await first.screenshot(shots, name);
  }
  await first.page.setViewportSize({ width: 1280, height: 800 });
});

test('a snapshot is a JPEG', async () => {
  const [download] = await Promise.all([first.page.waitForEvent('download'), first.page.keyboard.press('s')]);
  assert.match(download.suggestedFilename(), /\.jpg$/);
  const stream = await download.createReadStream();
  const [start] = await stream[Symbol.asyncIterator]().next().then(({ value }) => [value.subarray(0, 3)]);
  stream.destroy();
  assert.deepEqual([...start], [0xff, 0xd8, 0xff]);
});

test('a reload needs no link', async () => {
  await first.page.reload();
  await first.state('playing');
  await first.moreFrames(30);
});

test('a used link says so', async () => {
  const late = await browser.viewer(agent.links[0]);
  await late.state('link-used');
  assert.equal(await late.title(), 'This link no longer works');
  await late.screenshot(shots, 'link-used');
  await late.close();
});

test('without a link the page says how to get one', async () => {
  const stranger = await browser.viewer(new URL('/', agent.links[0]).href);
  await stranger.state('no-link');
  assert.match(await stranger.page.textContent('#text'), /pinhole pair/);
  await stranger.close();
});

test('after the agent was killed and started again the picture comes back by itself', async () => {
  const { port } = new URL(agent.links[0]);
  await agent.end('SIGKILL');
  await first.leavesState('playing');
  await first.screenshot(shots, 'lost');
  agent = await startAgent({ state, listen: `0.0.0.0:${port}` });
  await first.state('playing');
  await first.moreFrames(30);
});

test('a stopped agent says goodbye', async () => {
  await agent.end();
  await first.page.waitForFunction(() => ['shutdown', 'offline', 'broker-unreachable'].includes(document.documentElement.dataset.state));
});

test('the page made no mistakes and broke no policy', () => {
  assert.deepEqual(first.errors, []);
});

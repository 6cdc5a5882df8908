// Connecting by hand: the page comes from a static web host that has no broker, and what goes between it and the device is
// copied, pasted and saved, as people would.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { endAll, environment, onEnd, rise, shotsFolder, startAgent, startBrowser, tempFolder } from './support.mjs';

/** Longer than the WebRTC crate of the agent would wait by itself (30 s); in milliseconds. */
const LATE = Number(process.env.PINHOLE_HAND_DELAY_MS ?? 33_000);

const DIST = new URL('../../src/web/page/dist/', import.meta.url);
const TYPES = { html: 'text/html', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml', txt: 'text/plain' };

let state;
let files;
let shots;
let agent;
let browser;
let host;
let viewer;

/** The page on a host of its own: no `/mqtt` there, and so no way to the device. */
async function serveStatic() {
  const server = http.createServer(async (request, response) => {
    const name = new URL(request.url, 'http://host').pathname.slice(1) || 'index.html';
    try {
      const body = await readFile(new URL(path.basename(name), DIST));
      response.writeHead(200, { 'content-type': TYPES[name.split('.').pop()] }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  onEnd(() => new Promise((resolve) => server.close(resolve)));
  return `http://127.0.0.1:${server.address().port}/`;
}

/** `pinhole answer` by the owner: what it prints, and what it says beside. Rejects with what it says where it refuses. */
function answer(text, ...more) {
  return new Promise((resolve, reject) => {
    const args = ['answer', '--state', state, ...more];
    const child = execFile(process.env.PINHOLE_BIN, args, { env: environment() }, (error, stdout, stderr) =>
      error ? reject(new Error(stderr)) : resolve({ text: stdout, said: stderr }),
    );
    child.stdin.end(text);
  });
}

const text = () => viewer.page.inputValue('#hand-text');

/** Waits for a text that is not `old`. */
async function nextText(old = '') {
  await viewer.page.waitForFunction((before) => !['', before].includes(document.querySelector('#hand-text').value), old);
  return text();
}

/** Puts an answer in as a paste does. */
async function put(answered) {
  await viewer.page.fill('#hand-answer', answered);
  await viewer.page.click('#hand-connect');
}

async function refused(answered, words) {
  await put(answered);
  await viewer.page.waitForFunction((part) => document.querySelector('#hand-error').textContent.includes(part), words);
}

before(async () => {
  [state, files] = [await tempFolder('state'), await tempFolder('mail')];
  // Kept: these are for people to look at.
  shots = await shotsFolder();
  [agent, browser, host] = [await startAgent({ state }), await startBrowser(), await serveStatic()];
});
after(endAll);

test('where there is no broker, a link gets its key by hand', async () => {
  viewer = await browser.viewer(new URL(new URL(agent.links[0]).hash, host).href);
  await viewer.state('broker-unreachable');
  await viewer.page.click('#by-hand');
  const request = await nextText();
  assert.match(await viewer.page.textContent('#hand-intro'), /two rounds/);
  const { text: key, said } = await answer(`Hello!\n\n> ${request.replaceAll('\n', '\n> ')}\n`);
  assert.match(said, /put into the page/);
  await put(key);
  await nextText(request);
  assert.match(await viewer.page.textContent('#hand-intro'), /has its key now/);
  assert.notEqual(await viewer.page.textContent('#name-text'), 'pinhole', 'it knows the name of the device');
});

test('the panel fits wide and phone-sized windows', async () => {
  for (const [name, width, height] of [['by-hand-wide', 1280, 800], ['by-hand-phone', 390, 844]]) {
    await viewer.page.setViewportSize({ width, height });
    const [wide, tall] = await viewer.page.$eval('#hand', ({ scrollWidth, clientWidth, offsetHeight }) => [scrollWidth <= clientWidth, offsetHeight <= innerHeight]);
    assert.ok(wide && tall, `outside the ${name} window`);
    await viewer.screenshot(shots, name);
  }
});

test('a wrong text is told what it is', async () => {
  const offer = await text();
  await refused('Dear Ben, the camera is on.', 'There is no answer in this');
  await refused(offer, 'This is the text to send');
  const { text: first } = await answer(offer);
  await refused(first.slice(0, 900), 'damaged or not whole');
  await refused(first.replace('pinhole1', 'pinhole2'), 'newer pinhole');
  await viewer.page.click('#hand-anew');
  const second = await nextText(offer);
  await refused(first, 'answers an older text');
  await viewer.screenshot(shots, 'by-hand-wrong');
  await assert.rejects(answer(first), /this is an answer of a device/);
  assert.notEqual(second, offer);
});

test('the text leaves the page where there is no clipboard, and by what the system shares with', async () => {
  const withStubs = () => {
    Object.defineProperty(navigator, 'clipboard', { value: undefined });
    navigator.share = async (what) => (window.shared = what);
  };
  const { camera } = await viewer.page.evaluate(() => ({ camera: localStorage.getItem('pinhole.cameras') }));
  const plain = await browser.viewer(host, withStubs, [(stored) => localStorage.setItem('pinhole.cameras', stored), camera]);
  await plain.state('broker-unreachable');
  // By the quiet entry in the list of cameras.
  await plain.page.click('#name');
  await plain.page.click('#hand-enter');
  await plain.page.waitForFunction(() => document.querySelector('#hand-text').value !== '');
  await plain.page.click('#hand-share');
  const [whole, shared] = await plain.page.evaluate(() => [document.querySelector('#hand-text').value, window.shared.text]);
  assert.equal(shared, whole);
  await plain.page.click('#hand-copy');
  const selected = await plain.page.evaluate(() => {
    const { activeElement: element } = document;
    return [element.id, element.selectionStart, element.selectionEnd];
  });
  assert.deepEqual(selected, ['hand-text', 0, whole.length]);
  assert.deepEqual(plain.errors, []);
  await plain.close();
});

test('an answer that comes late brings the picture', async (t) => {
  // Copied by the button, saved as a file, answered, and opened as a file.
  await viewer.page.click('#hand-copy');
  await viewer.page.waitForFunction(() => document.querySelector('#hand-copy').textContent !== 'Copy');
  const [download] = await Promise.all([viewer.page.waitForEvent('download'), viewer.page.click('#hand-save')]);
  const saved = path.join(files, download.suggestedFilename());
  await download.saveAs(saved);
  assert.equal(await readFile(saved, 'utf8'), `${await text()}\n`);
  const back = path.join(files, 'answer.txt');
  const { said } = await answer('', '--offer', saved, '--out', back, '--wait', '10m');
  assert.match(said, /waits 10 minutes/);
  await new Promise((resolve) => setTimeout(resolve, LATE));
  const opened = performance.now();
  await viewer.page.setInputFiles('#hand-file', back);
  await viewer.state('playing');
  t.diagnostic(`picture ${Math.round(performance.now() - opened)} ms after the answer, which was ${LATE} ms old`);
  const seen = await viewer.watch(3_000);
  t.diagnostic(seen.summary);
  assert.ok(seen.fps >= 15 && rise(seen.numbers), seen.summary);
  assert.equal(await viewer.page.$eval('#hand', ({ open }) => open), false);
  await viewer.screenshot(shots, 'by-hand-playing');
  await assert.rejects(answer('', '--offer', saved), /was answered already/);
});

test('a connection that ends is offered to be made anew', async () => {
  await agent.end();
  await viewer.state('hand-lost');
  await viewer.page.click('#by-hand');
  assert.match(await nextText(), /^pinhole1:/);
  assert.deepEqual(viewer.errors, []);
});

test('the file that a mail program saves is read as it is', async () => {
  const offer = await text();
  const file = path.join(files, 'mail.eml');
  await writeFile(file, `Subject: camera\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nHi,\r\n${offer.replaceAll('\n', '=\r\n')}\r\n`);
  await assert.rejects(answer('', '--offer', file), /no pinhole is running here/);
});

// What the browser tests share: the agent, a broker and Chromium as child processes, and a look at what a viewer gets.
// Not here: the tests.

import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';

/** For anything that ends by itself on a machine that is not broken. Milliseconds. */
export const PATIENCE = 40_000;

const CHROMIUM = process.env.PINHOLE_CHROMIUM ?? '/usr/bin/chromium';
const CHROMIUM_FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required',
];

// ---- what ends with the test

const cleanups = [];

/** Ends everything that was started here, the last first. For `after`. */
export async function endAll() {
  while (cleanups.length > 0) await cleanups.pop()();
}

/** Has this done at the end, too. */
export function onEnd(cleanup) {
  cleanups.push(cleanup);
}

export async function tempFolder(name) {
  const folder = await mkdtemp(path.join(tmpdir(), `pinhole-${name}-`));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Where screenshots stay: the folder that PINHOLE_SHOTS names, or a new one. */
export async function shotsFolder() {
  return process.env.PINHOLE_SHOTS ?? mkdtemp(path.join(tmpdir(), 'pinhole-shots-'));
}

/** A TCP port on loopback that was free a moment ago. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** The agent reads PINHOLE_…, and would wonder about those that are for the tests. */
export function environment() {
  return Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith('PINHOLE_')));
}

/** A child process whose output is kept, ended by its own pid. */
class Child {
  constructor(command, args) {
    this.name = path.basename(command);
    this.out = '';
    this.err = '';
    this.child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: environment() });
    this.ended = new Promise((resolve) => {
      this.child.on('error', (error) => resolve(`${this.name}: ${error.message}`));
      this.child.on('exit', (code, signal) => resolve(`${this.name} ended with ${code ?? signal}\n${this.err}`));
    });
    this.child.stdout.setEncoding('utf8').on('data', (text) => (this.out += text));
    this.child.stderr.setEncoding('utf8').on('data', (text) => (this.err += text));
    cleanups.push(() => this.end());
  }

  /** Resolves as soon as `look` gives something true; it is asked whenever there is output. */
  async until(what, look) {
    let stop;
    const found = new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${this.name}: no ${what}\n${this.out}${this.err}`)), PATIENCE);
      const check = () => {
        const result = look(this);
        if (result) resolve(result);
      };
      this.child.stdout.on('data', check);
      this.child.stderr.on('data', check);
      this.ended.then((how) => reject(new Error(how)));
      stop = () => {
        clearTimeout(timer);
        this.child.stdout.off('data', check);
        this.child.stderr.off('data', check);
      };
      check();
    });
    return found.finally(stop);
  }

  async end(signal = 'SIGTERM') {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill('SIGKILL'), PATIENCE);
    await this.ended;
    clearTimeout(timer);
  }
}

// ---- the agent and a broker

/** Starts the agent, on its synthetic picture where nothing else is said; `links` is how many links it must print. */
export async function startAgent({ state, camera = 'synthetic', listen = '0.0.0.0:0', links = 1, args = [] }) {
  const command = process.env.PINHOLE_BIN;
  if (!command) throw new Error('PINHOLE_BIN must name the agent');
  const agent = new Child(command, ['--camera', camera, '--listen', listen, '--state', state, ...args]);
  agent.links = await agent.until(`${links} link(s): this test needs a network address besides loopback`, ({ out }) => {
    const found = [...out.matchAll(/^Watch: (http\S+#\S+)$/gm)].map(([, link]) => link);
    return found.length >= links && found;
  });
  return agent;
}

/** What a command prints that asks the agent with that state folder. */
export async function ask(state, ...args) {
  const { stdout } = await promisify(execFile)(process.env.PINHOLE_BIN, [...args, '--state', state], { timeout: PATIENCE, env: environment() });
  return stdout.trim();
}

/** Starts mosquitto for anybody, with MQTT over TCP at `tcp` and over WebSocket at `ws`, both on loopback. */
export async function startMosquitto({ tcp, ws }) {
  const folder = await tempFolder('mosquitto');
  const config = path.join(folder, 'mosquitto.conf');
  const lines = ['allow_anonymous true', 'log_dest stderr', `listener ${tcp} 127.0.0.1`, `listener ${ws} 127.0.0.1`, 'protocol websockets'];
  await writeFile(config, `${lines.join('\n')}\n`);
  const broker = new Child('mosquitto', ['-c', config]);
  await broker.until('start', ({ err }) => / running\b/.test(err));
  return broker;
}

/** Starts coturn on loopback, for who knows an account made from `secret`; by UDP and TCP at `port`. */
export async function startTurn({ port, secret }) {
  const folder = await tempFolder('turn');
  const turn = new Child('turnserver', [
    '-n', '--listening-ip=127.0.0.1', '--relay-ip=127.0.0.1', `--listening-port=${port}`, '--realm=test', '--use-auth-secret',
    `--static-auth-secret=${secret}`, '--allow-loopback-peers', '--no-cli', '--no-tls', '--no-dtls', '--log-file=stdout',
    '--pidfile=/dev/null', `--userdb=${path.join(folder, 'turndb')}`,
  ]);
  turn.port = port;
  await answers(port);
  return turn;
}

/** Waits until something takes TCP connections at `port` of loopback. */
async function answers(port) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const connected = await new Promise((resolve) => {
      const socket = net.connect({ host: '127.0.0.1', port });
      socket.on('connect', () => socket.end(() => resolve(true)));
      socket.on('error', () => resolve(false));
    });
    if (connected) return;
    if (Date.now() > end) throw new Error(`nothing answers at port ${port}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// ---- viewers

/** Chromium, and new viewers in it: each has its own storage, as another browser would. */
export async function startBrowser() {
  const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: CHROMIUM_FLAGS });
  cleanups.push(() => browser.close());
  return {
    /** `scripts` run in the page before its own; each is a function, or [function, argument]. */
    async viewer(link, ...scripts) {
      const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: 'reduce' });
      const page = await context.newPage();
      page.setDefaultTimeout(PATIENCE);
      const viewer = new Viewer(page);
      await page.addInitScript(instrument);
      for (const script of scripts) await page.addInitScript(...[script].flat());
      await page.goto(link);
      return viewer;
    },
  };
}

/** Runs in the page before its own scripts: keeps its peer connections, and reads each frame's barcode. */
function instrument() {
  const Native = window.RTCPeerConnection;
  const connections = [];
  window.RTCPeerConnection = class extends Native {
    constructor(...args) {
      super(...args);
      connections.push(this);
    }
  };
  const inbound = async () => {
    const live = connections.findLast(({ connectionState }) => connectionState === 'connected');
    const report = live ? [...(await live.getStats()).values()] : [];
    return report.find(({ type, kind }) => type === 'inbound-rtp' && kind === 'video') ?? null;
  };

  // The barcode: 32 blocks in a row, each a fortieth of the width wide, from x = width/10; its rows are 16 to 63. Bits:
  // 1, 0, 20 of milliseconds, 8 of the frame number, the parity of these 28, its complement.
  const canvas = document.createElement('canvas');
  canvas.width = 32;
  canvas.height = 1;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const frameNumber = (video) => {
    const block = video.videoWidth / 40;
    const bits = Array.from({ length: 32 }, (_, at) => {
      context.drawImage(video, video.videoWidth / 10 + (at + 0.25) * block, 32, block / 2, 16, at, 0, 1, 1);
      return context.getImageData(at, 0, 1, 1).data[0] > 125 ? 1 : 0;
    });
    const data = bits.slice(2, 30);
    const parity = data.reduce((sum, bit) => sum ^ bit, 0);
    if (bits[0] !== 1 || bits[1] !== 0 || bits[30] !== parity || bits[31] === parity) return null;
    return data.slice(20).reduce((number, bit) => 2 * number + bit, 0);
  };

  /** Reads frames for `ms`: {fps, lost, numbers, sameStream, size, summary}. */
  const watch = async (ms) => {
    const video = document.querySelector('video');
    const numbers = [];
    let unreadable = 0;
    let watching = true;
    const frame = () => {
      if (!watching) return;
      const number = frameNumber(video);
      if (number === null) unreadable += 1;
      else numbers.push(number);
      video.requestVideoFrameCallback(frame);
    };
    video.requestVideoFrameCallback(frame);
    const before = await inbound();
    await new Promise((resolve) => setTimeout(resolve, ms));
    const after = await inbound();
    watching = false;
    const fps = (1000 * (after.framesDecoded - before.framesDecoded)) / (after.timestamp - before.timestamp);
    const lost = after.packetsLost - before.packetsLost;
    const freezes = after.freezeCount - before.freezeCount;
    return {
      fps,
      lost,
      numbers,
      sameStream: after.id === before.id && after.ssrc === before.ssrc,
      size: `${after.frameWidth}x${after.frameHeight}`,
      summary: `${fps.toFixed(1)} frames per second, ${freezes} freezes, ${lost} packets lost, ${numbers.length} barcodes read, ${unreadable} unreadable`,
    };
  };

  /** Waits until `count` frames more were decoded on one connection. */
  const moreFrames = async (count, patience) => {
    const give = performance.now() + patience;
    let from = null;
    let now = null;
    while (performance.now() < give) {
      now = await inbound();
      if (now?.ssrc !== from?.ssrc) from = now;
      if (now !== null && now.framesDecoded >= from.framesDecoded + count) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`${now?.framesDecoded} frames, ${from?.framesDecoded} of them before; ${count} more were awaited`);
  };
  window.e2e = { inbound, watch, moreFrames };
}

/** One viewer's page. */
class Viewer {
  constructor(page) {
    this.page = page;
    this.errors = [];
    page.on('pageerror', (error) => this.errors.push(error.stack));
    page.on('console', (message) => {
      if (message.text().includes('Content Security Policy')) this.errors.push(message.text());
    });
  }

  /** Waits until the page is in this state (data-state of its root element). */
  async state(wanted) {
    try {
      await this.page.waitForFunction((state) => document.documentElement.dataset.state === state, wanted);
    } catch (error) {
      const now = await this.page.evaluate(() => `${document.documentElement.dataset.state}: ${document.querySelector('#text')?.textContent}`);
      throw new Error(`the page is not ${wanted} but ${now}\n${this.errors.join('\n')}`, { cause: error });
    }
  }

  async leavesState(state) {
    await this.page.waitForFunction((left) => document.documentElement.dataset.state !== left, state);
  }

  /** Waits until frames of this size are decoded. */
  async decodes(size) {
    const give = performance.now() + PATIENCE;
    let now = null;
    while (now !== size) {
      if (performance.now() > give) throw new Error(`${now} is decoded, and not ${size}`);
      now = await this.page.evaluate(async () => {
        const { frameWidth, frameHeight } = (await window.e2e.inbound()) ?? {};
        return `${frameWidth}x${frameHeight}`;
      });
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  watch(ms) {
    return this.page.evaluate((time) => window.e2e.watch(time), ms);
  }

  /** Waits for this many frames more. */
  moreFrames(count) {
    return this.page.evaluate(([frames, patience]) => window.e2e.moreFrames(frames, patience), [count, PATIENCE]);
  }

  title() {
    return this.page.textContent('#title');
  }

  async screenshot(folder, name) {
    const file = path.join(folder, `${name}.png`);
    await this.page.screenshot({ path: file });
    console.log(`screenshot: ${file}`);
  }

  close() {
    return this.page.context().close();
  }
}

/** Whether numbers modulo 256 go up, never by more than half the circle. */
export function rise(numbers) {
  const steps = numbers.slice(1).map((number, at) => (number - numbers[at] + 256) % 256);
  // A canvas may get a newer frame than the one it was called for, and then the same once more.
  const again = steps.filter((step) => step === 0).length;
  return steps.every((step) => step < 128) && again < steps.length / 10;
}

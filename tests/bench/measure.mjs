#!/usr/bin/env node
// Measures the agent as viewers see it, in headless Chromium: time to the first picture, glass to glass, frames, and the agent's CPU time
// and memory. Prints one JSON object. Needs tests/e2e's packages (npm ci there) and /usr/bin/chromium.
//
//   node tests/bench/measure.mjs [--bin target/release/pinhole] [--viewers 1] [--secs 30] [--size 1280x720] [--fps 30] [--shot FILE.png]
//
// The synthetic picture carries the time at which it was made as a bar code (src/camera/synthetic.rs). Glass to glass is the time from there
// to the browser's presenting of the frame: capture, encoding, network, jitter buffer, decoding, and the wait for the display.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '../..');
const { chromium } = createRequire(path.join(root, 'tests/e2e/package.json'))('playwright-core');
const { values: options } = parseArgs({
  options: {
    bin: { type: 'string', default: path.join(root, 'target/release/pinhole') },
    viewers: { type: 'string', default: '1' },
    secs: { type: 'string', default: '30' },
    size: { type: 'string', default: '1280x720' },
    fps: { type: 'string', default: '30' },
    shot: { type: 'string' },
  },
});
const viewers = Number(options.viewers);
const seconds = Number(options.secs);
const TICKS_PER_SECOND = 100;

// Runs in the page, before its own scripts: watches the first <video> and reads the bar code of each presented frame.
function watch() {
  const native = window.RTCPeerConnection;
  window.connections = [];
  window.RTCPeerConnection = class extends native {
    constructor(...args) {
      super(...args);
      window.connections.push(this);
      window.seen.connecting ??= Date.now();
    }
  };
  window.seen = { first: null, connecting: null, delays: [], unreadable: 0 };
  const canvas = new OffscreenCanvas(256, 4);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const read = (video) => {
    const block = video.videoWidth / 40;
    context.drawImage(video, 4 * block, 30, 32 * block, 20, 0, 0, 256, 4);
    const pixels = context.getImageData(0, 1, 256, 2).data;
    const bits = Array.from({ length: 32 }, (_, i) => [2, 3, 4, 5].reduce((sum, k) => sum + pixels[(i * 8 + k) * 4], 0) > 500);
    const parity = bits.slice(2, 30).reduce((odd, bit) => odd !== bit, false);
    if (!bits[0] || bits[1] || bits[30] === bits[31] || bits[30] !== parity) return null;
    return bits.slice(2, 22).reduce((value, bit) => value * 2 + (bit ? 1 : 0), 0);
  };
  const attach = () => {
    const video = document.querySelector('video');
    if (!video) return setTimeout(attach, 10);
    const presented = () => {
      const now = Date.now();
      window.seen.first ??= now;
      const made = read(video);
      if (made === null) window.seen.unreadable += 1;
      else window.seen.delays.push(((now % 2 ** 20) - made + 2 ** 20) % 2 ** 20);
      video.requestVideoFrameCallback(presented);
    };
    video.requestVideoFrameCallback(presented);
  };
  attach();
}

async function inbound() {
  for (const connection of window.connections) {
    for (const report of (await connection.getStats()).values()) {
      if (report.type === 'inbound-rtp' && report.kind === 'video') return JSON.parse(JSON.stringify(report));
    }
  }
  return {};
}

const cpuSeconds = (pid) => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
};
const memory = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;
const percentile = (sorted, part) => (sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] : null);
const round = (value, digits = 2) => (value === null ? null : Number(value.toFixed(digits)));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

if (!existsSync(options.bin)) {
  console.error(`measure: no program at ${options.bin}: run cargo build --release, or name it with --bin`);
  process.exit(2);
}
const state = mkdtempSync(path.join(tmpdir(), 'pinhole-measure-'));
const readyFrom = performance.now();
const agent = spawn(options.bin, ['--listen', '127.0.0.1:0', '--camera', 'synthetic', '--size', options.size, '--fps', options.fps, '--state', path.join(state, 'agent'), '--log', 'warn'], { stdio: ['ignore', 'pipe', 'inherit'] });
const link = await new Promise((resolve, reject) => {
  createInterface({ input: agent.stdout }).on('line', (line) => line.startsWith('Watch: ') && resolve(line.slice(7)));
  agent.once('exit', (code) => reject(new Error(`the agent ended with ${code} before it printed a link`)));
});
const readyAfter = performance.now() - readyFrom;

const browser = await chromium.launchPersistentContext(path.join(state, 'browser'), {
  executablePath: '/usr/bin/chromium',
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required'],
});
const result = { size: options.size, fps: Number(options.fps), viewers, seconds, ready_ms: round(readyAfter, 0) };
try {
  await pause(3000);
  const idle = cpuSeconds(agent.pid);
  await pause(5000);
  result.agent_cpu_s_per_30_s_no_viewer = round(((cpuSeconds(agent.pid) - idle) * 30) / 5);

  await browser.addInitScript(watch);
  const pages = [];
  for (let n = 0; n < viewers; n += 1) {
    // The pages share the browser's storage: the first is paired by the link, the others have its key.
    const page = await browser.newPage();
    await page.goto(n === 0 ? link : link.split('#')[0]);
    await page.waitForFunction(() => window.seen.first !== null, null, { timeout: 20000 });
    pages.push(page);
  }
  const warm = pages[0];
  await warm.bringToFront();
  await pause(3000);
  await warm.evaluate(() => { window.seen.delays.length = 0; });
  const before = await Promise.all(pages.map((page) => page.evaluate(inbound)));
  const [cpu, from] = [cpuSeconds(agent.pid), performance.now()];
  await pause(seconds * 1000);
  const [spent, took] = [cpuSeconds(agent.pid) - cpu, (performance.now() - from) / 1000];
  const after = await Promise.all(pages.map((page) => page.evaluate(inbound)));
  result.agent_cpu_s_per_30_s = round((spent * 30) / took);
  result.agent_rss_mib = round(memory(agent.pid), 1);
  result.agent_threads = readdirSync(`/proc/${agent.pid}/task`).length;
  result.each = await Promise.all(pages.map(async (page, n) => {
    const seen = await page.evaluate(() => window.seen);
    const delays = seen.delays.sort((a, b) => a - b);
    return {
      offer_to_first_picture_ms: seen.first - seen.connecting,
      fps_decoded: round((after[n].framesDecoded - before[n].framesDecoded) / took, 1),
      kbit_s: round(((after[n].bytesReceived - before[n].bytesReceived) * 8) / 1000 / took, 0),
      lost: after[n].packetsLost - before[n].packetsLost,
      freezes: after[n].freezeCount - before[n].freezeCount,
      glass_to_glass_ms: { frames: delays.length, p50: percentile(delays, 0.5), p95: percentile(delays, 0.95) },
    };
  }));
  if (options.shot) await warm.screenshot({ path: options.shot });
} finally {
  await browser.close();
  agent.kill('SIGTERM');
  rmSync(state, { recursive: true, force: true });
}
console.log(JSON.stringify(result, null, 1));

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { brokerUrl, decodesH264, h264First, viewerName } from './browser.mjs';

const NAMES = [
  ['Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36', 'Chrome on Android'],
  ['Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36', 'Chrome on Linux'],
  ['Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0', 'Edge on Windows'],
  ['Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1', 'Safari on iPhone'],
  ['Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/130.0 Mobile/15E148 Safari/604.1', 'Chrome on iPhone'],
  ['Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', 'Firefox on Linux'],
  ['Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15', 'Safari on Mac'],
  ['something else', 'Browser'],
];

for (const [agent, name] of NAMES) test(`names ${name}`, () => assert.equal(viewerName(agent), name));

test('an iPad that says it is a Mac is an iPad', () => {
  assert.equal(viewerName(NAMES[6][0], 5), 'Safari on iPad');
});

const VP8 = { mimeType: 'video/VP8' };
const H264 = { mimeType: 'video/H264' };

test('H.264 is found, and moved to the front', () => {
  assert.equal(decodesH264({ getCapabilities: () => ({ codecs: [VP8, H264] }) }), true);
  assert.equal(decodesH264({ getCapabilities: () => ({ codecs: [VP8] }) }), false);
  assert.deepEqual(h264First([VP8, H264]), [H264, VP8]);
});

test('no WebRTC is no H.264', () => {
  assert.equal(decodesH264(undefined), false);
  assert.equal(decodesH264({ getCapabilities: () => null }), false);
});

test('the broker is where the link says, else beside the page', () => {
  assert.equal(brokerUrl('wss://broker.example/mqtt', { protocol: 'http:', host: 'camera:8080' }), 'wss://broker.example/mqtt');
  assert.equal(brokerUrl(null, { protocol: 'http:', host: 'camera:8080' }), 'ws://camera:8080/mqtt');
  assert.equal(brokerUrl(undefined, { protocol: 'https:', host: 'camera' }), 'wss://camera/mqtt');
});

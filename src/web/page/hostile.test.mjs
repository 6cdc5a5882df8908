// A hostile broker against the page: what it changes, repeats, reorders, reflects, invents or keeps opens nothing, and
// does not stop a picture that comes. The device's side of the same attacks is tests/it/hostile.

import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { Connection } from './connection.mjs';
import { Pairing, Session, parseStatus, topics } from './protocol.mjs';
import { initial, step } from './state.mjs';

globalThis.crypto ??= webcrypto;

const vectors = JSON.parse(readFileSync(new URL('../../../tests/fixtures/vectors.json', import.meta.url), 'utf8'));
const bytes = (text) => new Uint8Array(Buffer.from(text, 'hex'));
const { d, k, s, nd, viewer_key: kv } = vectors.session;
const session = (other = {}) => new Session({ d, k, kv: bytes(kv), s, nd, ...other });
const envelopes = vectors.to_viewer.map(({ envelope }) => envelope);

/** The text with one bit changed, as it would come over the wire; null where that is not even UTF-8. */
function flipped(text, bit) {
  const changed = Buffer.from(text);
  changed[bit >> 3] ^= 1 << (bit & 7);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(changed);
  } catch {
    return null;
  }
}

function orders(list) {
  if (list.length < 2) return [list];
  return list.flatMap((first, at) => orders(list.toSpliced(at, 1)).map((rest) => [first, ...rest]));
}

test('no bit of an answer can be changed', () => {
  const viewer = session();
  const [envelope] = envelopes;
  for (let bit = 0; bit < envelope.length * 8; bit++) {
    const changed = flipped(envelope, bit);
    if (changed !== null) assert.equal(viewer.open(changed), null, changed);
  }
  assert.notEqual(viewer.open(envelope), null, 'the true one still opens');
});

test('no bit of a pairing can be changed', () => {
  const fixed = (length) => bytes({ 16: s, 32: vectors.pairing.viewer_private }[length]);
  const pairing = new Pairing({ link: { d, S: bytes(vectors.pairing.secret) }, nd, name: '', random: fixed });
  const { envelope } = vectors.pairing.pair2;
  // Each takes an agreement on the curve: every seventh bit goes through all fields in a second.
  for (let bit = 0; bit < envelope.length * 8; bit += 7) {
    const changed = flipped(envelope, bit);
    if (changed !== null) assert.equal(pairing.finish(changed), null, changed);
  }
  assert.equal(pairing.refusal, null);
  assert.notEqual(pairing.finish(envelope), null, 'the true one still pairs');
});

test('in any order newer answers are taken and older ones dropped, and each only once', () => {
  const numbers = envelopes.slice(0, 4).map((_, number) => number);
  for (const order of orders(numbers)) {
    const viewer = session();
    let newest = -1;
    for (const number of [...order, ...order]) {
      assert.equal(viewer.open(envelopes[number]) !== null, number > newest, `${number} of ${order}`);
      newest = Math.max(newest, number);
    }
  }
});

test('answers to another session, viewer, device or nonce open nowhere, nor does what the viewer said itself', () => {
  const others = {
    session: { s: 'f'.repeat(32) },
    viewer: { k: 'f'.repeat(16) },
    key: { kv: new Uint8Array(32) },
    device: { d: 'a'.repeat(16) },
    nonce: { nd: 'f'.repeat(32) },
  };
  for (const [name, other] of Object.entries(others)) {
    const viewer = session(other);
    for (const envelope of envelopes) {
      // As it is, and under the names that this session expects.
      const renamed = JSON.stringify({ ...JSON.parse(envelope), k, s, nd, ...other, kv: undefined, d: undefined });
      assert.equal(viewer.open(envelope), null, name);
      assert.equal(viewer.open(renamed), null, name);
    }
  }
  const viewer = session();
  for (const { envelope } of vectors.to_device) assert.equal(viewer.open(envelope), null);
  assert.equal(viewer.open(viewer.seal('hello', {})), null);
});

test('an id that means something to a broker is none', () => {
  for (const part of ['/', '+', '#', '$', '\0', 'é', '\u{202e}', '../']) {
    const injected = part + nd.slice(part.length);
    assert.equal(parseStatus(JSON.stringify({ v: 1, online: true, nd: injected })), null, injected);
    for (const field of ['k', 's', 'nd', 't']) {
      const envelope = { ...JSON.parse(envelopes[0]), [field]: injected };
      assert.equal(session().open(JSON.stringify(envelope)), null, field);
    }
  }
});

/** A connection in the middle of a session, and the events that it reports. */
function connected() {
  const events = [];
  const connection = new Connection({ on: { event: (event) => events.push(event) }, name: '', location: null });
  connection.topics = topics('pinhole', d);
  connection.s = s;
  connection.session = session();
  return { connection, events, out: connection.topics.out(s), status: connection.topics.status };
}

test('only a true answer on its own topic, not kept by the broker, is an event, and once', () => {
  const { connection, events, out, status } = connected();
  const [envelope] = envelopes;
  for (const text of ['', 'null', '[]', '{', '['.repeat(20_000), ' '.repeat(60_000), 'x'.repeat(33 * 1024), '{"v":2}']) {
    connection.message(out, text, false);
    connection.message(status, text, true);
  }
  connection.message(out, envelope, true);
  for (const topic of [status, connection.topics.in, `${out}/`, connection.topics.out('0'.repeat(32)), 'pinhole/+/out/#']) {
    connection.message(topic, envelope, false);
  }
  assert.deepEqual(events, []);
  connection.message(out, envelope, false);
  connection.message(out, envelope, false);
  assert.deepEqual(
    events.map(({ type }) => type),
    [vectors.to_viewer[0].t],
  );
});

test('whatever statuses a broker invents, a picture that comes goes on in its session', () => {
  const camera = { d, r: 'pinhole', b: null, k, kv: 'AA', role: 'view', name: '', cameras: [], chosen: '', ice: null };
  let state = initial();
  let now = 1_000_000;
  const tell = (event) => {
    const result = step(state, event, { now, random: 0.5 });
    state = result.state;
    return result.effects.map(({ type }) => type).filter((type) => type !== 'timer' && type !== 'cancel');
  };
  const body = { name: '', role: 'view', cameras: [{ id: 'a', name: 'A' }], ice_servers: [], ice_expires_s: 60 };
  for (const event of [
    { type: 'start', camera },
    { type: 'broker-up' },
    { type: 'status', online: true, nd },
    { type: 'welcome', body },
    { type: 'answer', body: { sdp: 'v=0' } },
    { type: 'media-connected' },
    { type: 'frames', fresh: true },
  ])
    tell(event);
  assert.equal(state.show, 'playing');
  for (let count = 0; count < 1_000; count++) {
    now += 100;
    const online = count % 3 !== 0;
    const forged = online ? { online, nd: count.toString(16).padStart(32, '0') } : { online, nd: null };
    assert.deepEqual(tell({ type: 'status', ...forged }), [], `status ${count}`);
    if (count % 5 === 0) assert.deepEqual(tell({ type: 'frames', fresh: true }), []);
    assert.equal(state.show, 'playing');
  }
});

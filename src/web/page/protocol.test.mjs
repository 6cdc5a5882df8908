// Holds protocol.mjs to the vectors that the agent's own tests derive, and plays the device's side of a pairing.
import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { gcm } from '@noble/ciphers/aes.js';
import { p256 } from '@noble/curves/nist.js';

import { Pairing, Session, newSession, parseLink, parseStatus, topics } from './protocol.mjs';

globalThis.crypto ??= webcrypto;

const vectors = JSON.parse(readFileSync(new URL('../../../tests/fixtures/vectors.json', import.meta.url), 'utf8'));
const bytes = (text) => new Uint8Array(Buffer.from(text, 'hex'));
const hex = (data) => Buffer.from(data).toString('hex');

const { d, k, s, nd, viewer_key: kv } = vectors.session;
const session = () => new Session({ d, k, kv: bytes(kv), s, nd });

/** A pairing with the vectors' private key and session instead of random ones. */
const fixed = (length) => bytes({ 16: s, 32: vectors.pairing.viewer_private }[length]);
const pairing = () =>
  new Pairing({ link: { d, S: bytes(vectors.pairing.secret) }, nd, name: "Anna's phone", random: fixed });

test('seals what the device opens', () => {
  const viewer = session();
  for (const { t, body, envelope } of vectors.to_device) {
    assert.equal(viewer.seal(t, JSON.parse(body)), envelope);
  }
});

test('opens what the device sealed, once', () => {
  const viewer = session();
  for (const { t, body, envelope } of [...vectors.to_viewer, vectors.to_viewer_last]) {
    assert.deepEqual(viewer.open(envelope), { type: t, body: JSON.parse(body) });
    assert.equal(viewer.open(envelope), null);
  }
  for (const { envelope } of vectors.to_viewer) assert.equal(viewer.open(envelope), null);
});

test('skips what was lost, but never goes back', () => {
  const viewer = session();
  assert.equal(viewer.open(vectors.to_viewer[2].envelope).type, 'candidate');
  assert.equal(viewer.open(vectors.to_viewer[1].envelope), null);
  assert.equal(viewer.open(vectors.to_viewer[3].envelope).type, 'notice');
});

test('drops what must be dropped', () => {
  const viewer = session();
  for (const { name, envelope } of vectors.refused_by_viewer) assert.equal(viewer.open(envelope), null, name);
  for (const { envelope } of vectors.to_device) assert.equal(viewer.open(envelope), null, 'its own');
  assert.equal(viewer.open('['.repeat(20000)), null);
  assert.equal(viewer.open(' '.repeat(33 * 1024)), null);
  assert.notEqual(viewer.open(vectors.to_viewer[0].envelope), null, 'and only that');
});

test('does not count what is too large to seal', () => {
  const viewer = session();
  assert.throws(() => viewer.seal('offer', { sdp: 'x'.repeat(33 * 1024) }), { message: 'too_large' });
  assert.equal(viewer.seal(vectors.to_device[0].t, {}), vectors.to_device[0].envelope);
});

test('derives a pairing as the device does', () => {
  const { viewer_private, device_private, viewer_point, device_point, shared } = vectors.pairing;
  assert.equal(hex(p256.getPublicKey(bytes(viewer_private), false)), viewer_point);
  assert.equal(hex(p256.getPublicKey(bytes(device_private), false)), device_point);
  const device = p256.getSharedSecret(bytes(device_private), bytes(viewer_point), true);
  assert.equal(hex(device.slice(1)), shared);

  const viewer = pairing();
  assert.equal(viewer.s, s);
  assert.equal(viewer.request(), vectors.pairing.pair1.envelope);
  assert.equal(viewer.request(), vectors.pairing.pair1.envelope, 'the same again');
  const { kv: key, ...rest } = viewer.finish(vectors.pairing.pair2.envelope);
  assert.equal(hex(key), vectors.pairing.viewer_key);
  assert.deepEqual(rest, JSON.parse(vectors.pairing.pair2.body));
});

test('tells why the device refuses a pairing', () => {
  const viewer = pairing();
  assert.equal(viewer.finish(vectors.pairing.refusal.envelope), null);
  assert.deepEqual(viewer.refusal, JSON.parse(vectors.pairing.refusal.body));
});

test('takes no pairing from anyone but the device', () => {
  const viewer = pairing();
  const right = JSON.parse(vectors.pairing.pair2.envelope);
  const own = JSON.parse(vectors.pairing.pair1.envelope);
  const first = right.c[0] === 'A' ? 'B' : 'A';
  const changes = {
    'another point': { e: own.e },
    'no point on the curve': { e: Buffer.alloc(65, 4).toString('base64url') },
    'another key': { k },
    'another session': { s: '0'.repeat(32) },
    'another nonce': { nd: '0'.repeat(32) },
    'another counter': { n: 1 },
    'another type': { t: 'error' },
    'another ciphertext': { c: first + right.c.slice(1) },
    'its own request': own,
  };
  for (const [name, change] of Object.entries(changes)) {
    assert.equal(viewer.finish(JSON.stringify({ ...right, ...change })), null, name);
  }
  // Sealed by somebody with a point of his own who does not know the link's secret.
  const e = p256.getPublicKey(bytes('11'.repeat(32)), false);
  const c = gcm(bytes('22'.repeat(32)), new Uint8Array(12)).encrypt(Buffer.from(vectors.pairing.pair2.body));
  const forged = { ...right, e: Buffer.from(e).toString('base64url'), c: Buffer.from(c).toString('base64url') };
  assert.equal(viewer.finish(JSON.stringify(forged)), null);
  assert.equal(viewer.refusal, null);
  assert.notEqual(viewer.finish(vectors.pairing.pair2.envelope), null, 'the right one still comes through');
});

test('two pairings of one link have nothing in common', () => {
  const link = { d, S: bytes(vectors.pairing.secret) };
  const [one, two] = [1, 2].map(() => JSON.parse(new Pairing({ link, nd, name: '' }).request()));
  for (const field of ['s', 'e', 'c']) assert.notEqual(one[field], two[field]);
  assert.equal(one.k, two.k);
});

test('reads links', () => {
  for (const { fragment, s: secret, b, bs, ...rest } of vectors.links) {
    for (const text of [fragment, `#${fragment}`]) {
      const { S, ...link } = parseLink(text);
      assert.equal(hex(S), secret);
      assert.deepEqual(link, { ...rest, ...(b !== null && { b }), ...(bs.length > 0 && { bs }) });
    }
  }
  for (const { name, code, fragment } of vectors.bad_links) {
    assert.throws(() => parseLink(fragment), { message: code }, name);
  }
});

test('reads statuses', () => {
  for (const { payload, online, nd: nonce } of vectors.status.right) {
    assert.deepEqual(parseStatus(payload), { online, nd: nonce });
  }
  for (const payload of vectors.status.wrong) assert.equal(parseStatus(payload), null, payload);
});

test('names topics', () => {
  const { root, status, in: inbox, out } = vectors.topics;
  const names = topics(root, d);
  assert.deepEqual([names.status, names.in, names.out(s)], [status, inbox, out]);
});

test('sessions are random', () => {
  assert.match(newSession(), /^[0-9a-f]{32}$/);
  assert.notEqual(newSession(), newSession());
});

test('a device logs in with an Ed25519 signature that another implementation takes', () => {
  const { seed, data, challenge, signature, accepted } = vectors.login;
  const [device, x] = accepted.split(':');
  assert.equal(device, data);
  const pkcs8 = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), bytes(seed)]);
  const secret = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  assert.equal(createPublicKey(secret).export({ format: 'jwk' }).x, x);
  const message = Buffer.concat([Buffer.from(`pinhole/1 broker login|${device}|`), bytes(challenge)]);
  assert.equal(sign(null, message, secret).toString('hex'), signature);
  assert.ok(verify(null, message, createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }), bytes(signature)));
});

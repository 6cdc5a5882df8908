// Holds carried.mjs and the session by hand to the vectors that the agent's own tests derive.
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { fileName, find, write } from './carried.mjs';
import { BY_HAND, HandSession } from './protocol.mjs';

globalThis.crypto ??= webcrypto;

const vectors = JSON.parse(readFileSync(new URL('../../../tests/fixtures/vectors.json', import.meta.url), 'utf8'));
const { offer, answer, found, bad } = vectors.by_hand;
const { d, k, s, viewer_key } = vectors.session;
const of = { d, k, kv: new Uint8Array(Buffer.from(viewer_key, 'hex')), s };
const session = (change = {}) => new HandSession({ ...of, ...change });

test('seals the offer and opens the answer', () => {
  assert.equal(offer.nd, BY_HAND);
  assert.equal(session().offer(JSON.parse(offer.body)), offer.envelope);
  assert.deepEqual(session().open(answer.envelope), JSON.parse(answer.body));
});

test('says what is wrong with another envelope', () => {
  const other = '0'.repeat(32);
  for (const [change, envelope, why] of [
    [{}, offer.envelope, 'offer'],
    [{}, vectors.pairing.pair1.envelope, 'offer'],
    [{}, vectors.pairing.pair2.envelope, 'elsewhere'],
    [{ k: '0'.repeat(16) }, answer.envelope, 'elsewhere'],
    [{ s: other }, answer.envelope, 'old'],
    [{}, answer.envelope.replace(answer.nd, other), 'damaged'],
    [{}, answer.envelope.replace('"n":0', '"n":1'), 'damaged'],
    [{}, 'no JSON', 'elsewhere'],
  ]) {
    assert.equal(session(change).open(envelope), null);
    assert.equal(session(change).explain(envelope), why);
  }
});

test('writes what the device writes', () => {
  for (const { envelope, text } of [offer, answer]) {
    assert.equal(write(envelope), text);
    assert.deepEqual(find(text), [envelope]);
  }
});

for (const { name, text, envelopes } of found) test(`finds it ${name}`, () => assert.deepEqual(find(text), envelopes));

for (const { name, text, code } of bad) test(`refuses ${name}`, () => assert.throws(() => find(text), { message: code }));

test('a text of another length is read too', () => {
  for (let length = 0; length < 20; length += 1) {
    const envelope = JSON.stringify({ v: 1, t: 'x'.repeat(length) });
    assert.deepEqual(find(`> ${write(envelope).replaceAll('\n', '\n> ')}`), [envelope]);
  }
});

test('a text of nothing but beginnings is given up', () => {
  assert.deepEqual(find(`${'pinhole1:'.repeat(63)}${offer.text}`), [offer.envelope]);
  assert.throws(() => find(`${'pinhole1:'.repeat(64)}${offer.text}`), { message: 'damaged' });
});

test('a file has a name that every system takes', () => {
  assert.equal(fileName('offer', Date.UTC(2026, 10, 25, 4, 5)), 'pinhole-offer-2026-11-25-04-05.txt');
});

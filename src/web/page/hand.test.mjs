// Connecting by hand, told event by event.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { initialHand, stepHand } from './hand.mjs';

const LINK = { d: 'q3v7m2k5x4n6p7rq', r: 'pinhole', S: new Uint8Array(32) };
const STUN = { urls: ['stun:192.0.2.1'] };
const TURN = { urls: ['turn:192.0.2.1'], username: 'u', credential: 'p' };
const CAMERA = { d: LINK.d, r: 'pinhole', b: null, k: '0123456789abcdef', kv: 'AA', role: 'view', name: 'Garden', cameras: [], chosen: '', ice: null };
const WELCOME = { name: 'Porch', role: 'view', cameras: [{ id: 'main', name: 'Main' }], ice_servers: [STUN, TURN], ice_expires_s: 60 };

class Hand {
  state = initialHand();
  now = 1_000_000;

  /** Gives the effects' types. */
  tell(type, data = {}) {
    const { state, effects } = stepHand(this.state, { type, ...data }, { now: this.now });
    this.state = state;
    this.effects = effects;
    return effects.map((effect) => effect.type);
  }

  static offering(camera = CAMERA) {
    const hand = new Hand();
    hand.tell('open', { camera, link: null });
    hand.tell('made', { text: 'pinhole1:A.' });
    return hand;
  }
}

test('a stored key leads to an offer, and its answer to the connection', () => {
  const hand = new Hand();
  assert.deepEqual(hand.tell('open', { camera: CAMERA, link: null }), ['make-offer']);
  assert.equal(hand.state.show, 'preparing');
  assert.deepEqual(hand.tell('put', { text: 'x' }), [], 'nothing was sent yet');
  hand.tell('made', { text: 'pinhole1:A.' });
  assert.deepEqual([hand.state.show, hand.state.text], ['ready', 'pinhole1:A.']);
  assert.deepEqual(hand.tell('put', { text: 'x' }), ['read']);
  assert.deepEqual(hand.tell('answer', { sdp: 'v=0', welcome: WELCOME }), ['connect']);
  const [{ camera, sdp }] = hand.effects;
  assert.equal(sdp, 'v=0');
  assert.deepEqual([camera.name, camera.k, camera.ice], ['Porch', CAMERA.k, { servers: [STUN, TURN], until: hand.now + 60_000 }]);
  assert.deepEqual(hand.state, initialHand());
});

test('a link asks for its key first', () => {
  const hand = new Hand();
  assert.deepEqual(hand.tell('open', { camera: null, link: LINK }), ['ask-key']);
  hand.tell('made', { text: 'pinhole1:A.' });
  assert.equal(hand.state.kind, 'pair');
  assert.deepEqual(hand.tell('answer', { sdp: 'v=0', welcome: null }), [], 'no offer was made');
  assert.deepEqual(hand.tell('key', { camera: { ...CAMERA, name: '' }, welcome: WELCOME }), ['store', 'make-offer']);
  assert.equal(hand.effects[0].camera.name, 'Porch');
  assert.deepEqual(hand.effects[1].iceServers, [STUN, TURN]);
  assert.deepEqual([hand.state.kind, hand.state.round, hand.state.show, hand.state.text], ['offer', 2, 'preparing', '']);
  assert.deepEqual(hand.tell('key', { camera: CAMERA, welcome: null }), [], 'the same once more');
});

test('a key that is there already is taken instead of the link', () => {
  assert.deepEqual(new Hand().tell('open', { camera: CAMERA, link: LINK }), ['make-offer']);
});

test('without camera and link there is nothing to do', () => {
  const hand = new Hand();
  assert.deepEqual(hand.tell('open', { camera: null, link: null }), []);
  assert.equal(hand.state.show, 'closed');
});

test('what was sent stays good when the panel is opened again, but not for another camera', () => {
  const hand = Hand.offering();
  assert.deepEqual(hand.tell('open', { camera: { ...CAMERA }, link: null }), []);
  assert.equal(hand.state.text, 'pinhole1:A.');
  assert.deepEqual(hand.tell('open', { camera: { ...CAMERA, chosen: 'back' }, link: null }), ['drop', 'make-offer']);
  assert.equal(hand.state.text, '');
});

test('a new text takes the place of the old one', () => {
  const hand = Hand.offering();
  hand.tell('wrong', { why: 'old' });
  assert.deepEqual(hand.state.error, { why: 'old', detail: null });
  assert.deepEqual(hand.tell('anew'), ['drop', 'make-offer']);
  assert.equal(hand.state.error, null);
});

test('a mistake is forgotten with the next try', () => {
  const hand = Hand.offering();
  hand.tell('wrong', { why: 'refused', detail: 'the disk is full' });
  assert.deepEqual(hand.state.error, { why: 'refused', detail: 'the disk is full' });
  hand.tell('put', { text: 'x' });
  assert.equal(hand.state.error, null);
});

test('nothing happens after it was closed', () => {
  const hand = Hand.offering();
  assert.deepEqual(hand.tell('close'), ['drop']);
  for (const event of ['close', 'anew', 'wrong', 'put', 'made', 'answer', 'key']) assert.deepEqual(hand.tell(event), [], event);
  assert.deepEqual(hand.state, initialHand());
});

test('credentials that have expired are left out, servers without any are not', () => {
  const hand = new Hand();
  hand.tell('open', { camera: { ...CAMERA, ice: { servers: [STUN, TURN, { urls: 'stun:192.0.2.2' }], until: hand.now } }, link: null });
  assert.deepEqual(hand.effects[0].iceServers, [STUN, { urls: 'stun:192.0.2.2' }]);
});

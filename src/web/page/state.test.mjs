// The state machine, told a story event by event. Time is passed in.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { initial, step } from './state.mjs';
import { TIMES, backoff } from './timing.mjs';
import { STATES } from './words.mjs';

const LINK = { d: 'q3v7m2k5x4n6p7rq', r: 'pinhole', S: new Uint8Array(32) };
const CAMERA = { d: LINK.d, r: 'pinhole', b: null, k: '0123456789abcdef', kv: 'AA', role: 'view', name: 'Garden', cameras: [], chosen: '', ice: null };
const ND = 'a'.repeat(32);
const WELCOME = { name: 'Garden', role: 'view', cameras: [{ id: 'main', name: 'Main' }], ice_servers: [{ urls: ['stun:192.0.2.1'] }], ice_expires_s: 60 };

/** A page: `tell` gives it events and returns the effects' types, without those of timers; `timers` are those that run. */
class Page {
  constructor() {
    this.state = initial();
    this.now = 1_000_000;
    this.timers = new Map();
  }

  tell(type, data = {}) {
    const { state, effects } = step(this.state, { type, ...data }, { now: this.now, random: 0.5 });
    this.state = state;
    for (const { type: effect, name, ms } of effects) {
      if (effect === 'timer') this.timers.set(name, this.now + ms);
      if (effect === 'cancel') this.timers.delete(name);
    }
    this.effects = effects.filter((effect) => effect.type !== 'timer' && effect.type !== 'cancel');
    assert.ok(STATES.includes(this.show), `no words for ${this.show}`);
    return this.effects.map((effect) => effect.type);
  }

  /** Lets the timer's time come. */
  fire(name) {
    assert.ok(this.timers.has(name), `timer ${name} does not run`);
    this.now = Math.max(this.now, this.timers.get(name));
    this.timers.delete(name);
    return this.tell('timer', { name });
  }

  /** Frames, or none, looked for twice a second. */
  frames(ms, fresh) {
    const seen = [];
    for (let at = 0; at < ms; at += 500) {
      this.now += 500;
      seen.push(...this.tell('frames', { fresh }));
    }
    return seen;
  }

  online(nd = ND) {
    return this.tell('status', { online: true, nd });
  }

  get show() {
    return this.state.show;
  }

  static started(data) {
    const page = new Page();
    page.tell('start', data);
    return page;
  }

  static playing(camera = CAMERA) {
    const page = Page.started({ camera });
    page.tell('broker-up');
    page.online();
    page.tell('welcome', { body: WELCOME });
    page.tell('answer', { body: { sdp: 'v=0' } });
    page.tell('media-connected');
    page.frames(500, true);
    assert.equal(page.show, 'playing');
    return page;
  }
}

test('a link pairs, asks and plays', () => {
  const page = new Page();
  assert.deepEqual(page.tell('start', { link: LINK }), ['connect-broker']);
  assert.equal(page.show, 'connecting');
  page.tell('broker-up');
  assert.equal(page.show, 'finding');
  assert.deepEqual(page.online(), ['pair']);
  assert.equal(page.show, 'pairing');
  assert.deepEqual(page.tell('paired', { camera: CAMERA }), ['open-session', 'hello']);
  assert.deepEqual(page.tell('welcome', { body: WELCOME }), ['store', 'offer']);
  assert.equal(page.show, 'asking');
  assert.deepEqual(page.tell('answer', { body: { sdp: 'v=0' } }), ['accept-answer']);
  page.tell('media-connected');
  assert.equal(page.show, 'starting');
  page.frames(500, true);
  assert.equal(page.show, 'playing');
  assert.equal(page.state.link, null);
});

test('without a link or a key it says how to get one, and connects nowhere', () => {
  const page = new Page();
  assert.deepEqual(page.tell('start', {}), []);
  assert.equal(page.show, 'no-link');
  assert.deepEqual(page.tell('wake'), []);
  assert.deepEqual(page.tell('retry'), []);
});

test('a damaged link and one of a later pinhole are told apart', () => {
  assert.equal(Page.started({ badLink: true }).show, 'bad-link');
  assert.equal(Page.started({ badLink: true, newer: true }).show, 'newer-link');
});

test('a browser without H.264 is told so before it uses up a link', () => {
  const page = new Page();
  assert.deepEqual(page.tell('start', { link: LINK, h264: false }), []);
  assert.equal(page.show, 'no-h264');
});

test('an unanswered pairing is sent again, and then means that the link is used up', () => {
  const page = Page.started({ link: LINK });
  page.tell('broker-up');
  page.online();
  assert.deepEqual(page.fire('pair-again'), ['pair-again']);
  page.fire('pair');
  assert.equal(page.show, 'link-used');
  assert.deepEqual(page.timers.size, 0);
});

test('a pairing that only a stranger answers has failed', () => {
  const page = Page.started({ link: LINK });
  page.tell('broker-up');
  page.online();
  page.tell('pair-forged');
  assert.equal(page.show, 'pairing');
  page.fire('pair');
  assert.equal(page.show, 'pairing-failed');
});

test('a refused pairing says why', () => {
  const page = Page.started({ link: LINK });
  page.tell('broker-up');
  page.online();
  page.tell('pair-refused', { body: { code: 'internal', message: 'the state folder is full' } });
  assert.equal(page.show, 'pair-refused');
  assert.equal(page.state.detail, 'the state folder is full');
});

test('a used link falls back to the key that this browser has for the same device', () => {
  const page = Page.started({ link: LINK, camera: CAMERA });
  page.tell('broker-up');
  page.online();
  assert.deepEqual(page.fire('pair'), ['close-peer', 'open-session', 'hello']);
  assert.equal(page.show, 'asking');
});

test('with fresh ICE servers the offer does not wait for the welcome', () => {
  const page = Page.started({ camera: { ...CAMERA, ice: { servers: [], until: 1_060_000 } } });
  page.tell('broker-up');
  assert.deepEqual(page.online(), ['open-session', 'offer', 'hello']);
  assert.deepEqual(page.tell('welcome', { body: WELCOME }), ['store']);
});

test('expired ICE servers are asked for again', () => {
  const page = Page.started({ camera: { ...CAMERA, ice: { servers: [], until: 999_999 } } });
  page.tell('broker-up');
  assert.deepEqual(page.online(), ['open-session', 'hello']);
});

test('a device that has never been heard of is unknown, one with a last will is offline; both are waited for', () => {
  const page = Page.started({ camera: CAMERA });
  page.tell('broker-up');
  page.fire('status');
  assert.equal(page.show, 'unknown');
  page.tell('status', { online: false });
  assert.equal(page.show, 'offline');
  assert.deepEqual(page.online(), ['open-session', 'hello']);
});

test('silence is asked twice, then access may have been removed; it goes on asking patiently', () => {
  const page = Page.started({ camera: CAMERA });
  page.tell('broker-up');
  page.online();
  assert.deepEqual(page.fire('answer'), ['close-peer', 'open-session', 'hello']);
  assert.equal(page.show, 'asking');
  page.fire('answer');
  assert.equal(page.show, 'no-answer');
  assert.ok(page.timers.get('retry') - page.now >= TIMES.patient);
  assert.deepEqual(page.fire('retry'), ['open-session', 'hello']);
  assert.equal(page.show, 'no-answer', 'the cause stays on the screen');
  page.tell('welcome', { body: WELCOME });
  page.tell('answer', { body: { sdp: 'v=0' } });
  page.tell('media-connected');
  page.frames(500, true);
  assert.equal(page.show, 'playing');
});

test('a device that greets but makes no answer is not taken for one that removed access', () => {
  const page = Page.started({ camera: CAMERA });
  page.tell('broker-up');
  page.online();
  page.tell('welcome', { body: WELCOME });
  page.fire('answer');
  assert.equal(page.show, 'no-picture');
});

test('no media path in time means that the networks do not meet', () => {
  const page = Page.started({ camera: CAMERA });
  page.tell('broker-up');
  page.online();
  page.tell('welcome', { body: WELCOME });
  page.tell('answer', { body: { sdp: 'v=0' } });
  assert.deepEqual(page.fire('ice'), ['close-peer']);
  assert.equal(page.show, 'unreachable');
  page.fire('retry');
  assert.equal(page.show, 'unreachable');
});

for (const [code, show] of [['busy', 'busy'], ['no_camera', 'no-camera'], ['privacy', 'privacy'], ['internal', 'failed'], ['bad_request', 'failed']]) {
  test(`error ${code} is said in words and tried again`, () => {
    const page = Page.started({ camera: CAMERA });
    page.tell('broker-up');
    page.online();
    page.tell('error', { body: { code, message: 'because' } });
    assert.equal(page.show, show);
    assert.equal(page.state.detail, 'because');
    assert.deepEqual(page.fire('retry'), ['open-session', 'hello']);
  });
}

for (const code of ['forbidden', 'codec']) {
  test(`error ${code} ends it, also when the broker or the network comes back`, () => {
    const page = Page.started({ camera: CAMERA });
    page.tell('broker-up');
    page.online();
    assert.deepEqual(page.tell('error', { body: { code, message: 'no' } }), ['close-peer', 'close-broker']);
    assert.equal(page.show, code);
    assert.deepEqual(page.tell('wake'), []);
    assert.equal(page.timers.size, 0);
    assert.deepEqual(page.tell('retry'), ['connect-broker']);
  });
}

test('a refused detail does not end a picture', () => {
  const page = Page.playing();
  assert.deepEqual(page.tell('error', { body: { code: 'rate_limited', message: 'slower' } }), []);
  assert.equal(page.show, 'playing');
});

test('a shutdown waits for the device, without asking meanwhile', () => {
  const page = Page.playing();
  assert.deepEqual(page.tell('bye', { body: { reason: 'shutdown' } }), ['close-peer']);
  assert.equal(page.show, 'shutdown');
  assert.equal(page.timers.has('retry'), false);
  page.tell('status', { online: false });
  assert.deepEqual(page.online('b'.repeat(32)), ['open-session', 'offer', 'hello']);
  assert.equal(page.effects[0].nd, 'b'.repeat(32));
});

for (const reason of ['revoked', 'replaced', 'idle']) {
  test(`bye ${reason} waits for the person`, () => {
    const page = Page.playing();
    page.tell('bye', { body: { reason } });
    assert.equal(page.show, reason);
    assert.equal(page.timers.size, 0);
  });
}

test('the nonce changes each minute without touching the session', () => {
  const page = Page.playing();
  assert.deepEqual(page.online('b'.repeat(32)), []);
  assert.equal(page.show, 'playing');
});

test('a broken path gets an ICE restart first, then a new session', () => {
  const page = Page.playing();
  assert.deepEqual(page.tell('media-disconnected'), ['restart-ice']);
  assert.equal(page.show, 'reconnecting');
  assert.deepEqual(page.fire('restart'), ['close-peer', 'open-session', 'offer', 'hello']);
});

test('an ICE restart that works leaves everything as it was', () => {
  const page = Page.playing();
  page.tell('media-disconnected');
  assert.deepEqual(page.tell('answer', { body: { sdp: 'v=0' } }), ['accept-answer']);
  page.tell('media-connected');
  page.frames(500, true);
  assert.equal(page.show, 'playing');
  assert.equal(page.timers.has('restart'), false);
});

test('a path that recovers alone ends its restart, and the late answer is still taken', () => {
  const page = Page.playing();
  page.tell('media-disconnected');
  page.frames(500, true);
  assert.equal(page.show, 'playing');
  assert.equal(page.timers.has('restart'), false);
  assert.deepEqual(page.tell('answer', { body: { sdp: 'v=0' } }), ['accept-answer']);
  assert.equal(page.state.peer, 'connected');
});

test('media outlives the broker', () => {
  const page = Page.playing();
  assert.deepEqual(page.tell('broker-down', { reason: null }), []);
  assert.deepEqual(page.frames(20_000, true), []);
  assert.equal(page.show, 'playing');
  assert.deepEqual(page.fire('broker'), ['connect-broker']);
  page.tell('broker-up');
  assert.deepEqual(page.online(), []);
  assert.equal(page.show, 'playing');
});

test('a device that was killed and came back is asked again at once', () => {
  const page = Page.playing();
  page.tell('broker-down', { reason: null });
  page.frames(TIMES.frozen, false);
  assert.equal(page.show, 'reconnecting');
  page.fire('broker');
  page.tell('broker-up');
  page.online('b'.repeat(32));
  assert.deepEqual(page.frames(500, false), ['close-peer', 'open-session', 'offer', 'hello']);
});

test('a path that breaks while the broker is away is renewed when it returns', () => {
  const page = Page.playing();
  page.tell('broker-down', { reason: null });
  assert.deepEqual(page.tell('media-failed'), []);
  assert.equal(page.show, 'reconnecting');
  page.fire('broker');
  page.tell('broker-up');
  assert.deepEqual(page.online(), ['close-peer', 'open-session', 'offer', 'hello']);
});

test('a last will does not stop a picture that still comes, but one that stopped', () => {
  const page = Page.playing();
  page.tell('status', { online: false });
  page.frames(5_000, true);
  assert.equal(page.show, 'playing');
  assert.deepEqual(page.frames(3_000, false), ['close-peer']);
  assert.equal(page.show, 'offline');
});

test('a picture that stands still is noticed, then fetched anew', () => {
  const page = Page.playing();
  assert.deepEqual(page.frames(TIMES.frozen, false), []);
  assert.equal(page.show, 'frozen');
  assert.deepEqual(page.frames(TIMES.stuck - TIMES.frozen, false), ['close-peer', 'open-session', 'offer', 'hello']);
  assert.equal(page.show, 'reconnecting');
});

test('time in which nobody looked is not held against the picture', () => {
  const page = Page.playing();
  page.now += 3_600_000;
  page.tell('wake');
  assert.deepEqual(page.frames(1_000, false), []);
  assert.equal(page.show, 'playing');
});

test('sessions that fail again and again are tried less and less often', () => {
  const page = Page.started({ camera: CAMERA });
  page.tell('broker-up');
  page.online();
  const waits = [];
  for (let round = 0; round < 6; round += 1) {
    page.tell('error', { body: { code: 'internal' } });
    waits.push(page.timers.get('retry') - page.now);
    page.fire('retry');
  }
  assert.deepEqual(waits, [750, 1500, 3000, 6000, 11250, 11250]);
});

test('a broker that accepts and closes again and again is tried less and less often', () => {
  const page = Page.started({ camera: CAMERA });
  const waits = [];
  for (let round = 0; round < 6; round += 1) {
    page.tell('broker-up');
    page.tell('broker-down', { reason: null });
    waits.push(page.timers.get('broker') - page.now);
    assert.equal(page.show, 'broker-unreachable');
    assert.deepEqual(page.fire('broker'), ['connect-broker']);
    assert.equal(page.show, 'broker-unreachable');
  }
  assert.deepEqual(waits, [750, 1500, 3000, 6000, 11250, 11250]);
});

test('the network coming back ends a wait', () => {
  const page = Page.started({ camera: CAMERA });
  page.tell('broker-down', { reason: null });
  assert.deepEqual(page.tell('wake'), ['connect-broker']);
  assert.equal(page.timers.has('broker'), false);
  page.tell('broker-up');
  page.online();
  page.tell('error', { body: { code: 'busy' } });
  assert.deepEqual(page.tell('wake'), ['open-session', 'hello']);
});

test('another camera takes the place of the first', () => {
  const page = Page.playing();
  const other = { ...CAMERA, d: 'aaaaaaaaaaaaaaaa' };
  assert.deepEqual(page.tell('start', { camera: other }), ['close-peer', 'close-broker', 'connect-broker']);
  assert.equal(page.effects.at(-1).d, other.d);
});

test('leaving says goodbye', () => {
  const page = Page.playing();
  assert.deepEqual(page.tell('leave'), ['close-peer', 'close-broker']);
  assert.equal(page.effects[0].bye, 'closed');
});

test('the back-off lies between half and all of a doubling time, and ends at 15 s', () => {
  assert.equal(backoff(1, 0), 500);
  assert.equal(backoff(2, 0.999_999), 2000);
  assert.equal(backoff(50, 0.999_999), 15_000);
});

test('any events in any order leave a state that has words, and never two sessions', () => {
  // A linear congruential generator: the same stories each time.
  let seed = 1;
  const random = (below) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((seed / 2_147_483_648) * below);
  };
  const events = [
    () => ['broker-up'], () => ['broker-down', { reason: null }], () => ['status', { online: true, nd: ND }], () => ['status', { online: false }],
    () => ['paired', { camera: CAMERA }], () => ['pair-forged'], () => ['welcome', { body: WELCOME }], () => ['answer', { body: { sdp: '' } }],
    () => ['candidate', { body: { candidate: null } }], () => ['error', { body: { code: ['busy', 'no_camera', 'internal', 'rate_limited'][random(4)] } }],
    () => ['bye', { body: { reason: ['shutdown', 'camera', 'idle', 'other'][random(4)] } }], () => ['media-connected'], () => ['media-disconnected'],
    () => ['notice', { body: { code: ['slate', 'slowed', 'ok'][random(3)], message: 'so it is' } }],
    () => ['media-failed'], () => ['frames', { fresh: random(2) === 0 }], () => ['wake'], () => ['retry'], () => ['peer-failed', { reason: 'x' }],
  ];
  for (let story = 0; story < 300; story += 1) {
    const page = Page.started(story % 2 ? { camera: CAMERA } : { link: LINK });
    let open = false;
    for (let at = 0; at < 60; at += 1) {
      page.now += random(4_000);
      const due = [...page.timers].find(([, time]) => time <= page.now);
      const [type, data] = due ? ['timer', { name: due[0] }] : events[random(events.length)]();
      // A broker comes up only after it was called.
      if (type === 'broker-up' && page.state.broker !== 'connecting') continue;
      if (['status', 'paired', 'pair-forged', 'welcome', 'answer', 'error', 'bye', 'notice'].includes(type) && page.state.broker !== 'up') continue;
      if (due) page.timers.delete(due[0]);
      for (const effect of page.tell(type, data)) {
        if (effect === 'open-session' || effect === 'pair') {
          assert.ok(!open || type === 'paired', `${effect} while a session is open, after ${type}`);
          open = true;
        }
        if (effect === 'close-peer') open = false;
      }
      assert.equal(open, page.state.peer !== 'none');
    }
  }
});

test('a notice is kept until the device takes it back or the session ends', () => {
  const page = Page.playing();
  const slate = { code: 'slate', message: 'it was unplugged' };
  page.tell('notice', { body: { camera: 'main', ...slate } });
  assert.deepEqual(page.state.notice, slate);
  page.frames(10_000, true);
  assert.deepEqual([page.show, page.state.notice], ['playing', slate]);
  page.tell('notice', { body: { camera: 'main', code: 'ok' } });
  assert.equal(page.state.notice, null);
  page.tell('notice', { body: { camera: 'main', ...slate } });
  page.tell('bye', { body: { reason: 'shutdown' } });
  assert.equal(page.state.notice, null);
  page.tell('notice', { body: { camera: 'main', ...slate } });
  assert.equal(page.state.notice, null, 'there is no session that it could be about');
});

test('a picture that needs another decoder is asked for again at once', () => {
  const page = Page.playing();
  page.frames(20_000, true);
  const effects = page.tell('bye', { body: { reason: 'camera' } });
  assert.ok(effects.includes('close-peer') && effects.includes('open-session'), effects);
  assert.equal(page.show, 'reconnecting');
});

// ---- by hand

test('an answer by hand takes the place of all tries, and its picture plays', () => {
  const page = Page.started({ camera: CAMERA });
  page.tell('broker-down', { reason: null });
  assert.equal(page.show, 'broker-unreachable');
  page.tell('by-hand', { camera: CAMERA });
  assert.equal(page.show, 'hand-connecting');
  assert.deepEqual([...page.timers.keys()], ['ice']);
  page.tell('media-connected');
  assert.equal(page.show, 'hand-connecting');
  page.frames(1_000, true);
  assert.equal(page.show, 'playing');
  assert.deepEqual(page.tell('wake'), [], 'the broker is not called again');
  assert.equal(page.show, 'playing');
});

test('a live session ends for an answer by hand', () => {
  const page = Page.started({ camera: CAMERA });
  page.tell('broker-up');
  page.online();
  assert.deepEqual(page.tell('by-hand', { camera: CAMERA }), ['close-peer', 'close-broker']);
});

test('a connection by hand that does not come says so and tries nothing', () => {
  const page = Page.started({ camera: CAMERA });
  page.tell('by-hand', { camera: CAMERA });
  page.fire('ice');
  assert.equal(page.show, 'hand-unreachable');
  assert.equal(page.timers.size, 0);
  assert.deepEqual(page.tell('wake'), []);
  assert.deepEqual(page.tell('retry'), ['connect-broker'], 'the usual way is the person’s to try');
});

test('a connection by hand that ends is not taken up again', () => {
  const page = Page.started({ camera: CAMERA });
  page.tell('by-hand', { camera: CAMERA });
  page.tell('media-connected');
  page.frames(1_000, true);
  page.tell('media-disconnected');
  assert.equal(page.show, 'reconnecting', 'the browser may find the way alone');
  assert.deepEqual(page.tell('media-failed'), ['close-peer']);
  assert.equal(page.show, 'hand-lost');
  assert.equal(page.timers.size, 0);
});

test('a picture by hand that stands still has ended', () => {
  const page = Page.started({ camera: CAMERA });
  page.tell('by-hand', { camera: CAMERA });
  page.tell('media-connected');
  page.frames(1_000, true);
  page.frames(TIMES.stuck + 500, false);
  assert.equal(page.show, 'hand-lost');
});

test('a key that came by hand is used when the broker is back', () => {
  const page = Page.started({ link: LINK });
  page.tell('has-key', { camera: CAMERA });
  page.tell('broker-up');
  assert.deepEqual(page.online(), ['open-session', 'hello']);
});

// ---- several brokers

const SEVERAL = { ...CAMERA, bs: ['wss://one.example/mqtt', 'wss://two.example/mqtt'] };

/** The broker that the page turns to. */
const turnedTo = (page) => page.effects.find(({ type }) => type === 'connect-broker')?.b;

test('a broker that is dead is followed by the next one at once', () => {
  const page = Page.started({ camera: SEVERAL });
  assert.equal(turnedTo(page), null, 'the page’s own host comes first');
  page.tell('broker-down');
  assert.equal(turnedTo(page), 'wss://one.example/mqtt');
  page.tell('broker-up');
  assert.deepEqual(page.online(), ['open-session', 'hello']);
  assert.equal(page.show, 'asking');
});

test('a link pairs by whichever of its brokers works', () => {
  const page = Page.started({ link: { ...LINK, b: 'wss://dead.example/', bs: ['wss://one.example/mqtt'] } });
  assert.equal(turnedTo(page), 'wss://dead.example/');
  page.tell('broker-down');
  assert.equal(turnedTo(page), 'wss://one.example/mqtt');
  page.tell('broker-up');
  assert.deepEqual(page.online(), ['pair']);
});

test('a device that is offline at one broker is looked for at the others', () => {
  const page = Page.started({ camera: SEVERAL });
  page.tell('broker-up');
  page.tell('status', { online: false });
  assert.equal(turnedTo(page), 'wss://one.example/mqtt');
  page.tell('broker-up');
  page.fire('status');
  assert.equal(turnedTo(page), 'wss://two.example/mqtt');
  page.tell('broker-up');
  assert.deepEqual(page.online(), ['open-session', 'hello']);
});

test('when no way leads to the device, what is known best is said, and all are tried again', () => {
  const page = Page.started({ camera: SEVERAL });
  page.tell('broker-down');
  page.tell('broker-up');
  page.tell('status', { online: false });
  assert.notEqual(page.show, 'offline', 'there is one more to try');
  page.tell('broker-down', { reason: 'refused' });
  assert.equal(page.show, 'offline');
  assert.deepEqual(page.state.outcomes, { 0: 'down', 1: 'offline', 2: 'down' });
  page.fire('broker');
  assert.equal(turnedTo(page), null);
  assert.equal(page.show, 'offline', 'trying again is no news');
  page.tell('broker-down');
  page.fire('broker');
  page.tell('broker-up');
  assert.equal(page.show, 'offline');
  page.online();
  assert.equal(page.show, 'asking');
  assert.deepEqual(page.state.outcomes, {});
});

test('when no broker answers, the page says so and waits longer from round to round', () => {
  const page = Page.started({ camera: SEVERAL });
  const waits = [];
  for (let round = 0; round < 3; round += 1) {
    // The first round goes at once from one to the next, later ones with a pause after each.
    do page.tell('broker-down', { reason: 'refused' });
    while (!page.timers.has('broker'));
    assert.equal(page.show, 'broker-unreachable');
    waits.push(page.timers.get('broker') - page.now);
    page.fire('broker');
  }
  assert.ok(waits[0] < waits[1] && waits[1] < waits[2], `${waits}`);
});

test('offline everywhere, the page stays at one broker and looks at the others now and then', () => {
  const page = Page.started({ camera: { ...CAMERA, bs: ['wss://one.example/mqtt'] } });
  page.tell('broker-up');
  page.tell('status', { online: false });
  page.tell('broker-up');
  page.tell('status', { online: false });
  assert.equal(page.show, 'offline');
  assert.equal(page.state.broker, 'up');
  assert.ok(page.timers.get('elsewhere') - page.now >= TIMES.patient);
  assert.deepEqual(page.fire('elsewhere'), ['close-broker', 'connect-broker']);
  assert.equal(turnedTo(page), null);
  page.tell('broker-up');
  assert.deepEqual(page.online(), ['open-session', 'hello']);
  assert.ok(!page.timers.has('elsewhere'));
});

test('media outlives its broker, and signaling comes back by another, which the device is told', () => {
  const page = Page.playing(SEVERAL);
  page.tell('broker-down');
  assert.deepEqual(page.effects.map(({ type }) => type), ['connect-broker'], 'no picture is given up');
  assert.equal(turnedTo(page), 'wss://one.example/mqtt');
  page.tell('broker-up');
  assert.deepEqual(page.online(), ['hello']);
  assert.deepEqual(page.online('b'.repeat(32)), [], 'once');
  page.frames(2000, true);
  assert.equal(page.show, 'playing');
  page.tell('welcome', { body: WELCOME });
  assert.equal(page.show, 'playing');
});

test('media goes on while the device has lost the broker, and another takes its place', () => {
  const page = Page.playing(SEVERAL);
  page.tell('status', { online: false });
  assert.equal(turnedTo(page), 'wss://one.example/mqtt');
  page.tell('broker-up');
  assert.deepEqual(page.online(), ['hello']);
  assert.equal(page.show, 'playing');
});

test('silence is asked for a second time by another broker', () => {
  const page = Page.started({ camera: SEVERAL });
  page.tell('broker-up');
  page.online();
  assert.deepEqual(page.fire('answer'), ['close-peer', 'close-broker', 'connect-broker']);
  page.tell('broker-up');
  assert.deepEqual(page.online(), ['open-session', 'hello']);
  page.fire('answer');
  assert.equal(page.show, 'no-answer');
});

test('the person’s wish to try again looks at the other brokers, too', () => {
  const page = Page.started({ camera: { ...CAMERA, bs: ['wss://one.example/mqtt'] } });
  page.tell('broker-up');
  page.tell('status', { online: false });
  page.tell('broker-up');
  page.tell('status', { online: false });
  page.tell('retry');
  assert.equal(turnedTo(page), null);
  assert.equal(page.show, 'connecting');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readFile } from 'node:fs/promises';
import { HAND_ERRORS, STATES, handError, handWords, noticeWords, words } from './words.mjs';

const ABOUT = { name: 'the camera', host: '192.0.2.7:8080', ownBroker: true, detail: 'no such device' };

for (const show of STATES.filter((state) => state !== 'loading')) {
  test(`${show}: has a title that is no sentence, and a text of whole sentences`, () => {
    for (const about of [ABOUT, { ...ABOUT, ownBroker: false }, { ...ABOUT, detail: null }, { ...ABOUT, silent: ['a', 'b'] }, {}]) {
      const { title, text } = words(show, about);
      assert.match(title, /^\p{Lu}.*[^.]$/u);
      if (show !== 'playing') assert.match(text, /^\p{Lu}.*\.$/u);
      assert.doesNotMatch(`${title} ${text}`, /undefined|null|\.\.|\s\s|\s\./);
    }
  });
}

test('the device says why in its own words', () => {
  assert.match(words('no-camera', ABOUT).text, /It says: no such device\. /);
});

test('a notice is one line, also one that is not known', () => {
  assert.equal(noticeWords({ code: 'slate', message: 'camera /dev/video0 was disconnected' }), 'Waiting for the camera.');
  assert.equal(noticeWords({ code: 'hot', message: 'the device is hot' }), 'Slowed down: the device is hot.');
  assert.equal(noticeWords({ code: 'later', message: 'something new' }), 'Something new.');
});

test('every state that the machine can show has words', async () => {
  const source = await readFile(new URL('state.mjs', import.meta.url), 'utf8');
  for (const [, show] of source.matchAll(/(?:fail|stop|progress|giveUp|deviceGone|showProblem)\('([a-z0-9-]+)'|show = '([a-z0-9-]+)'/g)) {
    if (show) assert.ok(STATES.includes(show), show);
  }
});

test('a state without words is a mistake', () => {
  assert.throws(() => words('elsewhere'), /no words for elsewhere/);
});

test('the panel for connecting by hand speaks in whole sentences', () => {
  for (const kind of ['pair', 'offer']) {
    for (const round of [1, 2]) {
      for (const said of Object.values(handWords({ kind, round }, ABOUT))) assert.match(said, /^\p{Lu}.*[.:]$/u);
    }
  }
  for (const why of HAND_ERRORS) assert.match(handError(why, 'the disk is full'), /^\p{Lu}.*\.$/u, why);
  assert.match(handError('refused', 'the disk is full'), /It says: the disk is full\.$/);
  assert.throws(() => handError('elsewhere else'), /no words/);
});

test('everything that is wrong with what was put in has words', async () => {
  const read = (name) => readFile(new URL(name, import.meta.url), 'utf8');
  const sources = await Promise.all(['courier.mjs', 'panel.mjs', 'carried.mjs', 'protocol.mjs'].map(read));
  const explain = sources[3].slice(sources[3].indexOf('function explain'), sources[3].indexOf('// ---- pairing'));
  const reasons = [
    ...sources[0].matchAll(/why: '([a-z]+)'/g), ...sources[1].matchAll(/wrong\('([a-z]+)'\)/g), ...sources[2].matchAll(/wrong = '([a-z]+)'/g),
    ...explain.matchAll(/(?:return|\?|:) '([a-z]+)'/g),
  ].map(([, why]) => why);
  assert.deepEqual([...new Set(reasons)].sort(), [...HAND_ERRORS].sort());
});

test('names every broker that does not answer', () => {
  const silent = ['192.0.2.1:8480', 'a.example', 'b.example'];
  assert.match(words('broker-unreachable', { ...ABOUT, silent }).text, /Nothing answers at 192\.0\.2\.1:8480, a\.example and b\.example\./);
  assert.match(words('offline', { ...ABOUT, silent: ['a.example'] }).text, /Nothing answers at a\.example\./);
  assert.doesNotMatch(words('offline', ABOUT).text, /Nothing answers/);
});

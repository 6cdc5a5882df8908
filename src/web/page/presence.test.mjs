// What is followed and what is told, with brokers that the test plays.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Presence, plan } from './presence.mjs';

const LOCATION = { protocol: 'http:', host: 'hub:8480' };
const A = { d: 'a'.repeat(16), r: 'pinhole', b: null };
const B = { d: 'b'.repeat(16), r: 'home/cams', b: null, bs: ['wss://out.example/mqtt'] };
const status = (online) => JSON.stringify(online ? { v: 1, online, nd: '0'.repeat(32) } : { v: 1, online });

/** Keeps what was opened; the test speaks for the brokers. */
function brokers() {
  const opened = [];
  class Broker {
    constructor(url, patience, topics, on) {
      Object.assign(this, { url, topics, on, closed: false });
      opened.push(this);
    }
    close() {
      this.closed = true;
    }
  }
  return { opened, Broker };
}

function follow(...records) {
  const { opened, Broker } = brokers();
  const told = [];
  const presence = new Presence({ Broker, location: LOCATION, changed: (all) => told.push(Object.fromEntries(all)) });
  presence.follow(records);
  return { presence, opened, told };
}

test('devices at one broker share a connection, and each broker of a device is asked', () => {
  const brokers = plan([A, B], LOCATION);
  assert.deepEqual([...brokers.keys()], ['ws://hub:8480/mqtt', 'wss://out.example/mqtt']);
  assert.deepEqual([...brokers.get('ws://hub:8480/mqtt')], [[`pinhole/${A.d}/status`, A.d], [`home/cams/${B.d}/status`, B.d]]);
  assert.deepEqual([...brokers.get('wss://out.example/mqtt').values()], [B.d]);
});

test('no more brokers are asked than a browser can bear', () => {
  const many = Array.from({ length: 40 }, (_, at) => ({ ...A, b: `wss://b${at}.example/mqtt` }));
  assert.equal(plan(many, LOCATION).size, 8);
});

test('each change is told, and online wins over a broker that says offline', () => {
  const { presence, opened: [hub, out], told } = follow(A, B);
  hub.on.message(`pinhole/${A.d}/status`, status(true));
  hub.on.message(`home/cams/${B.d}/status`, status(false));
  out.on.message(`home/cams/${B.d}/status`, status(true));
  assert.deepEqual(told, [
    { [A.d]: 'online' },
    { [A.d]: 'online', [B.d]: 'offline' },
    { [A.d]: 'online', [B.d]: 'online' },
  ]);
  hub.on.message(`pinhole/${A.d}/status`, 'not a status');
  hub.on.message(`pinhole/${'c'.repeat(16)}/status`, status(true));
  assert.equal(told.length, 3);
  presence.stop();
});

test('of what a lost broker said nothing is left, and it is asked again', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { presence, opened, told } = follow(A);
  opened[0].on.message(`pinhole/${A.d}/status`, status(true));
  opened[0].on.down('gone');
  assert.deepEqual(told.at(-1), {});
  t.mock.timers.tick(60_000);
  assert.equal(opened.length, 2);
  opened[1].on.down('still gone');
  presence.stop();
  t.mock.timers.tick(600_000);
  assert.equal(opened.length, 2, 'nobody looks any more');
});

test('another list ends the connections of the one before', () => {
  const { presence, opened } = follow(A);
  presence.follow([B]);
  assert.equal(opened[0].closed, true);
  assert.equal(opened.length, 3);
  presence.stop();
  assert.ok(opened.every(({ closed }) => closed));
});

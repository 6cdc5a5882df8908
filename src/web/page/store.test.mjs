import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Store, fromBase64url, localStore, toBase64url } from './store.mjs';
import { fileName } from './view.mjs';

class Storage {
  items = new Map();
  getItem = (name) => this.items.get(name) ?? null;
  setItem = (name, text) => this.items.set(name, text);
}

const record = (d, name = 'Garden') => ({ d, r: 'pinhole', b: null, k: '0123456789abcdef', kv: 'AAAA', name });

test('a camera is there again after the page was closed, and the last one comes first', () => {
  const storage = new Storage();
  const store = new Store(storage);
  assert.equal(store.last, null);
  assert.equal(store.put(record('a')), true);
  store.put(record('b'));
  store.put(record('a', 'Gate'));
  const again = new Store(storage);
  assert.deepEqual(again.cameras.map(({ d }) => d), ['a', 'b']);
  assert.equal(again.last.name, 'Gate');
});

test('a forgotten camera is gone, and another takes its place', () => {
  const storage = new Storage();
  const store = new Store(storage);
  store.put(record('a'));
  store.put(record('b'));
  store.forget('b');
  assert.equal(store.last.d, 'a');
  store.forget('a');
  assert.equal(new Store(storage).last, null);
});

test('what another window stored is kept', () => {
  const storage = new Storage();
  const one = new Store(storage);
  one.put(record('a'));
  new Store(storage).put(record('b'));
  one.put(record('c'));
  assert.deepEqual(new Store(storage).cameras.map(({ d }) => d), ['a', 'b', 'c']);
});

test('where nothing can be stored, the page still works while it is open', () => {
  for (const storage of [null, { getItem: () => null, setItem: () => { throw new Error('full'); } }]) {
    const store = new Store(storage);
    assert.equal(store.put(record('a')), false);
    store.put(record('b'));
    assert.equal(store.last.d, 'b');
    assert.equal(store.cameras.length, 2);
  }
  assert.equal(localStore({ get localStorage() { throw new Error('refused'); } }), null);
});

test('damaged storage counts as empty, and a damaged record is left out', () => {
  for (const text of ['', '{', '[]', 'null', '{"cameras":7}', '{"cameras":[null,{"d":1}]}']) {
    const storage = new Storage();
    storage.setItem('pinhole.cameras', text);
    assert.deepEqual(new Store(storage).cameras, []);
  }
});

test('keys survive base64url', () => {
  const bytes = Uint8Array.from({ length: 32 }, (_, at) => 255 - 5 * at);
  const text = toBase64url(bytes);
  assert.match(text, /^[A-Za-z0-9_-]{43}$/);
  assert.deepEqual(fromBase64url(text), bytes);
});

test('a snapshot is named after camera and time, without what file systems dislike', () => {
  const date = new Date(2026, 10, 2, 3, 4, 5);
  assert.equal(fileName('Gärten: "Tor"/2', date), 'Gärten Tor 2 2026-11-02 03-04-05.jpg');
  assert.equal(fileName('///', date), 'camera 2026-11-02 03-04-05.jpg');
});

// The order of the list, which digits and arrows go by.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { choices, neighbour } from './list.mjs';

const GARDEN = { d: 'g', name: 'Garden', cameras: [{ id: 'main', name: 'Main' }] };
const WORKSHOP = { d: 'w', name: 'Workshop', cameras: [{ id: 'bench', name: 'Bench' }, { id: 'door', name: 'Door' }] };
const NEW = { d: 'n', name: '', cameras: [] };

test('each camera of a device is a choice, and a device with one is one', () => {
  assert.deepEqual(choices([GARDEN, WORKSHOP, NEW]), [
    { d: 'g', camera: '', text: 'Garden' },
    { d: 'w', camera: 'bench', text: 'Bench' },
    { d: 'w', camera: 'door', text: 'Door' },
    { d: 'n', camera: '', text: 'Camera' },
  ]);
});

test('neighbours go over the borders of devices and around the ends', () => {
  const all = [GARDEN, WORKSHOP];
  assert.deepEqual(neighbour(all, { d: 'g', camera: '' }, 1), { d: 'w', camera: 'bench', text: 'Bench' });
  assert.equal(neighbour(all, { d: 'w', camera: 'door' }, 1).d, 'g');
  assert.equal(neighbour(all, { d: 'g', camera: '' }, -1).camera, 'door');
  assert.equal(neighbour([GARDEN], { d: 'g', camera: '' }, 1), null);
  assert.equal(neighbour([], null, 1), null);
  assert.ok(neighbour(all, null, 1), 'from nothing, too');
});

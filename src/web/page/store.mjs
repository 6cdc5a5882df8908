// The cameras this browser has keys for, in localStorage (per origin). Not here: the page's other state.
//
// A record is {d, r, b, bs, k, kv, role, viewer, name, cameras, chosen, ice}: device, root, broker (null: the page's own
// host), more brokers (older records have none), key id, key (base64url), role and what the device calls this viewer
// (both from pairing), the device's name and cameras (from `welcome`), the chosen camera's id, and ICE servers with
// their expiry.

const ITEM = 'pinhole.cameras';

export class Store {
  /** `storage` is localStorage, or null where the browser keeps nothing for this page. */
  constructor(storage) {
    this.storage = storage;
    this.data = this.read();
  }

  /** All records, in the order in which they were paired. */
  get cameras() {
    return this.data.cameras;
  }

  /** The record watched last, or null. */
  get last() {
    return this.find(this.data.last) ?? this.cameras[0] ?? null;
  }

  find(d) {
    return this.cameras.find((camera) => camera.d === d) ?? null;
  }

  /** Adds or replaces a record and makes it the last one. False if it will not survive the page. */
  put(camera) {
    this.reload();
    const at = this.cameras.findIndex(({ d }) => d === camera.d);
    if (at < 0) this.cameras.push(camera);
    else this.cameras[at] = camera;
    this.data.last = camera.d;
    return this.write();
  }

  forget(d) {
    this.reload();
    this.data.cameras = this.cameras.filter((camera) => camera.d !== d);
    return this.write();
  }

  /** Another window may have paired or forgotten a camera since. */
  reload() {
    try {
      if (this.storage.getItem(ITEM)) this.data = this.read();
    } catch {
      // Kept in memory alone.
    }
  }

  read() {
    const empty = { cameras: [], last: null };
    try {
      const data = JSON.parse(this.storage?.getItem(ITEM) ?? 'null');
      if (!Array.isArray(data?.cameras)) return empty;
      return { cameras: data.cameras.filter(isRecord), last: data.last ?? null };
    } catch {
      return empty;
    }
  }

  write() {
    try {
      this.storage.setItem(ITEM, JSON.stringify(this.data));
      return true;
    } catch {
      return false;
    }
  }
}

/** The record of a viewer that was paired just now: `link` is what led there, and the rest what the device gave. */
export function newRecord({ d, r, b, bs }, { k, kv, role, name }) {
  return { d, r, b: b ?? null, bs: bs ?? [], k, kv: toBase64url(kv), role, viewer: name, name: '', cameras: [], chosen: '', ice: null };
}

function isRecord(record) {
  return ['d', 'r', 'k', 'kv'].every((field) => typeof record?.[field] === 'string');
}

/** localStorage, or null where touching it throws (cookies refused, a sandboxed frame). */
export function localStore(window) {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}

/** Bytes as base64url without padding. */
export function toBase64url(bytes) {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
}

/** The reverse; throws on anything else. */
export function fromBase64url(text) {
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(binary, (char) => char.charCodeAt(0));
}

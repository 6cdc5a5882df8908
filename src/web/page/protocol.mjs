// pinhole/1, the viewer's side (docs/signaling.md): links, topics, sealed envelopes, pairing. Not here: MQTT, WebRTC,
// and where keys are kept. No WebCrypto: `crypto.subtle` is missing on a plain http:// page of the LAN, so that one
// path serves all pages. Runs in Node, too, for its tests.
import { gcm } from '@noble/ciphers/aes.js';
import { p256 } from '@noble/curves/nist.js';
import { hkdf } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';

/** Bytes of an envelope at most. */
const MAX_ENVELOPE = 32 * 1024;
const MAX_FRAGMENT = 2048;
const MAX_BROKER = 512;
/** Brokers in a link at most. */
const MAX_BROKERS = 4;
const MAX_ROOT = 64;
const MAX_ROOT_LEVELS = 4;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });
const utf8 = (text) => encoder.encode(text);

// ---- bytes and text

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
const isHex = (text, bytes) => typeof text === 'string' && text.length === 2 * bytes && /^[0-9a-f]*$/.test(text);
const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));

function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Base64url without padding. */
function toBase64url(bytes) {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** Its bytes, or null: padding, other alphabets and stray bits at the end are refused. */
function fromBase64url(text) {
  if (typeof text !== 'string' || !/^[A-Za-z0-9_-]*$/.test(text) || text.length % 4 === 1) return null;
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  const bytes = Uint8Array.from(binary, (c) => c.charCodeAt(0));
  return toBase64url(bytes) === text ? bytes : null;
}

/** The JSON object in `text`, or null. */
function object(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

const randomBytes = (length) => globalThis.crypto.getRandomValues(new Uint8Array(length));

// ---- links, topics, status

const isDevice = (d) => typeof d === 'string' && /^[a-z2-7]{16}$/.test(d);

function isRoot(r) {
  return (
    typeof r === 'string' &&
    !/[+#\u0000-\u001f\u007f-\u009f]|^\$/.test(r) &&
    utf8(r).length <= MAX_ROOT &&
    r.split('/').length <= MAX_ROOT_LEVELS &&
    r.split('/').every((level) => level !== '')
  );
}

const isBroker = (b) => typeof b === 'string' && b.length <= MAX_BROKER && /^wss?:\/\/[\x21-\x7e]+$/.test(b);
const areBrokers = (bs) => Array.isArray(bs) && bs.length < MAX_BROKERS && bs.every(isBroker);

/**
 * Reads what stands after `#` in a pairing link (with or without it).
 * @param {string} fragment
 * @returns {{d: string, r: string, b?: string, bs?: string[], S: Uint8Array}} device, root, broker, more brokers,
 *   one-time secret
 * @throws {Error} with message `malformed` (or cut), or `version` (of a later pinhole)
 */
export function parseLink(fragment) {
  const text = fragment.replace(/^#/, '');
  const bytes = text.length <= MAX_FRAGMENT ? fromBase64url(text) : null;
  let json = null;
  try {
    json = bytes && object(decoder.decode(bytes));
  } catch {
    // Not UTF-8.
  }
  if (!json || !Number.isInteger(json.v)) throw new Error('malformed');
  if (json.v !== 1) throw new Error('version');
  const { d, r } = json;
  const b = json.b ?? null;
  const bs = json.bs === undefined ? [] : json.bs;
  const S = fromBase64url(json.s);
  if (!isDevice(d) || !isRoot(r) || !(b === null || isBroker(b)) || !areBrokers(bs) || S?.length !== 32) {
    throw new Error('malformed');
  }
  return { d, r, ...(b !== null && { b }), ...(bs.length > 0 && { bs }), S };
}

/**
 * A device's topics.
 * @param {string} r root
 * @param {string} d device
 * @returns {{status: string, in: string, out: (s: string) => string}}
 */
export function topics(r, d) {
  return { status: `${r}/${d}/status`, in: `${r}/${d}/in`, out: (s) => `${r}/${d}/out/${s}` };
}

/**
 * Reads what a device says of itself. It is not sealed: a broker may lie here, and then nothing works.
 * @param {string} text
 * @returns {{online: boolean, nd: string | null} | null} null if it is no status
 */
export function parseStatus(text) {
  const status = object(text);
  if (status?.v !== 1) return null;
  if (status.online === false) return { online: false, nd: null };
  return status.online === true && isHex(status.nd, 16) ? { online: true, nd: status.nd } : null;
}

/**
 * A new session's id.
 * @param {(length: number) => Uint8Array} [random]
 * @returns {string}
 */
export function newSession(random = randomBytes) {
  return hex(random(16));
}

// ---- envelopes

/** HKDF-SHA256 (RFC 5869). */
const derive = (secret, salt, info, length) => hkdf(sha256, secret, salt, utf8(info), length);

const cipher = (key, { t, d, k, s, nd, n }) => {
  const nonce = new Uint8Array(12);
  new DataView(nonce.buffer).setBigUint64(4, BigInt(n));
  return gcm(key, nonce, utf8(`pinhole/1|${t}|${d}|${k}|${s}|${nd}|${n}`));
};

/** One envelope; `e` (a public point) only while pairing. A key is never used twice with one `n`. */
function seal(key, { t, d, k, s, nd, n, e }, body) {
  const c = toBase64url(cipher(key, { t, d, k, s, nd, n }).encrypt(utf8(JSON.stringify(body))));
  const text = JSON.stringify({ v: 1, t, k, s, nd, n, e: e && toBase64url(e), c });
  if (text.length > MAX_ENVELOPE) throw new Error('too_large');
  return text;
}

const FIELDS = new Set(['v', 't', 'k', 's', 'nd', 'n', 'e', 'c']);

/** An envelope's fields, if they are those of this key, session and nonce; nothing in it is true yet. */
function read(text, { k, s, nd }) {
  if (typeof text !== 'string' || text.length > MAX_ENVELOPE) return null;
  const envelope = object(text);
  if (!envelope || !Object.keys(envelope).every((field) => FIELDS.has(field))) return null;
  const { v, t, n } = envelope;
  if (v !== 1 || envelope.k !== k || envelope.s !== s || envelope.nd !== nd) return null;
  if (typeof t !== 'string' || !/^[a-z0-9]{1,16}$/.test(t) || !Number.isSafeInteger(n) || n < 0) return null;
  const c = fromBase64url(envelope.c);
  const e = envelope.e === undefined ? null : fromBase64url(envelope.e);
  if (!c || (envelope.e !== undefined && e?.length !== 65)) return null;
  return { t, n, c, e };
}

/** The body of what `read` gave, if it was sealed with this key for this device. */
function open(key, d, { k, s, nd }, { t, n, c }) {
  try {
    return object(decoder.decode(cipher(key, { t, d, k, s, nd, n }).decrypt(c)));
  } catch {
    return null;
  }
}

/** A paired viewer's session: seals for the device and opens what it sealed. */
export class Session {
  #d;
  #ids;
  #toDevice;
  #toViewer;
  #next = 0;
  #expected = 0;

  /**
   * @param {{d: string, k: string, kv: Uint8Array, s: string, nd: string}} of device, key id, key, session (new:
   *   never the same twice), and the device's present nonce
   */
  constructor({ d, k, kv, s, nd }) {
    this.#d = d;
    this.#ids = { k, s, nd };
    const keys = derive(kv, concat(fromHex(s), fromHex(nd)), `pinhole/1 session|${d}|${k}`, 64);
    this.#toDevice = keys.slice(0, 32);
    this.#toViewer = keys.slice(32);
  }

  /**
   * @param {string} type
   * @param {object} body
   * @returns {string} the envelope, for the device's `in` topic
   * @throws {Error} with message `too_large`; then nothing was counted
   */
  seal(type, body) {
    const text = seal(this.#toDevice, { t: type, d: this.#d, ...this.#ids, n: this.#next }, body);
    this.#next += 1;
    return text;
  }

  /**
   * @param {string} text what came on this session's `out` topic
   * @returns {{type: string, body: object} | null} null if it is forged, of another session, or was read before
   */
  open(text) {
    const envelope = read(text, this.#ids);
    if (!envelope || envelope.e || envelope.n < this.#expected) return null;
    const body = open(this.#toViewer, this.#d, this.#ids, envelope);
    if (!body) return null;
    this.#expected = envelope.n + 1;
    return { type: envelope.t, body };
  }
}

/** Stands for the device's nonce in what is carried by hand: the viewer cannot know it there. */
export const BY_HAND = '0'.repeat(32);

/** A paired viewer's session by hand: one offer there, one answer back. */
export class HandSession {
  #of;

  /** @param {{d: string, k: string, kv: Uint8Array, s?: string}} of as for `Session`; `s` only for test vectors */
  constructor({ d, k, kv, s = newSession() }) {
    this.#of = { d, k, kv, s };
  }

  /**
   * Once in a session.
   * @param {object} body with an SDP that holds all candidates
   * @returns {string} the envelope
   */
  offer(body) {
    return new Session({ ...this.#of, nd: BY_HAND }).seal('offer', body);
  }

  /**
   * @param {string} text an envelope
   * @returns {{sdp: string, welcome?: object} | null} null if it is not the answer to this offer
   */
  open(text) {
    return this.#open('answer', text);
  }

  /** The same for what follows the key of a viewer that was paired by hand, in the pairing's session. */
  openWelcome(text) {
    return this.#open('welcome', text);
  }

  /** What is wrong with an envelope that is not the answer: `offer`, `elsewhere`, `old` or `damaged`. */
  explain(text) {
    return explain(this.#of, text);
  }

  #open(type, text) {
    const envelope = typeof text === 'string' && text.length <= MAX_ENVELOPE ? object(text) : null;
    if (!isHex(envelope?.nd, 16) || envelope.nd === BY_HAND || envelope.n !== 0) return null;
    const message = new Session({ ...this.#of, nd: envelope.nd }).open(text);
    return message?.type === type ? message.body : null;
  }
}

function explain({ k, s }, text) {
  const envelope = object(text) ?? {};
  if (envelope.t === 'offer' || envelope.t === 'pair1') return 'offer';
  if (envelope.k !== k) return 'elsewhere';
  return envelope.s === s ? 'damaged' : 'old';
}

// ---- pairing

/** A private key on P-256. */
function privateKey(random) {
  for (;;) {
    const key = random(32);
    // All but one in four thousand million are below the curve's order.
    if (p256.utils.isValidSecretKey(key)) return key;
  }
}

/** A link being taken. */
export class Pairing {
  #link;
  #ids;
  #private;
  #point;
  #request;

  /** Why the device refused, sealed by it: {code, message}. Null while it has not. */
  refusal = null;

  /**
   * @param {{link: {d: string, S: Uint8Array}, nd: string, name: string, random?: (length: number) => Uint8Array}} of
   *   what `parseLink` gave, the device's present nonce, and what the viewer calls itself
   */
  constructor({ link, nd, name, random = randomBytes }) {
    this.#link = link;
    const k = hex(derive(link.S, undefined, 'pinhole/1 pairing id', 8));
    this.#ids = { k, s: newSession(random), nd };
    this.#private = privateKey(random);
    this.#point = p256.getPublicKey(this.#private, false);
    const key = derive(link.S, this.#point, `pinhole/1 pair1|${link.d}`, 32);
    this.#request = seal(key, { t: 'pair1', d: link.d, ...this.#ids, n: 0, e: this.#point }, { name });
  }

  /** The session on whose `out` topic the answer comes. */
  get s() {
    return this.#ids.s;
  }

  /**
   * `pair1`, for the device's `in` topic. Always the same text: when the answer was lost, sending it again gets the
   * answer again, while a new Pairing of a link that is used up gets none.
   * @returns {string}
   */
  request() {
    return this.#request;
  }

  /**
   * @param {string} text what came on the `out` topic
   * @returns {{k: string, kv: Uint8Array, role: string, name: string} | null} what this viewer now is; null if `text`
   *   is not the device's, or it refused (then `refusal` says why)
   */
  finish(text) {
    const envelope = read(text, this.#ids);
    if (!envelope?.e || envelope.n !== 0) return null;
    const agreed = this.#agree(envelope.e);
    const body = agreed && open(agreed.confirm, this.#link.d, this.#ids, envelope);
    if (!body) return null;
    if (envelope.t === 'error') {
      this.refusal = { code: String(body.code), message: String(body.message) };
      return null;
    }
    const { k, role, name } = body;
    if (envelope.t !== 'pair2' || !isHex(k, 8) || typeof role !== 'string' || typeof name !== 'string') return null;
    return { k, kv: agreed.kv, role, name };
  }

  /** What is wrong with an envelope that was carried by hand and is not the answer; as in `HandSession`. */
  explain(text) {
    return explain(this.#ids, text);
  }

  #agree(devicePoint) {
    let shared;
    try {
      // The x-coordinate, without the byte that tells y's sign.
      shared = p256.getSharedSecret(this.#private, devicePoint, true).slice(1);
    } catch {
      return null;
    }
    const { d, S } = this.#link;
    const secret = concat(shared, S);
    const salt = concat(this.#point, devicePoint);
    return {
      kv: derive(secret, salt, `pinhole/1 viewer key|${d}`, 32),
      confirm: derive(secret, salt, `pinhole/1 pair2|${d}`, 32),
    };
  }
}

// Carries out the state machine's effects: MQTT (broker.mjs), pinhole/1 (protocol.mjs), WebRTC (media.mjs), timers. It
// reports what happens as the machine's events. Not here: any decision.

import { brokerUrl } from './browser.mjs';
import { Broker } from './broker.mjs';
import { Media } from './media.mjs';
import { Pairing, Session, newSession, parseStatus, topics } from './protocol.mjs';
import { fromBase64url, newRecord } from './store.mjs';

/** How often the picture is looked at. */
const LOOK_MS = 500;

export class Connection {
  /** `on` is {event(event), stream(MediaStream | null), look(stats)}; `name` is this viewer's name. */
  constructor({ on, name, location }) {
    this.on = on;
    this.name = name;
    this.location = location;
    this.timers = new Map();
    this.broker = null;
    this.topics = null;
    this.pairing = null;
    /** The newest pairing request: {link, nd, pairing}. */
    this.asked = null;
    this.session = null;
    /** The session's id, and that of the next one, which is subscribed before it is needed. */
    this.s = null;
    this.nextS = null;
    this.media = null;
    this.ticker = null;
  }

  /** Carries out one effect. */
  run(effect) {
    switch (effect.type) {
      case 'timer':
        return this.startTimer(effect.name, effect.ms);
      case 'cancel':
        return this.cancelTimer(effect.name);
      case 'connect-broker':
        return this.connectBroker(effect);
      case 'close-broker':
        return this.closeBroker();
      case 'pair':
        return this.pair(effect);
      case 'pair-again':
        return this.broker?.publish(this.topics.in, this.pairing.request());
      case 'open-session':
        return this.openSession(effect);
      case 'hello':
        return this.send('hello', {});
      case 'offer':
        return this.offer(effect);
      case 'restart-ice':
        return this.restartIce();
      case 'accept-answer':
        return this.media?.accept(effect.sdp);
      case 'add-candidate':
        return this.media?.add(effect.candidate);
      case 'close-peer':
        return this.closePeer(effect.bye);
      default:
        throw new Error(`unknown effect ${effect.type}`);
    }
  }

  // ---- timers

  startTimer(name, ms) {
    this.cancelTimer(name);
    this.timers.set(
      name,
      setTimeout(() => {
        this.timers.delete(name);
        this.on.event({ type: 'timer', name });
      }, ms),
    );
  }

  cancelTimer(name) {
    clearTimeout(this.timers.get(name));
    this.timers.delete(name);
  }

  // ---- the broker

  connectBroker({ d, r, b, patience }) {
    this.closeBroker();
    this.topics = topics(r, d);
    this.nextS = newSession();
    const broker = new Broker(brokerUrl(b, this.location), patience, [this.topics.status, this.topics.out(this.nextS)], {
      up: () => this.on.event({ type: 'broker-up' }),
      down: (reason) => {
        if (this.broker === broker) this.broker = null;
        this.on.event({ type: 'broker-down', reason });
      },
      message: (topic, text, retained) => this.message(topic, text, retained),
    });
    this.broker = broker;
    // A session outlives its broker connection.
    if (this.session) broker.subscribe(this.topics.out(this.s));
  }

  closeBroker() {
    this.broker?.close();
    this.broker = null;
  }

  message(topic, text, retained) {
    if (topic === this.topics.status) {
      const status = parseStatus(text);
      if (status) this.on.event({ type: 'status', ...status });
    } else if (retained) {
      // Envelopes are never retained: this is an old one.
    } else if (this.pairing && topic === this.topics.out(this.pairing.s)) {
      this.finishPairing(text);
    } else if (this.session && topic === this.topics.out(this.s)) {
      const message = this.session.open(text);
      if (message) this.received(message);
    }
  }

  received({ type, body }) {
    if (['welcome', 'answer', 'candidate', 'error', 'bye', 'notice'].includes(type)) this.on.event({ type, body });
  }

  // ---- pairing

  pair({ link, nd }) {
    // Once more by another broker: the same request gets the same answer, if that was lost.
    const again = this.asked?.link === link && this.asked.nd === nd;
    this.pairing = again ? this.asked.pairing : new Pairing({ link, nd, name: this.name });
    this.asked = { link, nd, pairing: this.pairing };
    this.broker?.subscribe(this.topics.out(this.pairing.s));
    this.broker?.publish(this.topics.in, this.pairing.request());
  }

  finishPairing(text) {
    const result = this.pairing.finish(text);
    if (!result) {
      const { refusal } = this.pairing;
      return this.on.event(refusal ? { type: 'pair-refused', body: refusal } : { type: 'pair-forged' });
    }
    const { link } = this.asked;
    this.endPairing();
    this.asked = null;
    this.on.event({ type: 'paired', camera: newRecord(link, result) });
  }

  endPairing() {
    if (!this.pairing) return;
    this.broker?.unsubscribe(this.topics.out(this.pairing.s));
    this.pairing = null;
  }

  // ---- a session

  openSession({ camera: { d, k, kv }, nd }) {
    this.s = this.nextS;
    this.session = new Session({ d, k, kv: fromBase64url(kv), s: this.s, nd });
    this.nextS = newSession();
    this.broker?.subscribe(this.topics.out(this.nextS));
  }

  send(type, body) {
    if (this.session) this.broker?.publish(this.topics.in, this.session.seal(type, body));
  }

  async offer({ camera, iceServers }) {
    this.endMedia();
    this.camera = camera;
    let media;
    try {
      media = new Media(iceServers, {
        track: (stream) => this.on.stream(stream),
        candidate: (candidate) => this.queueCandidate(candidate),
        state: (state) => this.on.event({ type: `media-${state}` }),
        failed: (reason) => this.on.event({ type: 'peer-failed', reason }),
      });
    } catch (error) {
      // An ICE server that this browser refuses, or too many peer connections.
      return this.on.event({ type: 'peer-failed', reason: error.message });
    }
    this.media = media;
    this.ticker = setInterval(() => this.look(media), LOOK_MS);
    await this.sendOffer(media, {});
  }

  async restartIce() {
    if (this.media) await this.sendOffer(this.media, { iceRestart: true });
  }

  async sendOffer(media, options) {
    // Candidates come as soon as the local description is set; the device must see the offer first.
    this.held = [];
    const sdp = await media.offer(options);
    if (!sdp || media !== this.media) return;
    this.send('offer', { camera: this.camera, sdp, audio: false, talk: false });
    for (const candidate of this.held.splice(0)) this.send('candidate', candidate);
    this.held = null;
  }

  /** Goes on with a connection whose offer and answer were carried by hand. */
  adopt(media, sdp) {
    this.endMedia();
    this.media = media;
    this.ticker = setInterval(() => this.look(media), LOOK_MS);
    return media.accept(sdp);
  }

  queueCandidate(candidate) {
    if (this.held) this.held.push(candidate);
    else this.send('candidate', candidate);
  }

  async look(media) {
    const stats = await media.look().catch(() => null);
    if (!stats || media !== this.media) return;
    this.on.look(stats);
    if (document.visibilityState === 'visible') this.on.event({ type: 'frames', fresh: stats.fresh });
  }

  closePeer(bye) {
    this.endPairing();
    if (this.session) {
      if (bye) this.send('bye', { reason: bye });
      this.broker?.unsubscribe(this.topics.out(this.s));
      this.session = null;
    }
    this.endMedia();
  }

  endMedia() {
    clearInterval(this.ticker);
    this.media?.close();
    this.media = null;
    this.held = null;
  }
}

// The page's state machine. Pure: an event, the time and a random number go in; the next state and a list of effects
// come out. Not here: MQTT and WebRTC (connection.mjs), the words for each state (words.mjs), the DOM (view.mjs).
//
// `show` is what the person sees (the names are listed in words.mjs), `broker` is the way to the device, `peer` is how
// far one session with it has come:
//   none → pairing → none → hello → offered → answered → connected ⇄ restarting
//                           (while stored ICE servers are fresh, the offer does not wait for hello's answer)
//   connected → lost: the media path broke while the broker was away; waits for the broker.

import { TIMES, backoff } from './timing.mjs';

/** What stays on the screen while the page tries again behind it, until a picture comes or the cause is gone. */
const LASTING = new Set(['unreachable', 'no-picture', 'busy', 'no-camera', 'privacy', 'no-answer', 'failed']);

/** The device was looked for, and not found. */
const AWAY = new Set(['broker-unreachable', 'unknown', 'offline']);

/** Where only the person can go on. */
const FINAL = new Set([
  'no-link', 'bad-link', 'newer-link', 'no-h264', 'link-used', 'pair-refused', 'pairing-failed', 'forbidden', 'codec', 'revoked', 'replaced',
  'idle', 'hand-connecting', 'hand-unreachable', 'hand-lost',
]);

/** Before the first event. */
export function initial() {
  return {
    show: 'loading',
    /** The device's own words on a failure, or the browser's. */
    detail: null,
    /** A parsed link that has not been used yet. */
    link: null,
    /** The stored camera: {d, r, b, k, kv, role, name, …}. */
    camera: null,
    broker: 'down',
    brokerFailures: 0,
    /** Which of the device's brokers is in use: an index of `ways`. */
    way: 0,
    /** What came of each way since the last one that was good: 'down' (no broker), 'offline' or 'unknown' (no device). */
    outcomes: {},
    /** By which way the device has heard from this session last. */
    sessionWay: 0,
    /** What the device's status last said; null: not heard yet on this connection. */
    online: null,
    nd: null,
    peer: 'none',
    /** The session was made by hand: nothing can be asked in it, and nothing brings it back. */
    byHand: false,
    /** Failed sessions in a row. */
    failures: 0,
    /** Requests in a row that nobody answered. */
    unanswered: 0,
    /** A session was tried and the timer `retry` runs. */
    waiting: false,
    /** The device has answered in this session. */
    greeted: false,
    /** Something answered the pairing request that the link's device did not send. */
    forged: false,
    /** A picture has been seen since the start. */
    played: false,
    /** The device or the broker was away during this session. */
    suspect: false,
    /** When the last new frame came, or when the path to it opened. */
    lastFrame: 0,
    /** When the first frame of this session came. */
    playingSince: null,
    /** {code, message}: what the device says of the picture. */
    notice: null,
  };
}

/** The brokers by which a device is reached, the first choice first; null is the page's own host. */
export function ways({ b = null, bs = [] }) {
  return [b, ...bs];
}

/** One event. `env` is {now: ms, random: [0, 1)}. Returns {state, effects}; the state given is left as it was. */
export function step(state, event, env) {
  const machine = new Machine({ ...state }, env);
  const handler = machine[`on_${event.type.replaceAll('-', '_')}`];
  if (!handler) throw new Error(`unknown event ${event.type}`);
  handler.call(machine, event);
  return { state: machine.state, effects: machine.effects };
}

/** Lives for one event. `on_*` are the events; the rest are the steps they share. */
class Machine {
  constructor(state, env) {
    this.state = state;
    this.env = env;
    this.effects = [];
  }

  // ---- events: the person and the browser

  /** {camera, link, badLink, newer, h264}: the page was opened, or another camera was chosen. */
  on_start({ camera = null, link = null, badLink = false, newer = false, h264 = true }) {
    this.closePeer('closed');
    this.closeBroker();
    this.state = { ...initial(), camera, link };
    if (badLink) return this.stop(newer ? 'newer-link' : 'bad-link');
    if (!camera && !link) return this.stop('no-link');
    if (!h264) return this.stop('no-h264');
    this.connectBroker();
  }

  /** The person asks to try again. */
  on_retry() {
    const s = this.state;
    if (['no-link', 'bad-link', 'newer-link', 'no-h264'].includes(s.show)) return;
    s.failures = 0;
    s.brokerFailures = 0;
    s.unanswered = 0;
    s.outcomes = {};
    s.show = 'connecting';
    s.detail = null;
    this.closePeer('closed');
    if (s.broker === 'down') this.connectBroker();
    else if (s.online === false && this.ways.length > 1) this.nextWay();
    else this.goOn();
  }

  /** The network came back, or the page became visible: do not sit out a back-off. */
  on_wake() {
    const s = this.state;
    // Frames are not looked for while nobody sees them.
    s.lastFrame = this.env.now;
    if (FINAL.has(s.show) || s.byHand) return;
    if (s.broker === 'down') this.connectBroker();
    else if (s.waiting) this.goOn();
  }

  /** The page is being left. */
  on_leave() {
    this.closePeer('closed');
    this.closeBroker();
  }

  /** {camera}: the link gave its key by hand; the usual way goes on with that. */
  on_has_key({ camera }) {
    const s = this.state;
    if (s.peer === 'pairing') this.closePeer(null);
    s.camera = camera;
    s.link = null;
  }

  /** {camera}: an answer was carried here by hand. The offer's connection takes the place of all there was. */
  on_by_hand({ camera }) {
    const s = this.state;
    this.closePeer('closed');
    this.stop('hand-connecting');
    s.camera = camera;
    s.link = null;
    s.byHand = true;
    s.peer = 'answered';
    s.playingSince = null;
    s.suspect = false;
    this.timer('ice', TIMES.iceByHand);
  }

  // ---- events: the broker

  /** Connected and subscribed to the device's status. */
  on_broker_up() {
    const s = this.state;
    s.broker = 'up';
    s.online = null;
    this.timer('status', TIMES.status);
    this.timer('steady', TIMES.steady);
    if (s.peer === 'none') this.progress('finding');
  }

  /** {reason}: the connection failed or ended. */
  on_broker_down({ reason = null }) {
    const s = this.state;
    if (s.broker === 'down') return;
    s.broker = 'down';
    s.online = null;
    s.suspect = true;
    this.cancel('status', 'steady', 'elsewhere');
    if (!this.mediaIsUp()) this.closePeer(null);
    if (s.peer === 'restarting') this.lose();
    if (FINAL.has(s.show)) return;
    s.outcomes = { ...s.outcomes, [s.way]: 'down' };
    if (this.hasUntriedWay()) return this.nextWay();
    s.brokerFailures += 1;
    if (s.peer === 'none' && (!s.played || s.brokerFailures > 2)) this.showProblem(this.roundShows(), reason);
    this.timer('broker', backoff(s.brokerFailures, this.env.random));
  }

  /** {online, nd}: the device's status. */
  on_status({ online, nd = null }) {
    const s = this.state;
    const cameBack = online && s.online !== true;
    s.online = online;
    s.nd = online ? nd : null;
    this.cancel('status');
    if (!online) return this.deviceGone('offline');
    if (FINAL.has(s.show)) return;
    s.outcomes = {};
    this.cancel('elsewhere');
    if (s.peer === 'lost') this.closePeer(null);
    if (this.mediaIsUp() && s.sessionWay !== s.way) {
      // The device answers where it heard from the session last.
      s.sessionWay = s.way;
      this.effect('hello', {});
    }
    if (s.peer === 'none' && (cameBack || !s.waiting)) this.begin();
  }

  // ---- events: pairing and the session

  /** {camera}: the link was good; this is the key it gave, already stored. */
  on_paired({ camera }) {
    const s = this.state;
    if (s.peer !== 'pairing') return;
    this.cancel('pair', 'pair-again');
    s.camera = camera;
    s.link = null;
    s.peer = 'none';
    this.begin();
  }

  /** {body}: the device knows the link, but cannot pair. */
  on_pair_refused({ body: { message } }) {
    if (this.state.peer === 'pairing') this.stop('pair-refused', message);
  }

  /** Something answered the pairing request that was not sealed with the link's secret. Anybody can send that. */
  on_pair_forged() {
    this.state.forged = true;
  }

  /** {body}: who the device is, and its ICE servers. */
  on_welcome({ body }) {
    const s = this.state;
    s.camera = {
      ...s.camera,
      name: body.name,
      role: body.role,
      cameras: body.cameras ?? [],
      ice: { servers: body.ice_servers ?? [], until: this.env.now + 1000 * (body.ice_expires_s ?? 0) },
    };
    this.effect('store', { camera: s.camera });
    s.unanswered = 0;
    s.greeted = true;
    if (s.peer === 'hello') this.offer();
    if (s.peer === 'offered') this.timer('answer', TIMES.offer);
  }

  /** {body}: the device's SDP. */
  on_answer({ body }) {
    const s = this.state;
    if (s.peer !== 'offered' && !this.mediaIsUp()) return;
    s.unanswered = 0;
    this.cancel('answer');
    if (s.peer === 'offered') {
      s.peer = 'answered';
      this.timer('ice', TIMES.ice);
    }
    this.effect('accept-answer', { sdp: body.sdp });
  }

  /** {body}: one of the device's candidates. */
  on_candidate({ body }) {
    if (this.state.peer !== 'none') this.effect('add-candidate', { candidate: body });
  }

  /** {body: {code, message}}: the device cannot or will not. */
  on_error({ body: { code, message = null } }) {
    const s = this.state;
    if (s.peer === 'none' || s.peer === 'pairing') return;
    if (s.peer === 'restarting') return this.fail('reconnecting', { soon: true });
    // A refused detail (a candidate, the later `hello`) is no reason to end a picture.
    if (this.mediaIsUp() && !['forbidden', 'privacy', 'no_camera'].includes(code)) return;
    switch (code) {
      case 'forbidden':
      case 'codec':
        return this.stop(code, message);
      case 'busy':
      case 'privacy':
        return this.fail(code, { detail: message });
      case 'no_camera':
        return this.fail('no-camera', { detail: message });
      case 'rate_limited':
        return this.fail('reconnecting', { atLeast: 5_000 });
      default:
        return this.fail('failed', { detail: message });
    }
  }

  /** {body: {reason}}: the device ends the session. */
  on_bye({ body: { reason } }) {
    const s = this.state;
    if (s.peer === 'none' || s.peer === 'pairing') return;
    switch (reason) {
      case 'shutdown':
        return this.deviceGone('shutdown');
      case 'revoked':
      case 'replaced':
      case 'idle':
        return this.stop(reason);
      case 'camera':
        // Its picture needs another decoder than the one agreed upon.
        return this.fail('reconnecting', { soon: true });
      case 'privacy':
        return this.fail('privacy', {});
      default:
        return this.fail('reconnecting', {});
    }
  }

  /** {body: {code, message}}: something about the picture of this session; `ok` when it holds no longer. */
  on_notice({ body: { code, message = '' } }) {
    const s = this.state;
    if (s.peer === 'none' || s.peer === 'pairing') return;
    s.notice = code === 'ok' ? null : { code, message };
  }

  /** {reason}: the browser refused the answer or could not make an offer. */
  on_peer_failed({ reason }) {
    if (this.state.peer !== 'none') this.fail('failed', { detail: reason });
  }

  // ---- events: the media path

  on_media_connected() {
    const s = this.state;
    if (s.peer !== 'answered' && s.peer !== 'restarting' && s.peer !== 'lost') return;
    if (s.peer === 'answered' && !s.byHand) this.progress('starting');
    s.peer = 'connected';
    s.lastFrame = this.env.now;
    this.cancel('ice', 'restart');
  }

  /** No packets for some seconds; the browser may still recover alone. */
  on_media_disconnected() {
    if (this.state.peer === 'connected') this.restartIce();
  }

  on_media_failed() {
    const s = this.state;
    if (s.peer === 'connected') this.restartIce();
    else if (s.peer === 'answered') this.fail('unreachable', {});
    else if (s.peer === 'restarting') this.fail('reconnecting', { soon: true });
    else if (s.byHand) this.fail('reconnecting', {});
  }

  /** {fresh}: whether frames were decoded since the last look; comes about once a second while the page is visible. */
  on_frames({ fresh }) {
    const s = this.state;
    if (!this.mediaIsUp()) return;
    const { now } = this.env;
    if (fresh) {
      // The path recovered alone, before its restart was through.
      s.peer = 'connected';
      this.cancel('restart');
      s.lastFrame = now;
      s.playingSince ??= now;
      if (s.online === true) s.suspect = false;
      if (now - s.playingSince >= TIMES.steady) s.failures = 0;
      s.played = true;
      s.show = 'playing';
      s.detail = null;
      return;
    }
    const still = now - s.lastFrame;
    if (s.suspect && s.online === true && still >= TIMES.suspect) return this.fail('reconnecting', { soon: true });
    if (still >= TIMES.frozen && s.online === false) return this.giveUp('offline');
    if (still >= TIMES.stuck && s.peer !== 'restarting') {
      if (s.playingSince === null) return this.fail('no-picture', {});
      return this.fail('reconnecting', { soon: true });
    }
    if (still >= TIMES.frozen && s.playingSince !== null && s.peer === 'connected') {
      s.show = s.suspect ? 'reconnecting' : 'frozen';
    }
  }

  // ---- events: timers

  on_timer({ name }) {
    const s = this.state;
    switch (name) {
      case 'broker':
        if (s.broker === 'down') this.nextWay();
        return;
      case 'elsewhere':
        // Offline here; by now the device may be back at another of its brokers, and only there.
        return this.nextWay();
      case 'steady':
        s.brokerFailures = 0;
        return;
      case 'status':
        s.online = false;
        return this.deviceGone('unknown');
      case 'pair':
        return this.pairingUnanswered();
      case 'pair-again':
        if (s.peer === 'pairing') this.effect('pair-again', {});
        return;
      case 'answer':
        return this.requestUnanswered();
      case 'ice':
        if (s.peer === 'answered') this.fail('unreachable', {});
        return;
      case 'restart':
        if (s.peer === 'restarting') this.fail('reconnecting', { soon: true });
        return;
      case 'retry':
        return this.goOn();
      default:
        throw new Error(`unknown timer ${name}`);
    }
  }

  // ---- steps

  /** The next session, if the device is there; else its next status starts one. */
  goOn() {
    const s = this.state;
    s.waiting = false;
    this.cancel('retry');
    if (s.broker === 'up' && s.online === true && s.peer === 'none') this.begin();
  }

  connectBroker() {
    const s = this.state;
    this.cancel('broker');
    s.broker = 'connecting';
    if (s.peer === 'none') this.progress('connecting');
    const { d, r } = s.link ?? s.camera;
    const patience = this.ways.length > 1 ? TIMES.brokerOfSeveral : TIMES.broker;
    this.effect('connect-broker', { d, r, b: this.ways[s.way], patience });
  }

  closeBroker() {
    const s = this.state;
    if (s.broker !== 'down') this.effect('close-broker', {});
    s.broker = 'down';
    s.online = null;
    this.cancel('broker', 'status', 'steady', 'elsewhere');
  }

  get ways() {
    const { link, camera } = this.state;
    return ways(link ?? camera ?? {});
  }

  hasUntriedWay() {
    return this.ways.some((_, way) => !(way in this.state.outcomes));
  }

  /** On to the next broker; there is always one, if only the same. */
  nextWay() {
    const s = this.state;
    this.closeBroker();
    s.way = (s.way + 1) % this.ways.length;
    this.connectBroker();
  }

  /** What is wrong when every way was tried: that a broker knows of the device says more than one that is silent. */
  roundShows() {
    const found = Object.values(this.state.outcomes);
    if (found.includes('offline')) return 'offline';
    return found.includes('unknown') ? 'unknown' : 'broker-unreachable';
  }

  /** Online, and no session: pair if there is a link, else ask for the picture. */
  begin() {
    const s = this.state;
    s.waiting = false;
    this.cancel('retry');
    if (s.link) {
      s.peer = 'pairing';
      s.forged = false;
      this.progress('pairing');
      this.effect('pair', { link: s.link, nd: s.nd });
      this.timer('pair', s.camera ? TIMES.pairWithKey : TIMES.pair);
      this.timer('pair-again', TIMES.pairAgain);
      return;
    }
    s.suspect = false;
    s.playingSince = null;
    s.sessionWay = s.way;
    this.effect('open-session', { camera: s.camera, nd: s.nd });
    this.progress('asking');
    s.greeted = false;
    s.peer = 'hello';
    // The offer need not wait for ICE servers that are known. `hello` still asks what changed, and whether anybody is
    // there: its answer does not wait for the camera.
    if (s.camera.ice && s.camera.ice.until > this.env.now) this.offer();
    this.effect('hello', {});
    this.timer('answer', TIMES.answer);
  }

  offer() {
    const s = this.state;
    s.peer = 'offered';
    this.effect('offer', { camera: s.camera.chosen ?? '', iceServers: s.camera.ice.servers });
  }

  pairingUnanswered() {
    const s = this.state;
    if (s.peer !== 'pairing') return;
    this.closePeer(null);
    if (s.camera) {
      // The link is used up, but this browser has a key for the same device already.
      s.link = null;
      return this.begin();
    }
    this.stop(s.forged ? 'pairing-failed' : 'link-used');
  }

  /** Silence is how a device answers what it cannot authenticate; but messages also get lost, so ask twice. */
  requestUnanswered() {
    const s = this.state;
    if (s.peer !== 'hello' && s.peer !== 'offered') return;
    if (s.greeted) return this.fail('no-picture', {});
    s.unanswered += 1;
    if (s.unanswered < 2) {
      this.closePeer(null);
      // This broker may be the one that lets nothing through.
      return this.ways.length > 1 ? this.nextWay() : this.goOn();
    }
    s.unanswered = 0;
    this.fail('no-answer', { atLeast: TIMES.patient });
  }

  restartIce() {
    const s = this.state;
    if (s.broker !== 'up' || s.online !== true) return this.lose();
    s.peer = 'restarting';
    s.show = 'reconnecting';
    this.effect('restart-ice', {});
    this.timer('restart', TIMES.restart);
  }

  /** The media path broke while there is no way to ask for a new one. It may still come back by itself. */
  lose() {
    this.cancel('restart');
    this.state.peer = 'lost';
    this.state.show = 'reconnecting';
  }

  /** The device is not there. Media that still flows is left alone. */
  deviceGone(show) {
    const s = this.state;
    if (FINAL.has(s.show)) return;
    if (show === 'shutdown') s.online = false;
    else if (this.mediaIsUp()) {
      s.suspect = true;
      if (s.peer === 'restarting') this.lose();
      // Its own connection to this broker may be what broke.
      if (this.ways.length > 1) this.elsewhere(show);
      return;
    }
    const lasting = show === 'shutdown' ? show : this.elsewhere(show);
    if (lasting) this.giveUp(lasting);
    else this.closePeer(null);
  }

  /** The device is not at this broker: tries those that were not tried, else waits here for a while. What to show then. */
  elsewhere(found) {
    const s = this.state;
    s.outcomes = { ...s.outcomes, [s.way]: found };
    if (this.hasUntriedWay()) {
      this.nextWay();
      return null;
    }
    if (this.ways.length > 1) this.timer('elsewhere', TIMES.patient);
    return this.roundShows();
  }

  /** Ends the session; the device's next status starts another. */
  giveUp(show) {
    const s = this.state;
    this.closePeer(null);
    s.waiting = false;
    s.failures = 0;
    s.unanswered = 0;
    this.cancel('retry');
    s.show = show;
    s.detail = null;
  }

  /** Ends the session and tries again: at once (`soon`, but only the first time), or after the back-off. */
  fail(show, { detail = null, atLeast = 0, soon = false }) {
    const s = this.state;
    if (s.byHand) return this.stop(['unreachable', 'no-picture'].includes(show) ? 'hand-unreachable' : 'hand-lost', detail);
    const first = soon && s.failures === 0;
    this.closePeer('failed');
    s.failures += 1;
    if (show === 'reconnecting') this.progress('reconnecting');
    else this.showProblem(show, detail);
    if (first) return this.goOn();
    s.waiting = true;
    this.timer('retry', Math.max(atLeast, backoff(s.failures, this.env.random)));
  }

  /** Ends everything until the person does something. */
  stop(show, detail = null) {
    this.closePeer(null);
    this.state.waiting = false;
    this.cancel('retry');
    this.closeBroker();
    this.showProblem(show, detail);
  }

  closePeer(bye) {
    const s = this.state;
    if (s.peer !== 'none') this.effect('close-peer', { bye });
    s.peer = 'none';
    s.byHand = false;
    s.notice = null;
    this.cancel('pair', 'pair-again', 'answer', 'ice', 'restart');
  }

  mediaIsUp() {
    return ['connected', 'restarting', 'lost'].includes(this.state.peer);
  }

  /** What is being done, unless a problem is on the screen that this is yet to solve. */
  progress(show) {
    const s = this.state;
    if (LASTING.has(s.show)) return;
    if (s.show === 'broker-unreachable' && show === 'connecting') return;
    // Going round among several brokers is no news, until one of them knows more.
    const searching = show === 'connecting' || show === 'finding';
    if (searching && this.ways.length > 1 && !this.hasUntriedWay() && AWAY.has(s.show)) return;
    s.show = s.played && show !== 'pairing' ? 'reconnecting' : show;
    s.detail = null;
  }

  showProblem(show, detail) {
    this.state.show = show;
    this.state.detail = detail;
  }

  effect(type, data) {
    this.effects.push({ type, ...data });
  }

  timer(name, ms) {
    this.effects.push({ type: 'timer', name, ms });
  }

  cancel(...names) {
    for (const name of names) this.effects.push({ type: 'cancel', name });
  }
}

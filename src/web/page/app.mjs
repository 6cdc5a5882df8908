// The page's composition root: the link and the stored cameras go into the state machine, its effects into the
// connection, its state into the view. Beside it the machine for connecting by hand, with its courier and its panel.

import { brokerUrl, decodesH264, viewerName } from './browser.mjs';
import { Broker } from './broker.mjs';
import { Connection } from './connection.mjs';
import { Courier } from './courier.mjs';
import { initialHand, stepHand } from './hand.mjs';
import { Panel } from './panel.mjs';
import { Presence } from './presence.mjs';
import { parseLink } from './protocol.mjs';
import { initial, step, ways } from './state.mjs';
import { Store, localStore } from './store.mjs';
import { View } from './view.mjs';

class App {
  constructor(window) {
    this.window = window;
    this.state = initial();
    /** What the view was last told. */
    this.shown = null;
    this.store = new Store(localStore(window));
    this.view = new View(window.document, {
      retry: () => this.event({ type: 'retry' }),
      choose: (d, camera) => this.choose(d, camera),
      forget: (d) => this.forget(d),
      listOpened: () => this.presence.follow(this.store.cameras),
      listClosed: () => this.presence.stop(),
      byHand: () => this.byHand(),
      firstFrame: () => this.event({ type: 'frames', fresh: true }),
    });
    this.presence = new Presence({ Broker, location: window.location, changed: (present) => this.view.list.presence(present) });
    const name = viewerName(window.navigator.userAgent, window.navigator.maxTouchPoints);
    this.connection = new Connection({
      name,
      location: window.location,
      on: {
        event: (event) => this.event(event),
        stream: (stream) => this.view.stream(stream),
        look: (stats) => this.view.stats(stats),
      },
    });
    this.hand = initialHand();
    this.panel = new Panel(window, {
      put: (text) => this.handEvent({ type: 'put', text }),
      wrong: (why) => this.handEvent({ type: 'wrong', why }),
      anew: () => this.handEvent({ type: 'anew' }),
    });
    this.courier = new Courier({
      name,
      on: {
        event: (event) => this.handEvent(event),
        track: (stream) => this.view.stream(stream),
        state: (state) => this.event({ type: `media-${state}` }),
        failed: (reason) => this.event({ type: 'peer-failed', reason }),
      },
    });
  }

  /** Reads the link, if the page was opened with one, and takes it out of the address at once: it is a secret. */
  open() {
    const { location, history } = this.window;
    const fragment = location.hash.slice(1);
    if (!fragment) return this.start({ camera: this.store.last });
    history.replaceState(null, '', location.pathname + location.search);
    try {
      const link = parseLink(fragment);
      this.start({ link, camera: this.store.find(link.d) });
    } catch (error) {
      this.start({ badLink: true, newer: error.message === 'version' });
    }
  }

  start({ camera = null, link = null, badLink = false, newer = false }) {
    this.view.clear();
    this.handEvent({ type: 'close' });
    this.event({ type: 'start', camera, link, badLink, newer, h264: decodesH264(this.window.RTCRtpReceiver) });
  }

  event(event) {
    if (event.type === 'paired') this.store.put(event.camera);
    const before = this.state.show;
    const { state, effects } = step(this.state, event, { now: Date.now(), random: Math.random() });
    this.state = state;
    for (const effect of effects) {
      if (effect.type === 'store') this.store.put(effect.camera);
      else this.connection.run(effect);
    }
    // The picture came in the usual way after all.
    if (state.show === 'playing' && before !== 'playing' && !state.byHand) this.handEvent({ type: 'close' });
    this.show();
  }

  // ---- by hand

  byHand() {
    const { camera, link } = this.state;
    this.handEvent({ type: 'open', camera: camera ?? this.store.find(link?.d), link });
    this.panel.open();
  }

  handEvent(event) {
    if (event.type === 'close' && this.hand.show === 'closed') return;
    const { state, effects } = stepHand(this.hand, event, { now: Date.now() });
    this.hand = state;
    for (const effect of effects) this.carryOut(effect);
    this.panel.show(this.hand, { name: this.state.camera?.name || 'the camera' });
  }

  carryOut({ type, ...what }) {
    switch (type) {
      case 'ask-key':
        return this.courier.askKey(what.link);
      case 'make-offer':
        return this.courier.makeOffer(what.camera, what.iceServers);
      case 'read':
        return this.courier.read(what.text);
      case 'drop':
        return this.courier.drop();
      case 'store':
        this.store.put(what.camera);
        return this.event({ type: 'has-key', camera: what.camera });
      case 'connect':
        this.store.put(what.camera);
        this.event({ type: 'by-hand', camera: what.camera });
        return this.connection.adopt(this.courier.take(), what.sdp);
      default:
        throw new Error(`unknown effect ${type}`);
    }
  }

  show() {
    const { show, camera, link, detail, notice, way, outcomes } = this.state;
    const brokers = ways(link ?? camera ?? {});
    const hosts = brokers.map((b) => new URL(brokerUrl(b, this.window.location)).host);
    // The parts of a device with several cameras have names of their own; the first is what it shows unasked.
    const parts = camera?.cameras.length > 1 ? camera.cameras : [];
    const part = parts.find(({ id }) => id === camera.chosen) ?? parts[0];
    const name = [camera?.name || 'the camera', part?.name].filter(Boolean).join(' · ');
    const about = {
      name,
      host: link || camera ? hosts[way] : '',
      ownBroker: !brokers[way],
      silent: brokers.length > 1 ? hosts.filter((_, at) => outcomes[at] === 'down') : [],
      detail,
      notice,
      known: Boolean(camera?.name),
      cameras: this.store.cameras,
      current: camera ? { d: camera.d, camera: part?.id ?? '' } : null,
    };
    // Frames are counted twice a second; what is on the screen changes seldom.
    const shown = JSON.stringify([show, about]);
    if (shown === this.shown) return;
    this.shown = shown;
    this.view.show(show, about);
  }

  choose(d, camera) {
    const found = this.store.find(d);
    if (!found) return;
    const chosen = { ...found, chosen: camera };
    this.store.put(chosen);
    this.start({ camera: chosen });
  }

  forget(d) {
    this.store.forget(d);
    this.view.list.close();
    if (this.state.camera?.d === d) this.start({ camera: this.store.last });
    else this.show();
  }

  /** The rest of the browser. */
  listen() {
    const { window } = this;
    window.addEventListener('hashchange', () => {
      if (window.location.hash.length > 1) this.open();
    });
    window.addEventListener('online', () => this.event({ type: 'wake' }));
    window.document.addEventListener('visibilitychange', () => {
      if (window.document.visibilityState === 'visible') this.event({ type: 'wake' });
    });
    window.addEventListener('pagehide', () => this.event({ type: 'leave' }));
    window.addEventListener('pageshow', ({ persisted }) => {
      if (persisted) this.start({ camera: this.state.camera ?? this.store.last });
    });
  }
}

const app = new App(window);
app.listen();
app.open();

// The page's composition root: the link and the stored cameras go into the state machine, its effects into the
// connection, its state into the view.

import { brokerUrl, decodesH264, viewerName } from './browser.mjs';
import { Broker } from './broker.mjs';
import { Connection } from './connection.mjs';
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
      firstFrame: () => this.event({ type: 'frames', fresh: true }),
    });
    this.presence = new Presence({ Broker, location: window.location, changed: (present) => this.view.list.presence(present) });
    this.connection = new Connection({
      name: viewerName(window.navigator.userAgent, window.navigator.maxTouchPoints),
      location: window.location,
      on: {
        event: (event) => this.event(event),
        stream: (stream) => this.view.stream(stream),
        look: (stats) => this.view.stats(stats),
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
    this.event({ type: 'start', camera, link, badLink, newer, h264: decodesH264(this.window.RTCRtpReceiver) });
  }

  event(event) {
    if (event.type === 'paired') this.store.put(event.camera);
    const { state, effects } = step(this.state, event, { now: Date.now(), random: Math.random() });
    this.state = state;
    for (const effect of effects) {
      if (effect.type === 'store') this.store.put(effect.camera);
      else this.connection.run(effect);
    }
    this.show();
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

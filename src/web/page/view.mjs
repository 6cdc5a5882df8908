// The DOM. It shows what it is told and reports what the person does. Not here: what follows from it (app.mjs).

import { CameraList, neighbour } from './list.mjs';
import { noticeWords, words } from './words.mjs';

/** The overlay leaves after this long without a sign of the person. */
const UNUSED_MS = 3_000;
const JPEG_QUALITY = 0.92;

export class View {
  /**
   * `on` is {retry, forget(d), choose(d, cameraId), listOpened, listClosed, byHand, firstFrame}; the last comes once for
   * each stream.
   */
  constructor(document, on) {
    this.document = document;
    this.root = document.documentElement;
    this.on = on;
    this.el = (id) => document.getElementById(id);
    this.video = this.el('video');
    this.announced = null;
    this.unusedTimer = null;
    this.about = { cameras: [], current: null };
    this.list = new CameraList(document, {
      choose: (d, camera) => on.choose(d, camera),
      forget: (d) => on.forget(d),
      opened: () => on.listOpened(),
      closed: () => on.listClosed(),
    });
    this.listen();
  }

  // ---- shown

  /** `about` is {name, host, ownBroker, detail, notice, known, cameras, current: {d, camera}}. */
  show(state, about) {
    this.about = about;
    const said = words(state, about);
    // A picture that has been seen stays while it is fetched anew.
    const picture = said.quiet && (state === 'playing' || this.hasPicture());
    this.root.dataset.state = state;
    this.flag('picture', picture);
    this.flag('known', about.known);
    this.flag('trouble', state !== 'playing' && !said.busy && state !== 'loading');
    this.text('title', said.title);
    this.text('text', said.text);
    this.el('dots').hidden = !said.busy;
    this.el('retry').hidden = !said.buttons.includes('retry');
    this.el('watch').hidden = !said.buttons.includes('watch');
    this.el('by-hand').hidden = !said.buttons.includes('by-hand');
    this.el('hand-enter').hidden = !about.current;
    this.el('forget').hidden = !(said.buttons.includes('forget') && about.current);
    const others = about.cameras.filter(({ d }) => d !== about.current?.d);
    this.el('other').hidden = said.busy || state === 'loading' || others.length === 0;
    this.text('note', `${said.title}. ${said.text}`);
    this.el('note').hidden = !picture || state === 'playing';
    const notice = picture && state === 'playing' ? about.notice : null;
    const line = notice ? noticeWords(notice) : '';
    this.text('notice', line);
    this.el('notice').hidden = !notice;
    if (notice) this.root.dataset.notice = notice.code;
    else delete this.root.dataset.notice;
    this.text('name-text', about.known ? about.name : 'pinhole');
    this.document.title = about.known ? `${about.name} – pinhole` : 'pinhole';
    this.announce(state === 'playing' ? `${about.name}: ${line || 'live'}` : `${said.title}. ${said.text}`);
    this.list.show(about.cameras, about.current);
    this.used();
  }

  /** A screen reader is told of changes only, not of each repetition. */
  announce(text) {
    if (text === this.announced) return;
    this.announced = text;
    this.text('status', text);
  }

  /** A new stream; the last picture of the old one stays behind it until it shows something. */
  async stream(stream) {
    this.hold();
    this.video.srcObject = stream;
    this.video.requestVideoFrameCallback?.(() => this.on.firstFrame());
    try {
      await this.video.play();
    } catch (error) {
      // AbortError only says that another stream came meanwhile.
      if (error.name === 'NotAllowedError') this.needsPlay(true);
    }
  }

  /** Another camera: its picture must not seem to be the last one's. */
  clear() {
    this.video.srcObject = null;
    const held = this.el('held');
    held.width = 0;
    held.height = 0;
    this.needsPlay(false);
    this.el('stats').replaceChildren();
  }

  needsPlay(needed) {
    this.el('play').hidden = !needed;
  }

  stats({ width, height, fps, kbits, lost, buffer_ms, rtt_ms, relayed }) {
    const box = this.el('stats');
    if (box.hidden || fps === undefined) return;
    const rows = [
      ['Size', `${width}×${height}`],
      ['Rate', `${fps} fps`],
      ['Data', `${kbits} kbit/s`],
      ['Lost', `${lost} packets`],
    ];
    if (buffer_ms !== null) rows.push(['Buffer', `${buffer_ms} ms`]);
    if (rtt_ms !== null) rows.push(['Round trip', `${rtt_ms} ms`]);
    if (relayed !== null) rows.push(['Path', relayed ? 'relayed' : 'direct']);
    box.replaceChildren(
      ...rows.map(([term, value]) => {
        const row = this.make('div', {});
        row.append(this.make('dt', { textContent: term }), this.make('dd', { textContent: value }));
        return row;
      }),
    );
  }

  hasPicture() {
    return this.video.videoWidth > 0 || this.el('held').width > 1;
  }

  /** Copies the video's current picture behind it. */
  hold() {
    const { videoWidth, videoHeight } = this.video;
    if (videoWidth === 0) return;
    const held = this.el('held');
    held.width = videoWidth;
    held.height = videoHeight;
    held.getContext('2d').drawImage(this.video, 0, 0);
  }

  // ---- the person

  listen() {
    const { document } = this;
    const click = (id, action) => this.el(id).addEventListener('click', action);
    click('retry', () => this.on.retry());
    click('watch', () => this.on.retry());
    click('forget', () => this.list.open());
    click('other', () => this.list.open());
    click('name', () => this.list.open());
    click('by-hand', () => this.on.byHand());
    click('hand-enter', () => {
      this.el('cameras').close();
      this.on.byHand();
    });
    click('play', () => this.video.play().catch(() => {}));
    this.video.addEventListener('playing', () => this.needsPlay(false));
    click('stats-button', () => this.toggleStats());
    click('snapshot', () => this.snapshot());
    click('pip', () => this.togglePip());
    click('full', () => this.toggleFull());
    this.el('pip').hidden = !document.pictureInPictureEnabled;
    this.el('full').hidden = !(document.fullscreenEnabled || this.video.webkitEnterFullscreen);
    this.video.addEventListener('dblclick', () => this.toggleFull());
    for (const sign of ['pointermove', 'pointerdown', 'keydown', 'focusin']) document.addEventListener(sign, () => this.used());
    document.addEventListener('keydown', (event) => this.key(event));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.document.querySelector('dialog[open]')) return;
    if (this.switchKey(event)) return event.preventDefault();
    if (this.root.dataset.picture === undefined) return;
    const action = { f: () => this.toggleFull(), i: () => this.toggleStats(), p: () => this.togglePip(), s: () => this.snapshot() }[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** `c` opens the list, arrows and digits switch: also where there is no picture. Whether it was one of these keys. */
  switchKey(event) {
    const { cameras, current } = this.about;
    if (event.key.toLowerCase() === 'c' && cameras.length > 0) {
      this.list.open();
      return true;
    }
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const to = by ? neighbour(cameras, current, by) : null;
    if (to) this.on.choose(to.d, to.camera);
    return Boolean(to) || this.list.digit(event);
  }

  /** The overlay comes with any sign of the person, and goes again while the picture plays. */
  used() {
    this.flag('unused', false);
    clearTimeout(this.unusedTimer);
    this.unusedTimer = setTimeout(() => {
      const focused = this.document.activeElement?.matches(':focus-visible');
      if (this.root.dataset.state === 'playing' && !focused && !this.document.querySelector('dialog[open]')) this.flag('unused', true);
    }, UNUSED_MS);
  }

  toggleStats() {
    const box = this.el('stats');
    box.hidden = !box.hidden;
    this.el('stats-button').setAttribute('aria-pressed', String(!box.hidden));
  }

  async togglePip() {
    try {
      if (this.document.pictureInPictureElement) await this.document.exitPictureInPicture();
      else await this.video.requestPictureInPicture?.();
    } catch {
      // The browser says why in its own way.
    }
  }

  async toggleFull() {
    try {
      if (this.document.fullscreenElement) await this.document.exitFullscreen();
      else if (this.document.fullscreenEnabled) await this.root.requestFullscreen();
      // iPhones know full screen for videos alone.
      else this.video.webkitEnterFullscreen?.();
    } catch {
      // Refused without a gesture.
    }
  }

  snapshot() {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (width === 0) return;
    const canvas = this.make('canvas', { width, height });
    canvas.getContext('2d').drawImage(this.video, 0, 0);
    canvas.toBlob(
      (blob) => {
        const href = URL.createObjectURL(blob);
        this.make('a', { href, download: fileName(this.about.name, new Date()) }).click();
        setTimeout(() => URL.revokeObjectURL(href), 10_000);
        this.announce('Snapshot saved.');
      },
      'image/jpeg',
      JPEG_QUALITY,
    );
  }

  // ---- small helpers

  make(tag, properties) {
    return Object.assign(this.document.createElement(tag), properties);
  }

  flag(name, on) {
    if (on) this.root.dataset[name] = '';
    else delete this.root.dataset[name];
  }

  text(id, text) {
    const element = this.el(id);
    if (element.textContent !== text) element.textContent = text;
  }
}

/** "Garden 2026-11-22 21-45-03.jpg", in local time and without what file systems dislike. */
export function fileName(name, date) {
  const two = (number) => String(number).padStart(2, '0');
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join('-');
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join('-');
  const safe = name.replace(/[^\p{L}\p{N}._-]+/gu, ' ').trim() || 'camera';
  return `${safe} ${day} ${time}.jpg`;
}

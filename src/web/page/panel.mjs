// The panel for connecting by hand. It shows what it is told and reports what the person does. Not here: what follows
// from it (hand.mjs), and its words (words.mjs).

import { MAX_TEXT, fileName } from './carried.mjs';
import { handError, handWords } from './words.mjs';

/** How long a button says what it has done. */
const DONE_MS = 2_500;

export class Panel {
  /** `on` is {put(text), wrong(why), anew()}. */
  constructor(window, on) {
    this.window = window;
    this.on = on;
    this.el = (id) => window.document.getElementById(id);
    this.state = null;
    /** By button. */
    this.timers = new Map();
    this.listen();
  }

  open() {
    if (!this.el('hand').open) this.el('hand').showModal();
  }

  close() {
    this.el('hand').close();
  }

  /** `state` is that of hand.mjs, `about` {name}. */
  show(state, about) {
    const before = this.state;
    this.state = state;
    if (state.show === 'closed') return this.close();
    const said = handWords(state, about);
    this.text('hand-intro', said.intro);
    this.text('hand-send', said.send);
    this.text('hand-put', said.put);
    const text = this.el('hand-text');
    text.value = state.text;
    text.placeholder = state.error && !state.text ? '' : 'One moment…';
    for (const id of ['hand-copy', 'hand-save', 'hand-share', 'hand-connect', 'hand-open', 'hand-answer']) this.el(id).disabled = !state.text;
    // Each round has an answer of its own.
    if (before?.kind !== state.kind) this.el('hand-answer').value = '';
    this.text('hand-error', state.error ? handError(state.error.why, state.error.detail) : '');
    this.el('hand-error').hidden = !state.error;
    this.el('hand-answer').setAttribute('aria-invalid', String(Boolean(state.error)));
  }

  // ---- the person

  listen() {
    const click = (id, action) => this.el(id).addEventListener('click', action);
    click('hand-copy', () => this.copy());
    click('hand-save', () => this.save());
    click('hand-share', () => this.share());
    click('hand-anew', () => this.on.anew());
    click('hand-connect', () => this.on.put(this.el('hand-answer').value));
    click('hand-open', () => this.el('hand-file').click());
    click('hand-text', () => this.el('hand-text').select());
    this.el('hand-share').hidden = !this.window.navigator.share;
    // What is pasted is looked at once it is in the field.
    this.el('hand-answer').addEventListener('paste', () => this.window.setTimeout(() => this.on.put(this.el('hand-answer').value)));
    this.el('hand-file').addEventListener('change', () => this.file());
  }

  /** The clipboard is missing on a plain http:// page; then the old way, and at least the text is selected. */
  async copy() {
    const { document, navigator } = this.window;
    try {
      await navigator.clipboard.writeText(this.state.text);
      return this.done('hand-copy', 'Copied');
    } catch {
      this.el('hand-text').focus();
      this.el('hand-text').select();
    }
    this.done('hand-copy', document.execCommand('copy') ? 'Copied' : 'Selected: copy it now');
  }

  save() {
    const { document, URL, Blob } = this.window;
    const href = URL.createObjectURL(new Blob([`${this.state.text}\n`], { type: 'text/plain' }));
    Object.assign(document.createElement('a'), { href, download: fileName(this.state.kind === 'pair' ? 'key-request' : 'offer', Date.now()) }).click();
    this.window.setTimeout(() => URL.revokeObjectURL(href), 10_000);
    this.done('hand-save', 'Saved');
  }

  async share() {
    try {
      await this.window.navigator.share({ text: this.state.text });
    } catch {
      // The person has changed his mind, or the system says why.
    }
  }

  async file() {
    const [file] = this.el('hand-file').files;
    this.el('hand-file').value = '';
    if (!file) return;
    if (file.size > MAX_TEXT) return this.on.wrong('large');
    const text = await file.text();
    this.el('hand-answer').value = text;
    this.on.put(text);
  }

  // ---- small helpers

  done(id, text) {
    const button = this.el(id);
    button.dataset.usual ??= button.textContent;
    button.textContent = text;
    this.window.clearTimeout(this.timers.get(id));
    this.timers.set(id, this.window.setTimeout(() => (button.textContent = button.dataset.usual), DONE_MS));
  }

  text(id, text) {
    const element = this.el(id);
    if (element.textContent !== text) element.textContent = text;
  }
}

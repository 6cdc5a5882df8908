// The list of devices that this browser knows, each with its cameras and with whether it is there; one tap or one key
// switches. Not here: what follows from a choice (app.mjs), and who finds out who is there (presence.mjs).

/** Names in order, as they are chosen by digits: {d, camera, text}. Pure. */
export function choices(devices) {
  return devices.flatMap((device) => parts(device).map(({ id, name }) => ({ d: device.d, camera: id, text: name || device.name || 'Camera' })));
}

/** The choice `by` places after the current one, around the ends; null where there is no other. Pure. */
export function neighbour(devices, current, by) {
  const all = choices(devices);
  if (all.length < 2) return null;
  const at = all.findIndex(({ d, camera }) => d === current?.d && camera === current.camera);
  return all[(Math.max(at, 0) + by + all.length) % all.length];
}

/** The cameras of a device that has several; one that stands for all else. */
function parts(device) {
  return device.cameras?.length > 1 ? device.cameras : [{ id: '', name: '' }];
}

const WORDS = { online: 'online', offline: 'offline' };

export class CameraList {
  /** `on` is {choose(d, cameraId), forget(d), opened, closed}. */
  constructor(document, on) {
    this.document = document;
    this.on = on;
    this.dialog = document.getElementById('cameras');
    this.list = document.getElementById('list');
    this.devices = [];
    this.current = null;
    this.shown = null;
    this.present = new Map();
    this.dialog.addEventListener('close', () => {
      this.present = new Map();
      this.on.closed();
    });
    this.dialog.addEventListener('keydown', (event) => this.key(event));
  }

  open() {
    if (this.dialog.open) return;
    // A “Forget” that was left halfway begins anew.
    this.shown = null;
    this.show(this.devices, this.current);
    this.dialog.showModal();
    this.list.querySelector('[aria-current]')?.focus();
    this.on.opened();
  }

  close() {
    this.dialog.close();
  }

  /** The devices as stored, and what is watched now: {d, camera}. */
  show(devices, current) {
    this.devices = devices;
    this.current = current;
    const shown = JSON.stringify([devices.map(({ d, name, cameras }) => [d, name, cameras?.map(({ id, name: part }) => [id, part])]), current]);
    if (shown === this.shown) return;
    this.shown = shown;
    const focused = this.document.activeElement?.dataset?.key;
    this.document.getElementById('keys').hidden = choices(devices).length < 2;
    this.list.replaceChildren(...devices.map((device) => this.group(device)));
    if (focused) this.list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    this.presence(this.present);
  }

  /** `present`: a map from device to `online` or `offline`; what is not in it is not known. */
  presence(present) {
    this.present = present;
    for (const label of this.list.querySelectorAll('.presence')) {
      const said = present.get(label.dataset.d);
      label.textContent = WORDS[said] ?? '';
      if (said) label.dataset.said = said;
      else delete label.dataset.said;
    }
  }

  /** A device: one row if it has one camera; else its name, and a row for each. */
  group(device) {
    const item = this.make('li', { className: 'device' });
    const several = parts(device).length > 1;
    const head = this.make('div', { className: 'row' });
    const label = this.make('span', { className: 'presence' });
    label.dataset.d = device.d;
    if (several) {
      const name = this.make('h3', { textContent: device.name || 'Camera', id: `device-${device.d}` });
      head.append(name, label, this.dropButton(device));
      const cameras = this.make('ul', {});
      cameras.setAttribute('aria-labelledby', name.id);
      cameras.append(
        ...parts(device).map((camera) => {
          const row = this.make('li', {});
          row.append(this.chooseButton(device, camera, camera.name || camera.id));
          return row;
        }),
      );
      item.append(head, cameras);
    } else {
      const choose = this.chooseButton(device, parts(device)[0], device.name || 'Camera');
      choose.append(label);
      head.append(choose, this.dropButton(device));
      item.append(head);
    }
    return item;
  }

  chooseButton(device, camera, text) {
    const choose = this.make('button', { type: 'button', className: 'choose' });
    choose.append(this.make('span', { className: 'what', textContent: text }));
    choose.dataset.key = `choose ${device.d} ${camera.id}`;
    if (device.d === this.current?.d && camera.id === this.current.camera) choose.setAttribute('aria-current', 'true');
    choose.addEventListener('click', () => this.choose({ d: device.d, camera: camera.id }));
    return choose;
  }

  choose({ d, camera }) {
    this.dialog.close();
    this.on.choose(d, camera);
  }

  /** Asks once more before the key is gone: without a new link there is no way back. */
  dropButton(device) {
    const drop = this.make('button', { type: 'button', className: 'drop', textContent: 'Forget' });
    drop.dataset.key = `drop ${device.d}`;
    drop.setAttribute('aria-label', `Forget ${device.name || 'this camera'}`);
    drop.addEventListener('click', () => {
      if (drop.classList.contains('sure')) return this.on.forget(device.d);
      drop.classList.add('sure');
      drop.textContent = 'Forget its key?';
      drop.setAttribute('aria-label', `Really forget ${device.name || 'this camera'}? A new link is needed to watch it again`);
    });
    return drop;
  }

  /** Arrows go through the cameras, digits choose. */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) {
      const buttons = [...this.list.querySelectorAll('.choose')];
      const at = buttons.indexOf(this.document.activeElement);
      event.preventDefault();
      buttons[(at < 0 && by < 0 ? 0 : at + by + buttons.length) % buttons.length]?.focus();
    } else if (this.digit(event)) event.preventDefault();
  }

  /** Chooses by a digit, `1` to `9`; whether it was one that means a camera. */
  digit({ key }) {
    const choice = /^[1-9]$/.test(key) ? choices(this.devices)[Number(key) - 1] : null;
    if (!choice) return false;
    this.choose(choice);
    return true;
  }

  make(tag, properties) {
    return Object.assign(this.document.createElement(tag), properties);
  }
}

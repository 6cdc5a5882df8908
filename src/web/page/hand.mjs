// Connecting by hand, up to the answer: what is sent, what may be put in, and what follows. Pure: an event and the time
// go in; the next state and a list of effects come out. What the answer leads to is the page's own state machine's
// (state.mjs). Not here: keys and WebRTC (courier.mjs), words (words.mjs), the panel (panel.mjs).
//
//   closed → preparing → ready → closed (connected)
//            ↑ a link: first for a key, then for the picture
//            └──────────┘

/** Before the first event. */
export function initialHand() {
  return {
    show: 'closed',
    /** What is being sent: `pair` (a request for a key) or `offer`. */
    kind: null,
    round: 1,
    camera: null,
    link: null,
    /** What to send. */
    text: '',
    /** {why, detail}: what is wrong with what was put in. */
    error: null,
  };
}

/** One event. `env` is {now: ms}. Returns {state, effects}; the state given is left as it was. */
export function stepHand(before, event, env) {
  const state = { ...before };
  const effects = [];
  const effect = (type, data = {}) => effects.push({ type, ...data });

  const offer = () => {
    Object.assign(state, { show: 'preparing', kind: 'offer', text: '', error: null });
    effect('make-offer', { camera: state.camera, iceServers: iceServers(state.camera, env.now) });
  };
  const begin = ({ camera, link }) => {
    if (state.show !== 'closed') effect('drop');
    Object.assign(state, initialHand(), { camera, link });
    // A key that is there already is as good as the link's.
    if (camera) return offer();
    Object.assign(state, { show: 'preparing', kind: 'pair' });
    effect('ask-key', { link });
  };

  switch (event.type) {
    /** {camera, link}: the panel was opened. What was sent before stays good. */
    case 'open':
      if ((event.camera ?? event.link) && !isSame(state, event)) begin(event);
      break;
    /** The person wants a new text. */
    case 'anew':
      if (state.show !== 'closed') begin(state);
      break;
    /** {text}: what is to be sent. */
    case 'made':
      if (state.show === 'preparing') Object.assign(state, { show: 'ready', text: event.text });
      break;
    /** {text}: the person has put something in. */
    case 'put':
      if (state.show !== 'ready') break;
      state.error = null;
      effect('read', { text: event.text });
      break;
    /** {why, detail} */
    case 'wrong':
      if (state.show === 'closed') break;
      state.error = { why: event.why, detail: event.detail ?? null };
      break;
    /** {camera, welcome}: the key, and what the device says of itself. */
    case 'key':
      if (state.kind !== 'pair' || state.show !== 'ready') break;
      state.camera = known(event.camera, event.welcome, env.now);
      state.link = null;
      state.round = 2;
      effect('store', { camera: state.camera });
      offer();
      break;
    /** {sdp, welcome}: the answer fits. */
    case 'answer':
      if (state.kind !== 'offer' || state.show !== 'ready') break;
      effect('connect', { camera: known(state.camera, event.welcome, env.now), sdp: event.sdp });
      Object.assign(state, initialHand());
      break;
    /** Another camera was chosen, or the picture came in the usual way. */
    case 'close':
      if (state.show !== 'closed') effect('drop');
      Object.assign(state, initialHand());
      break;
    default:
      throw new Error(`unknown event ${event.type}`);
  }
  return { state, effects };
}

/** Whether it is under way for this camera or link already. */
function isSame(state, { camera, link }) {
  if (state.show === 'closed') return false;
  return camera ? camera.d === state.camera?.d && camera.chosen === state.camera.chosen : state.link === link;
}

/** What of the stored servers can be used: credentials expire, STUN has none. */
function iceServers({ ice }, now) {
  if (!ice) return [];
  if (ice.until > now) return ice.servers;
  const isStun = (url) => url.startsWith('stun:');
  return ice.servers.filter(({ urls }) => [urls].flat().every(isStun)).map(({ urls }) => ({ urls }));
}

function known(camera, welcome, now) {
  if (!welcome) return camera;
  const ice = { servers: welcome.ice_servers ?? [], until: now + 1000 * (welcome.ice_expires_s ?? 0) };
  return { ...camera, name: welcome.name, role: welcome.role, cameras: welcome.cameras ?? [], ice };
}

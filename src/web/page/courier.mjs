// Makes what is carried by hand, and reads what comes back: carries out the effects of hand.mjs and reports what happens as
// its events. Not here: any decision, and the panel.

import { find, write } from './carried.mjs';
import { Media } from './media.mjs';
import { BY_HAND, HandSession, Pairing } from './protocol.mjs';
import { fromBase64url, newRecord } from './store.mjs';
import { TIMES } from './timing.mjs';

export class Courier {
  /** `on` is {event(event)} for hand.mjs, and what `Media` tells once it was taken: {track, state, failed}. */
  constructor({ on, name }) {
    this.on = on;
    this.name = name;
    this.media = null;
    /** What reads what comes back: (envelopes) => event. */
    this.reads = null;
  }

  /** Asks for the key of a link. */
  askKey(link) {
    this.drop();
    const pairing = new Pairing({ link, nd: BY_HAND, name: this.name });
    this.reads = (envelopes) => paired(link, pairing, envelopes);
    this.on.event({ type: 'made', text: write(pairing.request()) });
  }

  /** Makes an offer for a stored camera. */
  async makeOffer(camera, iceServers) {
    this.drop();
    const session = new HandSession({ d: camera.d, k: camera.k, kv: fromBase64url(camera.kv) });
    let media;
    const mine = () => media !== undefined && media === this.taken;
    try {
      media = new Media(
        iceServers,
        {
          track: (stream) => mine() && this.on.track(stream),
          state: (state) => mine() && this.on.state(state),
          candidate: () => {},
          failed: (reason) => (mine() ? this.on.failed(reason) : this.on.event({ type: 'wrong', why: 'browser', detail: reason })),
        },
        { short: true },
      );
    } catch (error) {
      return this.on.event({ type: 'wrong', why: 'browser', detail: error.message });
    }
    this.media = media;
    const sdp = await media.wholeOffer(TIMES.gathering);
    if (!sdp || media !== this.media) return;
    const body = { camera: camera.chosen ?? '', sdp, audio: false, talk: false };
    this.reads = (envelopes) => answered(session, envelopes);
    this.on.event({ type: 'made', text: write(session.offer(body)) });
  }

  /** Reads what was put in. */
  read(text) {
    let envelopes;
    try {
      envelopes = find(text);
    } catch (error) {
      return this.on.event({ type: 'wrong', why: error.message });
    }
    this.on.event(this.reads(envelopes));
  }

  /** The offer's connection, for its answer. */
  take() {
    this.taken = this.media;
    this.media = null;
    this.reads = null;
    return this.taken;
  }

  drop() {
    this.media?.close();
    this.media = null;
    this.reads = null;
  }
}

function answered(session, envelopes) {
  for (const envelope of envelopes) {
    const body = session.open(envelope);
    if (body) return { type: 'answer', sdp: body.sdp, welcome: body.welcome ?? null };
  }
  return { type: 'wrong', why: session.explain(envelopes[0]) };
}

function paired(link, pairing, envelopes) {
  for (const envelope of envelopes) {
    const result = pairing.finish(envelope);
    if (pairing.refusal) return { type: 'wrong', why: 'refused', detail: pairing.refusal.message };
    if (!result) continue;
    const session = new HandSession({ d: link.d, k: result.k, kv: result.kv, s: pairing.s });
    const welcome = envelopes.map((other) => session.openWelcome(other)).find((body) => body) ?? null;
    return { type: 'key', camera: newRecord(link, result), welcome };
  }
  return { type: 'wrong', why: pairing.explain(envelopes[0]) };
}

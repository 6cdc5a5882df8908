// How long the page waits, and for what. Pure.

/** Milliseconds. */
export const TIMES = {
  /** For a connection to the broker … */
  broker: 8_000,
  /** … and where there are others to try. */
  brokerOfSeveral: 4_000,
  /** After subscribing, a retained status arrives at once or there is none. */
  status: 3_000,
  /** For the answer to a pairing request. Silence means that the device does not know the link. */
  pair: 6_000,
  /** The same, where a stored key can be tried instead. */
  pairWithKey: 3_000,
  /** When the request is sent again: the answer may have been lost. */
  pairAgain: 2_500,
  /** For the answer to `hello`, which comes at once; asked twice before giving up. */
  answer: 3_000,
  /** For the answer to `offer`, which waits for the camera's first picture. */
  offer: 10_000,
  /** From the answer to a media path. The device gives up after 10 s. */
  ice: 12_000,
  /** The same after an answer that was carried by hand: the device waits for us, and checks every 2 s. */
  iceByHand: 25_000,
  /** For all candidates of an offer that is carried by hand. */
  gathering: 4_000,
  /** For an ICE restart; then a new session is tried. */
  restart: 4_000,
  /** A picture that stands still this long is called frozen … */
  frozen: 3_000,
  /** … and fetched anew after this long. */
  stuck: 6_000,
  /** The same, when the device is known to have been away. */
  suspect: 1_500,
  /** A connection that lasts this long makes the back-off start over. */
  steady: 10_000,
  /** How often a device that refuses or ignores us is asked again. */
  patient: 30_000,
};

const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_LAST_MS = 15_000;

/** Exponential back-off with jitter: 1 s, 2 s … 15 s, each between half and all of it. */
export function backoff(failures, random) {
  const full = Math.min(BACKOFF_LAST_MS, BACKOFF_FIRST_MS * 2 ** Math.max(0, failures - 1));
  return Math.round(full * (0.5 + random / 2));
}

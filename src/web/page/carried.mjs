// Envelopes that people carry: written as text that survives mail and chat programs, and found again in whatever
// surrounds it by then (docs/signaling.md, "By file or mail"). Pure. Not here: what is in the envelopes (protocol.mjs).

/** Characters that are searched, at most. */
export const MAX_TEXT = 256 * 1024;
/** Characters of a line. */
const LINE = 72;
/** Envelopes looked at in one text: a reply, and what it quotes. */
const MAX_FOUND = 8;
/** Beginnings looked at, so that a text of nothing else takes no time. */
const MAX_TRIED = 64;
const MAX_ENVELOPE = 32 * 1024;

/** What programs put in: blanks, quotation marks of mails, soft line breaks, and marks without width. */
const FROM_ELSEWHERE = /[\s>|=\u0085\u00ad\u200b-\u200f\u2060\ufeff]/g;

/**
 * @param {string} envelope
 * @returns {string} `pinhole1:`, base64 and a full stop, in lines
 */
export function write(envelope) {
  const base64 = btoa(envelope).replaceAll('=', '');
  return `pinhole1:${base64}.`.match(new RegExp(`.{1,${LINE}}`, 'g')).join('\n');
}

/**
 * @param {string} text
 * @returns {string[]} the envelopes in it, in their order, at least one
 * @throws {Error} with message `nothing`, `damaged` or `version`; if some were begun, for the last of them
 */
export function find(text) {
  const found = [];
  let wrong = 'nothing';
  let tried = 0;
  for (const { index, 0: word, 1: version } of text.slice(0, MAX_TEXT).matchAll(/pinhole([0-9]{1,4}):/g)) {
    if (tried === MAX_TRIED) break;
    tried += 1;
    if (version !== '1') {
      wrong = 'version';
      continue;
    }
    const envelope = read(text, index + word.length);
    if (envelope === null) wrong = 'damaged';
    else found.push(envelope);
    if (found.length === MAX_FOUND) break;
  }
  if (found.length === 0) throw new Error(wrong);
  return found;
}

function read(text, from) {
  const end = text.indexOf('.', from);
  if (end < 0) return null;
  const base64 = text.slice(from, end).replace(FROM_ELSEWHERE, '');
  if (base64.length > (MAX_ENVELOPE / 3) * 4 + 4 || !/^[A-Za-z0-9+/]+$/.test(base64) || base64.length % 4 === 1) return null;
  const envelope = atob(base64);
  // Stray bits at the end: something was changed.
  if (btoa(envelope).replaceAll('=', '') !== base64) return null;
  try {
    const { v, t } = JSON.parse(envelope);
    return v === 1 && typeof t === 'string' ? envelope : null;
  } catch {
    return null;
  }
}

/** A name for the file that is saved. */
export function fileName(what, now) {
  return `pinhole-${what}-${new Date(now).toISOString().slice(0, 16).replace(/[:T]/g, '-')}.txt`;
}

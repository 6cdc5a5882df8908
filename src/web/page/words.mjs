// What the page says in each state: a line that names what is happening, a line that says what to do, and the buttons
// that help. Pure. Not here: when a state is entered (state.mjs).

/** Buttons: `retry` tries again now, `forget` removes the stored key, `watch` takes the picture back, `by-hand` opens that panel. */
const NONE = [];

const HOW_TO_GET_A_LINK =
  'Open a link that pinhole prints when it starts, or scan its code. Each link works once, within ten minutes; run “pinhole pair” on the device for a new one.';

/**
 * {title, text, buttons, busy, quiet} for a state. `busy` draws the moving dots, `quiet` keeps the last picture visible
 * under a small note. `about` is {name, host, ownBroker, silent, detail}: the camera's name, the address of its broker,
 * whether that broker is part of the device, which brokers do not answer where there are several, and the device's own
 * words.
 */
export function words(show, { name = 'the camera', host = '', ownBroker = true, silent = [], detail = null } = {}) {
  const say = (title, text, extra = {}) => ({ title, text, buttons: NONE, busy: false, quiet: false, ...extra });
  const reason = detail ? ` It says: ${sentence(detail)}` : '';
  const broker = host ? ` at ${host}` : '';
  const elsewhere = silent.length > 0 ? ` Nothing answers at ${list(silent)}.` : '';
  switch (show) {
    case 'loading':
      return say('', '');
    case 'connecting':
      return say('Connecting…', ownBroker ? `Calling the camera${broker}.` : `Calling the message broker${broker}.`, { busy: true });
    case 'finding':
      return say('Connecting…', 'Looking for the camera.', { busy: true });
    case 'pairing':
      return say('Pairing…', 'Using the link to get a key for this browser.', { busy: true });
    case 'asking':
      return say('Connecting…', `Asking ${name} for the picture.`, { busy: true });
    case 'starting':
      return say('Connecting…', 'Waiting for the first picture.', { busy: true });
    case 'playing':
      return say('Live', '', { quiet: true });
    case 'frozen':
      return say('The picture stands still', 'Waiting for it to go on.', { busy: true, quiet: true });
    case 'reconnecting':
      return say('Connection lost', 'Reconnecting by itself.', { busy: true, quiet: true });
    case 'no-link':
      return say('No camera yet', HOW_TO_GET_A_LINK);
    case 'bad-link':
      return say('This link is not complete', 'Part of it seems to be missing. Copy the whole link, or scan the code again.');
    case 'newer-link':
      return say('This link is from a newer pinhole', 'Open it on the page of the device that made it, or update this page.');
    case 'pair-refused':
      return say('The device cannot pair at the moment', `It knows this link but cannot use it.${reason}`, { buttons: ['retry'] });
    case 'link-used':
      return say(
        'This link no longer works',
        'Each link works once, within ten minutes. Run “pinhole pair” on the device, and open one of the links that it prints.',
      );
    case 'pairing-failed':
      return say(
        'Pairing failed',
        'The answer did not come from the camera that made this link. Run “pinhole pair” on the device for a new link; if it happens again, do not trust this broker.',
      );
    case 'broker-unreachable':
      if (silent.length > 1) {
        return say('No way to the camera', `Nothing answers at ${list(silent)}. Check your network, and that pinhole or one of its brokers is running. Trying again by itself.`, {
          busy: true,
          buttons: ['retry'],
        });
      }
      return ownBroker
        ? say(
            'The camera does not answer',
            `Nothing answers${broker}. Check that pinhole is running and that you are on the same network. Trying again by itself.`,
            { busy: true, buttons: ['retry', 'by-hand'] },
          )
        : say(
            'The message broker does not answer',
            `Nothing answers${broker}. Check your network and the broker. Trying again by itself.`,
            { busy: true, buttons: ['retry', 'by-hand'] },
          );
    case 'unknown':
      return say(
        'No such camera online',
        `The broker has never heard of this camera, or its device is switched off.${elsewhere} The picture starts by itself when it appears.`,
        { buttons: ['by-hand', 'forget'] },
      );
    case 'offline':
      return say(`${start(name)} is offline`, `Its device is switched off or has no network.${elsewhere} The picture starts by itself when it is back.`, {
        buttons: ['by-hand'],
      });
    case 'shutdown':
      return say(`${start(name)} was switched off`, 'The picture starts by itself when it is back.');
    case 'no-answer':
      return say(
        `${start(name)} does not answer this browser`,
        'Your access may have been removed. Ask for a new link and open it here. Until then it is asked again now and then.',
        { buttons: ['retry', 'forget'] },
      );
    case 'revoked':
      return say('Your access was removed', `The owner of ${name} removed this browser’s key, or its time is over. Ask for a new link to watch again.`, { buttons: ['forget'] });
    case 'forbidden':
      return say('You may not watch this camera', `The owner has not allowed it for this browser’s key.${reason}`, { buttons: ['retry', 'forget'] });
    case 'busy':
      return say('Too many viewers', `${start(name)} is sending to as many as it can. Your turn comes by itself when one leaves.`, {
        busy: true,
        buttons: ['retry'],
      });
    case 'no-h264':
      return say(
        'This browser cannot play H.264',
        'In Firefox, turn on the “OpenH264 Video Codec” plugin under Add-ons → Plugins and load this page again. Or use Chrome, Chromium, Edge or Safari.',
      );
    case 'codec':
      return say('This browser cannot play this picture', `It knows no H.264 that ${name} can send. Try Chrome, Chromium, Edge or Safari.${reason}`);
    case 'unreachable':
      return say(
        'The picture cannot get through',
        `${start(name)} answers, but there is no way for its picture from its network to yours. Join the same network, or have a TURN server set up for the device. Trying again by itself.`,
        { busy: true, buttons: ['retry'] },
      );
    case 'no-picture':
      return say('No picture comes', `${start(name)} is connected but sends nothing. Trying again by itself.`, { busy: true, buttons: ['retry'] });
    case 'no-camera':
      return say('The device has no picture', `Its camera cannot be used at the moment.${reason} Trying again by itself.`, { busy: true, buttons: ['retry'] });
    case 'privacy':
      return say('The camera is covered', 'Someone turned on privacy at the device. The picture starts by itself when it is turned off.', { buttons: ['retry'] });
    case 'replaced':
      return say('Watching somewhere else', 'This browser’s key is in use in another window.', { buttons: ['watch'] });
    case 'idle':
      return say('Paused', 'Nobody was watching for a while.', { buttons: ['watch'] });
    case 'hand-connecting':
      return say('Connecting…', `The answer fits. Waiting for the picture of ${name}.`, { busy: true });
    case 'hand-unreachable':
      return say(
        'The picture cannot get through',
        `There is no way for it from the network of ${name} to yours, or its answer had waited too long. Make a new offer, join the same network, or have a TURN server set up for the device.`,
        { buttons: ['by-hand', 'retry'] },
      );
    case 'hand-lost':
      return say(
        'The connection has ended',
        `A connection made by hand does not come back by itself. Make a new one, or try the usual way again.${reason}`,
        { buttons: ['by-hand', 'retry'] },
      );
    case 'failed':
      return say('Something went wrong', `The picture could not be started${detail ? `: ${sentence(detail)}` : '.'} Trying again by itself.`, { busy: true, buttons: ['retry'] });
    default:
      throw new Error(`no words for ${show}`);
  }
}

/** One line for what the device says of the picture while it is shown. The slate has its reason in the picture itself. */
export function noticeWords({ code, message }) {
  switch (code) {
    case 'slate':
      return 'Waiting for the camera.';
    case 'slowed':
    case 'hot':
      return `Slowed down: ${sentence(message)}`;
    default:
      return sentence(start(message));
  }
}

/** What the panel for connecting by hand says. `kind` is what is being sent: `offer`, or `pair` for a key; `round` is 2 after that. */
export function handWords({ kind, round }, { name = 'the camera' } = {}) {
  const whose = `whoever keeps ${name}`;
  if (kind === 'pair') {
    return {
      intro: 'This browser has no key yet, so it takes two rounds: first the key, then the picture.',
      send: `Send this text to ${whose}, by mail or chat. Within ten minutes of making your link they run “pinhole answer” on its device, give it this text, and send you what it prints.`,
      put: 'Put what they sent you here:',
    };
  }
  return {
    intro: round === 2 ? 'This browser has its key now. One more round brings the picture.' : 'Two texts, sent by mail or chat, do what no network does for you here. They are sealed: only you and the device can read them.',
    send: `Send this text to ${whose}. They run “pinhole answer” on its device, give it this text, and send you what it prints.`,
    put: 'Put their answer here, soon: the device waits for 15 minutes, unless they told it otherwise.',
  };
}

/** Why what was put in does not help. */
export function handError(why, detail = null) {
  switch (why) {
    case 'nothing':
      return 'There is no answer in this. It begins with “pinhole1:” and ends with a full stop: copy all of it.';
    case 'damaged':
      return 'The answer is damaged or not whole. Copy all of it, from “pinhole1:” to the full stop at its end.';
    case 'version':
      return 'This answer is from a newer pinhole. Use the page of the device that made it.';
    case 'offer':
      return 'This is the text to send, not the answer. They give it to “pinhole answer”, and send you what that prints.';
    case 'elsewhere':
      return 'This answer is for another camera, or for another browser.';
    case 'old':
      return 'This answers an older text of this browser. Ask for the answer to the text above.';
    case 'large':
      return 'This file is too large to be an answer.';
    case 'refused':
      return `The device cannot pair at the moment.${detail ? ` It says: ${sentence(detail)}` : ''}`;
    case 'browser':
      return `This browser could not make an offer.${detail ? ` It says: ${sentence(detail)}` : ''}`;
    default:
      throw new Error(`no words for ${why}`);
  }
}

/** Every reason there are words for. */
export const HAND_ERRORS = ['nothing', 'damaged', 'version', 'offer', 'elsewhere', 'old', 'large', 'refused', 'browser'];

/** Every state there are words for. */
export const STATES = [
  'loading', 'connecting', 'finding', 'pairing', 'asking', 'starting', 'playing', 'frozen', 'reconnecting', 'no-link', 'bad-link', 'newer-link', 'pair-refused',
  'link-used', 'pairing-failed', 'broker-unreachable', 'unknown', 'offline', 'shutdown', 'no-answer', 'revoked', 'forbidden', 'busy',
  'no-h264', 'codec', 'unreachable', 'no-picture', 'no-camera', 'privacy', 'replaced', 'idle', 'failed', 'hand-connecting', 'hand-unreachable', 'hand-lost',
];

/** "a", "a and b", "a, b and c". */
function list(names) {
  return names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${names.at(-1)}` : names[0];
}

/** As the beginning of a sentence. */
function start(name) {
  return name.charAt(0).toUpperCase() + name.slice(1);
}

/** The device writes lower case without a full stop. */
function sentence(text) {
  return `${text.replace(/[.\s]+$/, '')}.`;
}

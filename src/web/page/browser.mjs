// What can be told about the browser. Pure: everything is passed in.

const SYSTEMS = [
  [/Android/, 'Android'],
  [/iPhone|iPod/, 'iPhone'],
  [/iPad/, 'iPad'],
  [/CrOS/, 'ChromeOS'],
  [/Windows/, 'Windows'],
  [/Mac OS X|Macintosh/, 'Mac'],
  [/Linux|X11/, 'Linux'],
];

// The order matters: each also claims to be those below it.
const BROWSERS = [
  [/Edg(e|A|iOS)?\//, 'Edge'],
  [/OPR\/|Opera/, 'Opera'],
  [/SamsungBrowser\//, 'Samsung Internet'],
  [/FxiOS\/|Firefox\//, 'Firefox'],
  [/CriOS\/|Chrome\/|Chromium\//, 'Chrome'],
  [/Safari\//, 'Safari'],
];

/** A name by which the owner recognises this viewer: "Chrome on Android". */
export function viewerName(userAgent, maxTouchPoints = 0) {
  const first = (table) => table.find(([pattern]) => pattern.test(userAgent))?.[1];
  let system = first(SYSTEMS);
  // iPadOS says that it is a Mac.
  if (system === 'Mac' && maxTouchPoints > 1) system = 'iPad';
  const browser = first(BROWSERS) ?? 'Browser';
  return system ? `${browser} on ${system}` : browser;
}

/** Whether WebRTC here can decode H.264. `receiver` is RTCRtpReceiver, or undefined where there is no WebRTC. */
export function decodesH264(receiver) {
  const codecs = receiver?.getCapabilities?.('video')?.codecs ?? [];
  return codecs.some(({ mimeType }) => mimeType.toLowerCase() === 'video/h264');
}

/** The codecs with H.264 first, for setCodecPreferences. */
export function h264First(codecs) {
  const isH264 = ({ mimeType }) => mimeType.toLowerCase() === 'video/h264';
  return [...codecs.filter(isH264), ...codecs.filter((codec) => !isH264(codec))];
}

/** H.264 and its retransmissions alone, for an offer that people carry: each codec would make its text longer. */
export function h264Only(codecs) {
  const kept = codecs.filter(({ mimeType }) => ['video/h264', 'video/rtx'].includes(mimeType.toLowerCase()));
  return kept.length > 0 ? kept : codecs;
}

/** Where a link or a stored camera says its broker is: `b`, or `/mqtt` on the page's own host. */
export function brokerUrl(b, location) {
  if (b) return b;
  return `${location.protocol === 'https:' ? 'wss:' : 'ws:'}//${location.host}/mqtt`;
}

// One WebRTC peer connection that receives a camera's video. Not here: how its offer travels.

import { h264First, h264Only } from './browser.mjs';

export class Media {
  /**
   * `on` is {track(stream), candidate(body), state('connected' | 'disconnected' | 'failed'), failed(reason)};
   * nothing is called after `close`. `short` leaves out of the offer what can be left out.
   */
  constructor(iceServers, on, { short = false } = {}) {
    this.on = on;
    this.closed = false;
    /** Candidates that came before the answer. */
    this.early = [];
    this.answered = false;
    this.decoded = 0;
    this.previous = null;
    this.pc = new RTCPeerConnection({ iceServers, bundlePolicy: 'max-bundle' });
    const video = this.pc.addTransceiver('video', { direction: 'recvonly' });
    const codecs = RTCRtpReceiver.getCapabilities?.('video')?.codecs;
    if (codecs) video.setCodecPreferences?.(short ? h264Only(codecs) : h264First(codecs));
    this.pc.ontrack = ({ track, streams }) => {
      this.receiver = this.pc.getReceivers().find((receiver) => receiver.track === track);
      this.tell('track', streams[0] ?? new MediaStream([track]));
    };
    this.pc.onicecandidate = ({ candidate }) => {
      if (!candidate) return this.tell('candidate', { candidate: null });
      // An empty candidate only ends one generation; the null that follows says the same.
      if (candidate.candidate) this.tell('candidate', plain(candidate));
    };
    this.pc.onconnectionstatechange = () => {
      const state = this.pc.connectionState;
      if (['connected', 'disconnected', 'failed'].includes(state)) this.tell('state', state);
    };
  }

  /** An SDP to send as `offer`; null if the connection ended meanwhile. */
  async offer({ iceRestart = false } = {}) {
    try {
      this.answered = false;
      const offer = await this.pc.createOffer({ iceRestart });
      if (this.closed) return null;
      await this.pc.setLocalDescription(offer);
      return this.closed ? null : this.pc.localDescription.sdp;
    } catch (error) {
      this.tell('failed', error.message);
      return null;
    }
  }

  /** An SDP with all candidates, or with those that came within `ms`; null if there is none. */
  async wholeOffer(ms) {
    const sdp = await this.offer();
    if (!sdp) return null;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      const look = () => {
        if (!this.closed && this.pc.iceGatheringState !== 'complete') return;
        clearTimeout(timer);
        resolve();
      };
      this.pc.addEventListener('icegatheringstatechange', look);
      look();
    });
    return this.closed ? null : this.pc.localDescription.sdp;
  }

  /** The device's answer; one that comes too late for its offer is left out. */
  async accept(sdp) {
    if (this.closed || this.pc.signalingState !== 'have-local-offer') return;
    try {
      await this.pc.setRemoteDescription({ type: 'answer', sdp });
      this.answered = true;
      for (const candidate of this.early.splice(0)) await this.add(candidate);
    } catch (error) {
      this.tell('failed', error.message);
    }
  }

  /** One of the device's candidates; one that the browser does not like is left out, others may do. */
  async add(candidate) {
    if (!this.answered) {
      this.early.push(candidate);
      return;
    }
    if (!candidate.candidate) return;
    try {
      const nowhere = candidate.sdpMid == null && candidate.sdpMLineIndex == null;
      await this.pc.addIceCandidate(nowhere ? { ...candidate, sdpMLineIndex: 0 } : candidate);
    } catch {
      // Of another generation, or of a kind this browser does not know.
    }
  }

  /**
   * {fresh, fps, kbits, width, height, lost, delay_ms, codec, path} since the last call, or null before there is video.
   */
  async look() {
    if (this.closed) return null;
    const report = await this.pc.getStats();
    if (this.closed) return null;
    const all = [...report.values()];
    const rtp = all.find(({ type, kind }) => type === 'inbound-rtp' && kind === 'video');
    if (!rtp) return { fresh: false };
    const before = this.previous ?? { framesDecoded: 0, bytesReceived: 0, timestamp: rtp.timestamp - 1000 };
    this.previous = rtp;
    const seconds = Math.max(0.001, (rtp.timestamp - before.timestamp) / 1000);
    const emitted = (rtp.jitterBufferEmittedCount ?? 0) - (before.jitterBufferEmittedCount ?? 0);
    const delay = (rtp.jitterBufferDelay ?? 0) - (before.jitterBufferDelay ?? 0);
    const pair = all.find(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded');
    return {
      fresh: (rtp.framesDecoded ?? 0) > (before.framesDecoded ?? 0),
      fps: Math.round(((rtp.framesDecoded ?? 0) - (before.framesDecoded ?? 0)) / seconds),
      kbits: Math.round(((rtp.bytesReceived ?? 0) - (before.bytesReceived ?? 0)) / 125 / seconds),
      width: rtp.frameWidth ?? 0,
      height: rtp.frameHeight ?? 0,
      lost: rtp.packetsLost ?? 0,
      buffer_ms: emitted > 0 ? Math.round((1000 * delay) / emitted) : null,
      rtt_ms: pair?.currentRoundTripTime === undefined ? null : Math.round(1000 * pair.currentRoundTripTime),
      relayed: pair ? report.get(pair.localCandidateId)?.candidateType === 'relay' || report.get(pair.remoteCandidateId)?.candidateType === 'relay' : null,
    };
  }

  close() {
    this.closed = true;
    this.pc.close();
  }

  tell(name, value) {
    if (!this.closed) this.on[name](value);
  }
}

/** What pinhole/1 carries of a candidate. */
function plain({ candidate, sdpMid, sdpMLineIndex }) {
  return { candidate, sdpMid, sdpMLineIndex };
}

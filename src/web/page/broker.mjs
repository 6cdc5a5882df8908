// One connection to an MQTT broker over WebSocket (MQTT 5). It does not reconnect: the state machine decides when.
// Not here: what the messages mean.

import mqtt from 'mqtt';

const KEEPALIVE_S = 20;
/** pinhole/1 envelopes have at most 32 KiB. */
const MAX_PACKET_BYTES = 65_536;

export class Broker {
  /**
   * Connects to `url` within `patience` ms and subscribes `topics`. `on` is {up(), down(reason), message(topic, text, retained)}; `down` is
   * called once, and nothing after it or after `close`.
   */
  constructor(url, patience, topics, on) {
    this.on = on;
    this.ended = false;
    try {
      this.client = mqtt.connect(url, {
        protocolVersion: 5,
        clean: true,
        keepalive: KEEPALIVE_S,
        connectTimeout: patience,
        reconnectPeriod: 0,
        // A worker made from a blob would need a hole in the content security policy.
        timerVariant: 'native',
        properties: { maximumPacketSize: MAX_PACKET_BYTES },
      });
    } catch (error) {
      // A page from https:// may not open ws://; the constructor of WebSocket says so.
      this.ended = true;
      queueMicrotask(() => on.down(error.message));
      return;
    }
    this.client.on('connect', () => this.start(topics));
    this.client.on('message', (topic, payload, packet) => {
      if (!this.ended) on.message(topic, new TextDecoder().decode(payload), packet.retain);
    });
    this.client.on('error', (error) => this.down(error.message));
    this.client.on('disconnect', (packet) => this.down(packet.properties?.reasonString ?? null));
    this.client.on('close', () => this.down(null));
  }

  start(topics) {
    this.client.subscribe(topics, { qos: 1 }, (error, granted) => {
      if (this.ended) return;
      if (error || granted?.some(({ qos }) => qos >= 128)) this.down('the broker refused the subscription');
    });
    if (!this.ended) this.on.up();
  }

  /** The broker handles packets in order, so that what is published next is answered on this topic. */
  subscribe(topic) {
    this.client?.subscribe(topic, { qos: 1 }, () => {});
  }

  unsubscribe(topic) {
    this.client?.unsubscribe(topic, () => {});
  }

  publish(topic, text) {
    this.client?.publish(topic, text, { qos: 1 }, () => {});
  }

  close() {
    this.end(false);
  }

  down(reason) {
    if (this.ended) return;
    this.end(true);
    this.on.down(reason);
  }

  end(force) {
    if (this.ended) return;
    this.ended = true;
    // Without `force` it waits for outstanding acknowledgements, so that a last `bye` leaves.
    this.client.end(force);
    this.client.on('error', () => {});
  }
}

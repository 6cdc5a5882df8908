//! What a viewer reports about its reception (RTCP), read on its way through the WebRTC crate's interceptors:
//! requests for a key frame, bandwidth estimates, losses. Runs on the driver task and never blocks. It also
//! bounds what the crate re-sends: its NACK responder answers without limit, and behind a narrow link the
//! re-sent packets displace the stream until nothing arrives.

use std::{collections::VecDeque, time::Instant};

use rtc::{
    interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket},
    rtcp::{
        self,
        payload_feedbacks::{
            full_intra_request::FullIntraRequest, picture_loss_indication::PictureLossIndication,
            receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate,
        },
        receiver_report::ReceiverReport,
        transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack},
    },
    sansio::Protocol,
    shared::error::Error,
};

use super::{RtcEvent, events::Events};

/// Passes everything on, reports what matters, and cuts NACKs down to the budget.
pub struct Feedback {
    events: Events,
    budget: ResendBudget,
    ssrc: u32,
    inbound: VecDeque<TaggedPacket>,
    outbound: VecDeque<TaggedPacket>,
}

impl Feedback {
    /// `ssrc`: that of our video.
    pub fn new(events: Events, ssrc: u32) -> Self {
        Self {
            events,
            budget: ResendBudget::default(),
            ssrc,
            inbound: VecDeque::new(),
            outbound: VecDeque::new(),
        }
    }

    fn read(&mut self, packet: &mut Box<dyn rtcp::Packet>) {
        let any = packet.as_any();
        if any.is::<PictureLossIndication>() || any.is::<FullIntraRequest>() {
            self.events.feedback(RtcEvent::KeyFrameWanted);
        } else if let Some(remb) = any.downcast_ref::<ReceiverEstimatedMaximumBitrate>() {
            // A float of up to 2^81: the conversion saturates.
            self.events.feedback(RtcEvent::Estimate { bits_per_second: remb.bitrate as u64 });
        } else if let Some(report) = any.downcast_ref::<ReceiverReport>() {
            if let Some(ours) = report.reports.iter().find(|block| block.ssrc == self.ssrc) {
                self.events.feedback(RtcEvent::Loss { fraction: f32::from(ours.fraction_lost) / 256.0 });
            }
        } else if let Some(nack) = any.downcast_ref::<TransportLayerNack>() {
            let nacks = self.budget.trim(&nack.nacks);
            *packet = Box::new(TransportLayerNack { nacks, ..nack.clone() });
        }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Feedback {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut message: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(packets) = &mut message.message.packet {
            packets.iter_mut().for_each(|packet| self.read(packet));
        }
        self.inbound.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.inbound.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtp(packet) = &message.message.packet
            && packet.header.ssrc == self.ssrc
        {
            self.budget.earn();
        }
        self.outbound.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outbound.pop_front()
    }
}

impl Interceptor for Feedback {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

/// Half a packet may be re-sent for each one sent, and a burst of a key frame's losses at once.
#[derive(Debug)]
struct ResendBudget {
    halves: u32,
}

impl ResendBudget {
    const MOST: u32 = 2 * 128;
    const COST: u32 = 2;

    fn earn(&mut self) {
        self.halves = (self.halves + 1).min(Self::MOST);
    }

    fn spend(&mut self) -> bool {
        let affordable = self.halves >= Self::COST;
        if affordable {
            self.halves -= Self::COST;
        }
        affordable
    }

    /// As many of the lost packets, in order, as may be re-sent.
    fn trim(&mut self, nacks: &[NackPair]) -> Vec<NackPair> {
        let mut kept = Vec::new();
        for pair in nacks {
            if !self.spend() {
                break;
            }
            let mut lost_packets = pair.lost_packets;
            for bit in 0..16 {
                if lost_packets & (1 << bit) != 0 && !self.spend() {
                    lost_packets &= (1 << bit) - 1;
                    break;
                }
            }
            kept.push(NackPair { packet_id: pair.packet_id, lost_packets });
        }
        kept
    }
}

impl Default for ResendBudget {
    fn default() -> Self {
        Self { halves: Self::MOST }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(nacks: &[NackPair]) -> u32 {
        nacks.iter().map(|pair| 1 + pair.lost_packets.count_ones()).sum()
    }

    fn flood() -> Vec<NackPair> {
        (0..300).map(|i| NackPair { packet_id: i * 17, lost_packets: 0xffff }).collect()
    }

    #[test]
    fn a_few_losses_are_all_answered() {
        let mut budget = ResendBudget::default();
        let nacks = [NackPair { packet_id: 7, lost_packets: 0b101 }];
        assert_eq!(budget.trim(&nacks), nacks);
    }

    #[test]
    fn a_flood_of_requests_gets_half_of_what_was_sent_and_no_more() {
        let mut budget = ResendBudget::default();
        assert_eq!(count(&budget.trim(&flood())), 128);
        assert_eq!(count(&budget.trim(&flood())), 0);
        for _ in 0..61 {
            budget.earn();
        }
        assert_eq!(count(&budget.trim(&flood())), 30);
    }

    #[test]
    fn the_earliest_losses_come_first() {
        let mut budget = ResendBudget { halves: 3 * ResendBudget::COST };
        let nacks =
            [NackPair { packet_id: 1, lost_packets: 0b1 }, NackPair { packet_id: 9, lost_packets: 0b11 }];
        assert_eq!(
            budget.trim(&nacks),
            [NackPair { packet_id: 1, lost_packets: 0b1 }, NackPair { packet_id: 9, lost_packets: 0 },]
        );
    }
}

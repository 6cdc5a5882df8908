//! Other devices of the house, and wills.

use super::*;

impl Bench {
    fn device(&mut self) -> ClientKey {
        let connect = with_will(OTHER_STATUS, b"gone", Retain::Yes);
        let ip = IpAddr::from([192, 0, 2, 9]);
        self.state.connect(&connect, Party::Device(other()), ip, self.now).unwrap().key
    }

    fn publish(
        &mut self,
        key: ClientKey,
        topic: &str,
        retain: Retain,
        payload: &'static [u8],
    ) -> PublishAckReason {
        let payload = Bytes::from_static(payload);
        let packet_id = Some(id(4));
        match self.handle(key, Request::Publish { topic: topic.into(), payload, retain, packet_id }) {
            Ok(Step::Reply(Reply::Published { code, .. })) => code,
            other => panic!("no PUBACK: {other:?}"),
        }
    }
}

#[test]
fn another_device_and_its_viewers_reach_each_other() {
    let mut bench = Bench::new(Limits::default());
    let (viewer, device) = (bench.viewer("v"), bench.device());
    assert_eq!(
        bench.publish(viewer, OTHER_IN, Retain::No, b"early"),
        PublishAckReason::NoMatchingSubscribers
    );
    assert_eq!(bench.subscribe(device, OTHER_IN), SubscribeAckReason::GrantedQos1);
    assert_eq!(bench.publish(viewer, OTHER_IN, Retain::No, b"envelope"), PublishAckReason::Success);
    assert_eq!(bench.payloads(device), ["envelope"]);
    let topic = out(1).1.replace("abcdefghijkl2345", OTHER);
    assert_eq!(bench.publish(device, &topic, Retain::No, b"early"), PublishAckReason::NoMatchingSubscribers);
    bench.subscribe(viewer, &topic);
    assert_eq!(bench.publish(device, &topic, Retain::No, b"answer"), PublishAckReason::Success);
    assert_eq!(bench.payloads(viewer), ["answer"]);
    let counters = bench.state.counters();
    assert_eq!((counters.device_missed, counters.undelivered), (1, 1));
}

#[test]
fn another_device_is_offline_before_it_comes_and_by_its_will_after_it_has_gone() {
    let mut bench = Bench::new(Limits::default());
    let viewer = bench.viewer("v");
    bench.subscribe(viewer, OTHER_STATUS);
    assert_eq!(bench.payloads(viewer), [OFFLINE_STATUS]);
    let device = bench.device();
    assert_eq!(bench.publish(device, OTHER_STATUS, Retain::Yes, b"here"), PublishAckReason::Success);
    bench.state.disconnect(device);
    assert_eq!(bench.payloads(viewer), ["here", "gone"]);
    let device = bench.device();
    bench.publish(device, OTHER_STATUS, Retain::Yes, b"bye");
    assert_eq!(bench.handle(device, Request::Disconnect), Ok(Step::Left));
    bench.state.disconnect(device);
    assert_eq!(bench.payloads(viewer), ["bye"], "who says goodbye takes the will with it");
    let late = bench.viewer("late");
    bench.subscribe(late, OTHER_STATUS);
    assert_eq!(bench.payloads(late), ["bye"]);
}

#[test]
fn device_that_comes_again_takes_its_own_place_and_nobody_else_can() {
    let mut bench = Bench::new(Limits::default());
    let viewer = bench.viewer("v");
    bench.subscribe(viewer, OTHER_STATUS);
    bench.payloads(viewer);
    let old = bench.device();
    let impostor = bench.viewer("with a will");
    assert_eq!(bench.state.cut_reason(old), None, "an id is not who one is");
    let new = bench.device();
    assert_eq!(bench.state.cut_reason(old), Some(Reason::SessionTakenOver));
    assert_eq!(bench.state.cut_reason(impostor), None);
    bench.publish(new, OTHER_STATUS, Retain::Yes, b"here");
    bench.state.disconnect(old);
    assert_eq!(
        bench.payloads(viewer),
        ["gone", "here"],
        "the old will comes before the new status, and once"
    );
    assert_eq!(bench.subscribe(new, OTHER_IN), SubscribeAckReason::GrantedQos1);
    assert_eq!(bench.publish(viewer, OTHER_IN, Retain::No, b"x"), PublishAckReason::Success);
}

#[test]
fn envelopes_that_a_device_does_not_take_are_refused_to_their_senders() {
    let limits = Limits { packets_per_second: 10_000, ..Limits::default() };
    let mut bench = Bench::new(limits);
    let (viewer, device) = (bench.viewer("v"), bench.device());
    bench.subscribe(device, OTHER_IN);
    let sent = (0..200).map(|_| bench.publish(viewer, OTHER_IN, Retain::No, b"x"));
    let taken = sent.filter(|code| *code == PublishAckReason::Success).count();
    assert_eq!(taken, limits.queue);
    assert_eq!(bench.publish(viewer, OTHER_IN, Retain::No, b"x"), PublishAckReason::QuotaExceeded);
    assert_eq!(bench.state.cut_reason(device), None, "others' haste is not its fault");
    bench.payloads(device);
    let large = vec![0; 60_000].leak();
    let sent = (0..100).map(|_| bench.publish(viewer, OTHER_IN, Retain::No, large));
    let taken = sent.filter(|code| *code == PublishAckReason::Success).count();
    assert_eq!(taken, limits.queue_bytes / large.len());
}

#[test]
fn device_may_not_flood_its_status_nor_make_it_large() {
    let limits = Limits::default();
    let mut bench = Bench::new(limits);
    let device = bench.device();
    let large = vec![b'z'; limits.status + 1].leak();
    assert_eq!(bench.publish(device, OTHER_STATUS, Retain::Yes, large), PublishAckReason::QuotaExceeded);
    let sent = (0..100).map(|_| bench.publish(device, OTHER_STATUS, Retain::Yes, b"x"));
    let taken = sent.filter(|code| *code == PublishAckReason::Success).count();
    assert_eq!(taken, 2 * limits.statuses_per_second as usize);
    let will = with_will(OTHER_STATUS, large, Retain::Yes);
    let again = bench.state.connect(&will, Party::Device(other()), IpAddr::from([192, 0, 2, 9]), bench.now);
    assert_eq!(again, Err(ConnectAckReason::QuotaExceeded));
}

#[test]
fn device_speaks_for_no_other_in_words_or_wills() {
    let mut bench = Bench::new(Limits::default());
    let device = bench.device();
    for topic in [STATUS, IN, out(1).1.as_str(), OTHER_IN] {
        for retain in [Retain::Yes, Retain::No] {
            assert_eq!(
                bench.publish(device, topic, retain, b"x"),
                PublishAckReason::NotAuthorized,
                "{topic}"
            );
        }
        let will = with_will(topic, b"x", Retain::Yes);
        let refused =
            bench.state.connect(&will, Party::Device(other()), IpAddr::from([192, 0, 2, 9]), bench.now);
        assert_eq!(refused, Err(ConnectAckReason::NotAuthorized), "{topic}");
    }
    for filter in [STATUS, IN, OTHER_STATUS, "#"] {
        assert_eq!(bench.subscribe(device, filter), SubscribeAckReason::NotAuthorized, "{filter}");
    }
    assert_eq!(bench.state.cut_reason(device), None);
}

#[test]
fn devices_have_places_of_their_own() {
    let mut bench = Bench::new(Limits { clients: 3, ..Limits::default() });
    for number in 0..3 {
        bench.viewer(&number.to_string());
    }
    assert_eq!(bench.connect("late", Version::V5, 1), Err(ConnectAckReason::ServerBusy));
    for _ in 0..CONNECTIONS_OF_DEVICE {
        bench.device();
    }
    let connect = hello("d", Version::V5);
    let storm =
        bench.state.connect(&connect, Party::Device(other()), IpAddr::from([192, 0, 2, 9]), bench.now);
    assert_eq!(storm, Err(ConnectAckReason::ServerBusy), "those it has left must be closed first");
}

#[test]
fn will_of_a_viewer_goes_where_it_may_publish_and_only_when_it_does_not_say_goodbye() {
    let mut bench = Bench::new(Limits::default());
    let ip = IpAddr::from([192, 0, 2, 1]);
    for (topic, retain) in
        [(STATUS, Retain::Yes), (OTHER_STATUS, Retain::Yes), (IN, Retain::Yes), ("x", Retain::No)]
    {
        let refused = bench.state.connect(&with_will(topic, b"x", retain), Party::Viewer, ip, bench.now);
        assert_eq!(refused, Err(ConnectAckReason::NotAuthorized), "{topic}");
    }
    for (leaves, expected) in
        [(None, 1), (Some(Request::Disconnect), 0), (Some(Request::DisconnectWithWill), 1)]
    {
        let will = with_will(IN, b"sealed bye", Retain::No);
        let key = bench.state.connect(&will, Party::Viewer, ip, bench.now).unwrap().key;
        if let Some(request) = leaves {
            assert_eq!(bench.handle(key, request), Ok(Step::Left));
        }
        bench.state.disconnect(key);
        assert_eq!(bench.state.drain_for_agent().len(), expected);
    }
}

#[test]
fn acknowledgements_that_are_awaited_do_not_count_as_haste() {
    let mut bench = Bench::new(Limits { packets_per_second: 10, ..Limits::default() });
    let viewer = bench.viewer("v");
    bench.subscribe(viewer, STATUS);
    for _ in 0..100 {
        bench.state.publish_status(Bytes::from_static(b"1"));
        let packet_id = bench.state.fetch(viewer).unwrap().packet_id.unwrap();
        assert_eq!(bench.handle(viewer, Request::Acknowledge(packet_id)), Ok(Step::Nothing));
    }
    let unasked = (0..20).map(|_| bench.handle(viewer, Request::Acknowledge(id(7))));
    assert!(unasked.into_iter().any(|step| step == Err(Reason::MessageRateTooHigh)));
}

//! The carrier over TLS, with certificates right and wrong.

use std::{fs, path::PathBuf, sync::Arc};

use pinhole::{
    signal::{
        Carrier, CarrierEvent,
        mqtt::{self, MqttSettings},
    },
    tasks,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use rumqttc::tokio_rustls::TlsAcceptor;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use tokio::net::TcpListener;

use crate::{
    broker_support::{RawClient, address, next_event},
    mqtt::{assert_carries, next_down, stop},
    mqtt_support::{Folder, Mosquitto, free_port},
};

/// An authority and the files of one test.
struct Authority {
    folder: Folder,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        Self::named("test authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { folder: Folder::new(), issuer }
    }

    fn ca(&self) -> PathBuf {
        self.folder.write("ca.pem", &self.issuer.pem())
    }

    /// A certificate for `name`, and its key, as files.
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |kind| format!("{name}.{kind}.pem");
        (
            self.folder.write(&file("crt"), &certificate.pem()),
            self.folder.write(&file("key"), &key.serialize_pem()),
        )
    }

    /// A listener with that certificate.
    fn listener(&self, port: u16, (certificate, key): &(PathBuf, PathBuf), more: &str) -> String {
        format!(
            "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\n{more}\n",
            self.ca().display(),
            certificate.display(),
            key.display()
        )
    }
}

async fn down_reason(authority: &Authority, server: &(PathBuf, PathBuf), settings: MqttSettings) -> String {
    let port = free_port();
    let config = format!("allow_anonymous true\n{}", authority.listener(port, server, ""));
    let _broker = Mosquitto::start(&config).await;
    let settings = MqttSettings { url: format!("mqtts://localhost:{port}"), ..settings };
    let mut carrier = mqtt::start(settings, address()).unwrap();
    next_down(&mut carrier).await
}

#[tokio::test]
async fn carries_over_tls_and_over_secure_websocket() {
    let authority = Authority::new();
    let server = authority.issue("localhost", |_| {});
    let (plain, tls, websocket) = (free_port(), free_port(), free_port());
    let _broker = Mosquitto::start(&format!(
        "allow_anonymous true\nlistener {plain} 127.0.0.1\n{}{}",
        authority.listener(tls, &server, ""),
        authority.listener(websocket, &server, "protocol websockets"),
    ))
    .await;
    for url in [format!("mqtts://localhost:{tls}"), format!("wss://localhost:{websocket}/mqtt")] {
        let settings = MqttSettings { ca: Some(authority.ca()), ..MqttSettings::new(url) };
        let mut carrier = mqtt::start(settings, address()).unwrap();
        assert_carries(&mut carrier, plain, &[]).await;
        stop(carrier).await;
    }
}

#[tokio::test]
async fn client_certificate_is_shown_and_its_lack_is_told() {
    let authority = Authority::new();
    let server = authority.issue("localhost", |_| {});
    let client = authority.issue("camera", |_| {});
    let port = free_port();
    let listener =
        authority.listener(port, &server, "require_certificate true\nuse_identity_as_username true");
    let _broker = Mosquitto::start(&listener).await;
    let without =
        MqttSettings { ca: Some(authority.ca()), ..MqttSettings::new(format!("mqtts://localhost:{port}")) };
    let mut carrier = mqtt::start(without.clone(), address()).unwrap();
    let reason = next_down(&mut carrier).await;
    assert!(reason.contains("client certificate: give one"), "{reason}");
    let mut carrier =
        mqtt::start(MqttSettings { client_cert: Some(client.clone()), ..without.clone() }, address())
            .unwrap();
    assert_eq!(next_event(&mut carrier).await, CarrierEvent::Up);
    // A key that belongs to another certificate is an error at start.
    let mixed = MqttSettings { client_cert: Some((client.0, server.1)), ..without };
    let message = mqtt::start(mixed, address()).unwrap_err().to_string();
    assert!(message.contains("cannot be used together"), "{message}");
}

#[tokio::test]
async fn expired_certificate_is_told() {
    let authority = Authority::new();
    let server = authority.issue("localhost", |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let settings = MqttSettings { ca: Some(authority.ca()), ..MqttSettings::new("") };
    let reason = down_reason(&authority, &server, settings).await;
    assert!(reason.contains("its certificate has expired"), "{reason}");
}

#[tokio::test]
async fn certificate_of_the_future_is_told_as_a_matter_of_the_clock() {
    let authority = Authority::new();
    let server = authority.issue("localhost", |params| {
        params.not_before = date_time_ymd(2090, 1, 1);
        params.not_after = date_time_ymd(2091, 1, 1);
    });
    let settings = MqttSettings { ca: Some(authority.ca()), ..MqttSettings::new("") };
    let reason = down_reason(&authority, &server, settings).await;
    assert!(reason.contains("not valid yet: set this machine's clock"), "{reason}");
}

#[tokio::test]
async fn certificate_for_another_name_is_told() {
    let authority = Authority::new();
    let server = authority.issue("other.example", |_| {});
    let settings = MqttSettings { ca: Some(authority.ca()), ..MqttSettings::new("") };
    let reason = down_reason(&authority, &server, settings).await;
    assert!(reason.contains("another name than `localhost`"), "{reason}");
}

#[tokio::test]
async fn unknown_authority_is_told() {
    let authority = Authority::new();
    let server = authority.issue("localhost", |_| {});
    let other = Authority::named("another authority");
    let settings = MqttSettings { ca: Some(other.ca()), ..MqttSettings::new("") };
    let reason = down_reason(&authority, &server, settings).await;
    assert!(reason.contains("unknown authority"), "{reason}");
    let renewed = Authority::new();
    let settings = MqttSettings { ca: Some(renewed.ca()), ..MqttSettings::new("") };
    let reason = down_reason(&authority, &server, settings).await;
    assert!(reason.contains("another authority of the same name"), "{reason}");
}

#[tokio::test]
async fn certificate_that_is_its_own_authority_is_told() {
    let authority = Authority::new();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = authority.folder.write("own.crt.pem", &params.self_signed(&key).unwrap().pem());
    let server = (certificate.clone(), authority.folder.write("own.key.pem", &key.serialize_pem()));
    let settings = MqttSettings { ca: Some(certificate), ..MqttSettings::new("") };
    let reason = down_reason(&authority, &server, settings).await;
    assert!(reason.contains("is an authority's own") && reason.contains("make another"), "{reason}");
}

#[tokio::test]
async fn port_without_tls_is_told() {
    let authority = Authority::new();
    let port = free_port();
    let _broker = Mosquitto::open(port).await;
    let settings =
        MqttSettings { ca: Some(authority.ca()), ..MqttSettings::new(format!("mqtts://localhost:{port}")) };
    let mut carrier = mqtt::start(settings, address()).unwrap();
    let reason = next_down(&mut carrier).await;
    assert!(reason.contains("check that the port is one for TLS"), "{reason}");
}

/// Waits until it is up; meanwhile it may only be down for that reason.
async fn up_after(carrier: &mut Carrier, reason: &str) {
    loop {
        match next_event(carrier).await {
            CarrierEvent::Up => return,
            CarrierEvent::Down { reason: found } => assert!(found.contains(reason), "{found}"),
            CarrierEvent::Envelope(_) => panic!("no envelope was sent"),
        }
    }
}

#[tokio::test]
async fn broker_with_a_renewed_certificate_is_up_again_without_a_restart() {
    let authority = Authority::new();
    let server = authority.issue("localhost", |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let port = free_port();
    let config = format!("allow_anonymous true\n{}", authority.listener(port, &server, ""));
    let broker = Mosquitto::start(&config).await;
    let settings =
        MqttSettings { ca: Some(authority.ca()), ..MqttSettings::new(format!("mqtts://localhost:{port}")) };
    let mut carrier = mqtt::start(settings, address()).unwrap();
    assert!(next_down(&mut carrier).await.contains("has expired"));
    assert_eq!(authority.issue("localhost", |_| {}), server, "in place of the old one");
    // As certbot's hook does.
    broker.reload();
    up_after(&mut carrier, "has expired").await;
    stop(carrier).await;
}

#[tokio::test]
async fn agent_whose_own_files_were_renewed_reads_them_again() {
    let authority = Authority::new();
    let server = authority.issue("localhost", |_| {});
    let expired = authority.issue("camera", |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let port = free_port();
    let listener =
        authority.listener(port, &server, "require_certificate true\nuse_identity_as_username true");
    let _broker = Mosquitto::start(&listener).await;
    // Its authority is one that did not sign the broker's certificate.
    let other = Authority::named("another authority");
    let settings = MqttSettings {
        ca: Some(other.ca()),
        client_cert: Some(expired.clone()),
        ..MqttSettings::new(format!("mqtts://localhost:{port}"))
    };
    let ca = settings.ca.clone().unwrap();
    let mut carrier = mqtt::start(settings, address()).unwrap();
    assert!(next_down(&mut carrier).await.contains("unknown authority"));
    fs::write(ca, authority.issuer.pem()).unwrap();
    let reason = next_down(&mut carrier).await;
    assert!(reason.contains("refused the client certificate"), "{reason}");
    stop(carrier).await;
    // A refusal is tried again after 30 s only, so the renewed certificate is shown by an agent that has met another.
    let settings = MqttSettings {
        ca: Some(authority.ca()),
        client_cert: Some(authority.issue("camera", |_| {})),
        ..MqttSettings::new(format!("mqtts://localhost:{port}"))
    };
    let mut carrier = mqtt::start(settings, address()).unwrap();
    assert_eq!(next_event(&mut carrier).await, CarrierEvent::Up);
    stop(carrier).await;
}

#[tokio::test]
async fn protocol_is_asked_for_in_the_handshake_where_one_is_named() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost", |_| {});
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"x-amzn-mqtt-ca".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let broker = tasks::spawn("TLS broker", async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = acceptor.accept(stream).await.unwrap();
        let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(RawClient { stream, level: 5 }.read().await.unwrap().0, 0x10, "a CONNECT");
        protocol
    });
    let settings = MqttSettings {
        ca: Some(authority.ca()),
        alpn: vec!["x-amzn-mqtt-ca".to_owned()],
        ..MqttSettings::new(format!("mqtts://localhost:{port}"))
    };
    let carrier = mqtt::start(settings, address()).unwrap();
    assert_eq!(broker.await.unwrap().as_deref(), Some(&b"x-amzn-mqtt-ca"[..]));
    stop(carrier).await;
}

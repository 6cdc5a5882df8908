//! The carrier over TLS, with certificates right and wrong.

use std::path::PathBuf;

use pinhole::signal::{
    CarrierEvent,
    mqtt::{self, MqttSettings},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};

use crate::{
    broker_support::{address, next_event},
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

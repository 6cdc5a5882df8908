//! Why there is no connection to the broker, in words for whoever runs the agent: what failed, the reason, the
//! remedy. Pure. Not here: how often it is tried again (`backoff`).

use std::{error::Error, io};

use rumqttc::{
    ConnAck, ConnectReturnCode, ConnectionError, DisconnectReasonCode, PubAckReason, StateError,
    SubscribeReasonCode,
};
use rustls::{AlertDescription, CertificateError};

use super::{backoff::Kind, connect::ConnectFault, url::BrokerUrl};

const NO_MQTT_5: &str =
    "it does not speak MQTT 5: use a newer version of it, or another broker (docs/brokers.md)";

/// One failed attempt, or the end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub kind: Kind,
    pub text: String,
}

impl Failure {
    pub(super) fn new(url: &BrokerUrl, kind: Kind, why: impl std::fmt::Display) -> Self {
        Self { kind, text: format!("broker {url}: {why}") }
    }
}

/// The sentence for an error of the client crate.
pub(super) fn of_connection(url: &BrokerUrl, client_id: &str, error: &ConnectionError) -> Failure {
    // The client crate does not name this one as a source.
    let read = match error {
        ConnectionError::MqttState(StateError::Deserialization(error)) => error as &(dyn Error + 'static),
        error => error,
    };
    if let Some(fault) = find::<ConnectFault>(read) {
        return of_fault(url, fault);
    }
    // A broker that misses the client's certificate says so only after the handshake (TLS 1.3, RFC 8446, 4.4.2.4).
    if let Some(tls) = find::<rustls::Error>(read) {
        return of_tls(url, tls);
    }
    let passing = |why: String| Failure::new(url, Kind::Passing, why);
    match error {
        ConnectionError::ConnectionRefused(code)
        | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => of_connack(url, *code),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            let kind = match reason_code {
                DisconnectReasonCode::NotAuthorized => Kind::Refused,
                _ => Kind::Passing,
            };
            Failure::new(url, kind, of_disconnect(*reason_code, reason_string.as_deref(), client_id))
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            passing("it no longer answers: the network between may be down".to_owned())
        }
        ConnectionError::MqttState(StateError::ConnectionAborted | StateError::Io(_))
        | ConnectionError::Io(_) => passing(lost()),
        ConnectionError::MqttState(StateError::Deserialization(rumqttc::Error::Io(_))) => passing(lost()),
        ConnectionError::Timeout(_) => passing(
            "it took the connection but did not answer: check that the port is one for MQTT of this kind"
                .to_owned(),
        ),
        ConnectionError::Websocket(error) => of_websocket(url, &error.to_string()),
        ConnectionError::ResponseValidation(_) => passing(format!(
            "what answers at {} speaks no MQTT over WebSocket: check the path",
            url.websocket_request_url()
        )),
        ConnectionError::NotConnAck(_) | ConnectionError::MqttState(_) => passing(format!(
            "it does not speak MQTT 5 as it should ({error}): check that it is an MQTT 5 broker"
        )),
        other => passing(other.to_string()),
    }
}

fn lost() -> String {
    "the connection was lost: if this repeats, the broker's log may say why".to_owned()
}

fn of_websocket(url: &BrokerUrl, error: &str) -> Failure {
    match error.strip_prefix("HTTP error: ") {
        Some(status) if status.starts_with("401") || status.starts_with("403") => Failure::new(
            url,
            Kind::Refused,
            format!("it refused the WebSocket ({status}): check that this host may connect to it"),
        ),
        Some(status) => Failure::new(
            url,
            Kind::Passing,
            format!("it refused the WebSocket ({status}): check the path, which is often /mqtt or /"),
        ),
        None => Failure::new(url, Kind::Passing, format!("the WebSocket failed: {error}")),
    }
}

fn of_fault(url: &BrokerUrl, fault: &ConnectFault) -> Failure {
    let passing = |why: String| Failure::new(url, Kind::Passing, why);
    match fault {
        ConnectFault::OldMqtt => Failure::new(url, Kind::Refused, NO_MQTT_5),
        ConnectFault::Resolve { host } => passing(format!(
            "the name `{host}` cannot be resolved: check it for typing errors, and this machine's network and DNS"
        )),
        ConnectFault::Tcp { address, source } => passing(match source.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!(
                    "connection refused by {address}: check that the broker runs and listens on this port"
                )
            }
            io::ErrorKind::TimedOut => {
                format!("no answer from {address}: check the address, the network and any firewall between")
            }
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                format!("no way to {address}: check this machine's network")
            }
            _ => format!("connecting to {address} failed: {source}"),
        }),
        ConnectFault::Tls { source, .. } => match find::<rustls::Error>(source) {
            Some(error) => of_tls(url, error),
            None if source.kind() == io::ErrorKind::TimedOut => {
                passing("no answer to the TLS handshake: check that the port is one for TLS".to_owned())
            }
            None => {
                passing(format!("the TLS handshake was cut ({source}): check that the port is one for TLS"))
            }
        },
    }
}

fn of_tls(url: &BrokerUrl, error: &rustls::Error) -> Failure {
    let host = url.host();
    let (kind, why) = match error {
        rustls::Error::InvalidCertificate(error) => return of_certificate(url, error),
        rustls::Error::AlertReceived(alert) => (Kind::Refused, of_alert(*alert)),
        rustls::Error::InvalidMessage(_) => {
            (Kind::Passing, "it does not speak TLS at this port: check the port and the scheme".to_owned())
        }
        other => (Kind::Passing, format!("TLS with {host} failed: {other}")),
    };
    Failure::new(url, kind, why)
}

fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "it wants a client certificate: give one with `cert_file` and `key_file`".to_owned()
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => {
            format!(
                "it refused the client certificate ({alert:?}): check that its authority signed it and that it is valid"
            )
        }
        AlertDescription::HandshakeFailure => {
            "it refused the TLS handshake: it may want a client certificate (`cert_file`, `key_file`)"
                .to_owned()
        }
        other => format!("it refused the TLS handshake ({other:?})"),
    }
}

fn of_certificate(url: &BrokerUrl, error: &CertificateError) -> Failure {
    let host = url.host();
    let (kind, why) = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            Kind::Clock,
            "its certificate has expired: renew it on the broker (or set this machine's clock, if that is wrong)"
                .to_owned(),
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            Kind::Clock,
            "its certificate is not valid yet: set this machine's clock (timedatectl shows it)".to_owned(),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            Kind::Passing,
            format!("its certificate is for another name than `{host}`: use the name in the certificate, or renew it"),
        ),
        CertificateError::UnknownIssuer => (
            Kind::Passing,
            "its certificate was signed by an unknown authority: give that authority's certificate with `ca_file`".to_owned(),
        ),
        // Made anew, an authority often keeps its name, and then only the signature differs.
        CertificateError::BadSignature => (
            Kind::Passing,
            "its certificate was signed by another authority of the same name: give the authority's newest certificate with `ca_file`"
                .to_owned(),
        ),
        CertificateError::Revoked => {
            (Kind::Passing, "its certificate was revoked: renew it on the broker".to_owned())
        }
        // rustls gives webpki's reason by its name alone.
        CertificateError::Other(reason) if reason.to_string().contains("CaUsedAsEndEntity") => (
            Kind::Passing,
            "its certificate is an authority's own, as self-signed ones often are: make another for the broker, signed by that authority (docs/brokers.md)"
                .to_owned(),
        ),
        other => (Kind::Passing, format!("its certificate cannot be used ({other}): renew it on the broker")),
    };
    Failure::new(url, kind, why)
}

/// The sentence where another agent's broker does not take the device's key; `None`: something else is wrong.
pub(super) fn of_login(url: &BrokerUrl, error: &ConnectionError) -> Option<Failure> {
    use ConnectReturnCode as Code;
    let why = match error {
        ConnectionError::ConnectionRefused(Code::NotAuthorized)
        | ConnectionError::MqttState(StateError::ConnFail { reason: Code::NotAuthorized }) => {
            "it does not know this device: add what `pinhole device-key` prints here to `accept_devices` under [broker] in the hub's configuration, restart it, and let both have the same `root`"
        }
        ConnectionError::ConnectionRefused(Code::BadAuthenticationMethod)
        | ConnectionError::MqttState(
            StateError::ConnFail { reason: Code::BadAuthenticationMethod } | StateError::AuthError(_),
        )
        | ConnectionError::AuthProcessingError => {
            "it is no pinhole that takes devices' keys: check the address of `hub`, and the hub's version"
        }
        _ => return None,
    };
    Some(Failure::new(url, Kind::Refused, why))
}

/// A broker that cannot keep the camera's status.
pub(super) fn of_retain(url: &BrokerUrl, connack: &ConnAck) -> Result<(), Failure> {
    let retain = connack.properties.as_ref().and_then(|properties| properties.retain_available);
    if retain == Some(0) {
        let why = "it keeps no retained messages, which the camera's status needs: allow them on the broker";
        return Err(Failure::new(url, Kind::Refused, why));
    }
    Ok(())
}

/// A publication that was refused.
pub(super) fn of_publication(url: &BrokerUrl, topic: &str, reason: PubAckReason) -> Failure {
    let why = match reason {
        PubAckReason::NotAuthorized => {
            format!("it refuses messages to {topic}: allow this user to publish there (docs/brokers.md)")
        }
        other => format!("it refuses messages to {topic} ({other:?})"),
    };
    Failure::new(url, Kind::Refused, why)
}

fn of_connack(url: &BrokerUrl, code: ConnectReturnCode) -> Failure {
    use ConnectReturnCode as Code;
    let (kind, why) = match code {
        Code::BadUserNamePassword => (
            Kind::Refused,
            "wrong user or password: check `user` and `password_file` against the broker's list".to_owned(),
        ),
        Code::NotAuthorized | Code::Banned | Code::BadAuthenticationMethod => (
            Kind::Refused,
            "it does not let this client in: check `user` and `password_file`, and the broker's access rules"
                .to_owned(),
        ),
        Code::BadClientId | Code::ClientIdentifierNotValid => {
            (Kind::Refused, "it does not accept the client id: allow ids that begin with pinhole-".to_owned())
        }
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => {
            (Kind::Refused, NO_MQTT_5.to_owned())
        }
        Code::RetainNotSupported | Code::QoSNotSupported => (
            Kind::Refused,
            format!("it lacks what signaling needs ({code:?}): allow QoS 1 and retained messages"),
        ),
        other => (Kind::Passing, format!("it refused the connection ({other:?})")),
    };
    Failure::new(url, kind, why)
}

fn of_disconnect(code: DisconnectReasonCode, reason: Option<&str>, client_id: &str) -> String {
    match (code, reason) {
        (DisconnectReasonCode::SessionTakenOver, _) => {
            format!(
                "another client with the id {client_id} took this one's place: is the same state folder in use twice?"
            )
        }
        // Some brokers end the connection over a message or a subscription that their rules forbid.
        (DisconnectReasonCode::NotAuthorized, _) => {
            "it ended the connection for want of a right: allow this user to subscribe to the device's `in`, and to publish to its `status` and `out/#` (docs/brokers.md)".to_owned()
        }
        (DisconnectReasonCode::ServerShuttingDown, _) => "it is shutting down".to_owned(),
        (code, Some(reason)) if !reason.is_empty() => {
            format!("it ended the connection ({code:?}: {})", reason.escape_debug())
        }
        (code, _) => format!("it ended the connection ({code:?})"),
    }
}

/// The sentence for a SUBACK that refuses the device's own topic.
pub(super) fn of_subscription(url: &BrokerUrl, topic: &str, code: SubscribeReasonCode) -> Failure {
    match code {
        SubscribeReasonCode::NotAuthorized => Failure::new(
            url,
            Kind::Refused,
            format!("this user may not subscribe to {topic}: allow it in the broker's access rules"),
        ),
        other => {
            Failure::new(url, Kind::Refused, format!("it refused the subscription to {topic} ({other:?})"))
        }
    }
}

/// The first error of that type in the chain, also inside an [`io::Error`], which hides what it holds from `source`.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> BrokerUrl {
        BrokerUrl::parse("mqtts://broker.example").unwrap()
    }

    fn text(error: ConnectionError) -> String {
        of_connection(&url(), "pinhole-x", &error).text
    }

    fn tls(error: rustls::Error) -> ConnectionError {
        let source = io::Error::new(io::ErrorKind::InvalidData, error);
        ConnectionError::Io(io::Error::other(ConnectFault::Tls { host: "broker.example".to_owned(), source }))
    }

    fn tcp(kind: io::ErrorKind) -> ConnectionError {
        let address = "192.0.2.1:8883".parse().unwrap();
        ConnectionError::Io(io::Error::other(ConnectFault::Tcp { address, source: kind.into() }))
    }

    #[test]
    fn every_message_names_the_broker() {
        assert!(
            text(tcp(io::ErrorKind::TimedOut)).starts_with("broker mqtts://broker.example:8883: no answer")
        );
    }

    #[test]
    fn network_errors_are_told_apart() {
        let host = "broker.example".to_owned();
        let unresolved = ConnectionError::Io(io::Error::other(ConnectFault::Resolve { host }));
        assert!(text(unresolved).contains("cannot be resolved"));
        assert!(text(tcp(io::ErrorKind::ConnectionRefused)).contains("connection refused by 192.0.2.1:8883"));
        assert!(text(tcp(io::ErrorKind::HostUnreachable)).contains("no way to"));
    }

    #[test]
    fn certificate_errors_are_told_apart() {
        let certificate = |error| text(tls(rustls::Error::InvalidCertificate(error)));
        assert!(certificate(CertificateError::Expired).contains("has expired"));
        assert!(certificate(CertificateError::NotValidYet).contains("clock"));
        assert!(
            certificate(CertificateError::NotValidForName).contains("another name than `broker.example`")
        );
        assert!(certificate(CertificateError::UnknownIssuer).contains("unknown authority"));
    }

    #[test]
    fn missing_client_certificate_is_recognised_after_the_handshake() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        let late = io::Error::new(io::ErrorKind::InvalidData, alert);
        let failure = of_connection(&url(), "x", &ConnectionError::MqttState(StateError::Io(late)));
        assert!(failure.text.contains("wants a client certificate"));
        assert_eq!(failure.kind, Kind::Refused);
    }

    #[test]
    fn refusals_wait_for_a_person() {
        for code in [ConnectReturnCode::BadUserNamePassword, ConnectReturnCode::NotAuthorized] {
            let failure = of_connection(&url(), "x", &ConnectionError::ConnectionRefused(code));
            assert_eq!(failure.kind, Kind::Refused);
            assert!(failure.text.contains("password_file"));
        }
        let busy = ConnectionError::ConnectionRefused(ConnectReturnCode::ServerBusy);
        assert_eq!(of_connection(&url(), "x", &busy).kind, Kind::Passing);
    }

    #[test]
    fn what_the_broker_says_is_escaped() {
        let said = of_disconnect(DisconnectReasonCode::UnspecifiedError, Some("\u{1b}[2Jhello\n"), "x");
        assert!(said.contains("hello"));
        assert!(!said.contains(['\u{1b}', '\n']));
    }
}

//! The web server over real connections: files, headers, MQTT over WebSocket, and what must not get through.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use pinhole::{
    clock,
    config::Listen,
    listen,
    signal::{
        Carrier, CarrierEvent, OFFLINE_STATUS, Outgoing,
        broker::{Broker, Limits},
    },
    status::{Health, Monitor, Told},
    web::{self, Names, WebSettings},
};
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, PublishOptions, QoS};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, http::StatusCode},
};
use tokio_util::sync::CancellationToken;

use crate::broker_support::{
    IN, PATIENCE, STATUS, address, connect, next_envelope, next_event, publish, session, subscribe,
};

struct Site {
    at: SocketAddr,
    carrier: Carrier,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Site {
    async fn start(settings: WebSettings) -> Self {
        let broker = Broker::new(address(), Limits::default(), &[]);
        let mut carrier = broker.carrier();
        assert_eq!(next_event(&mut carrier).await, CarrierEvent::Up);
        let listener = listen::bind(Listen::At("127.0.0.1:0".parse().unwrap()), "--listen").await.unwrap();
        let at = listener.local_addr().unwrap();
        let cancel = CancellationToken::new();
        let task = web::serve(listener, settings, Some(broker), cancel.clone());
        Self { at, carrier, cancel, task }
    }

    async fn open() -> Self {
        Self::start(WebSettings::default()).await
    }

    async fn ask(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer in time").unwrap();
        Answer::parse(&bytes)
    }

    async fn get(&self, path: &str, more: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{more}\r\n", self.at))
            .await
    }

    /// Opens a WebSocket with that Origin, Host and subprotocol.
    async fn websocket(
        &self,
        origin: Option<&str>,
        host: Option<&str>,
        protocol: Option<&str>,
    ) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, StatusCode> {
        let mut request = format!("ws://{}/mqtt", self.at).into_client_request().unwrap();
        for (name, value) in [("origin", origin), ("host", host), ("sec-websocket-protocol", protocol)] {
            if let Some(value) = value {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        match connect_async(request).await {
            Ok((socket, response)) => {
                assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
                Ok(socket)
            }
            Err(Error::Http(response)) => Err(response.status()),
            Err(error) => panic!("neither opened nor refused: {error}"),
        }
    }
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self { status, headers, body: bytes[end + 4..].to_vec() }
    }
}

#[tokio::test]
async fn page_is_served_with_its_types_and_strict_headers() {
    let site = Site::open().await;
    for (path, mime) in [
        ("/", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/app.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/nothing", "text/plain; charset=utf-8"),
    ] {
        let answer = site.get(path, "").await;
        assert_eq!(answer.status, if path == "/nothing" { 404 } else { 200 }, "{path}");
        assert_eq!(answer.headers["content-type"], mime);
        assert!(!answer.body.is_empty());
        let policy = &answer.headers["content-security-policy"];
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "));
        assert!(!policy.contains("unsafe"));
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        assert_eq!(answer.headers["cross-origin-opener-policy"], "same-origin");
    }
}

#[tokio::test]
async fn known_file_is_not_sent_again_and_head_has_no_body() {
    let site = Site::open().await;
    let first = site.get("/app.js", "").await;
    let etag = &first.headers["etag"];
    for known in [etag.clone(), format!("\"other\", {etag}"), format!("W/{etag}"), "*".to_owned()] {
        let again = site.get("/app.js", &format!("If-None-Match: {known}\r\n")).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{known}");
        assert_eq!(&again.headers["etag"], etag);
    }
    assert_eq!(site.get("/app.js", "If-None-Match: \"other\"\r\n").await.status, 200);
    let head =
        site.ask(&format!("HEAD /app.js HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", site.at)).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.headers["content-length"], first.body.len().to_string());
}

#[tokio::test]
async fn foreign_names_and_methods_are_refused_but_health_is_told_to_all() {
    let settings =
        WebSettings { names: Names::new(None, vec!["cam.example.org".to_owned()]), ..WebSettings::default() };
    let site = Site::start(settings).await;
    let get = async |path: &str, host: &str| {
        site.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
    };
    let foreign = get("/", "evil.test").await;
    assert_eq!(foreign.status, 421);
    assert!(String::from_utf8(foreign.body).unwrap().contains("open it by its IP address"));
    assert_eq!(get("/", "cam.example.org").await.status, 200);
    assert_eq!(get("/", "a b").await.status, 400);
    let health = get("/healthz", "evil.test").await;
    assert_eq!((health.status, &health.body[..]), (200, &b"ok\n"[..]));
    let post =
        format!("POST / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", site.at);
    assert_eq!(site.ask(&post).await.status, 405);
}

#[tokio::test]
async fn health_says_in_a_word_what_does_not_move() {
    // Signaling has ended: nobody takes its commands.
    let (commands, _) = tokio::sync::mpsc::channel(1);
    let monitor = Monitor {
        started: clock::now(),
        told: tokio::sync::watch::channel(Told::default()).1,
        device: address().device,
        page: "127.0.0.1:8480".parse().unwrap(),
        cameras: Vec::new().into(),
        commands,
        privacy: tokio::sync::watch::channel(pinhole::config::Switch::Off).1,
        broker: None,
        whep: None,
    };
    let site =
        Site::start(WebSettings { health: Some(Health::new(monitor)), ..WebSettings::default() }).await;
    let health = site.get("/healthz", "").await;
    assert_eq!((health.status, &health.body[..]), (503, &b"signaling\n"[..]));
}

#[tokio::test]
async fn websocket_of_a_foreign_page_is_refused() {
    let site = Site::open().await;
    let own = format!("http://{}", site.at);
    assert!(site.websocket(Some(&own), None, Some("mqtt")).await.is_ok());
    assert!(site.websocket(None, None, Some("mqtt")).await.is_ok());
    for origin in ["http://evil.test", "null", "http://127.0.0.1"] {
        assert_eq!(site.websocket(Some(origin), None, Some("mqtt")).await.err(), Some(StatusCode::FORBIDDEN));
    }
    let rebound = site.websocket(Some("http://evil.test"), Some("evil.test"), Some("mqtt")).await;
    assert_eq!(rebound.err(), Some(StatusCode::MISDIRECTED_REQUEST));
    assert_eq!(site.websocket(Some(&own), None, None).await.err(), Some(StatusCode::BAD_REQUEST));
    assert_eq!(site.get("/mqtt", "").await.status, 400);
}

async fn next_binary(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> Option<Bytes> {
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("a message in time") {
            Some(Ok(Message::Binary(bytes))) => return Some(bytes),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
            Some(Ok(_)) => {}
        }
    }
}

#[tokio::test]
async fn packets_may_be_split_and_joined_over_messages() {
    let site = Site::open().await;
    let mut socket = site.websocket(None, None, Some("mqtt")).await.unwrap();
    let hello = connect(4, "split");
    let (begin, end) = hello.split_at(5);
    socket.send(Message::binary(begin.to_vec())).await.unwrap();
    socket.send(Message::Ping(Bytes::from_static(b"between"))).await.unwrap();
    socket.send(Message::binary(Bytes::new())).await.unwrap();
    let rest = [end, &subscribe(4, STATUS, 1), &[0xc0, 0]].concat();
    socket.send(Message::binary(rest)).await.unwrap();
    let mut received = Vec::new();
    while received.len() < 11 {
        received.extend(next_binary(&mut socket).await.expect("an answer"));
    }
    assert_eq!(received, [0x20, 2, 0, 0, 0x90, 3, 0, 7, 1, 0xd0, 0]);
}

#[tokio::test]
async fn text_and_oversized_messages_end_the_websocket() {
    let site = Site::open().await;
    let mut socket = site.websocket(None, None, Some("mqtt")).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(next_binary(&mut socket).await, None);
    let mut socket = site.websocket(None, None, Some("mqtt")).await.unwrap();
    socket.send(Message::binary(connect(5, "big"))).await.unwrap();
    assert!(next_binary(&mut socket).await.is_some());
    let _ = socket.send(Message::binary(publish(5, IN, &vec![b'z'; 1 << 20], None, false))).await;
    while next_binary(&mut socket).await.is_some() {}
}

#[tokio::test]
async fn viewer_with_an_ordinary_client_signals_over_websocket() {
    let mut site = Site::open().await;
    site.carrier.outgoing.send(Outgoing::Status(Bytes::from_static(b"here"))).await.unwrap();
    let broker = rumqttc::Broker::websocket(format!("ws://{}/mqtt", site.at)).unwrap();
    let (client, mut connection) =
        AsyncClient::builder(MqttOptions::new("viewer", broker)).capacity(10).build();
    let (session, topic) = session(9);
    client.subscribe(topic.clone(), QoS::AtLeastOnce).await.unwrap();
    client.subscribe(STATUS, QoS::AtLeastOnce).await.unwrap();
    let mut message = async || loop {
        let event = timeout(PATIENCE, connection.poll()).await.expect("an event in time").unwrap();
        if let Event::Incoming(Incoming::Publish(publish)) = event {
            return (String::from_utf8(publish.topic.to_vec()).unwrap(), publish.payload);
        }
    };
    assert_eq!(message().await, (STATUS.to_owned(), Bytes::from_static(b"here")));
    client.publish(IN, "offer", PublishOptions::new(QoS::AtLeastOnce)).await.unwrap();
    let answering = async {
        assert_eq!(next_envelope(&mut site.carrier).await, b"offer"[..]);
        let envelope = Bytes::from_static(b"answer");
        site.carrier.outgoing.send(Outgoing::Reply { session, envelope }).await.unwrap();
    };
    let (received, ()) = tokio::join!(message(), answering);
    assert_eq!(received, (topic, Bytes::from_static(b"answer")));
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let site =
        Site::start(WebSettings { header_time: Duration::from_secs(600), ..WebSettings::default() }).await;
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(TcpStream::connect(site.at).await.unwrap());
    }
    assert_eq!(site.get("/healthz", "").await.status, 200);
    let mut byte = [0];
    let first = timeout(PATIENCE, silent[0].read(&mut byte)).await.expect("the oldest was closed");
    assert!(matches!(first, Ok(0) | Err(_)));
}

#[tokio::test]
async fn slow_and_endless_heads_are_cut() {
    let site =
        Site::start(WebSettings { header_time: Duration::from_millis(50), ..WebSettings::default() }).await;
    for begin in ["", "GET / HTTP/1.1\r\nHost: 127", "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(site.at).await.unwrap();
        stream.write_all(begin.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the connection ends").unwrap();
    }
    let endless = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let mut stream = TcpStream::connect(site.at).await.unwrap();
    let _ = stream.write_all(endless.as_bytes()).await;
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the connection ends");
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn stopping_tells_viewers_and_closes_the_port() {
    let site = Site::open().await;
    let mut socket = site.websocket(None, None, Some("mqtt")).await.unwrap();
    socket.send(Message::binary([connect(4, "v"), subscribe(4, STATUS, 0)].concat())).await.unwrap();
    let mut received = Vec::new();
    while received.len() < 9 {
        received.extend(next_binary(&mut socket).await.expect("an answer"));
    }
    let idle = TcpStream::connect(site.at).await.unwrap();
    drop(site.carrier.outgoing);
    site.carrier.task.await.unwrap();
    site.cancel.cancel();
    let offline = next_binary(&mut socket).await.expect("the offline status");
    assert!(offline.ends_with(OFFLINE_STATUS));
    assert_eq!(next_binary(&mut socket).await, None);
    timeout(PATIENCE, site.task).await.expect("the server ends").unwrap();
    drop(idle);
    assert!(TcpStream::connect(site.at).await.is_err());
}

#[tokio::test]
async fn port_in_use_and_foreign_address_are_told() {
    let site = Site::open().await;
    let message = listen::bind(Listen::At(site.at), "--listen ADDR:PORT").await.unwrap_err().to_string();
    assert!(message.contains("another program uses this port") && message.contains("--listen"), "{message}");
    let message = listen::bind(Listen::At("192.0.2.1:0".parse().unwrap()), "broker.listen")
        .await
        .unwrap_err()
        .to_string();
    assert!(message.contains("does not have that address"), "{message}");
}

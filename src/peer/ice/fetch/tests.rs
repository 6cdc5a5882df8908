//! Addresses, paces, and a provider that answers in every way, over real sockets.

use rumqttc::tokio_rustls::TlsAcceptor;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

fn parsed(text: &str) -> Option<(Tls, String, u16, String)> {
    ProviderUrl::parse(text).map(|url| (url.tls, url.host, url.port, url.target.to_string()))
}

#[test]
fn addresses_are_read() {
    let of = |tls, host: &str, port, target: &str| Some((tls, host.to_owned(), port, target.to_owned()));
    assert_eq!(parsed("https://turn.example"), of(Tls::On, "turn.example", 443, "/"));
    assert_eq!(parsed("http://127.0.0.1:8080/a/b?k=v"), of(Tls::Off, "127.0.0.1", 8080, "/a/b?k=v"));
    assert_eq!(parsed("https://[::1]:1/x"), of(Tls::On, "[::1]", 1, "/x"));
    assert_eq!(parsed("https://turn.example?apiKey=1"), of(Tls::On, "turn.example", 443, "/?apiKey=1"));
    for wrong in [
        "",
        "turn.example",
        "ftp://x",
        "https://",
        "https://u:p@x/",
        "https://x:0/",
        "https://x:99999/",
        "https://x/a b",
        "https://x/#f",
        "https://x:/",
    ] {
        assert_eq!(parsed(wrong), None, "{wrong}");
    }
}

#[test]
fn only_this_machine_may_be_asked_in_clear_without_a_word() {
    let open = |text| ProviderUrl::parse(text).map(|url| url.is_open());
    assert_eq!(open("http://192.0.2.1/"), Some(true));
    for closed in ["http://127.0.0.1/", "http://[::1]:80/", "http://localhost/", "https://192.0.2.1/"] {
        assert_eq!(open(closed), Some(false), "{closed}");
    }
}

#[test]
fn keys_are_not_printed() {
    let provider = Provider {
        url: ProviderUrl::parse("https://turn.example/api?apiKey=north").unwrap(),
        method: AskBy::Post,
        login: Some(Login::Basic { user: "account".into(), password: Secret::new("east") }),
        ca: None,
        ttl: Duration::from_secs(60),
    };
    let printed = format!("{provider:?} {:?}", request(&provider).unwrap().headers());
    let secret = STANDARD.encode("account:east");
    assert!(printed.contains("turn.example"));
    for word in ["north", "east", &secret] {
        assert!(!printed.contains(word), "{word}");
    }
}

#[test]
fn credentials_are_renewed_well_before_their_end() {
    let mut pace = Pace { failures: 3 };
    let life = Duration::from_secs(1000);
    assert_eq!(pace.after_success(life, 0.0), Duration::from_secs(500));
    assert_eq!(pace.after_success(life, 1.0), Duration::from_secs(750));
    assert_eq!(pace.failures, 0);
    assert_eq!(pace.after_success(Duration::from_millis(1), 0.0), SHORTEST_WAIT);
}

#[test]
fn a_provider_that_fails_is_asked_ever_more_rarely() {
    let mut pace = Pace::default();
    let waits: Vec<u64> = (0..9).map(|_| pace.after_failure(1.0).as_secs()).collect();
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    assert_eq!(pace.after_failure(0.0), LAST_RETRY / 2);
}

const SERVERS: &str = r#"{"username":"1:a","password":"north","ttl":600,"uris":["turn:192.0.2.1"]}"#;

fn with_length(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn at(port: u16, login: Option<Login>) -> Provider {
    Provider {
        url: ProviderUrl::parse(&format!("http://127.0.0.1:{port}/turn?key=east")).unwrap(),
        method: AskBy::Post,
        login,
        ca: None,
        ttl: Duration::from_secs(900),
    }
}

/// Reads one request and gives `answer` to it; returns the request.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: String) -> String {
    let mut request = vec![0; 4096];
    let mut length = 0;
    // The body, when there is one, ends with the brace.
    while !request[..length].ends_with(b"}") {
        match stream.read(&mut request[length..]).await {
            Ok(0) | Err(_) => break,
            Ok(read) => length += read,
        }
    }
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    String::from_utf8_lossy(&request[..length]).into_owned()
}

/// What comes of asking a provider that answers so, and the request that it got.
async fn asked(
    answer: String,
    login: Option<Login>,
) -> (Result<(Vec<IceServer>, Duration), FetchError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = at(listener.local_addr().unwrap().port(), login);
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, answer).await
    };
    tokio::join!(ask(&provider, None), serving)
}

#[tokio::test]
async fn a_provider_is_asked_with_the_token_and_its_servers_are_taken() {
    let login = Some(Login::Bearer(Secret::new("west")));
    let (answer, request) = asked(with_length("201 Created", SERVERS), login).await;
    let (servers, life) = answer.unwrap();
    assert_eq!((servers[0].urls[0].as_str(), life), ("turn:192.0.2.1", Duration::from_secs(600)));
    assert_eq!(servers[0].credential.as_deref(), Some("north"));
    assert!(request.starts_with("POST /turn?key=east HTTP/1.1\r\n"), "{request}");
    let head = request.to_lowercase();
    assert!(
        head.contains("authorization: bearer west\r\n") && request.ends_with(r#"{"ttl":900}"#),
        "{request}"
    );
}

#[tokio::test]
async fn a_life_that_is_not_told_is_the_one_that_was_asked_for() {
    let list = r#"{"iceServers":[{"urls":"stun:192.0.2.1"}]}"#;
    let (answer, _) = asked(with_length("200 OK", list), None).await;
    assert_eq!(answer.unwrap().1, Duration::from_secs(900));
}

#[tokio::test]
async fn what_is_no_answer_is_told_in_words_without_the_key_in_the_address() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(answer::MAX_ANSWER + 1));
    for (answer, words) in [
        (
            with_length("401 Unauthorized", ""),
            "127.0.0.1 does not know this agent (HTTP 401): give the right token_file",
        ),
        (with_length("404 Not Found", ""), "127.0.0.1 answers with HTTP 404: check credentials_url"),
        (with_length("302 Found", ""), "127.0.0.1 answers with HTTP 302"),
        (with_length("200 OK", "<html>"), "127.0.0.1: the answer is no JSON"),
        (with_length("200 OK", "{}"), "127.0.0.1: the answer has no list of ICE servers"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".to_owned(), "is broken off, or longer than 64 KiB"),
        (endless, "is broken off, or longer than 64 KiB"),
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), "127.0.0.1 does not speak HTTP"),
        (String::new(), "127.0.0.1 does not speak HTTP"),
    ] {
        let said = asked(answer, None).await.0.unwrap_err().to_string();
        assert!(said.contains(words) && !said.contains("east"), "{said} instead of {words}");
    }
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = at(listener.local_addr().unwrap().port(), None);
    drop(listener);
    let said = ask(&provider, None).await.unwrap_err().to_string();
    assert!(said.starts_with("127.0.0.1 cannot be reached: "), "{said}");
}

/// A provider by TLS whose certificate ends in `year`; asked by an agent that trusts it.
async fn asked_by_tls(year: i32) -> Result<(Vec<IceServer>, Duration), FetchError> {
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2000, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(Arc::clone(&ring))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = rustls::ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let provider = Provider {
        url: ProviderUrl::parse(&format!("https://localhost:{port}/")).unwrap(),
        ..at(port, None)
    };
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        if let Ok(stream) = TlsAcceptor::from(Arc::new(server)).accept(stream).await {
            serve(stream, with_length("200 OK", SERVERS)).await;
        }
    };
    tokio::join!(ask(&provider, Some(Arc::new(client))), serving).0
}

#[tokio::test]
async fn by_tls_the_certificate_must_be_good() {
    assert_eq!(asked_by_tls(2100).await.unwrap().0[0].urls, ["turn:192.0.2.1"]);
    let said = asked_by_tls(2001).await.unwrap_err().to_string();
    assert!(
        said.starts_with("the TLS handshake with localhost failed: ") && said.contains("xpired"),
        "{said}"
    );
}

#[tokio::test]
async fn what_was_fetched_is_there_for_whoever_asks_and_asking_ends_with_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = at(listener.local_addr().unwrap().port(), None);
    let mut fetched = start(provider).unwrap();
    assert_eq!(*fetched.borrow(), None);
    let (stream, _) = listener.accept().await.unwrap();
    serve(stream, with_length("200 OK", SERVERS)).await;
    fetched.changed().await.unwrap();
    assert_eq!(fetched.borrow().as_ref().unwrap().servers[0].username.as_deref(), Some("1:a"));
}
